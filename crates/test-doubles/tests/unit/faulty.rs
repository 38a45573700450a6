//! `FaultySyscalls`: the same seed gives the same faults, a kernel could give each of them, and no edge is lost.

use async_socket_linux::SocketSyscalls;
use async_socket_linux::sys::{Errno, RecvFlags, SendFlags};
use completion_port::PortSyscalls;
use completion_port::sys::{EpollOp, EventFlags};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use test_doubles::{Fault, Faults, FaultySyscalls};

const SEND: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);
/// In thousandths.
const ALWAYS: u16 = 1000;
const RECV: RecvFlags = RecvFlags::DONTWAIT;

fn pair() -> (OwnedFd, OwnedFd) {
    let (one, two) = UnixStream::pair().expect("a socket pair");
    (one.into(), two.into())
}

/// The results of a hundred sends of ten bytes.
fn hundred_sends(sys: &FaultySyscalls) -> Vec<Result<usize, Errno>> {
    let (ours, _theirs) = pair();
    (0..100).map(|_| sys.send(ours.as_fd(), &[0; 10], SEND)).collect()
}

#[test]
fn the_same_seed_makes_the_same_choices_and_another_one_others() {
    let (one, same) = (FaultySyscalls::with_seed(Faults::all(), 7), FaultySyscalls::with_seed(Faults::all(), 7));
    let other = FaultySyscalls::with_seed(Faults::all(), 8);

    let choices = hundred_sends(&one);

    assert_eq!(hundred_sends(&same), choices);
    assert_ne!(hundred_sends(&other), choices);
    assert_eq!(one.total_injected(), same.total_injected());
    assert_eq!((one.seed(), other.seed()), (7, 8));
}

#[test]
fn clones_share_their_choices_and_their_count() {
    let sys = FaultySyscalls::with_seed(Faults::all(), 7);
    let clone = sys.clone();

    hundred_sends(&clone);

    assert!(sys.total_injected() > 0);
    assert_eq!(sys.total_injected(), clone.total_injected());
}

#[test]
fn without_faults_the_calls_are_the_kernels() {
    let sys = FaultySyscalls::new(Faults::none());

    assert_eq!(hundred_sends(&sys), [Ok(10); 100]);
    assert_eq!(sys.total_injected(), 0);
}

#[test]
fn harmless_faults_are_only_such_as_lose_nothing() {
    let sys = FaultySyscalls::with_seed(Faults::harmless(), 3);

    for result in hundred_sends(&sys) {
        assert!(matches!(result, Ok(1..=10) | Err(Errno::INTR)), "{result:?}");
    }
    assert!(sys.injected(Fault::Short) > 0 && sys.injected(Fault::Interrupted) > 0);
    let harmful = [Fault::Reset, Fault::Pipe, Fault::Lost, Fault::NoBuffers, Fault::NoMemory, Fault::NoDescriptors];
    assert_eq!(harmful.map(|fault| sys.injected(fault)), [0; 6]);
}

#[test]
fn a_fault_that_always_happens_always_happens() {
    let always = |faults| hundred_sends(&FaultySyscalls::new(faults));

    assert_eq!(always(Faults::none().with(Fault::Interrupted, ALWAYS)), [Err(Errno::INTR); 100]);
    assert_eq!(always(Faults::none().with(Fault::Reset, ALWAYS)), [Err(Errno::CONNRESET); 100]);
    assert_eq!(always(Faults::none().with(Fault::Pipe, ALWAYS)), [Err(Errno::PIPE); 100]);
    assert_eq!(always(Faults::none().with(Fault::NoBuffers, ALWAYS)), [Err(Errno::NOBUFS); 100]);
    assert_eq!(always(Faults::none().with(Fault::NoMemory, ALWAYS)), [Err(Errno::NOMEM); 100]);
    assert_eq!(always(Faults::none().with(Fault::Storm, ALWAYS)), [Err(Errno::INTR); 100]);
    let no_descriptors = FaultySyscalls::new(Faults::none().with(Fault::NoDescriptors, ALWAYS));
    assert!(matches!(no_descriptors.epoll_create(), Err(Errno::MFILE | Errno::NFILE)));
    assert!(matches!(no_descriptors.eventfd(), Err(Errno::MFILE | Errno::NFILE)));
}

