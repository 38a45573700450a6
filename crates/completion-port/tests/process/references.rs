//! `clone` and `drop`: the reference count, and the end of the thread.

use crate::common::process::{alone, descriptors, port_threads};
use crate::common::{
    Gate, LIMIT, Scripted, drop_on_the_own_thread, eventually, op, real, real_port, real_with, received,
};
use crate::common::{settled, spawn, stays_silent};
use completion_port::{Direction, Port};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use test_doubles::PortSyscall;

// Tests_SRS_COMPLETION_PORT_01_003
#[test]
fn a_clone_is_the_same_port() {
    let _alone = alone();
    let (calls, port) = real_port();
    let before = descriptors();

    let clone = port.clone();

    assert_eq!(descriptors(), before, "a clone opens nothing");
    assert_eq!(calls.made(PortSyscall::EpollCreate), 1);
    let (registration, _peer) = real(&port);
    let (tell, told) = channel();
    let asks_the_clone = move || tell.send(clone.is_current_thread()).unwrap();
    registration.add(Direction::Out, op("a").then(asks_the_clone)).unwrap();
    assert!(received(&told, "the callback"), "the clone runs on the same thread");
}

// Tests_SRS_COMPLETION_PORT_01_003
#[test]
fn a_port_works_while_any_reference_is_left() {
    let _alone = alone();
    let (_calls, port) = real_port();
    let clone = port.clone();
    drop(port);

    let (registration, _peer) = real(&clone);
    drop(clone);

    let (operation, told) = op("a").told();
    registration.add(Direction::Out, operation).unwrap();
    received(&told, "the operation on the registration's own reference");
}

// Tests_SRS_COMPLETION_PORT_01_004
#[test]
fn the_last_drop_wakes_the_sleeping_thread_and_closes_everything() {
    let _alone = alone();
    let (descriptors_before, threads_before) = (descriptors(), port_threads());
    let (calls, port) = real_port();
    settled(&calls);
    assert_eq!((descriptors(), port_threads()), (descriptors_before + 2, threads_before + 1));

    let start = Instant::now();
    drop(port);

    assert!(start.elapsed() < Duration::from_millis(100), "the drop took {:?}", start.elapsed());
    assert_eq!(calls.made(PortSyscall::Wake), 1);
    assert_eq!(descriptors(), descriptors_before);
    // The kernel removes a thread from /proc a little after the thread can be joined.
    eventually("the thread is gone", || port_threads() == threads_before);
}

// Tests_SRS_COMPLETION_PORT_01_004
#[test]
fn the_last_drop_waits_for_the_end_of_the_thread() {
    let _alone = alone();
    let (_calls, port) = real_port();
    let (registration, _peer) = real(&port);
    let (gate, stop) = Gate::new();
    // The callback drops its reference to the registration, so that only the test's reference is left.
    let (give, given) = channel::<Arc<_>>();
    let callback = move || {
        drop(given.recv_timeout(LIMIT));
        stop();
    };
    registration.add(Direction::Out, op("a").then(callback)).unwrap();
    give.send(registration).unwrap();
    gate.wait();

    let dropped = spawn(move || drop(port));

    stays_silent(&dropped, "the end of the drop");
    gate.open();
    received(&dropped, "the end of the drop");
}

// Tests_SRS_COMPLETION_PORT_01_005
#[test]
fn the_last_drop_on_the_own_thread_does_not_wait() {
    let _alone = alone();
    let (descriptors_before, threads_before) = (descriptors(), port_threads());
    let (_calls, port) = real_port();
    let (registration, peer) = real(&port);
    drop(port);
    let ((give, given), (gate, stop)) = (channel::<Arc<_>>(), Gate::new());
    let callback = move || {
        drop(received(&given, "the registration"));
        stop();
    };
    registration.add(Direction::Out, op("a").then(callback)).unwrap();

    give.send(registration).unwrap();

    gate.wait(); // The drop is over although the thread is in its callback still.
    gate.open();
    drop(peer);
    eventually("the thread has ended", || port_threads() == threads_before);
    eventually("all is closed", || descriptors() == descriptors_before);
}

// Tests_SRS_COMPLETION_PORT_01_005
#[test]
fn the_last_drop_on_another_ports_thread_does_not_wait() {
    let _alone = alone();
    let threads_before = port_threads();
    let ((_calls, port), (_other_calls, other)) = (real_port(), real_port());
    let (registration, _peer) = real(&port);
    let ((give, given), (gate, stop)) = (channel::<Arc<_>>(), Gate::new());
    let callback = move || {
        drop(received(&given, "the registration"));
        stop();
    };
    registration.add(Direction::Out, op("a").then(callback)).unwrap();
    give.send(registration).unwrap();
    gate.wait();

    let (others, _others_peer) = real(&other);
    let (operation, told) = op("drops the port").attempting_once(move || drop(port)).told();
    others.add(Direction::Out, operation).unwrap();

    received(&told, "the callback after the drop");
    gate.open();
    eventually("the dropped port's thread has ended", || port_threads() == threads_before + 1);
}

// Tests_SRS_COMPLETION_PORT_01_005, Tests_SRS_COMPLETION_PORT_01_057
#[test]
fn the_last_reference_in_a_handler_ends_the_thread() {
    let _alone = alone();
    let threads_before = port_threads();
    let (calls, port) = real_port();
    let last = port.clone();
    let (registration, _peer) = real_with(&port, Scripted::ending_with(move || drop(last)));
    drop(port);
    settled(&calls);

    drop_on_the_own_thread(registration);

    eventually("the thread has ended", || port_threads() == threads_before);
}
