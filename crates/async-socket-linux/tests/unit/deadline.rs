//! Receives and sends with a deadline, on a port whose clock the test moves.

use crate::common::{Fixture, Outcome};
use async_socket_linux::sys::Errno;
use async_socket_linux::{
    AsyncSocket, BufferPool, Cancel, EndReason, PayloadError, PooledCompletion, ReceiveCompletion, ReceiveError,
    ReceiveResult, SendCompletion, SendError, SendResult, SocketState,
};
use completion_port::{Action, Direction};
use rstest::rstest;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;
use test_doubles::Step;

const MS: Duration = Duration::from_millis(1);

fn receive(fixture: &Fixture, within: Duration) -> Outcome<ReceiveCompletion<Vec<u8>>> {
    let (outcome, report) = Outcome::new();
    fixture.receive_async_within(vec![7; 4], within, report).expect("accepted");
    outcome
}

fn receive_pooled(fixture: &Fixture, pool: &BufferPool, within: Duration) -> Outcome<PooledCompletion> {
    let (outcome, report) = Outcome::new();
    fixture.receive_pooled_async_within(pool, within, report).expect("accepted");
    outcome
}

fn send(fixture: &Fixture, text: &'static str, within: Duration) -> Outcome<SendCompletion<&'static str>> {
    let (outcome, report) = Outcome::new();
    fixture.send_async_within(text, within, report).expect("accepted");
    outcome
}

// Tests_SRS_SOCKET_01_100, Tests_SRS_SOCKET_01_101
#[test]
fn a_receive_ends_at_its_deadline_and_not_before_and_its_buffers_come_back() {
    let fixture = Fixture::open();
    let waiting = receive(&fixture, 10 * MS);
    fixture.port.advance(9 * MS);
    waiting.assert_pending();

    fixture.port.advance(MS);

    let completion = waiting.take();
    assert_eq!((completion.result, completion.reason), (ReceiveResult::Error, EndReason::TimedOut));
    assert_eq!((completion.bytes_received, completion.buffers), (0, vec![7; 4]));
    assert_eq!((fixture.receive_calls(), fixture.port.queued(Direction::In)), (0, 0));
}

// Tests_SRS_SOCKET_01_100
#[rstest]
#[case::that_the_kernel_blocks(false)]
#[case::behind_another(true)]
fn a_send_ends_at_its_deadline_and_not_before(#[case] is_behind: bool) {
    let fixture = Fixture::open();
    let _first = is_behind.then(|| fixture.blocked_send("first", 0));
    fixture.sys.script_send([Step::Fails(Errno::AGAIN)]);
    let waiting = send(&fixture, "late", 10 * MS);
    fixture.port.advance(9 * MS);
    waiting.assert_pending();

    fixture.port.advance(MS);

    assert_eq!(waiting.take().reason, EndReason::TimedOut);
}

// Tests_SRS_SOCKET_01_101
#[test]
fn after_it_the_next_receive_gets_every_byte() {
    let fixture = Fixture::open();
    let (late, next) = (receive(&fixture, MS), fixture.receive(vec![0; 8]));
    fixture.port.advance(MS);
    assert_eq!(late.take().reason, EndReason::TimedOut);
    next.assert_pending();

    fixture.sys.script_recv([Step::bytes("all")]);
    fixture.fire(Action::In);

    assert_eq!(next.received(), b"all");
}

// Tests_SRS_SOCKET_01_103
#[test]
fn bytes_that_come_first_are_the_one_outcome_and_the_timer_does_no_harm() {
    let fixture = Fixture::open();
    let first = receive(&fixture, 10 * MS);
    fixture.sys.script_recv([Step::bytes("data")]);
    fixture.fire(Action::In);
    assert_eq!(first.received(), b"data");
    let second = receive(&fixture, 20 * MS);

    fixture.port.advance(15 * MS);
    second.assert_pending();
    fixture.port.advance(10 * MS);

    assert_eq!(second.take().reason, EndReason::TimedOut);
    assert_eq!(fixture.port.next_timer(), None, "nothing is left to wait for");
}

// Tests_SRS_SOCKET_01_100
#[test]
fn each_of_several_operations_has_its_own_deadline_in_any_order() {
    let fixture = Fixture::open();
    let _blocked = fixture.blocked_send("blocked", 3);
    let receives = [30, 10, 20].map(|ms| receive(&fixture, ms * MS));
    let sends = [25, 15].map(|ms| send(&fixture, "behind", ms * MS));
    let ended = || {
        let pending = fixture.port.queued(Direction::In) + fixture.port.queued(Direction::Out);
        6 - pending
    };

    for (count, _) in [10, 15, 20, 25, 30].into_iter().enumerate() {
        assert_eq!(ended(), count);
        let next = fixture.port.next_timer().expect("another deadline").1;
        fixture.port.advance(next - completion_port::Port::now(&fixture.port));
    }

    assert_eq!(ended(), 5);
    for receive in &receives {
        assert_eq!(receive.take().reason, EndReason::TimedOut);
    }
    for send in &sends {
        let completion = send.take();
        assert_eq!((completion.reason, completion.bytes_sent), (EndReason::TimedOut, 0));
    }
}

// Tests_SRS_SOCKET_01_102
#[test]
fn a_send_that_is_done_at_once_arms_nothing() {
    let fixture = Fixture::open();

    assert_eq!(send(&fixture, "at once", MS).ended(SendResult::Ok), (None, 7));

    assert_eq!(fixture.port.next_timer(), None);
}

// Tests_SRS_SOCKET_01_102
#[test]
fn a_send_of_which_nothing_went_out_leaves_the_stream_whole() {
    let fixture = Fixture::open();
    fixture.sys.script_send([Step::Fails(Errno::AGAIN)]);
    let late = send(&fixture, "late", MS);

    fixture.port.advance(MS);

    let completion = late.take();
    assert_eq!((completion.result, completion.reason), (SendResult::Error, EndReason::TimedOut));
    assert_eq!((completion.bytes_sent, completion.buffers, fixture.queued_bytes()), (0, "late", 0));
    assert_eq!(fixture.send("next").ended(SendResult::Ok), (None, 4));
}

// Tests_SRS_SOCKET_01_102
#[test]
fn a_send_of_which_a_part_went_out_breaks_the_stream() {
    let fixture = Fixture::open();
    fixture.sys.script_send([Step::Takes(2), Step::Fails(Errno::AGAIN)]);
    let started = send(&fixture, "started", 5 * MS);
    let behind = fixture.send("behind");

    fixture.port.advance(5 * MS);
    let completion = started.take();
    assert_eq!((completion.reason, completion.bytes_sent), (EndReason::TimedOut, 2));
    assert_eq!(fixture.refused_send("late").error, SendError::StreamBroken);
    fixture.fire(Action::Out);

    assert_eq!(behind.take().reason, EndReason::StreamBroken);
    assert_eq!((fixture.sys.sent(), fixture.queued_bytes()), (b"st".to_vec(), 0));
}

// Tests_SRS_SOCKET_01_102
#[test]
fn no_send_of_another_thread_slips_in_behind_a_part_of_a_payload_that_times_out() {
    for _ in 0..if cfg!(miri) { 5 } else { 1_000 } {
        let fixture = Fixture::open();
        fixture.sys.script_send([Step::Takes(2), Step::Fails(Errno::AGAIN)]);
        let started = send(&fixture, "started", MS);
        // It waits only if nothing waits at that moment.
        fixture.set_high_water_mark(Some(1)).unwrap();
        let socket = Arc::clone(&fixture.socket);
        let (begin, begun) = channel();
        let sender = std::thread::spawn(move || {
            loop {
                let (late, report) = Outcome::<SendCompletion<&str>>::new();
                match socket.send_async("late", report).map_err(|refused| refused.error) {
                    Err(SendError::TooMuchQueued { .. }) => begin.send(()).unwrap_or_default(),
                    sent => return sent.map(|_| late),
                }
            }
        });

        begun.recv().unwrap();
        drop(begun);
        fixture.port.advance(MS);

        let sent = sender.join().unwrap();
        fixture.port.advance(MS);
        assert_eq!(started.take().reason, EndReason::TimedOut);
        assert_eq!(fixture.sys.sent(), b"st");
        match sent {
            Ok(late) => assert_eq!(late.take().reason, EndReason::StreamBroken),
            Err(error) => assert_eq!(error, SendError::StreamBroken),
        }
    }
}

// Tests_SRS_SOCKET_01_104
#[test]
fn what_waits_behind_a_fragment_that_timed_out_ends_although_the_kernel_has_no_room() {
    let fixture = Fixture::open();
    fixture.sys.script_send([Step::Takes(2), Step::Fails(Errno::AGAIN)]);
    let started = send(&fixture, "started", 5 * MS);
    let (behind, with_a_deadline) = (fixture.send("behind"), send(&fixture, "later", 50 * MS));
    let (shut, report) = Outcome::new();
    fixture.shutdown_async(report).expect("accepted");

    fixture.port.advance(5 * MS);

    assert_eq!(started.take().reason, EndReason::TimedOut);
    assert_eq!(behind.take().reason, EndReason::StreamBroken);
    assert_eq!(with_a_deadline.take().reason, EndReason::StreamBroken);
    let shut: SendCompletion<()> = shut.take();
    assert_eq!((shut.reason, fixture.queued_bytes()), (EndReason::StreamBroken, 0));
}

// Tests_SRS_SOCKET_01_104
#[test]
fn what_is_sent_while_the_timer_is_about_to_break_the_stream_ends_too() {
    let fixture = Fixture::open();
    fixture.sys.script_send([Step::Takes(2), Step::Fails(Errno::AGAIN)]);
    let started = send(&fixture, "started", 5 * MS);
    let (late, report) = Outcome::new();
    let socket = Arc::clone(&fixture.socket);
    // The timer ends receives first, and the stream is still whole then.
    let sends = move |_: ReceiveCompletion<[u8; 1]>| _ = socket.send_async("late", report).expect("accepted");
    fixture.receive_async_within([0], 5 * MS, sends).expect("accepted");

    fixture.port.advance(5 * MS);

    assert_eq!(started.take().reason, EndReason::TimedOut);
    let late: SendCompletion<&str> = late.take();
    assert_eq!((late.reason, fixture.port.next_timer()), (EndReason::StreamBroken, None));
}

// Tests_SRS_SOCKET_01_091, Tests_SRS_SOCKET_01_102
#[test]
fn in_the_callback_of_one_that_timed_out_a_started_send_still_cannot_be_cancelled() {
    let fixture = Fixture::open();
    fixture.sys.script_send([Step::Takes(2), Step::Fails(Errno::AGAIN)]);
    let started = fixture.send_async("started", |_| {}).expect("accepted").expect("it waits");
    let (cancelled, report) = Outcome::new();
    let socket = Arc::clone(&fixture.socket);
    let cancel = move |_: ReceiveCompletion<[u8; 1]>| report(socket.cancel(started));
    fixture.receive_async_within([0], MS, cancel).expect("accepted");

    fixture.port.advance(MS);

    assert_eq!(cancelled.take(), Cancel::Started);
}

// Tests_SRS_SOCKET_01_100, Tests_SRS_BUFFER_POOL_01_007
#[test]
fn a_receive_that_waits_for_a_buffer_times_out_without_one() {
    let (fixture, pool) = (Fixture::open(), BufferPool::new(8, 1).expect("a pool"));
    fixture.sys.script_recv([Step::bytes("held")]);
    let (held, report) = Outcome::new();
    fixture.receive_pooled_async(&pool, report).expect("accepted");
    fixture.fire(Action::In);
    let held: PooledCompletion = held.take();
    let (suspended, idle) = (receive_pooled(&fixture, &pool, MS), receive_pooled(&fixture, &pool, 3 * MS));
    fixture.fire(Action::In);

    fixture.port.advance(2 * MS);
    let completion = suspended.take();
    assert_eq!((completion.reason, completion.buffer.is_none()), (EndReason::TimedOut, true));
    drop(held);
    fixture.sys.script_recv([Step::bytes("next")]);
    fixture.fire(Action::In);

    assert_eq!(idle.take().buffer.as_deref(), Some(b"next".as_slice()));
}

// Tests_SRS_SOCKET_01_100
#[test]
fn a_callback_may_begin_the_next_one_with_an_earlier_or_a_later_deadline() {
    let fixture = Fixture::open();
    let ((early, first), (late, second)) = (Outcome::new(), Outcome::new());
    let socket = Arc::clone(&fixture.socket);
    let again = move |_: ReceiveCompletion<[u8; 1]>| {
        socket.receive_async_within([0], 2 * MS, first).expect("accepted");
        socket.receive_async_within([0], 50 * MS, second).expect("accepted");
    };
    fixture.receive_async_within([0], 10 * MS, again).expect("accepted");
    let other = receive(&fixture, 40 * MS);

    fixture.port.advance(12 * MS);
    assert_eq!(early.take().reason, EndReason::TimedOut);
    other.assert_pending();
    fixture.port.advance(28 * MS);
    assert_eq!(other.take().reason, EndReason::TimedOut);
    late.assert_pending();
    fixture.port.advance(20 * MS);

    assert_eq!(late.take().reason, EndReason::TimedOut);
}

// Tests_SRS_SOCKET_01_100
#[rstest]
#[case::at_once(Duration::ZERO)]
#[case::never(Duration::MAX)]
fn every_duration_makes_sense(#[case] within: Duration) {
    let fixture = Fixture::open();
    let waiting = receive(&fixture, within);

    fixture.port.advance(1000 * MS);

    if within.is_zero() {
        return assert_eq!(waiting.take().reason, EndReason::TimedOut);
    }
    waiting.assert_pending();
    fixture.close();
    assert_eq!(waiting.take().reason, EndReason::Closed);
}

// Tests_SRS_SOCKET_01_100
#[test]
fn a_large_array_is_lent_with_a_deadline_too() {
    let fixture = Fixture::open();
    let (outcome, report) = Outcome::new();
    fixture.receive_async_within([1_u8; 20_000], MS, report).expect("accepted");
    let (sent, report) = Outcome::new();
    fixture.sys.script_send([Step::Fails(Errno::AGAIN)]);
    fixture.send_async_within([2_u8; 20_000], MS, report).expect("accepted");

    fixture.port.advance(MS);

    let (received, sent) = (outcome.take(), sent.take());
    assert_eq!((received.reason, received.buffers[19_999]), (EndReason::TimedOut, 1));
    assert_eq!((sent.reason, sent.buffers[19_999]), (EndReason::TimedOut, 2));
}

// Tests_SRS_SOCKET_01_100
#[test]
fn what_the_plain_calls_refuse_these_refuse_too_with_the_buffers() {
    let fixture = Fixture::after_close();
    let not_open = SocketState::Closed;
    let refused = fixture.receive_async_within(vec![1], MS, |_| {}).expect_err("closed");
    assert_eq!((refused.error, refused.returned), (ReceiveError::NotOpen { state: not_open }, vec![1]));
    let refused = fixture.send_async_within("text", MS, |_| {}).expect_err("closed");
    assert_eq!((refused.error, refused.returned), (SendError::NotOpen { state: not_open }, "text"));
    let pool = BufferPool::new(8, 1).expect("a pool");
    let refused = fixture.receive_pooled_async_within(&pool, MS, |_| {}).expect_err("closed");
    assert_eq!(refused, ReceiveError::NotOpen { state: not_open });

    let fixture = Fixture::open();
    let refused = fixture.receive_async_within([0_u8; 0], MS, |_| {}).expect_err("no room");
    assert!(matches!(refused.error, ReceiveError::Payload(PayloadError::EmptyBuffer { .. })), "{refused}");
    assert_eq!(fixture.port.next_timer(), None);
}