#[test]
fn short_transfers_move_a_part_and_the_rest_is_still_there() {
    let sys = FaultySyscalls::with_seed(Faults::none().with(Fault::Short, ALWAYS), 5);
    let (ours, theirs) = pair();
    let message: Vec<u8> = (0..100).collect();

    let mut sent = 0;
    while sent < message.len() {
        let (head, tail) = message[sent..].split_at((message.len() - sent) / 2);
        let count = sys.sendmsg(ours.as_fd(), &[IoSlice::new(head), IoSlice::new(tail)], SEND).expect("there is room");
        assert!(count > 0 && (count < message.len() - sent || count == 1));
        sent += count;
    }
    let mut received: Vec<u8> = Vec::new();
    while received.len() < message.len() {
        let (mut one, mut two) = ([0; 30], [0; 70]);
        let buffers = &mut [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
        let count = sys.recvmsg(theirs.as_fd(), buffers, RECV).expect("bytes are there");
        assert!((1..100).contains(&count));
        received.extend(one.iter().chain(&two).take(count));
    }

    assert_eq!(received, message);
}

#[test]
fn an_invented_eagain_is_followed_by_an_event() {
    let sys = FaultySyscalls::new(Faults::none().with(Fault::Again, ALWAYS));
    let (ours, theirs) = pair();
    let epoll = sys.epoll_create().expect("an epoll instance");
    sys.epoll_ctl(epoll.as_fd(), ours.as_fd(), EpollOp::Add { data: 9, flags: EventFlags::IN | EventFlags::ET })
        .expect("watched");
    sys.send(theirs.as_fd(), b"x", SEND).expect("only a watched socket gets EAGAIN");
    assert_eq!(events(&sys, &epoll), [9]);
    assert_eq!(events(&sys, &epoll), [], "the edge is over");

    assert_eq!(sys.recv(ours.as_fd(), &mut [0], RECV), Err(Errno::AGAIN));

    assert_eq!(events(&sys, &epoll), [9], "as if the byte had come just now");
}

#[test]
fn an_invented_end_of_a_connection_ends_it_and_loses_no_byte_that_was_there() {
    let sys = FaultySyscalls::new(Faults::none().with(Fault::Reset, ALWAYS));
    let (ours, theirs) = pair();
    rustix::net::send(&theirs, b"last", SEND).expect("sent");

    assert_eq!(sys.recv(ours.as_fd(), &mut [0; 9], RECV), Ok(4), "the bytes come first");
    assert_eq!(sys.recv(ours.as_fd(), &mut [0; 9], RECV), Err(Errno::CONNRESET));

    assert_eq!(sys.recv(ours.as_fd(), &mut [0; 9], RECV), Ok(0), "an error is told once");
    assert_eq!(rustix::net::send(&ours, b"x", SEND), Err(Errno::PIPE));
    assert_eq!(rustix::net::recv(&theirs, &mut [0; 9], RECV).map(|(bytes, _)| bytes), Ok(0), "the peer sees it too");
}

#[test]
fn a_late_event_comes_with_the_next_wait_even_if_its_descriptor_was_removed() {
    let sys = FaultySyscalls::new(Faults::none().with(Fault::Late, ALWAYS));
    let ((one, _one), (two, _two)) = (pair(), pair());
    let epoll = sys.epoll_create().expect("an epoll instance");
    sys.epoll_ctl(epoll.as_fd(), one.as_fd(), EpollOp::Add { data: 1, flags: EventFlags::OUT | EventFlags::ET })
        .expect("watched");
    sys.epoll_ctl(epoll.as_fd(), two.as_fd(), EpollOp::Add { data: 2, flags: EventFlags::OUT | EventFlags::ET })
        .expect("watched");

    assert_eq!(events(&sys, &epoll), [1]);
    sys.epoll_ctl(epoll.as_fd(), two.as_fd(), EpollOp::Delete).expect("deleted");

    assert_eq!(events(&sys, &epoll), [2]);
    assert_eq!(events(&sys, &epoll), []);
}

#[test]
fn a_spurious_event_is_one_of_a_descriptor_that_is_watched() {
    let sys = FaultySyscalls::new(Faults::none().with(Fault::Spurious, ALWAYS));
    let (ours, _theirs) = pair();
    let epoll = sys.epoll_create().expect("an epoll instance");
    sys.epoll_ctl(epoll.as_fd(), ours.as_fd(), EpollOp::Add { data: 1, flags: EventFlags::OUT | EventFlags::ET })
        .expect("watched");
    assert_eq!(events(&sys, &epoll), [1, 1], "the kernel's and an invented one");
    assert_eq!(events(&sys, &epoll), [1], "an invented one");

    sys.epoll_ctl(epoll.as_fd(), ours.as_fd(), EpollOp::Delete).expect("deleted");

    assert_eq!(events(&sys, &epoll), []);
}

/// The descriptors that have an event at this moment.
fn events(sys: &FaultySyscalls, epoll: &OwnedFd) -> Vec<u64> {
    let mut events = Vec::with_capacity(4);
    sys.epoll_wait(epoll.as_fd(), &mut events, 0).expect("epoll works");
    events.iter().map(|event| event.data.u64()).collect()
}
