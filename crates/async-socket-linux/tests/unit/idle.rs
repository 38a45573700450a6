//! `set_idle_timeout`, on a port whose clock the test moves.

use crate::common::{Fixture, Outcome};
use async_socket_linux::sys::Errno;
use async_socket_linux::{
    AsyncSocket, BufferPool, Cancel, EndReason, ReceiveCompletion, SendError, SendResult, SocketState, TimeoutError,
};
use completion_port::{Action, Port};
use rstest::rstest;
use std::time::Duration;
use test_doubles::Step;

const MS: Duration = Duration::from_millis(1);
/// A time-out, and an eighth of it.
const TIMEOUT: Duration = Duration::from_millis(800);
const TICK: Duration = Duration::from_millis(100);
/// What rounding to milliseconds may add, for each tick.
const ROUNDING: Duration = Duration::from_millis(9);

fn with_timeout(fixture: Fixture) -> Fixture {
    fixture.set_idle_timeout(Some(TIMEOUT)).expect("it is open");
    fixture
}

/// Moves the clock on until `is_over`. Returns how long that took.
#[track_caller]
fn until(fixture: &Fixture, mut is_over: impl FnMut() -> bool) -> Duration {
    let begin = fixture.port.now();
    while !is_over() {
        assert!(fixture.port.now() - begin < 10 * TIMEOUT, "it never ends");
        fixture.port.advance(MS);
    }
    fixture.port.now() - begin
}

fn is_in_time(elapsed: Duration) -> bool {
    (TIMEOUT..=TIMEOUT + TICK + ROUNDING).contains(&elapsed)
}

// Tests_SRS_SOCKET_01_110
#[rstest]
fn what_waits_ends_after_the_time_and_at_most_an_eighth_more(#[values(0, 1, 50, 99, 100, 101)] phase: u32) {
    let fixture = with_timeout(Fixture::open());
    fixture.port.advance(phase * MS);
    let (first, second) = (fixture.receive(vec![0; 1]), fixture.receive(vec![0; 1]));
    let send = fixture.blocked_send("blocked", 0);

    let elapsed = until(&fixture, || fixture.port.queued(completion_port::Direction::In) == 0);

    assert!(is_in_time(elapsed), "{elapsed:?}");
    for receive in [first, second] {
        assert_eq!(receive.take().reason, EndReason::TimedOut);
    }
    assert_eq!(send.take().reason, EndReason::TimedOut);
    assert_eq!(fixture.state(), SocketState::Open);
}

// Tests_SRS_SOCKET_01_111
#[rstest]
#[case::tcp(Fixture::open_tcp())]
#[case::another_stream(Fixture::open())]
fn a_byte_received_begins_the_time_anew(#[case] fixture: Fixture) {
    let fixture = with_timeout(fixture);
    let mut waiting = fixture.receive(vec![0; 1]);
    for _ in 0..5 {
        fixture.port.advance(TIMEOUT - TICK);
        waiting.assert_pending();
        fixture.sys.script_recv([Step::bytes("x")]);
        fixture.fire(Action::In);
        assert_eq!(waiting.received(), b"x");
        waiting = fixture.receive(vec![0; 1]);
    }

    let elapsed = until(&fixture, || fixture.port.queued(completion_port::Direction::In) == 0);

    assert!(is_in_time(elapsed), "{elapsed:?}");
    assert_eq!(waiting.take().reason, EndReason::TimedOut);
}

// Tests_SRS_SOCKET_01_111
#[test]
fn a_byte_received_into_a_pool_begins_the_time_anew() {
    let (fixture, pool) = (with_timeout(Fixture::open_tcp()), BufferPool::new(8, 1).expect("a pool"));
    for _ in 0..3 {
        let (waiting, report) = Outcome::new();
        fixture.receive_pooled_async(&pool, report).expect("accepted");
        fixture.port.advance(TIMEOUT - TICK);
        fixture.sys.script_recv([Step::bytes("x")]);
        fixture.fire(Action::In);
        assert_eq!(waiting.take().reason, EndReason::Completed);
    }
}

