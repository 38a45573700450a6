//! Raw waits whose port counts its system calls.

use completion_port::{Action, Interest, OneShots};
use integration_tests::port::{A_WHILE, Port, port, round_trip, settled, socket, writes};
use integration_tests::{inbox, spawn, wait};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use test_doubles::{Number, PortSyscall};

type Waits = (Number, Box<dyn FnOnce(Action) + Send>);

fn waiting(port: &Port) -> OneShots<Waits, Port> {
    OneShots::new(port.clone())
}

// Tests_SRS_COMPLETION_PORT_01_073
#[test]
fn a_removal_waits_for_the_callback_of_its_descriptor() {
    let port = port().1;
    let waiting = Arc::new(waiting(&port));
    let (ours, _peer) = UnixStream::pair().unwrap();
    let (gate, barrier) = wait::gate();
    waiting.add(Interest::OUT, (Number::of(&ours), Box::new(move |_| barrier.wait()))).unwrap();
    gate.wait_for_arrival();

    let removes = Arc::clone(&waiting);
    let removing = spawn("the removal", move || removes.remove(ours.as_fd()));

    assert!(removing.still_runs_after(A_WHILE));
    gate.open();
    removing.join();
}

// Tests_SRS_COMPLETION_PORT_01_120
#[test]
fn a_descriptor_whose_waits_have_fired_wakes_the_thread_no_more() {
    let (calls, port) = port();
    let waiting = waiting(&port);
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let (tell, told) = inbox();
    waiting.add(Interest::IN, (Number::of(&ours), Box::new(move |action| tell.put(action)))).unwrap();
    peer.write_all(b"x").unwrap();
    assert_eq!(told.only(), Action::In);
    let waits = settled(&calls);

    peer.write_all(b"y").unwrap();
    drop(peer);

    assert_eq!(settled(&calls), waits);
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
