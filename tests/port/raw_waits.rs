//! Raw waits whose port counts its system calls.

use completion_port::{Action, Interest, OneShots};
use integration_tests::inbox;
use integration_tests::port::{Port, port, round_trip, socket, writes};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use test_doubles::{Number, PortSyscall};

type Waits = (Number, Box<dyn FnOnce(Action) + Send>);

fn waiting(port: &Port) -> OneShots<Waits, Port> {
    OneShots::new(port.clone())
}

// Tests_SRS_COMPLETION_PORT_01_121
#[test]
fn a_callback_that_waits_again_arms_the_kernel_once() {
    let (calls, port) = port();
    let waiting = Arc::new(waiting(&port));
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let (number, again) = (Number::of(&ours), Arc::clone(&waiting));
    let (tell, told) = inbox();
    let callback = move |_| {
        let tells = Box::new(move |action| tell.put(action));
        again.add(Interest::IN, (number, tells)).expect("the kernel accepts it");
    };
    waiting.add(Interest::IN, (number, Box::new(callback))).unwrap();

    peer.write_all(b"x").unwrap();

    assert_eq!(told.only(), Action::In);
    round_trip(&port);
    assert_eq!(calls.made(PortSyscall::EpollModify), 1);
}

// Tests_SRS_COMPLETION_PORT_01_124
#[test]
fn a_list_that_another_ports_thread_drops_abandons_what_waits_before_the_drop_returns() {
    let waiting = waiting(&port().1);
    let (ours, _peer) = UnixStream::pair().unwrap();
    let (tell, abandoned) = inbox();
    waiting.add(Interest::IN, (Number::of(&ours), Box::new(move |action| tell.put(action)))).unwrap();
    let (registration, _registrations_peer) = socket(&port().1);
    let (tell, seen) = inbox();
    let drops = move |_| {
        drop(waiting);
        tell.put(abandoned.try_next());
    };

    registration.add(completion_port::Direction::Out, writes("x").then(drops)).unwrap();

    assert_eq!(seen.only(), Some(Action::Abandoned));
}