// Tests_SRS_SOCKET_01_111
#[test]
fn a_byte_sent_at_once_or_later_begins_the_time_anew() {
    let fixture = with_timeout(Fixture::open());
    let waiting = fixture.receive(vec![0; 1]);
    fixture.port.advance(TIMEOUT - TICK);
    assert_eq!(fixture.send("at once").ended(SendResult::Ok), (None, 7));
    fixture.port.advance(TIMEOUT - TICK);
    let send = fixture.blocked_send("blocked", 1);
    fixture.port.advance(TIMEOUT - TICK);
    fixture.sys.script_send([Step::Takes(2), Step::Fails(Errno::AGAIN)]);
    fixture.fire(Action::Out);
    fixture.port.advance(TIMEOUT - TICK);
    waiting.assert_pending();

    let elapsed = until(&fixture, || fixture.port.queued(completion_port::Direction::In) == 0);

    assert!(elapsed <= 2 * TICK + ROUNDING, "{elapsed:?}");
    assert_eq!(waiting.take().reason, EndReason::TimedOut);
    let completion = send.take();
    assert_eq!((completion.reason, completion.bytes_sent), (EndReason::TimedOut, 3));
    assert_eq!(fixture.refused_send("late").error, SendError::StreamBroken);
}

// Tests_SRS_SOCKET_01_110
#[test]
fn a_send_of_which_a_part_went_out_ends_although_nothing_else_waits() {
    let fixture = with_timeout(Fixture::open());
    let send = fixture.blocked_send("blocked", 3);

    let elapsed = until(&fixture, || fixture.port.queued(completion_port::Direction::Out) == 0);

    // The bytes that went out before it waited may have begun the time anew, once.
    assert!(elapsed <= TIMEOUT + 2 * TICK + ROUNDING, "{elapsed:?}");
    let completion = send.take();
    assert_eq!((completion.reason, completion.bytes_sent), (EndReason::TimedOut, 3));
}

// Tests_SRS_SOCKET_01_111
#[test]
fn sends_that_only_wait_do_not_begin_the_time_anew() {
    let fixture = with_timeout(Fixture::open());
    let _blocked = fixture.blocked_send("blocked", 0);

    let elapsed = until(&fixture, || {
        let waiting = fixture.port.queued(completion_port::Direction::Out);
        if waiting > 0 {
            let _ = fixture.send("more");
        }
        waiting == 0
    });

    assert!(is_in_time(elapsed), "{elapsed:?}");
    assert_eq!(fixture.queued_bytes(), 0);
}

// Tests_SRS_SOCKET_01_110
#[test]
fn time_without_an_operation_that_waits_does_not_count() {
    let fixture = with_timeout(Fixture::open());
    fixture.port.advance(10 * TIMEOUT);
    let waiting = fixture.receive(vec![0; 1]);

    let elapsed = until(&fixture, || fixture.port.queued(completion_port::Direction::In) == 0);

    assert!(is_in_time(elapsed), "{elapsed:?}");
    assert_eq!(waiting.take().reason, EndReason::TimedOut);
}

// Tests_SRS_SOCKET_01_110
#[test]
fn an_operation_that_follows_a_cancelled_one_has_all_the_time() {
    let fixture = with_timeout(Fixture::open());
    let id = fixture.receive_async([0], |_| {}).expect("accepted");
    fixture.port.advance(TIMEOUT - TICK);
    assert_eq!(fixture.cancel(id), Cancel::Cancelled);
    let waiting = fixture.receive(vec![0; 1]);

    let elapsed = until(&fixture, || fixture.port.queued(completion_port::Direction::In) == 0);

    assert!(is_in_time(elapsed), "{elapsed:?}");
    assert_eq!(waiting.take().reason, EndReason::TimedOut);
}

