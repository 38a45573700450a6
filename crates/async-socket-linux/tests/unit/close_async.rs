//! `close_async`: never waits, and says when the descriptor is closed.

use crate::common::{Fixture, Journal, Outcome, is_receive, without_hanging};
use async_socket_linux::sys::Errno;
use async_socket_linux::{AsyncSocket, CloseError, EndReason, SocketState};
use completion_port::Action;
use rstest::rstest;
use std::sync::{Arc, Barrier};
use test_doubles::{SocketCall, Step};

// Tests_SRS_SOCKET_01_095
#[test]
fn what_waits_is_abandoned_then_the_descriptor_is_closed_then_the_callback_runs() {
    let fixture = Fixture::open();
    let journal = Journal::new();
    let (first, second, last) = (journal.clone(), journal.clone(), journal.clone());
    fixture.receive_async([0], move |ended| first.note(format!("{:?}", ended.reason))).expect("accepted");
    fixture.sys.during_next(|call| matches!(call, SocketCall::Close(_)), move || second.note("close".to_owned()));

    fixture.close_async(move || last.note("done".to_owned())).expect("accepted");

    assert_eq!(journal.entries(), ["Closed", "close", "done"]);
    assert_eq!((fixture.state(), fixture.close_calls()), (SocketState::Closed, 1));
}

// Tests_SRS_SOCKET_01_096
#[test]
fn it_does_not_wait_for_a_callback_on_another_thread_which_then_ends_the_close() {
    without_hanging(|| {
        let fixture = Fixture::open();
        fixture.sys.script_recv([Step::bytes("x")]);
        let (inside, leave) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let (arrive, go) = (Arc::clone(&inside), Arc::clone(&leave));
        fixture
            .receive_async([0], move |_| {
                arrive.wait();
                go.wait();
            })
            .expect("accepted");
        let firing = fixture.clone();
        let port = std::thread::spawn(move || firing.fire(Action::In));
        inside.wait();
        let waiting = fixture.receive(vec![0; 1]);
        let (closed, report) = Outcome::new();

        fixture.close_async(move || report(std::thread::current().id())).expect("accepted");

        closed.assert_pending();
        waiting.assert_pending();
        assert_eq!((fixture.state(), fixture.close_calls()), (SocketState::Closing, 0));
        let thread = port.thread().id();
        leave.wait();
        port.join().expect("no panic");
        assert_eq!(closed.wait(), thread);
        assert_eq!(waiting.wait().reason, EndReason::Closed);
        assert_eq!(fixture.close_calls(), 1);
    });
}

// Tests_SRS_SOCKET_01_095
#[rstest]
#[case::never_opened(Fixture::closed())]
#[case::closed(Fixture::after_close())]
fn a_socket_that_is_not_open_is_left_as_it_is(#[case] fixture: Fixture) {
    let (outcome, report) = Outcome::new();

    let refused = fixture.close_async(move || report(())).expect_err("it is not open");

    assert_eq!(refused.error, CloseError::NotOpen { state: SocketState::Closed });
    outcome.assert_pending();
    drop(refused);
    outcome.assert_never();
}

// Tests_SRS_SOCKET_01_095
#[test]
fn a_second_close_is_refused_while_the_first_is_at_work() {
    let fixture = Fixture::open();
    let (outcome, report) = Outcome::new();
    let socket = Arc::clone(&fixture.socket);
    fixture
        .receive_async([0], move |_| report(socket.close_async(|| {}).expect_err("refused").error))
        .expect("accepted");

    fixture.close_async(|| {}).expect("accepted");

    assert_eq!(outcome.take(), CloseError::NotOpen { state: SocketState::Closing });
}

// Tests_SRS_SOCKET_01_097
#[rstest]
#[case::with_a_time(Ok(true), 1)]
#[case::as_it_is(Ok(false), 0)]
fn on_every_thread_it_stops_lingering_before_it_closes(#[case] lingers: Result<bool, Errno>, #[case] stops: usize) {
    let fixture = Fixture::open();
    fixture.sys.script_lingers(lingers);

    fixture.close_async(|| {}).expect("accepted");

    assert_eq!(fixture.sys.count(|call| *call == SocketCall::StopLingering), stops);
    assert_eq!(fixture.close_calls(), 1);
}

// Tests_SRS_SOCKET_01_097
#[test]
fn after_a_refused_one_the_socket_lingers_as_the_program_asked() {
    let fixture = Fixture::closed();
    fixture.close_async(|| {}).expect_err("it is not open");
    fixture.socket.open_async(|_| {}).expect("the socket opens");
    fixture.sys.script_lingers(Ok(true));

    fixture.close();

    assert_eq!(fixture.sys.count(|call| *call == SocketCall::StopLingering), 0);
}

// Tests_SRS_SOCKET_01_096
#[test]
fn callbacks_on_two_threads_can_close_each_others_sockets_and_drop_them_afterwards() {
    without_hanging(|| {
        let (one, two) = (Fixture::open(), Fixture::open());
        let both = Arc::new(Barrier::new(2));
        let (closed, report) = std::sync::mpsc::channel();
        let closed = Arc::new(std::sync::Mutex::new(closed));
        for (own, other) in [(&one, &two), (&two, &one)] {
            own.sys.script_recv([Step::bytes("x")]);
            let (other, both, closed) = (Arc::clone(&other.socket), Arc::clone(&both), Arc::clone(&closed));
            let close = move |_| {
                both.wait();
                let done = closed.lock().expect("not poisoned").clone();
                let owned = Arc::clone(&other);
                let accepted = other.close_async(move || {
                    drop(owned);
                    done.send(()).expect("the test waits");
                });
                accepted.expect("it is open");
            };
            own.receive_async([0], close).expect("accepted");
        }
        let ports = [one.clone(), two.clone()].map(|it| std::thread::spawn(move || it.fire(Action::In)));
        for port in ports {
            port.join().expect("no panic");
        }
        report.recv().expect("one is closed");
        report.recv().expect("the other is closed");
        assert_eq!((one.state(), two.state()), (SocketState::Closed, SocketState::Closed));
        assert_eq!(one.sys.count(is_receive) + two.sys.count(is_receive), 2);
    });
}
