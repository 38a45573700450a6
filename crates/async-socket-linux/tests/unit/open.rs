//! `open_async`: one `EPOLL_CTL_ADD`, and then the state is OPEN and the callback runs. If it fails, nothing has changed.

use crate::common::{Fixture, Outcome, without_hanging};
use async_socket_linux::sys::Errno;
use async_socket_linux::{AsyncSocket, OpenError, OpenResult, SendResult, SocketState};
use completion_port::Action;
use rstest::rstest;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::channel;
use test_doubles::{PortCall, SocketCall, Step};

// Tests_SRS_ASYNC_SOCKET_LINUX_11_027, Tests_SRS_ASYNC_SOCKET_LINUX_11_029
#[test]
fn while_a_socket_opens_its_state_is_opening_and_a_second_open_is_refused() {
    let fixture = Fixture::closed();
    let (note, noted) = channel();
    let socket = Arc::clone(&fixture.socket);
    fixture.sys.during_next(
        |call| *call == SocketCall::ShortReadDrains,
        move || {
            let (callback, report) = Outcome::new();
            let second = socket.open_async(report);
            callback.assert_never();
            note.send((socket.state(), second)).expect("the test listens");
        },
    );

    fixture.try_open().0.expect("the socket opens");

    let (state, second) = noted.try_recv().expect("the hook has run");
    assert_eq!(state, SocketState::Opening);
    assert!(matches!(second, Err(OpenError::NotClosed { state: SocketState::Opening })), "{second:?}");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_028, Tests_SRS_ASYNC_SOCKET_LINUX_11_032, Tests_SRS_ASYNC_SOCKET_LINUX_11_033
#[test]
fn an_open_that_works_calls_back_once_with_ok_in_the_state_open() {
    let fixture = Fixture::closed();
    let (outcome, report) = Outcome::new();
    let socket = Arc::clone(&fixture.socket);

    fixture.open_async(move |result| report((result, socket.state()))).expect("the socket opens");

    assert_eq!(outcome.take(), (OpenResult::Ok, SocketState::Open));
    assert_eq!(fixture.state(), SocketState::Open);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_031
#[test]
fn an_open_adds_the_descriptor_to_epoll_once_and_asks_nothing_else_of_the_port() {
    let fixture = Fixture::open();

    assert_eq!(fixture.port.calls(), [PortCall::Attach(fixture.descriptor)]);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_031
#[test]
fn the_one_add_covers_both_directions() {
    let (fixture, send) = Fixture::blocked();
    let receive = fixture.receive(vec![0; 8]);
    fixture.sys.script_recv([Step::bytes("in")]);

    fixture.fire(Action::In);
    fixture.fire(Action::Out);

    assert_eq!(receive.received(), b"in");
    assert_eq!(send.ended(SendResult::Ok), (None, 7));
    assert_eq!(fixture.port.calls(), [PortCall::Attach(fixture.descriptor)]);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_029
#[test]
fn an_open_socket_refuses_to_be_opened_and_stays_open() {
    let fixture = Fixture::open();

    let (result, callback) = fixture.try_open();

    assert!(matches!(result, Err(OpenError::NotClosed { state: SocketState::Open })), "{result:?}");
    callback.assert_never();
    assert_eq!(fixture.state(), SocketState::Open);
    assert_eq!(fixture.port.calls().len(), 1, "no second attach");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_029
#[test]
fn a_closing_socket_refuses_to_be_opened() {
    let fixture = Fixture::open();
    let (outcome, report) = Outcome::new();
    let socket = Arc::clone(&fixture.socket);
    fixture.receive_async([0; 8], move |_| report(socket.open_async(|_| {}))).expect("accepted");

    fixture.close();

    let result = outcome.take();
    assert!(matches!(result, Err(OpenError::NotClosed { state: SocketState::Closing })), "{result:?}");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_030
#[test]
fn a_socket_that_was_closed_refuses_to_be_opened_for_good() {
    let fixture = Fixture::after_close();

    for _ in 0..2 {
        let (result, callback) = fixture.try_open();

        assert!(matches!(result, Err(OpenError::DescriptorClosed)), "{result:?}");
        callback.assert_never();
        assert_eq!(fixture.state(), SocketState::Closed);
    }
    let attaches = fixture.port.calls().iter().filter(|call| matches!(call, PortCall::Attach(_))).count();
    assert_eq!(attaches, 1);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_034
#[rstest]
#[case(Errno::NOMEM)]
#[case(Errno::NOSPC)]
#[case(Errno::PERM)]
fn an_open_that_epoll_refuses_does_not_call_back_and_can_be_tried_again(#[case] errno: Errno) {
    let fixture = Fixture::closed();
    fixture.port.fail_next_attach(errno.raw_os_error());

    let (result, callback) = fixture.try_open();

    let error = result.expect_err("the attach fails");
    let OpenError::NotRegistered { descriptor, source } = &error else { panic!("{error}") };
    assert_eq!((*descriptor, source.raw_os_error()), (fixture.descriptor, Some(errno.raw_os_error())));
    callback.assert_never();
    assert_eq!(fixture.state(), SocketState::Closed);
    assert_eq!(fixture.close_calls(), 0, "the socket still has its descriptor");

    let (result, callback) = fixture.try_open();

    result.expect("the second attempt works");
    assert_eq!(callback.take(), OpenResult::Ok);
    assert_eq!(fixture.port.calls(), [PortCall::Attach(fixture.descriptor), PortCall::Attach(fixture.descriptor)]);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_034
#[test]
fn an_open_of_what_is_no_socket_fails_before_epoll_sees_it() {
    let fixture = Fixture::closed();
    fixture.sys.script_short_read_drains(Err(Errno::NOTSOCK));

    let (result, callback) = fixture.try_open();

    let error = result.expect_err("not a socket");
    let OpenError::NotASocket { descriptor, source } = &error else { panic!("{error}") };
    assert_eq!((*descriptor, source.raw_os_error()), (fixture.descriptor, Some(Errno::NOTSOCK.raw_os_error())));
    callback.assert_never();
    assert_eq!(fixture.state(), SocketState::Closed);
    assert_eq!(fixture.port.calls(), []);
    fixture.try_open().0.expect("the socket still has its descriptor");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_028
#[test]
fn an_open_that_a_signal_interrupts_goes_on() {
    let fixture = Fixture::closed();
    fixture.sys.script_short_read_drains(Err(Errno::INTR));

    fixture.try_open().0.expect("the socket opens");

    assert_eq!(fixture.sys.count(|call| *call == SocketCall::ShortReadDrains), 2);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_034
#[test]
fn sends_and_receives_are_refused_after_an_open_that_failed() {
    let fixture = Fixture::closed();
    fixture.port.fail_next_attach(Errno::NOMEM.raw_os_error());
    fixture.try_open().0.expect_err("the attach fails");

    fixture.refused_send("x");
    fixture.refused_receive([0]);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_033
#[test]
fn an_open_callback_may_send_receive_and_close() {
    without_hanging(|| {
        let fixture = Fixture::closed();
        let (sent, report_sent) = Outcome::new();
        let (received, report_received) = Outcome::new();
        let socket = Arc::clone(&fixture.socket);

        fixture
            .open_async(move |_| {
                socket.send_async("hello", report_sent).expect("accepted");
                socket.receive_async([0; 8], report_received).expect("accepted");
                socket.close();
            })
            .expect("the socket was open");

        assert_eq!(sent.ended(SendResult::Ok), (None, 5));
        assert_eq!(received.ended(async_socket_linux::ReceiveResult::Abandoned), None);
        assert_eq!(fixture.state(), SocketState::Closed);
    });
}

#[test]
fn an_open_callback_that_panics_leaves_the_socket_open() {
    let fixture = Fixture::closed();

    fixture.open_async(|_| panic!("the user's mistake")).expect("the socket opens");

    assert_eq!(fixture.state(), SocketState::Open);
    assert_eq!(fixture.send("on").ended(SendResult::Ok), (None, 2));
    fixture.close();
}

#[test]
fn an_open_error_names_its_cause() {
    let error = OpenError::NotRegistered { descriptor: 7, source: io::Error::from_raw_os_error(12) };

    assert_eq!(error.to_string(), "descriptor 7 could not be added to the completion port");
    assert!(error.source().is_some_and(|source| source.to_string().contains("os error 12")));
}
