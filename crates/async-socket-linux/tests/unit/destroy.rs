//! `destroy`: dropping the socket closes it and frees everything it holds.

use crate::common::{A_WHILE, Fixture, PATIENCE, is_close, without_hanging};
use async_socket_linux::sys::Errno;
use async_socket_linux::{AsyncSocket, ReceiveResult, SendResult, SocketState};
use completion_port::Action;
use rstest::rstest;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use test_doubles::{PortCall, SocketCall, Step};

// Tests_SRS_ASYNC_SOCKET_LINUX_11_021
#[test]
fn dropping_an_open_socket_closes_it_first() {
    let (Fixture { port, sys, socket, descriptor }, send) = Fixture::blocked();

    drop(socket);

    assert_eq!(send.ended(SendResult::Abandoned), (None, 0));
    assert_eq!(port.calls(), [PortCall::Attach(descriptor), PortCall::Detach(descriptor)]);
    assert_eq!(sys.calls().last(), Some(&SocketCall::Close(descriptor)));
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_022
#[rstest]
#[case::never_opened(Fixture::closed())]
#[case::open(Fixture::open())]
#[case::closed(Fixture::after_close())]
fn dropping_a_socket_gives_up_its_reference_to_the_port(#[case] fixture: Fixture) {
    let Fixture { port, sys: _, socket, descriptor: _ } = fixture;
    assert_eq!(port.references(), 2);

    drop(socket);

    assert_eq!(port.references(), 1);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_023
#[test]
fn dropping_a_socket_that_was_never_opened_closes_its_descriptor() {
    let Fixture { port, sys, socket, descriptor } = Fixture::closed();

    drop(socket);

    assert_eq!(sys.calls(), [SocketCall::Close(descriptor)]);
    assert_eq!(port.calls(), []);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_023
#[test]
fn dropping_a_socket_that_could_not_be_opened_closes_its_descriptor() {
    let fixture = Fixture::closed();
    fixture.port.fail_next_attach(Errno::NOMEM.raw_os_error());
    fixture.try_open().0.expect_err("the attach fails");
    let Fixture { sys, socket, descriptor, .. } = fixture;
    assert_eq!(sys.count(is_close), 0);

    drop(socket);

    assert_eq!(sys.calls().last(), Some(&SocketCall::Close(descriptor)));
    assert_eq!(sys.count(is_close), 1);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_023
#[rstest]
#[case::open(Fixture::open())]
#[case::closed(Fixture::after_close())]
fn the_descriptor_is_closed_just_once(#[case] fixture: Fixture) {
    let Fixture { sys, socket, .. } = fixture;

    drop(socket);

    assert_eq!(sys.count(is_close), 1);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_023
#[test]
fn dropping_a_socket_frees_what_its_operations_hold() {
    let fixture = Fixture::open();
    let held = Arc::new(());
    let (for_send, for_receive) = (Arc::clone(&held), Arc::clone(&held));
    fixture.sys.script_send([Step::Fails(Errno::AGAIN)]);
    fixture.send_async("held", move |_| drop(for_send)).expect("accepted");
    fixture.receive_async(vec![0; 4], move |_| drop(for_receive)).expect("accepted");
    assert_eq!(Arc::strong_count(&held), 3);

    drop(fixture.socket);

    assert_eq!(Arc::strong_count(&held), 1);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_021, Tests_SRS_ASYNC_SOCKET_LINUX_11_022, Tests_SRS_ASYNC_SOCKET_LINUX_11_023
#[test]
fn a_socket_can_be_destroyed_from_inside_its_own_callback() {
    without_hanging(|| {
        let Fixture { port, sys, socket, descriptor } = Fixture::open();
        let (done, destroyed) = channel();
        let own = Arc::clone(&socket);
        let pending = {
            let (outcome, report) = crate::common::Outcome::new();
            socket
                .receive_async([0; 8], move |_| {
                    drop(own);
                    done.send(()).unwrap_or(());
                })
                .expect("accepted");
            socket.receive_async([0; 8], report).expect("accepted");
            outcome
        };
        drop(socket);
        sys.script_recv([Step::bytes("last")]);

        port.fire(Action::In);

        destroyed.try_recv().expect("the callback has run to its end");
        assert_eq!(pending.ended(ReceiveResult::Abandoned), None);
        assert_eq!(sys.calls().last(), Some(&SocketCall::Close(descriptor)));
        assert_eq!(port.references(), 1);
    });
}

/// The call in the middle of an open at which a test can stop it.
fn is_opening(call: &SocketCall) -> bool {
    *call == SocketCall::ShortReadDrains
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_020
#[rstest]
#[case::opening(Fixture::closed(), is_opening as fn(&SocketCall) -> bool, SocketState::Opening)]
#[case::closing(Fixture::open(), is_close as fn(&SocketCall) -> bool, SocketState::Closing)]
fn destroying_a_socket_waits_for_the_thread_that_opens_or_closes_it(
    #[case] fixture: Fixture,
    #[case] middle: fn(&SocketCall) -> bool,
    #[case] state: SocketState,
) {
    let (entered, in_the_middle) = channel();
    let (go_on, may_go_on) = channel();
    let (done, waited) = channel();
    fixture.sys.during_next(middle, move || {
        entered.send(()).expect("the test listens");
        may_go_on.recv_timeout(PATIENCE).expect("the test goes on");
    });
    let (theirs, ours) = (Arc::clone(&fixture.socket), Arc::clone(&fixture.socket));
    let other = thread::spawn(move || match state {
        SocketState::Opening => theirs.open_async(|_| {}).expect("the socket opens"),
        _ => theirs.close(),
    });
    in_the_middle.recv_timeout(PATIENCE).expect("the other thread is in the call");

    let waiter = thread::spawn(move || {
        ours.close_and_wait();
        done.send(ours.state()).unwrap_or(());
    });

    assert_eq!(waited.recv_timeout(A_WHILE), Err(RecvTimeoutError::Timeout), "has not waited");
    assert_eq!(fixture.socket.state(), state);
    go_on.send(()).expect("the other thread waits");
    assert_eq!(waited.recv_timeout(PATIENCE), Ok(SocketState::Closed));
    other.join().expect("the other thread ends");
    waiter.join().expect("the waiting thread ends");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_020
#[test]
fn inside_a_callback_that_a_close_waits_for_a_destroy_does_not_wait_for_the_close() {
    without_hanging(|| {
        let fixture = Fixture::open();
        let (outcome, report) = crate::common::Outcome::new();
        let socket = Arc::clone(&fixture.socket);
        let (closing, theirs) = (Arc::clone(&fixture.socket), Arc::clone(&fixture.socket));
        fixture
            .send_async("x", move |_| {
                let closer = thread::spawn(move || closing.close());
                while theirs.state() != SocketState::Closing {
                    thread::yield_now();
                }
                socket.close_and_wait();
                report((socket.state(), closer));
            })
            .expect("accepted");

        let (state, closer) = outcome.take();
        closer.join().expect("the close ends once the callback has");
        assert_eq!(state, SocketState::Closed);
    });
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_020
#[test]
fn in_an_abandoned_callback_of_a_close_a_destroy_completes_what_still_waits() {
    without_hanging(|| {
        let fixture = Fixture::open();
        let (outcome, report) = crate::common::Outcome::new();
        let own = Arc::clone(&fixture.socket);
        let (second, report_second) = crate::common::Outcome::new();
        let destroys = move |_| {
            own.close_and_wait();
            second.take();
            report(());
        };
        fixture.receive_async([0; 8], destroys).expect("accepted");
        fixture.receive_async([0; 8], move |_| report_second(())).expect("accepted");

        fixture.socket.close();

        outcome.take();
        assert_eq!(fixture.sys.count(is_close), 1);
    });
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_020
#[rstest]
#[case(Fixture::closed())]
#[case(Fixture::after_close())]
fn there_is_nothing_to_wait_for_while_the_socket_is_not_open(#[case] fixture: Fixture) {
    without_hanging(move || fixture.close_and_wait());
}
