//! `shutdown_async`: the end of the sending half, behind the sends that wait.

use crate::common::{Fixture, Outcome, refused_receive};
use async_socket_linux::sys::Errno;
use async_socket_linux::{
    AsyncSocket, Cancel, EndReason, OperationId, SendCompletion, SendError, SendResult, SendSyncResult, SocketState,
};
use completion_port::{Action, Direction};
use rstest::rstest;
use std::sync::Arc;
use test_doubles::{SocketCall, Step};

type Ended = Outcome<SendCompletion<()>>;

fn shut_down(fixture: &Fixture) -> (Option<OperationId>, Ended) {
    let (outcome, report) = Outcome::new();
    (fixture.shutdown_async(report).expect("accepted"), outcome)
}

#[track_caller]
fn refused(fixture: &Fixture) -> SendError {
    let (outcome, report) = Outcome::new();
    let error = fixture.shutdown_async(report).expect_err("refused");
    outcome.assert_never();
    error
}

fn calls(fixture: &Fixture) -> usize {
    fixture.sys.count(|call| *call == SocketCall::ShutDownSending)
}

// Tests_SRS_SOCKET_01_076
#[test]
fn with_nothing_queued_it_is_done_inside_the_call() {
    let fixture = Fixture::open();

    let (id, ended) = shut_down(&fixture);

    assert_eq!(id, None);
    let completion = ended.take();
    assert_eq!((completion.result, completion.reason), (SendResult::Ok, EndReason::Completed));
    assert_eq!(calls(&fixture), 1);
}

// Tests_SRS_SOCKET_01_076
#[test]
fn it_waits_for_every_send_that_was_accepted_before() {
    let (fixture, first) = Fixture::blocked();
    let second = fixture.send("behind");

    let (id, ended) = shut_down(&fixture);
    assert!(id.is_some());
    ended.assert_pending();
    assert_eq!(calls(&fixture), 0);
    fixture.fire(Action::Out);

    assert_eq!((first.ended(SendResult::Ok), second.ended(SendResult::Ok)), ((None, 7), (None, 6)));
    assert_eq!(ended.take().reason, EndReason::Completed);
    assert_eq!(fixture.sys.sent(), b"blockedbehind");
    assert_eq!(fixture.sys.calls().last(), Some(&SocketCall::ShutDownSending));
}

// Tests_SRS_SOCKET_01_077
#[rstest]
#[case::done(Fixture::open())]
#[case::waiting(Fixture::blocked().0)]
fn sends_after_it_are_refused_and_so_is_a_second_one_but_receives_go_on(#[case] fixture: Fixture) {
    let (_, _ended) = shut_down(&fixture);

    let send = fixture.refused_send("late");
    assert_eq!((send.error, send.returned), (SendError::ShutDown, "late"));
    assert_eq!(send.error.sync_result(), SendSyncResult::Abandoned);
    assert_eq!(refused(&fixture), SendError::ShutDown);
    fixture.sys.script_recv([Step::bytes("still here")]);
    let receive = fixture.receive(vec![0; 16]);
    fixture.fire(Action::In);
    assert_eq!(receive.received(), b"still here");
}

// Tests_SRS_SOCKET_01_078
#[test]
fn a_close_abandons_it() {
    let (fixture, _send) = Fixture::blocked();
    let (_, ended) = shut_down(&fixture);

    fixture.close();

    let completion = ended.take();
    assert_eq!((completion.result, completion.reason), (SendResult::Abandoned, EndReason::Closed));
    assert_eq!(calls(&fixture), 0);
}

// Tests_SRS_SOCKET_01_078
#[test]
fn once_it_is_cancelled_sends_are_accepted_again() {
    let (fixture, _send) = Fixture::blocked();
    let (id, ended) = shut_down(&fixture);

    assert_eq!(fixture.cancel(id.expect("it waits")), Cancel::Cancelled);

    assert_eq!(ended.take().reason, EndReason::Cancelled);
    let _behind = fixture.send("behind");
    fixture.fire(Action::Out);
    assert_eq!((fixture.sys.sent(), calls(&fixture)), (b"blockedbehind".to_vec(), 0));
}

