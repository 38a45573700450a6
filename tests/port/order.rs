//! Operations that wait for pipes and sockets: their order, and when they are attempted.

use completion_port::{Action, AddError, Attempt, Direction, Handler, Registration};
use integration_tests::port::{
    Transfers, drains, fill, port, reads, round_trip, settled, socket, start, watch, writes,
};
use integration_tests::{Inbox, Outbox, inbox, spawn, wait};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use test_doubles::PortSyscall;

// Tests_SRS_COMPLETION_PORT_01_010, Tests_SRS_COMPLETION_PORT_01_034
#[test]
fn reads_of_a_pipe_get_its_bytes_in_the_order_they_were_added() {
    let port = port().1;
    let (reader, mut writer) = std::io::pipe().unwrap();
    let registration = watch(&port, reader);
    let pending: Vec<_> = (0..100).map(|_| start(&registration, Direction::In, reads(1))).collect();

    let bytes: Vec<u8> = (0..100).collect();
    writer.write_all(&bytes).unwrap();

    let read: Vec<u8> = pending.into_iter().flat_map(|done| done.only().bytes).collect();
    assert_eq!(read, bytes);
}

// Tests_SRS_COMPLETION_PORT_01_010, Tests_SRS_COMPLETION_PORT_01_030, Tests_SRS_COMPLETION_PORT_01_034
#[test]
fn writes_to_a_full_pipe_follow_each_other_when_it_is_read() {
    let port = port().1;
    let (mut reader, writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    let filled = fill(&writer);
    let registration = watch(&port, writer);
    let pieces: Vec<Vec<u8>> = (0..20).map(|piece| vec![piece; 10_000]).collect();
    let pending: Vec<_> =
        pieces.iter().map(|piece| start(&registration, Direction::Out, writes(piece.clone()))).collect();
    assert!(pending.iter().all(Inbox::is_pending));

    let read = spawn("the reader", move || {
        let mut bytes = vec![0; filled + 200_000];
        reader.read_exact(&mut bytes).map(|()| bytes)
    });

    let bytes = read.join().unwrap();
    assert!(bytes[filled..] == pieces.concat(), "the pieces arrive whole and in order");
    pending.into_iter().for_each(|done| assert_eq!(done.only().action, Action::Out));
}

// Tests_SRS_COMPLETION_PORT_01_010, Tests_SRS_COMPLETION_PORT_01_034
#[test]
fn both_directions_of_a_socket_work_side_by_side() {
    let port = port().1;
    let (registration, mut peer) = socket(&port);
    let reading: Vec<_> = (0..50).map(|_| start(&registration, Direction::In, reads(2))).collect();
    let writing: Vec<_> = (0..50).map(|_| start(&registration, Direction::Out, writes("ab"))).collect();

    let mut bytes = [0; 100];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes.as_slice(), b"ab".repeat(50));
    writing.into_iter().for_each(|done| assert_eq!(done.only().result, Some(Ok(2))));
    peer.write_all(&b"cd".repeat(50)).unwrap();

    reading.into_iter().for_each(|done| assert_eq!(done.only().bytes, b"cd"));
}

// Tests_SRS_COMPLETION_PORT_01_010
#[test]
fn no_epoll_ctl_is_made_per_operation() {
    let (calls, port) = port();
    let (registration, mut peer) = socket(&port);
    let made =
        || [PortSyscall::EpollAdd, PortSyscall::EpollModify, PortSyscall::EpollDelete].map(|call| calls.made(call));
    let before = made();

    for _ in 0..200 {
        let pending = start(&registration, Direction::In, reads(1));
        start(&registration, Direction::Out, writes("x")).next();
        peer.write_all(b"x").unwrap();
        pending.next();
    }

    assert_eq!(made(), before);
}

// Tests_SRS_COMPLETION_PORT_01_010
#[test]
fn an_operation_that_has_to_wait_wakes_nobody() {
    let (calls, port) = port();
    let (registration, _peer) = socket(&port);
    settled(&calls);

    let _pending: Vec<_> = (0..100).map(|_| start(&registration, Direction::In, reads(1))).collect();

    assert_eq!(calls.made(PortSyscall::Wake), 0);
}

