//! `cancel`: takes a waiting operation out of its queue.

use crate::common::{Fixture, Outcome, without_hanging};
use async_socket_linux::sys::Errno;
use async_socket_linux::{
    AsyncSocket, BufferPool, Cancel, EndReason, OperationId, PooledCompletion, ReceiveCompletion, ReceiveResult,
    SendCompletion, SendResult,
};
use completion_port::{Action, Direction};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use test_doubles::Step;

type Received = Outcome<ReceiveCompletion<Vec<u8>>>;

fn receive(fixture: &Fixture) -> (OperationId, Received) {
    let (outcome, report) = Outcome::new();
    (fixture.receive_async(vec![7; 4], report).expect("accepted"), outcome)
}

fn send(fixture: &Fixture, text: &'static str) -> (Option<OperationId>, Outcome<SendCompletion<&'static str>>) {
    let (outcome, report) = Outcome::new();
    (fixture.send_async(text, report).expect("accepted"), outcome)
}

fn receive_pooled(fixture: &Fixture, pool: &BufferPool) -> (OperationId, Outcome<PooledCompletion>) {
    let (outcome, report) = Outcome::new();
    (fixture.receive_pooled_async(pool, report).expect("accepted"), outcome)
}

// Tests_SRS_SOCKET_01_090
#[test]
fn a_receive_that_waits_ends_inside_the_call_with_its_buffers_and_without_a_system_call() {
    let fixture = Fixture::open();
    let (id, waiting) = receive(&fixture);
    let calls = fixture.sys.calls().len();

    assert_eq!(fixture.cancel(id), Cancel::Cancelled);

    let completion = waiting.take();
    assert_eq!((completion.result, completion.reason), (ReceiveResult::Abandoned, EndReason::Cancelled));
    assert_eq!((completion.bytes_received, completion.buffers), (0, vec![7; 4]));
    assert_eq!(fixture.sys.calls().len(), calls);
    assert_eq!(fixture.port.queued(Direction::In), 0);
}

// Tests_SRS_SOCKET_01_090
#[test]
fn the_others_keep_their_places_and_get_the_bytes() {
    let fixture = Fixture::open();
    let ((_, first), (id, second), (_, third)) = (receive(&fixture), receive(&fixture), receive(&fixture));

    assert_eq!(fixture.cancel(id), Cancel::Cancelled);
    fixture.sys.script_recv([Step::bytes("1"), Step::bytes("3")]);
    fixture.fire(Action::In);

    assert_eq!((first.received(), third.received()), (b"1".to_vec(), b"3".to_vec()));
    assert_eq!(second.take().reason, EndReason::Cancelled);
}

// Tests_SRS_SOCKET_01_092
#[test]
fn what_has_ended_is_not_waiting_any_more() {
    let fixture = Fixture::open();
    let (id, received) = receive(&fixture);
    fixture.sys.script_recv([Step::bytes("done")]);
    fixture.fire(Action::In);
    assert_eq!(received.received(), b"done");
    let (_, next) = receive(&fixture);

    assert_eq!(fixture.cancel(id), Cancel::NotWaiting);

    next.assert_pending();
    fixture.close();
    assert_eq!(fixture.cancel(id), Cancel::NotWaiting);
}

// Tests_SRS_SOCKET_01_093
#[test]
fn a_send_that_is_done_at_once_has_no_name_and_one_that_waits_has() {
    let fixture = Fixture::open();
    assert_eq!(send(&fixture, "at once").0, None);
    fixture.sys.script_send([Step::Fails(Errno::AGAIN)]);

    let (id, waiting) = send(&fixture, "later");

    assert_eq!(fixture.cancel(id.expect("it waits")), Cancel::Cancelled);
    let completion = waiting.take();
    assert_eq!((completion.result, completion.reason), (SendResult::Abandoned, EndReason::Cancelled));
    assert_eq!((completion.bytes_sent, completion.buffers), (0, "later"));
    assert_eq!(fixture.send("next").ended(SendResult::Ok), (None, 4));
}

