//! Single events of real descriptors that the caller owns, and closes without telling the port.

use completion_port::{Action, CompletionPort, Interest, OneShots};
use integration_tests::port::A_WHILE;
use integration_tests::process::{alone, epoll_entries};
use integration_tests::{Inbox, Transport, inbox, spawn, wait};
use rstest::rstest;
use rustix::io::Errno;
use std::fs::File;
use std::io::Write;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use test_doubles::Number;

type Waiter = Box<dyn FnOnce(Action) + Send>;
type Waits = (Number, Waiter);
type Waiting = OneShots<Waits>;

fn waiting() -> Arc<Waiting> {
    Arc::new(OneShots::new(CompletionPort::create().expect("the port is created")))
}

/// Waits for a descriptor by its number, as C programs do.
fn at(descriptor: &impl AsFd, callback: impl FnOnce(Action) + Send + 'static) -> Waits {
    (Number::of(descriptor), Box::new(callback))
}

fn add(waiting: &Waiting, descriptor: impl AsFd, interest: Interest) -> Inbox<Action> {
    let (tell, told) = inbox();
    waiting.add(interest, at(&descriptor, move |action| tell.put(action))).expect("the kernel accepts it");
    told
}

// Tests_SRS_COMPLETION_PORT_01_070
#[rstest]
#[case::tcp_v4(Transport::TcpV4)]
#[case::tcp_v6(Transport::TcpV6)]
#[case::unix(Transport::Unix)]
fn each_wait_fires_once_with_its_next_event(#[case] transport: Transport) {
    let _alone = alone();
    let waiting = waiting();
    let (ours, mut peer) = transport.pair();
    let [first, second] = [(); 2].map(|()| add(&waiting, &ours, Interest::IN));
    assert_eq!(add(&waiting, &ours, Interest::OUT).only(), Action::Out);
    thread::sleep(A_WHILE);
    assert!(first.is_pending() && second.is_pending());

    peer.write_all(b"x").unwrap();

    assert_eq!([first.only(), second.only()], [Action::In; 2]);
    assert_eq!(add(&waiting, &ours, Interest::IN).only(), Action::In, "at once, for it is readable still");
}

// Tests_SRS_COMPLETION_PORT_01_070
#[test]
fn a_wait_learns_of_the_end() {
    let _alone = alone();
    let waiting = waiting();
    let (ours, peer) = UnixStream::pair().unwrap();
    let reading = add(&waiting, &ours, Interest::IN);
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(reading.only(), Action::In, "the read then gets nothing");

    let (reader, writer) = std::io::pipe().unwrap();
    let reading = add(&waiting, &reader, Interest::IN);
    drop(writer);
    assert_eq!(reading.only(), Action::Error, "a hang-up alone");
}

// Tests_SRS_COMPLETION_PORT_01_071
#[test]
fn a_regular_file_is_refused() {
    let _alone = alone();
    let waiting = waiting();
    let file = File::open("/proc/self/exe").unwrap();
    let (tell, told) = inbox();

    let error = waiting.add(Interest::IN, at(&file, move |action| tell.put(action))).unwrap_err();

    assert_eq!(error.raw_os_error(), Some(Errno::PERM.raw_os_error()));
    assert!(told.is_dead());
}

// Tests_SRS_COMPLETION_PORT_01_072
#[test]
fn a_number_that_comes_back_as_another_socket_is_watched_anew() {
    let _alone = alone();
    let waiting = waiting();
    let (ours, first_peer) = UnixStream::pair().unwrap();
    let mut peers = vec![first_peer];
    let mut number = OwnedFd::from(ours);
    for round in 0..100_u8 {
        let old = add(&waiting, &number, Interest::IN);
        let (other, mut peer) = UnixStream::pair().unwrap();
        rustix::io::dup2(&other, &mut number).unwrap(); // closes the old one, of which the port is not told
        drop(other);

        let new = add(&waiting, &number, Interest::IN);
        assert_eq!(old.only(), Action::Abandoned);
        peer.write_all(&[round]).unwrap();
        assert_eq!(new.only(), Action::In);
        assert_eq!(rustix::io::read(&number, &mut [0]), Ok(1));
        peers.push(peer);
    }
}

// Tests_SRS_COMPLETION_PORT_01_073
#[test]
fn remove_waits_for_the_callback_and_abandons_the_rest_in_order() {
    let _alone = alone();
    let waiting = waiting();
    let (ours, _peer) = UnixStream::pair().unwrap();
    let ((gate, barrier), (tell, told)) = (wait::gate(), inbox());
    waiting.add(Interest::OUT, at(&ours, move |_| barrier.wait())).unwrap();
    gate.wait_for_arrival();
    for number in 0..5 {
        let tell = tell.clone();
        waiting.add(Interest::IN, at(&ours, move |action| tell.put((number, action)))).unwrap();
    }

    let removing = spawn("remove", move || {
        waiting.remove(ours.as_fd());
        ours
    });

    assert!(removing.still_runs_after(A_WHILE));
    gate.open();
    let ours = removing.join();
    assert_eq!(told.take(5), (0..5).map(|number| (number, Action::Abandoned)).collect::<Vec<_>>());
    assert!(epoll_entries(ours.as_raw_fd()).is_empty());
}

// Tests_SRS_COMPLETION_PORT_01_073
#[test]
fn remove_leaves_alone_a_descriptor_that_has_taken_over_the_number() {
    let _alone = alone();
    let port = CompletionPort::create().unwrap();
    let waiting = OneShots::<Waits>::new(port.clone());
    let (ours, _old_peer) = UnixStream::pair().unwrap();
    let mut number = OwnedFd::from(ours);
    let old = add(&waiting, &number, Interest::IN);
    let (other, mut peer) = UnixStream::pair().unwrap();
    rustix::io::dup2(&other, &mut number).unwrap();
    // Another list waits for the new descriptor on the same port.
    let others = OneShots::<Waits>::new(port);
    let new = add(&others, &number, Interest::IN);

    waiting.remove(number.as_fd());

    assert_eq!(old.only(), Action::Abandoned);
    peer.write_all(b"x").unwrap();
    assert_eq!(new.only(), Action::In);
}

// Tests_SRS_COMPLETION_PORT_01_074
#[test]
fn dropping_it_abandons_everything() {
    let _alone = alone();
    let waiting = waiting();
    let pairs = [(); 10].map(|()| UnixStream::pair().unwrap());
    let pending = pairs.each_ref().map(|(ours, _)| add(&waiting, ours, Interest::IN));

    drop(waiting);

    assert_eq!(pending.map(Inbox::only), [Action::Abandoned; 10]);
}