// Tests_SRS_COMPLETION_PORT_01_011
#[test]
fn after_removal_an_operation_comes_back() {
    let port = port().1;
    let (registration, _peer) = socket(&port);
    assert!(registration.remove());

    let (tell, told) = inbox();
    let operation = writes("mine").then(move |done| tell.put(done.action));
    let refused = registration.add(Direction::Out, operation).expect_err("nothing is registered");

    assert_eq!(refused.error, AddError::NotRegistered);
    assert!(told.is_pending(), "it was neither called nor dropped");
    let (other, mut peer) = socket(&port);
    other.add(Direction::Out, refused.returned).unwrap();
    assert_eq!(told.only(), Action::Out);
    let mut bytes = [0; 4];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"mine");
}

// Tests_SRS_COMPLETION_PORT_01_011
#[test]
fn before_it_is_registered_an_operation_comes_back() {
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let registration = Registration::new(port().1, Transfers::default(), OwnedFd::from(ours));
    let (tell, told) = inbox();
    let operation = writes("mine").then(move |done| tell.put(done.action));

    let refused = registration.add(Direction::Out, operation).expect_err("nothing is registered");

    assert_eq!(refused.error, AddError::NotRegistered);
    registration.register(|| ()).unwrap();
    registration.add(Direction::Out, refused.returned).unwrap();
    assert_eq!(told.only(), Action::Out);
    let mut bytes = [0; 4];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"mine");
}

// Tests_SRS_COMPLETION_PORT_01_013, Tests_SRS_COMPLETION_PORT_01_036
#[test]
fn bytes_that_were_there_before_are_read_without_another_event() {
    let (calls, port) = port();
    let (registration, mut peer) = socket(&port);
    peer.write_all(b"early").unwrap();
    round_trip(&port);
    settled(&calls);

    assert_eq!(start(&registration, Direction::In, reads(3)).only().bytes, b"ear");
    assert_eq!(start(&registration, Direction::In, reads(3)).only().bytes, b"ly");
}

// Tests_SRS_COMPLETION_PORT_01_030
#[test]
fn a_read_that_finds_nothing_is_attempted_again_with_the_next_event_only() {
    let (calls, port) = port();
    let (registration, mut peer) = socket(&port);
    peer.write_all(b"x").unwrap();
    let first = start(&registration, Direction::In, reads(1));
    let second = start(&registration, Direction::In, reads(1));
    first.only();
    settled(&calls);
    let attempts = registration.handler().attempts();

    settled(&calls);
    assert_eq!(registration.handler().attempts(), attempts, "nothing is attempted without an event");
    assert!(second.is_pending());
    assert_eq!(registration.queued(Direction::In), 1);

    peer.write_all(b"y").unwrap();
    assert_eq!(second.only().bytes, b"y");
}

// Tests_SRS_COMPLETION_PORT_01_035
#[test]
fn after_a_short_read_that_drained_the_next_read_is_not_attempted() {
    let (calls, port) = port();
    let (registration, mut peer) = socket(&port);
    let [first, second] = [(); 2].map(|()| start(&registration, Direction::In, drains(10)));
    settled(&calls);
    let before = registration.handler().attempts();

    peer.write_all(b"abc").unwrap();
    assert_eq!(first.only().bytes, b"abc");
    round_trip(&port);
    assert_eq!(registration.handler().attempts(), before + 1);

    peer.write_all(b"def").unwrap();
    assert_eq!(second.only().bytes, b"def");
}

// Tests_SRS_COMPLETION_PORT_01_035
#[test]
fn a_short_read_does_not_hide_the_end_of_the_stream_that_was_reported_with_it() {
    let (calls, port) = port();
    let (registration, mut peer) = socket(&port);
    peer.write_all(b"abc").unwrap();
    drop(peer);
    round_trip(&port);
    settled(&calls); // One event has told of the bytes and of the end; there will be no other.

    let [first, second] = [(); 2].map(|()| start(&registration, Direction::In, drains(10)));

    assert_eq!(first.only().bytes, b"abc");
    assert_eq!(second.only().result, Some(Ok(0)));
}

