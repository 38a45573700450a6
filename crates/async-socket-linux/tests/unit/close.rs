//! `close`: waits for calls on other threads, abandons pending operations, and closes the descriptor after epoll has
//! released it.

use crate::common::{
    A_WHILE, Fixture, Journal, Outcome, PATIENCE, is_close, is_receive, is_send, refused_receive, refused_send,
    without_hanging,
};
use async_socket_linux::sys::Errno;
use async_socket_linux::{
    AsyncSocket, IoBufMut, ReceiveError, ReceiveResult, SendError, SendResult, SendSyncResult, SocketState,
};
use completion_port::{Action, Readiness};
use rstest::rstest;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread;
use test_doubles::{PortCall, SocketCall, Step};

// Tests_SRS_ASYNC_SOCKET_LINUX_11_036
#[test]
fn until_the_descriptor_is_closed_the_state_is_closing() {
    let fixture = Fixture::open();
    let states = Journal::new();
    let (during_callback, during_close) = (states.clone(), states.clone());
    let (one, two) = (Arc::clone(&fixture.socket), Arc::clone(&fixture.socket));
    fixture.receive_async([0], move |_| during_callback.note(("callback", one.state()))).expect("accepted");
    fixture.sys.during_next(is_close, move || during_close.note(("close", two.state())));

    fixture.close();

    assert_eq!(states.entries(), [("callback", SocketState::Closing), ("close", SocketState::Closing)]);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_039, Tests_SRS_ASYNC_SOCKET_LINUX_11_041
#[test]
fn a_close_closes_the_descriptor_and_leaves_the_socket_closed() {
    let fixture = Fixture::open();

    fixture.close();

    assert_eq!(fixture.sys.calls().last(), Some(&SocketCall::Close(fixture.descriptor)));
    assert_eq!(fixture.state(), SocketState::Closed);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_039
#[test]
fn epoll_lets_go_of_the_descriptor_before_it_is_closed_and_after_that_nothing_is_pending() {
    let (fixture, send) = Fixture::blocked();
    let (outcome, report) = Outcome::new();
    let port = fixture.port.clone();
    fixture.sys.during_next(is_close, move || report(port.calls()));

    fixture.close();

    assert_eq!(outcome.take(), [PortCall::Attach(fixture.descriptor), PortCall::Detach(fixture.descriptor)]);
    assert_eq!(send.ended(SendResult::Abandoned), (None, 0));
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_042
#[test]
fn closing_a_socket_that_was_never_opened_does_nothing() {
    let fixture = Fixture::closed();

    fixture.close();

    assert_eq!((fixture.sys.calls(), fixture.port.calls()), (vec![], vec![]));
    fixture.try_open().0.expect("it still has its descriptor");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_042
#[test]
fn closing_a_closed_socket_does_nothing() {
    let fixture = Fixture::after_close();
    let before = (fixture.sys.calls(), fixture.port.calls());

    fixture.close();

    assert_eq!((fixture.sys.calls(), fixture.port.calls()), before);
    assert_eq!(fixture.state(), SocketState::Closed);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_042
#[test]
fn closing_a_socket_that_is_opening_or_closing_returns_at_once() {
    without_hanging(|| {
        let fixture = Fixture::closed();
        let states = Journal::new();
        for middle in [|call: &SocketCall| *call == SocketCall::ShortReadDrains, is_close as fn(&SocketCall) -> bool] {
            let (states, socket) = (states.clone(), Arc::clone(&fixture.socket));
            fixture.sys.during_next(middle, move || {
                socket.close();
                states.note(socket.state());
            });
        }

        fixture.try_open().0.expect("the socket opens all the same");
        fixture.close();

        assert_eq!(states.entries(), [SocketState::Opening, SocketState::Closing]);
        assert_eq!(fixture.close_calls(), 1);
    });
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_080, Tests_SRS_ASYNC_SOCKET_LINUX_11_081
#[test]
fn what_is_pending_is_abandoned_in_the_order_in_which_it_was_accepted() {
    let fixture = Fixture::open();
    let order = Journal::new();
    let noting = |name: &'static str| {
        let order = order.clone();
        move || order.note(name)
    };
    let (first, second, third, fourth) = (noting("r1"), noting("s2"), noting("r3"), noting("s4"));
    fixture.sys.script_send([Step::Fails(Errno::AGAIN)]);
    fixture.receive_async([0], move |_| first()).expect("accepted");
    fixture.send_async("2", move |_| second()).expect("accepted");
    fixture.receive_async([0], move |_| third()).expect("accepted");
    fixture.send_async("4", move |_| fourth()).expect("accepted");

    fixture.close();

    assert_eq!(order.entries(), ["r1", "s2", "r3", "s4"]);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_081, Tests_SRS_ASYNC_SOCKET_LINUX_11_084
#[test]
fn an_abandoned_operation_gives_its_buffers_back_without_touching_the_socket() {
    let fixture = Fixture::open();
    let send = fixture.blocked_send(vec!["one", "two"], 4);
    let receive = fixture.receive(vec![7_u8; 3]);
    let (sends, receives) = (fixture.send_calls(), fixture.receive_calls());

    fixture.close();

    let (send, receive) = (send.take(), receive.take());
    assert_eq!((send.result, send.os_error(), send.bytes_sent), (SendResult::Abandoned, None, 4));
    assert_eq!(send.buffers, ["one", "two"]);
    assert_eq!((receive.result, receive.os_error(), receive.bytes_received), (ReceiveResult::Abandoned, None, 0));
    assert_eq!(receive.buffers, [7; 3]);
    assert_eq!((fixture.send_calls(), fixture.receive_calls()), (sends, receives));
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_051, Tests_SRS_ASYNC_SOCKET_LINUX_11_072
#[test]
fn sends_and_receives_during_closing_are_refused() {
    let fixture = Fixture::open();
    let (outcome, report) = Outcome::new();
    let socket = Arc::clone(&fixture.socket);
    fixture
        .receive_async([0], move |_| {
            report((refused_send(&*socket, "no"), refused_receive(&*socket, [1, 2])));
        })
        .expect("accepted");

    fixture.close();

    let (send, receive) = outcome.take();
    assert_eq!((send.error, send.returned), (SendError::NotOpen { state: SocketState::Closing }, "no"));
    assert_eq!(send.error.sync_result(), SendSyncResult::Abandoned);
    assert_eq!((receive.error, receive.returned), (ReceiveError::NotOpen { state: SocketState::Closing }, [1, 2]));
    assert_eq!(fixture.send_calls(), 0);
}

/// Makes a call whose callback is `callback`: an operation or an open. The callback closes the socket.
type Begin = fn(&Fixture, Box<dyn FnOnce() + Send>);

fn in_open(fixture: &Fixture, callback: Box<dyn FnOnce() + Send>) {
    fixture.open_async(move |_| callback()).expect("the socket opens");
}

fn in_send(fixture: &Fixture, callback: Box<dyn FnOnce() + Send>) {
    fixture.try_open().0.expect("the socket opens");
    fixture.send_async("at once", move |_| callback()).expect("accepted");
}

fn in_queued_send(fixture: &Fixture, callback: Box<dyn FnOnce() + Send>) {
    fixture.try_open().0.expect("the socket opens");
    fixture.sys.script_send([Step::Fails(Errno::AGAIN)]);
    fixture.send_async("later", move |_| callback()).expect("accepted");
    fixture.fire(Action::Out);
}

fn in_receive(fixture: &Fixture, callback: Box<dyn FnOnce() + Send>) {
    fixture.try_open().0.expect("the socket opens");
    fixture.sys.script_recv([Step::bytes("x")]);
    fixture.receive_async([0; 8], move |_| callback()).expect("accepted");
    fixture.fire(Action::In);
}

fn in_failed_receive(fixture: &Fixture, callback: Box<dyn FnOnce() + Send>) {
    fixture.try_open().0.expect("the socket opens");
    fixture.receive_async([0; 8], move |_| callback()).expect("accepted");
    fixture.deliver(Readiness::HANG_UP);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_037, Tests_SRS_ASYNC_SOCKET_LINUX_11_041
#[rstest]
#[case::of_an_open(in_open)]
#[case::of_a_send_that_went_at_once(in_send)]
#[case::of_a_send_that_was_queued(in_queued_send)]
#[case::of_a_receive(in_receive)]
#[case::of_a_receive_that_failed(in_failed_receive)]
fn a_close_from_inside_a_callback_does_not_wait_for_that(#[case] begin: Begin) {
    without_hanging(move || {
        let fixture = Fixture::closed();
        let (outcome, report) = Outcome::new();
        let (pending, report_pending) = Outcome::new();
        let socket = Arc::clone(&fixture.socket);

        begin(
            &fixture,
            Box::new(move || {
                socket.receive_async([0; 4], report_pending).expect("still open");
                socket.close();
                report(socket.state());
            }),
        );

        assert_eq!(outcome.take(), SocketState::Closed, "when close returns");
        assert_eq!(pending.ended(ReceiveResult::Abandoned), None);
        assert_eq!(fixture.close_calls(), 1);
    });
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_037, Tests_SRS_ASYNC_SOCKET_LINUX_11_042
#[test]
fn a_close_from_inside_an_abandoned_callback_returns_at_once() {
    without_hanging(|| {
        let fixture = Fixture::open();
        let (outcome, report) = Outcome::new();
        let socket = Arc::clone(&fixture.socket);
        let close_again = move |_| {
            socket.close();
            report(socket.state());
        };
        fixture.receive_async([0], close_again).expect("accepted");

        fixture.close();

        assert_eq!(outcome.take(), SocketState::Closing);
        assert_eq!(fixture.close_calls(), 1);
    });
}

/// Stops a thread while it uses the socket, until the test releases it.
struct Stop {
    entered: Sender<()>,
    go_on: Receiver<()>,
}

impl Stop {
    fn here(self) {
        self.entered.send(()).expect("the test listens");
        self.go_on.recv_timeout(PATIENCE).expect("the test goes on");
    }
}

/// The work of the other thread. It stops while it uses the socket.
type Work = fn(&Fixture, Stop);

fn send(fixture: &Fixture, stop: Stop) {
    fixture.sys.during_next(is_send, || stop.here());
    fixture.send_async("slow", |_| {}).expect("accepted before the close");
}

fn send_callback(fixture: &Fixture, stop: Stop) {
    fixture.send_async("quick", |_| stop.here()).expect("accepted");
}

fn receive(fixture: &Fixture, stop: Stop) {
    fixture.receive_async([0], |_| {}).expect("accepted");
    fixture.sys.during_next(is_receive, || stop.here());
    fixture.fire(Action::In);
}

fn receive_callback(fixture: &Fixture, stop: Stop) {
    fixture.sys.script_recv([Step::bytes("!")]);
    fixture.receive_async([0], |_| stop.here()).expect("accepted");
    fixture.fire(Action::In);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_037
#[rstest]
#[case::a_send(send)]
#[case::a_sends_callback(send_callback)]
#[case::a_receive_that_is_attempted(receive)]
#[case::a_receives_callback(receive_callback)]
fn a_close_waits_for_what_another_thread_is_in(#[case] work: Work) {
    let fixture = Fixture::open();
    let (entered, in_the_middle) = channel();
    let (go_on, may_go_on) = channel();
    let (done, closed) = channel();
    let theirs = fixture.clone();
    let worker = thread::spawn(move || work(&theirs, Stop { entered, go_on: may_go_on }));
    in_the_middle.recv_timeout(PATIENCE).expect("the other thread is at work");

    let socket = Arc::clone(&fixture.socket);
    let closer = thread::spawn(move || {
        socket.close();
        done.send(()).unwrap_or(());
    });

    assert_eq!(closed.recv_timeout(A_WHILE), Err(RecvTimeoutError::Timeout), "close has not waited");
    assert_eq!(fixture.close_calls(), 0);
    go_on.send(()).expect("the other thread waits");
    closed.recv_timeout(PATIENCE).expect("close returns once the other thread is done");
    assert_eq!(fixture.close_calls(), 1);
    worker.join().expect("the other thread ends");
    closer.join().expect("the closing thread ends");
}

/// A buffer that stops the thread that asks for it.
struct Stopping(Option<Stop>, [u8; 4]);

impl IoBufMut for Stopping {
    fn as_mut_slice(&mut self) -> &mut [u8] {
        if let Some(stop) = self.0.take() {
            stop.here();
        }
        &mut self.1
    }
}

// A receive checks its buffers before it comes near the queue, so a close need not wait for the check.
// Tests_SRS_ASYNC_SOCKET_LINUX_11_037, Tests_SRS_ASYNC_SOCKET_LINUX_11_072
#[test]
fn a_receive_whose_buffers_are_being_checked_when_the_socket_closes_is_refused() {
    let fixture = Fixture::open();
    let (entered, in_the_middle) = channel();
    let (go_on, may_go_on) = channel();
    let socket = Arc::clone(&fixture.socket);
    let stop = Stop { entered, go_on: may_go_on };
    let receiver = thread::spawn(move || refused_receive(&*socket, Stopping(Some(stop), [0; 4])).error);
    in_the_middle.recv_timeout(PATIENCE).expect("the other thread is in its call");

    fixture.close();
    go_on.send(()).expect("the other thread waits");

    let error = receiver.join().expect("the receiving thread ends");
    assert_eq!(error, ReceiveError::NotOpen { state: SocketState::Closed });
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_037
#[test]
fn a_close_waits_for_an_open_callback_on_another_thread() {
    let fixture = Fixture::closed();
    let (entered, in_the_middle) = channel();
    let (go_on, may_go_on) = channel();
    let (done, closed) = channel();
    let socket = Arc::clone(&fixture.socket);
    let stop = Stop { entered, go_on: may_go_on };
    let opener = thread::spawn(move || socket.open_async(|_| stop.here()));
    in_the_middle.recv_timeout(PATIENCE).expect("the other thread is in its callback");

    let socket = Arc::clone(&fixture.socket);
    let closer = thread::spawn(move || {
        socket.close();
        done.send(()).unwrap_or(());
    });

    assert_eq!(closed.recv_timeout(A_WHILE), Err(RecvTimeoutError::Timeout), "close has not waited");
    go_on.send(()).expect("the other thread waits");
    closed.recv_timeout(PATIENCE).expect("close returns once the callback is done");
    opener.join().expect("the opening thread ends").expect("the socket was open");
    closer.join().expect("the closing thread ends");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_037
#[test]
fn a_receive_that_races_with_a_close_is_refused_or_abandoned_before_the_close_returns() {
    for _ in 0..100 {
        let fixture = Fixture::open();
        let (called_back, is_closed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let start = Arc::new(Barrier::new(2));
        let receiver = {
            let (socket, start) = (Arc::clone(&fixture.socket), Arc::clone(&start));
            let (called_back, is_closed) = (Arc::clone(&called_back), Arc::clone(&is_closed));
            thread::spawn(move || {
                start.wait();
                let mut accepted = 0;
                loop {
                    let (called_back, is_closed) = (Arc::clone(&called_back), Arc::clone(&is_closed));
                    let on_receive = move |_| {
                        assert!(!is_closed.load(Ordering::SeqCst));
                        called_back.fetch_add(1, Ordering::SeqCst);
                    };
                    match socket.receive_async([0], on_receive) {
                        Ok(_) => accepted += 1,
                        Err(refused) if matches!(refused.error, ReceiveError::NotOpen { .. }) => return accepted,
                        Err(refused) => panic!("{refused}"),
                    }
                }
            })
        };

        start.wait();
        fixture.close();
        is_closed.store(true, Ordering::SeqCst);

        let accepted = receiver.join().expect("the receiving thread ends");
        assert_eq!(called_back.load(Ordering::SeqCst), accepted, "each accepted receive is called back in time");
    }
}
