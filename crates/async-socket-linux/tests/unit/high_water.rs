//! `queued_bytes`, and the mark from which on sends are refused.

use crate::common::{Fixture, Outcome};
use async_socket_linux::sys::Errno;
use async_socket_linux::{AsyncSocket, Cancel, SendError, SendResult, SendSyncResult, SocketState};
use completion_port::Action;
use rstest::rstest;
use std::sync::Arc;
use test_doubles::Step;

// Tests_SRS_SOCKET_01_080
#[test]
fn only_bytes_that_wait_are_counted() {
    let fixture = Fixture::open();
    assert_eq!(fixture.queued_bytes(), 0);
    let _ = fixture.send("at once");
    assert_eq!(fixture.queued_bytes(), 0);

    let first = fixture.blocked_send("blocked", 3);
    assert_eq!(fixture.queued_bytes(), 4);
    let second = fixture.send("behind");
    assert_eq!(fixture.queued_bytes(), 10);

    fixture.sys.script_send([Step::Takes(1), Step::Fails(Errno::AGAIN)]);
    fixture.fire(Action::Out);
    assert_eq!(fixture.queued_bytes(), 9);
    fixture.fire(Action::Out);
    assert_eq!(fixture.queued_bytes(), 0);
    assert_eq!((first.ended(SendResult::Ok), second.ended(SendResult::Ok)), ((None, 7), (None, 6)));
}

// Tests_SRS_SOCKET_01_080
#[rstest]
#[case::closed(|fixture: &Fixture| fixture.close())]
#[case::failed(|fixture: &Fixture| fixture.fire(Action::Error))]
#[case::broken(|fixture: &Fixture| {
    fixture.sys.script_send([Step::Takes(1), Step::Fails(Errno::PIPE)]);
    fixture.fire(Action::Out);
})]
fn what_ends_otherwise_than_well_is_counted_no_more(#[case] end: fn(&Fixture)) {
    let fixture = Fixture::open();
    let (_first, _second) = (fixture.blocked_send("blocked", 3), fixture.send("behind"));

    end(&fixture);

    assert_eq!(fixture.queued_bytes(), 0);
}

// Tests_SRS_SOCKET_01_080
#[test]
fn a_cancelled_send_and_a_refused_one_are_not_counted() {
    let (fixture, _blocked) = Fixture::blocked();
    let id = fixture.send_async("behind", |_| {}).expect("accepted").expect("it waits");
    assert_eq!(fixture.queued_bytes(), 13);

    assert_eq!(fixture.cancel(id), Cancel::Cancelled);

    assert_eq!(fixture.queued_bytes(), 7);
    fixture.close();
    fixture.refused_send("no");
    assert_eq!(fixture.queued_bytes(), 0);
}

// Tests_SRS_SOCKET_01_080
#[test]
fn in_the_callback_of_a_send_its_bytes_are_not_counted_any_more() {
    let fixture = Fixture::open();
    fixture.sys.script_send([Step::Fails(Errno::AGAIN)]);
    let (counted, report) = Outcome::new();
    let socket = Arc::clone(&fixture.socket);
    fixture.send_async("blocked", move |_| report(socket.queued_bytes())).expect("accepted");

    fixture.fire(Action::Out);

    assert_eq!(counted.take(), 0);
}

// Tests_SRS_SOCKET_01_081
#[rstest]
#[case::below(14, true)]
#[case::reached(13, false)]
#[case::exceeded(12, false)]
#[case::nothing_may_wait_behind(0, false)]
fn from_the_mark_on_sends_are_refused_and_nothing_changes(#[case] mark: usize, #[case] accepted: bool) {
    let (fixture, _blocked) = Fixture::blocked();
    let _behind = fixture.send("behind");
    fixture.set_high_water_mark(Some(mark)).expect("there is memory");

    if accepted {
        let _third = fixture.send("third");
        return assert_eq!(fixture.queued_bytes(), 18);
    }
    let refused = fixture.refused_send("third");

    assert_eq!((refused.error, refused.returned), (SendError::TooMuchQueued { queued_bytes: 13 }, "third"));
    assert_eq!(refused.error.sync_result(), SendSyncResult::Error);
    assert_eq!(fixture.queued_bytes(), 13);
    fixture.fire(Action::Out);
    assert_eq!(fixture.sys.sent(), b"blockedbehind");
    assert_eq!(fixture.send("again").ended(SendResult::Ok), (None, 5));
}

// Tests_SRS_SOCKET_01_081
#[test]
fn a_send_that_finds_nothing_waiting_is_never_refused_and_the_mark_can_be_removed() {
    let fixture = Fixture::open();
    fixture.set_high_water_mark(Some(1)).expect("there is memory");
    let _blocked = fixture.blocked_send("more than the mark", 0);
    fixture.refused_send("no");

    fixture.set_high_water_mark(None).expect("there is memory");

    let _behind = fixture.send("yes");
    assert_eq!(fixture.queued_bytes(), 21);
}

// Tests_SRS_SOCKET_01_120
#[test]
fn metrics_are_what_waits() {
    let (fixture, _blocked) = Fixture::blocked();
    let (_first, _second) = (fixture.receive(vec![0; 1]), fixture.receive(vec![0; 1]));

    let metrics = fixture.metrics();

    assert_eq!((metrics.receives_waiting, metrics.sends_waiting, metrics.queued_bytes), (2, 1, 7));
    assert_eq!(metrics.state, SocketState::Open);
    fixture.close();
    let metrics = fixture.metrics();
    assert_eq!((metrics.receives_waiting, metrics.sends_waiting, metrics.queued_bytes), (0, 0, 0));
    assert_eq!(metrics.state, SocketState::Closed);
}
