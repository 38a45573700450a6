//! Cancelling operations, and removals that do not wait, on real sockets.

use completion_port::{Action, AddError, Cancel, Direction, Phase};
use integration_tests::port::{port, reads, socket, start, writes};
use integration_tests::wait::eventually;
use integration_tests::{inbox, spawn};
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

// Tests_SRS_COMPLETION_PORT_01_150
#[test]
fn a_cancelled_read_takes_no_byte_and_the_next_read_gets_them_all() {
    let port = port().1;
    let (registration, mut peer) = socket(&port);
    let (outbox, done) = inbox();
    let id = registration.add(Direction::In, reads(8).then(move |done| outbox.put(done))).unwrap();

    assert_eq!(registration.cancel(id), Cancel::Cancelled);

    assert_eq!(done.only().action, Action::Cancelled);
    let next = start(&registration, Direction::In, reads(8));
    peer.write_all(b"whole").unwrap();
    assert_eq!(next.only().bytes, b"whole");
}

// Tests_SRS_COMPLETION_PORT_01_150
#[test]
fn a_cancelled_write_leaves_the_order_of_the_others() {
    let port = port().1;
    let (registration, mut peer) = socket(&port);
    let first = start(&registration, Direction::Out, writes(vec![b'1'; 1 << 20]));
    let (outbox, second) = inbox();
    let id = registration.add(Direction::Out, writes("2").then(move |done| outbox.put(done))).unwrap();
    let third = start(&registration, Direction::Out, writes("3"));

    assert_eq!(registration.cancel(id), Cancel::Cancelled);

    assert_eq!(second.only().action, Action::Cancelled);
    let mut bytes = vec![0; (1 << 20) + 1];
    peer.read_exact(&mut bytes).unwrap();
    assert!(bytes[..1 << 20].iter().all(|byte| *byte == b'1'));
    assert_eq!(bytes[1 << 20], b'3');
    assert_eq!((first.only().action, third.only().action), (Action::Out, Action::Out));
}

// Tests_SRS_COMPLETION_PORT_01_151
#[test]
fn the_name_of_what_is_complete_cancels_nothing_that_came_later() {
    let port = port().1;
    let (registration, mut peer) = socket(&port);
    let (outbox, first) = inbox();
    let id = registration.add(Direction::In, reads(1).then(move |done| outbox.put(done))).unwrap();
    peer.write_all(b"1").unwrap();
    assert_eq!(first.only().bytes, b"1");
    let second = start(&registration, Direction::In, reads(1));

    assert_eq!(registration.cancel(id), Cancel::NotWaiting);

    assert!(second.is_pending());
    peer.write_all(b"2").unwrap();
    assert_eq!(second.only().bytes, b"2");
}

// Tests_SRS_COMPLETION_PORT_01_151
#[test]
fn cancels_race_with_bytes_and_each_byte_arrives_once() {
    const ROUNDS: usize = 20_000;
    let port = port().1;
    let (registration, mut peer) = socket(&port);
    let sending = spawn("the sender", move || {
        for round in 0..ROUNDS {
            peer.write_all(&[round as u8])?;
        }
        Ok::<_, std::io::Error>(peer)
    });
    let (mut received, mut cancelled) = (Vec::new(), 0);
    while received.len() < ROUNDS {
        let (outbox, done) = inbox();
        let id = registration.add(Direction::In, reads(1).then(move |done| outbox.put(done))).unwrap();
        let cancel = registration.cancel(id);
        let done = done.only();
        assert_eq!(cancel == Cancel::Cancelled, done.action == Action::Cancelled);
        cancelled += usize::from(cancel == Cancel::Cancelled);
        received.extend(done.bytes);
    }
    assert!(received.iter().copied().eq((0..ROUNDS).map(|round| round as u8)), "in order, after {cancelled} cancels");
    drop(sending.join().unwrap());
}

// Tests_SRS_COMPLETION_PORT_01_155, Tests_SRS_COMPLETION_PORT_01_156
#[test]
fn callbacks_of_two_ports_remove_each_other_without_waiting() {
    const ROUNDS: usize = 200;
    let ports = [port().1, port().1];
    for _ in 0..ROUNDS {
        let sockets = [socket(&ports[0]), socket(&ports[1])];
        let over = Arc::new(AtomicUsize::new(0));
        for own in 0..2 {
            let (other, over) = (Arc::clone(&sockets[1 - own].0), Arc::clone(&over));
            let removes = reads(1).then(move |_| {
                other.remove_async(move || _ = over.fetch_add(1, Ordering::SeqCst)).unwrap();
            });
            sockets[own].0.add(Direction::In, removes).unwrap();
        }
        let [(left, mut left_peer), (right, mut right_peer)] = sockets;
        // A removal may close a socket before its byte is written.
        let _ = left_peer.write_all(b"x");
        let _ = right_peer.write_all(b"x");
        eventually("both removals", || over.load(Ordering::SeqCst) == 2);
        assert_eq!([left.phase(), right.phase()], [Phase::Removed; 2]);
    }
}

// Tests_SRS_COMPLETION_PORT_01_157
#[test]
fn a_second_removal_is_refused() {
    let port = port().1;
    let (registration, mut peer) = socket(&port);
    let (outbox, over) = inbox();
    registration.remove_async(move || outbox.put(())).unwrap();
    over.only();

    assert_eq!(registration.remove_async(|| ()).map_err(|it| it.error), Err(AddError::NotRegistered));
    assert_eq!(peer.read(&mut [0]).unwrap(), 0, "the descriptor was closed");
}