// Tests_SRS_SOCKET_01_078
#[test]
fn a_failure_of_the_kernel_refuses_it_or_ends_it_and_sends_are_accepted_again() {
    let fixture = Fixture::open();
    fixture.sys.fail_next_shutdown(Errno::NOTCONN);
    assert_eq!(refused(&fixture), SendError::Disconnected { os_error: 107, bytes_sent: 0 });
    assert_eq!(fixture.send("a send").ended(SendResult::Ok), (None, 6));

    let _blocked = fixture.blocked_send("blocked", 0);
    let (_, ended) = shut_down(&fixture);
    fixture.sys.fail_next_shutdown(Errno::NOTCONN);
    fixture.fire(Action::Out);

    assert_eq!(ended.take().reason, EndReason::Os(107));
    assert_eq!(fixture.send("a send").ended(SendResult::Ok), (None, 6));
}

// Tests_SRS_SOCKET_01_078
#[test]
fn behind_a_send_that_broke_off_nothing_is_shut_down() {
    let fixture = Fixture::open();
    let first = fixture.blocked_send("first", 2);
    let (_, ended) = shut_down(&fixture);
    fixture.sys.script_send([Step::Fails(Errno::PIPE)]);

    fixture.fire(Action::Out);

    assert_eq!(first.ended(SendResult::Error), (Some(32), 2));
    assert_eq!((ended.take().reason, calls(&fixture)), (EndReason::StreamBroken, 0));
    assert_eq!(refused(&fixture), SendError::StreamBroken);
}

// Tests_SRS_SOCKET_01_078
#[rstest]
#[case::never_opened(Fixture::closed())]
#[case::closed(Fixture::after_close())]
fn a_socket_that_is_not_open_refuses_it(#[case] fixture: Fixture) {
    assert_eq!(refused(&fixture), SendError::NotOpen { state: SocketState::Closed });
    refused_receive(&*fixture.socket, [0]);
}

// Tests_SRS_SOCKET_01_079
#[test]
fn it_waits_for_a_connect_that_is_in_progress() {
    let fixture = Fixture::closed();
    fixture.sys.connect_in_progress();
    fixture.socket.open_async(|_| {}).expect("the socket opens");

    let (id, ended) = shut_down(&fixture);
    assert!(id.is_some());
    assert_eq!((fixture.port.queued(Direction::Out), calls(&fixture)), (1, 0));
    fixture.sys.connect_is_over();
    fixture.fire(Action::Out);

    assert_eq!((ended.take().reason, calls(&fixture)), (EndReason::Completed, 1));
}

// Tests_SRS_SOCKET_01_079
#[test]
fn it_ends_with_the_errno_of_a_connect_that_failed() {
    let fixture = Fixture::closed();
    fixture.sys.connect_in_progress();
    fixture.socket.open_async(|_| {}).expect("the socket opens");
    let (_, ended) = shut_down(&fixture);
    fixture.sys.set_error(Errno::CONNREFUSED);

    fixture.fire(Action::Out);

    assert_eq!((ended.take().reason, calls(&fixture)), (EndReason::Os(111), 0));
}

// Tests_SRS_SOCKET_01_076
#[test]
fn inside_the_callback_of_a_send_it_is_left_to_the_port() {
    let fixture = Fixture::open();
    let ((ended, report), (id, note)) = (Outcome::new(), Outcome::new());
    let socket = Arc::clone(&fixture.socket);
    fixture
        .send_async("last words", move |_| note(socket.shutdown_async(report).expect("accepted").is_some()))
        .expect("accepted");
    assert!(id.take());

    fixture.fire(Action::Out);

    assert_eq!(ended.take().reason, EndReason::Completed);
    assert_eq!(fixture.sys.sent(), b"last words");
}