// Tests_SRS_SOCKET_01_091
#[test]
fn a_send_of_which_bytes_have_gone_out_goes_on_and_the_one_behind_it_can_be_cancelled() {
    let fixture = Fixture::open();
    fixture.sys.script_send([Step::Takes(2), Step::Fails(Errno::AGAIN)]);
    let ((first, started), (second, behind)) = (send(&fixture, "first"), send(&fixture, "second"));

    assert_eq!(fixture.cancel(first.expect("it waits")), Cancel::Started);
    started.assert_pending();
    assert_eq!(fixture.cancel(second.expect("it waits")), Cancel::Cancelled);
    assert_eq!(behind.take().reason, EndReason::Cancelled);
    fixture.fire(Action::Out);

    assert_eq!(started.ended(SendResult::Ok), (None, 5));
    assert_eq!(fixture.sys.sent(), b"first");
}

// Tests_SRS_SOCKET_01_090, Tests_SRS_BUFFER_POOL_01_007
#[test]
fn a_receive_that_waits_for_a_buffer_is_cancelled_and_leaves_the_buffer_to_the_next() {
    let (one, two, pool) = (Fixture::open(), Fixture::open(), BufferPool::new(8, 1).expect("a pool"));
    one.sys.script_recv([Step::bytes("held")]);
    let (_, held) = receive_pooled(&one, &pool);
    one.fire(Action::In);
    let held = held.take().buffer.expect("the only buffer");
    let (id, suspended) = receive_pooled(&one, &pool);
    one.fire(Action::In);
    let (_, next) = receive_pooled(&two, &pool);
    two.sys.script_recv([Step::bytes("two")]);
    two.fire(Action::In);
    next.assert_pending();

    assert_eq!(one.cancel(id), Cancel::Cancelled);
    drop(held);
    two.port.run_scheduled();

    let completion = suspended.take();
    assert_eq!((completion.reason, completion.buffer.is_none()), (EndReason::Cancelled, true));
    assert_eq!(next.take().buffer.as_deref(), Some(b"two".as_slice()));
}

// Tests_SRS_SOCKET_01_090
#[test]
fn a_callback_may_cancel_and_the_callback_of_a_cancelled_operation_may_close_the_socket() {
    without_hanging(|| {
        let fixture = Fixture::open();
        let (first, _waiting) = receive(&fixture);
        let (closed, report) = Outcome::new();
        let socket = Arc::clone(&fixture.socket);
        let close = move |completion: ReceiveCompletion<Vec<u8>>| {
            socket.close();
            report(completion.reason);
        };
        let second = fixture.receive_async(vec![0; 1], close).expect("accepted");
        let socket = Arc::clone(&fixture.socket);
        fixture.send_async("now", move |_| assert_eq!(socket.cancel(second), Cancel::Cancelled)).expect("accepted");

        assert_eq!(closed.take(), EndReason::Cancelled);
        assert_eq!(fixture.cancel(first), Cancel::NotWaiting, "the close has abandoned it");
    });
}

// Tests_SRS_SOCKET_01_092
#[test]
fn of_cancels_on_several_threads_and_an_event_exactly_one_ends_the_operation() {
    const ROUNDS: usize = 2_000;
    without_hanging(|| {
        let fixture = Fixture::open();
        let ended = Arc::new(AtomicUsize::new(0));
        let cancelled = AtomicUsize::new(0);
        for round in 0..ROUNDS {
            fixture.sys.script_recv([Step::bytes("x")]);
            let count = Arc::clone(&ended);
            let id = fixture
                .receive_async([0], move |_| {
                    count.fetch_add(1, Ordering::SeqCst);
                })
                .expect("accepted");
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        if fixture.cancel(id) == Cancel::Cancelled {
                            cancelled.fetch_add(1, Ordering::SeqCst);
                        }
                    });
                }
                fixture.fire(Action::In);
            });
            assert_eq!(ended.load(Ordering::SeqCst), round + 1);
            assert_eq!(fixture.port.queued(Direction::In), 0);
        }
        assert!(cancelled.load(Ordering::SeqCst) <= ROUNDS);
    });
}