// Tests_SRS_SOCKET_01_110
#[test]
fn a_deadline_shortly_before_the_last_tick_does_not_bring_it_forward() {
    let fixture = with_timeout(Fixture::open());
    // Shortly before the first tick.
    fixture.port.advance(TICK - MS);
    let (waiting, (late, report)) = (fixture.receive(vec![0; 1]), Outcome::new());
    let within = TIMEOUT - TICK + 16 * MS;
    let report = move |ended: ReceiveCompletion<[u8; 1]>| report(ended.reason);
    fixture.receive_async_within([0], within, report).expect("accepted");

    fixture.port.advance(within);

    assert_eq!(late.take(), EndReason::TimedOut);
    waiting.assert_pending();
}

// Tests_SRS_SOCKET_01_112
#[test]
fn it_can_be_changed_and_ended_while_operations_wait() {
    let fixture = with_timeout(Fixture::open());
    let waiting = fixture.receive(vec![0; 1]);
    fixture.port.advance(TIMEOUT / 2);
    fixture.set_idle_timeout(None).expect("there is memory");
    fixture.port.advance(10 * TIMEOUT);
    waiting.assert_pending();
    assert_eq!(fixture.port.next_timer(), None, "the timer is not armed again");

    fixture.set_idle_timeout(Some(TIMEOUT / 100)).expect("it is open");
    let elapsed = until(&fixture, || fixture.port.queued(completion_port::Direction::In) == 0);

    assert!((TIMEOUT / 100..=TIMEOUT / 100 + 20 * MS).contains(&elapsed), "{elapsed:?}");
    assert_eq!(waiting.take().reason, EndReason::TimedOut);
}

// Tests_SRS_SOCKET_01_112
#[rstest]
#[case::never_opened(Fixture::closed())]
#[case::closed(Fixture::after_close())]
fn a_socket_that_is_not_open_refuses_it(#[case] fixture: Fixture) {
    let refused = fixture.set_idle_timeout(Some(TIMEOUT));

    assert!(matches!(refused, Err(TimeoutError::NotOpen { state: SocketState::Closed })), "{refused:?}");
    fixture.set_idle_timeout(None).expect("nothing to end");
}

// Tests_SRS_SOCKET_01_110, Tests_SRS_SOCKET_01_100
#[test]
fn deadlines_and_the_idle_time_out_share_the_timer() {
    let fixture = with_timeout(Fixture::open());
    let plain = fixture.receive(vec![0; 1]);
    let [early, late] = [30 * MS, 3 * TIMEOUT].map(|within| {
        let (outcome, report) = Outcome::new();
        fixture.receive_async_within([0], within, report).expect("accepted");
        outcome
    });
    fixture.port.advance(30 * MS);
    assert_eq!(early.take().reason, EndReason::TimedOut);

    let elapsed = 30 * MS + until(&fixture, || fixture.port.queued(completion_port::Direction::In) == 0);

    // A time-out of an operation is not a byte, but the next operation has not waited yet.
    assert!((TIMEOUT..=TIMEOUT + 2 * TICK + ROUNDING).contains(&elapsed), "{elapsed:?}");
    assert_eq!(plain.take().reason, EndReason::TimedOut);
    assert_eq!(late.take().reason, EndReason::TimedOut);
}

// Tests_SRS_SOCKET_01_112
#[test]
fn a_time_of_any_length_is_accepted() {
    let fixture = Fixture::open();
    let waiting = fixture.receive(vec![0; 1]);
    fixture.set_idle_timeout(Some(Duration::MAX)).expect("it is open");
    fixture.port.advance(Duration::from_secs(20 * 24 * 3600));
    waiting.assert_pending();
    fixture.set_idle_timeout(Some(Duration::ZERO)).expect("it is open");

    let elapsed = until(&fixture, || fixture.port.queued(completion_port::Direction::In) == 0);

    assert!(elapsed <= 20 * MS, "{elapsed:?}");
    assert_eq!(waiting.take().reason, EndReason::TimedOut);
}
