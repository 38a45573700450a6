//! The tracker: it waits, cuts off, and calls back once.

use crate::script::Inbox;
use async_socket_net::{Finished, Tracker};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use test_doubles::{MockPort, PortCall};

const LONG: Duration = Duration::from_secs(60);

/// Three connections whose cut-offs fill the inbox with their numbers.
fn tracked(tracker: &Tracker, cut_off: &Inbox<usize>) -> Vec<async_socket_net::Tracked> {
    (0..3)
        .map(|number| {
            let mut cut_off = cut_off.callback();
            tracker.track(move || cut_off(number))
        })
        .collect()
}

// Tests_SRS_ASYNC_SOCKET_NET_01_017, Tests_SRS_ASYNC_SOCKET_NET_01_018
#[test]
fn finishing_waits_for_the_last_connection_and_calls_back_on_the_ports_thread() {
    let (port, tracker) = (MockPort::new(), Tracker::new());
    let (cut_off, finished) = (Inbox::new(), Inbox::<Finished>::new());
    let mut open = tracked(&tracker, &cut_off);
    assert_eq!(tracker.open(), 3);
    tracker.finish(&port, LONG, finished.callback()).unwrap();
    port.advance(LONG / 2);

    while let Some(connection) = open.pop() {
        port.advance(Duration::ZERO);
        assert!(finished.is_empty() && cut_off.is_empty());
        drop(connection);
    }
    assert!(finished.is_empty(), "not inside the drop");
    port.advance(Duration::ZERO);

    assert_eq!(finished.only().cut_off, 0);
    assert!(cut_off.is_empty());
    assert_eq!(port.references(), 1);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_018
#[test]
fn finishing_without_a_connection_calls_back_soon_but_not_inside_the_call() {
    let (port, tracker) = (MockPort::new(), Tracker::new());
    let finished = Inbox::<Finished>::new();

    tracker.finish(&port, LONG, finished.callback()).unwrap();
    drop(tracker);
    assert!(finished.is_empty());
    port.advance(Duration::ZERO);

    assert_eq!(finished.only().cut_off, 0);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_019
#[test]
fn at_the_deadline_what_is_open_is_cut_off_once_and_counted() {
    let (port, tracker) = (MockPort::new(), Tracker::new());
    let (cut_off, finished) = (Inbox::new(), Inbox::<Finished>::new());
    let mut open = tracked(&tracker, &cut_off);
    drop(open.remove(1));
    tracker.finish(&port, LONG, finished.callback()).unwrap();
    port.advance(LONG - Duration::from_nanos(1));
    assert!(cut_off.is_empty());

    port.advance(Duration::from_nanos(1));

    assert_eq!(finished.only().cut_off, 2);
    let mut cut = [cut_off.next(), cut_off.next()];
    cut.sort_unstable();
    assert_eq!(cut, [Some(0), Some(2)]);
    drop(open);
    port.advance(LONG);
    assert!(cut_off.is_empty());
    assert_eq!(tracker.open(), 0);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_019, Tests_SRS_ASYNC_SOCKET_NET_01_080
#[test]
fn a_cut_off_that_panics_or_drops_connections_disturbs_no_other() {
    let (port, tracker) = (MockPort::new(), Tracker::new());
    let finished = Inbox::<Finished>::new();
    let held = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..3 {
        let ours = Arc::clone(&held);
        let tracked = tracker.track(move || {
            ours.lock().clear();
            panic!("the panic of this test");
        });
        held.lock().push(tracked);
    }
    tracker.finish(&port, LONG, finished.callback()).unwrap();

    port.advance(LONG);

    assert_eq!(finished.only().cut_off, 3);
    assert_eq!(Arc::strong_count(&held), 1);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_018
#[test]
fn the_earliest_deadline_ends_every_finish() {
    let (port, tracker) = (MockPort::new(), Tracker::new());
    let finished = Inbox::<Finished>::new();
    let _open = tracker.track(|| ());
    tracker.finish(&port, LONG, finished.callback()).unwrap();
    tracker.finish(&port, LONG / 2, finished.callback()).unwrap();

    port.advance(LONG / 2);

    assert_eq!((finished.next().unwrap().cut_off, finished.only().cut_off), (1, 1));
}

// Tests_SRS_ASYNC_SOCKET_NET_01_018
#[test]
fn a_port_without_room_refuses_and_nothing_has_happened() {
    let (port, tracker) = (MockPort::new(), Tracker::new());
    let finished = Inbox::<Finished>::new();
    port.fail_next_attach(12);

    assert!(tracker.finish(&port, LONG, finished.callback()).is_err());

    port.advance(LONG);
    assert!(finished.is_empty());
    assert!(!port.calls().iter().any(|call| matches!(call, PortCall::SetTimer(_))));
}

// Tests_SRS_ASYNC_SOCKET_NET_01_019
#[test]
fn a_port_that_fails_is_no_reason_to_wait_for_ever() {
    let (port, tracker) = (MockPort::new(), Tracker::new());
    let finished = Inbox::<Finished>::new();
    let _open = tracker.track(|| ());
    tracker.finish(&port, LONG, finished.callback()).unwrap();

    port.fail();

    assert_eq!(finished.only().cut_off, 1);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_018
#[test]
fn a_time_that_no_clock_reaches_is_no_deadline() {
    let (port, tracker) = (MockPort::new(), Tracker::new());
    let finished = Inbox::<Finished>::new();
    let open = tracker.track(|| ());
    tracker.finish(&port, Duration::MAX, finished.callback()).unwrap();
    assert!(port.next_timer().is_none());

    drop(open);
    port.advance(Duration::ZERO);

    assert_eq!(finished.only().cut_off, 0);
}