/// Suspends each operation once, and counts the attempts.
#[derive(Default)]
struct Suspends(AtomicUsize);

impl Handler for Suspends {
    type Descriptor = OwnedFd;
    type Operation = Outbox<Action>;

    fn attempt(&self, done: Outbox<Action>, action: Action, attempt: Attempt<'_, Self>) {
        if self.0.fetch_add(1, Ordering::Relaxed) == 0 {
            return attempt.suspend(done);
        }
        attempt.complete(false, None, || done.put(action));
    }
}

// Tests_SRS_COMPLETION_PORT_01_037
#[test]
fn a_suspended_operation_waits_for_its_resumption_whatever_the_kernel_reports() {
    let (calls, port) = port();
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let registration = Registration::new(port.clone(), Suspends::default(), OwnedFd::from(ours));
    registration.register(|| ()).unwrap();
    let (tell, told) = inbox();
    registration.add(Direction::In, tell).unwrap();
    for _ in 0..3 {
        peer.write_all(b"x").unwrap();
        round_trip(&port);
    }
    settled(&calls);
    assert_eq!(registration.handler().0.load(Ordering::Relaxed), 1);

    assert!(registration.resumer().resume(Direction::In));

    assert_eq!(told.only(), Action::In);
    assert!(!registration.resumer().resume(Direction::In), "nothing waits any more");
}

// Tests_SRS_COMPLETION_PORT_01_034
#[test]
fn a_callback_runs_with_no_lock_held() {
    let port = port().1;
    let (registration, _peer) = socket(&port);
    let (gate, barrier) = wait::gate();
    registration.add(Direction::Out, writes("x").then(move |_| barrier.wait())).unwrap();
    gate.wait_for_arrival();

    let other = Arc::clone(&registration);
    let used = spawn("another thread", move || {
        let _pending = start(&other, Direction::In, reads(1));
        (other.queued(Direction::In), format!("{other:?}"))
    });

    assert_eq!(used.join().0, 1);
    gate.open();
}

// Tests_SRS_COMPLETION_PORT_01_060
#[test]
fn while_the_thread_is_busy_many_adds_are_one_wake_up_and_none_is_lost() {
    let (calls, port) = port();
    let sockets: Vec<_> = (0..4).map(|_| socket(&port)).collect();
    let (busy, _busy_peer) = socket(&port);
    round_trip(&port);
    settled(&calls);
    let (gate, barrier) = wait::gate();
    busy.add(Direction::Out, writes("x").then(move |_| barrier.wait())).unwrap();
    gate.wait_for_arrival();
    let before = calls.made(PortSyscall::Wake);

    let pending: Vec<_> = thread::scope(|scope| {
        let adding = sockets.iter().map(|(registration, _)| {
            scope.spawn(move || (0..25).map(|_| start(registration, Direction::Out, writes("x"))).collect::<Vec<_>>())
        });
        let adding: Vec<_> = adding.collect();
        adding.into_iter().flat_map(|thread| thread.join().expect("the adds succeed")).collect()
    });

    assert_eq!(calls.made(PortSyscall::Wake), before + 1);
    gate.open();
    assert_eq!(pending.into_iter().map(Inbox::only).count(), 100);
}

// Tests_SRS_COMPLETION_PORT_01_061
#[test]
fn a_chain_of_callbacks_writes_no_wake_up() {
    let (calls, port) = port();
    let ((registration, mut peer), (other, _others_peer)) = (socket(&port), socket(&port));
    round_trip(&port);
    settled(&calls);
    let (before, (tell, told)) = (calls.made(PortSyscall::Wake), inbox());
    let callback = move |_| {
        for _ in 0..10 {
            let tell = tell.clone();
            // The port's thread has to be told of an operation that can run on another descriptor.
            other.add(Direction::Out, writes("x").then(move |_| tell.put(()))).expect("it is registered");
        }
    };
    registration.add(Direction::In, reads(1).then(callback)).unwrap();

    peer.write_all(b"x").unwrap();

    told.take(10);
    assert_eq!(calls.made(PortSyscall::Wake), before);
}
