//! `receive_pooled_async` over the mocks: buffers are taken late and come back, and receives wait for them in order.

use crate::common::{Fixture, Journal, Outcome};
use async_socket_linux::sys::Errno;
use async_socket_linux::{
    AsyncSocket, BufferPool, PoolError, PooledBuffer, PooledCompletion, ReceiveError, ReceiveResult, SendCompletion,
    SendError, SendResult, SocketState,
};
use completion_port::Action;
use rstest::rstest;
use std::sync::Arc;
use std::time::Duration;
use test_doubles::{SocketCall, Step};

fn pool(limit: usize) -> BufferPool {
    BufferPool::new(16, limit).expect("a pool")
}

fn receive(fixture: &Fixture, pool: &BufferPool) -> Outcome<PooledCompletion> {
    let (outcome, report) = Outcome::new();
    fixture.socket.receive_pooled_async(pool, report).expect("accepted");
    outcome
}

fn counts(pool: &BufferPool) -> (usize, usize) {
    (pool.buffers_made(), pool.buffers_free())
}

// Tests_SRS_BUFFER_POOL_01_001
#[test]
fn a_new_pool_has_made_no_buffer() {
    assert_eq!(counts(&pool(1000)), (0, 0));
}

// Tests_SRS_BUFFER_POOL_01_002
#[rstest]
#[case::no_bytes(0, 1, PoolError::BufferBytes { buffer_bytes: 0 })]
#[case::too_many_bytes(1 << 32, 1, PoolError::BufferBytes { buffer_bytes: 1 << 32 })]
#[case::no_buffers(1, 0, PoolError::NoBuffers)]
fn a_pool_that_makes_no_sense_is_refused(#[case] bytes: usize, #[case] limit: usize, #[case] error: PoolError) {
    assert_eq!(BufferPool::new(bytes, limit).map(drop), Err(error));
}

// Tests_SRS_BUFFER_POOL_01_003
#[test]
fn a_receive_holds_no_buffer_while_it_waits() {
    let (fixture, pool) = (Fixture::open(), pool(2));
    let waiting = receive(&fixture, &pool);
    assert_eq!(counts(&pool), (0, 0));

    // The event says readable, but the kernel says EAGAIN.
    fixture.fire(Action::In);

    waiting.assert_pending();
    assert_eq!(counts(&pool), (1, 1), "one was made, and it is back");
}

// Tests_SRS_BUFFER_POOL_01_004
#[test]
fn the_callback_gets_just_the_bytes_that_arrived_and_can_change_them() {
    let (fixture, pool) = (Fixture::open(), pool(1));
    fixture.sys.script_recv([Step::bytes("hello")]);
    let received = receive(&fixture, &pool);

    fixture.fire(Action::In);

    let completion = received.take();
    assert_eq!((completion.result, completion.os_error()), (ReceiveResult::Ok, None));
    let mut buffer = completion.buffer.expect("the bytes");
    buffer[0] = b'j';
    assert_eq!(&*buffer, b"jello");
    assert!(matches!(fixture.sys.calls().last(), Some(SocketCall::Recv(16, _))), "all of the buffer is room");
}

#[rstest]
#[case::nothing_came_along(Step::bytes("short"), 1)]
#[case::descriptors_came_along(Step::DeliversWithScmRights(b"short".to_vec()), 2)]
fn a_short_read_from_a_unix_stream_is_believed_unless_descriptors_came_along(#[case] step: Step, #[case] calls: usize) {
    let (fixture, pool) = (Fixture::closed(), pool(2));
    fixture.sys.be_a_unix_stream();
    fixture.socket.open_async(|_| {}).expect("the socket opens");
    let (first, second) = (receive(&fixture, &pool), receive(&fixture, &pool));
    fixture.sys.script_recv([step]);

    fixture.fire(Action::In);

    assert_eq!(first.take().buffer.as_deref(), Some(b"short".as_slice()));
    second.assert_pending();
    assert_eq!((fixture.receive_calls(), fixture.port.run_scheduled()), (calls, 0));
    let noting = fixture.sys.count(|call| matches!(call, SocketCall::RecvNotingScmRights(16, _)));
    assert_eq!(noting, calls, "a plain recv does not tell of descriptors");
}

#[test]
fn a_short_read_from_tcp_is_believed_until_the_next_event() {
    let (fixture, pool) = (Fixture::open_tcp(), pool(2));
    let (first, second) = (receive(&fixture, &pool), receive(&fixture, &pool));
    fixture.sys.script_recv([Step::bytes("short"), Step::bytes("next")]);

    fixture.fire(Action::In);

    assert_eq!(first.take().buffer.as_deref(), Some(b"short".as_slice()));
    second.assert_pending();
    assert_eq!((fixture.receive_calls(), fixture.port.run_scheduled()), (1, 0));
    fixture.fire(Action::In);
    assert_eq!(second.take().buffer.as_deref(), Some(b"next".as_slice()));
}

// Tests_SRS_BUFFER_POOL_01_004, Tests_SRS_BUFFER_POOL_01_005
#[test]
fn a_buffer_can_be_sent_as_it_is_and_is_used_again() {
    let (fixture, pool) = (Fixture::open(), pool(1));
    for round in ["first", "second one"] {
        fixture.sys.script_recv([Step::bytes(round)]);
        let received = receive(&fixture, &pool);
        fixture.fire(Action::In);
        let buffer = received.take().buffer.expect("the bytes");
        assert_eq!(counts(&pool), (1, 0));

        let sent = fixture.send(buffer).take();

        assert_eq!(sent.result, SendResult::Ok);
        drop(sent);
        assert_eq!(counts(&pool), (1, 1));
    }
    assert_eq!(fixture.sys.sent(), b"firstsecond one");
}

// Tests_SRS_BUFFER_POOL_01_001, Tests_SRS_BUFFER_POOL_01_006
#[test]
fn when_the_pool_is_empty_receives_wait_in_the_order_in_which_they_found_it_so() {
    let pool = pool(1);
    let fixtures = [Fixture::open(), Fixture::open(), Fixture::open()];
    let received = fixtures.each_ref().map(|fixture| {
        fixture.sys.script_recv([Step::bytes("x")]);
        let received = receive(fixture, &pool);
        fixture.fire(Action::In);
        received
    });
    let mut completion = received[0].take();
    received[1].assert_pending();
    received[2].assert_pending();
    assert_eq!(fixtures[1].receive_calls(), 0, "nothing was taken from the kernel");

    for next in &received[1..] {
        drop(completion);
        assert_eq!(fixtures.each_ref().map(|fixture| fixture.port.run_scheduled()).iter().sum::<usize>(), 1);
        completion = next.take();
        assert_eq!(completion.buffer.as_deref(), Some(b"x".as_slice()));
    }
    assert_eq!(counts(&pool), (1, 0));
}

// Tests_SRS_BUFFER_POOL_01_006
#[test]
fn a_receive_that_waits_for_a_buffer_is_not_tried_at_every_event() {
    let (fixture, pool) = (Fixture::open(), pool(1));
    let other = Fixture::open();
    other.sys.script_recv([Step::bytes("x")]);
    let held = receive(&other, &pool);
    other.fire(Action::In);
    let waiting = receive(&fixture, &pool);

    for _ in 0..3 {
        fixture.fire(Action::In);
    }

    waiting.assert_pending();
    assert_eq!(fixture.port.run_scheduled(), 0, "and does not spin");
    drop(held.take());
    assert_eq!(fixture.port.run_scheduled(), 1);
    assert_eq!(fixture.receive_calls(), 1);
}

// Tests_SRS_BUFFER_POOL_01_006
#[test]
fn pooled_and_other_receives_share_one_queue() {
    let (fixture, pool) = (Fixture::open(), pool(1));
    let journal = Journal::new();
    let note = |name: &'static str| {
        let journal = journal.clone();
        move || journal.note(name)
    };
    fixture.sys.script_recv([Step::bytes("1"), Step::bytes("2"), Step::bytes("3")]);
    let (first, second, third) = (note("first"), note("second"), note("third"));
    fixture.socket.receive_pooled_async(&pool, move |_| first()).unwrap();
    fixture.socket.receive_async([0; 4], move |_| second()).unwrap();
    fixture.socket.receive_pooled_async(&pool, move |_| third()).unwrap();

    fixture.fire(Action::In);

    assert_eq!(journal.entries(), ["first", "second", "third"]);
}

// Tests_SRS_BUFFER_POOL_01_007
#[rstest]
#[case::end([Step::bytes("")], ReceiveResult::Abandoned, None)]
#[case::reset([Step::Fails(Errno::CONNRESET)], ReceiveResult::Abandoned, Some(Errno::CONNRESET))]
#[case::error([Step::Fails(Errno::TIMEDOUT)], ReceiveResult::Error, Some(Errno::TIMEDOUT))]
fn an_end_without_bytes_gives_no_buffer(
    #[case] script: [Step; 1],
    #[case] result: ReceiveResult,
    #[case] errno: Option<Errno>,
) {
    let (fixture, pool) = (Fixture::open(), pool(1));
    fixture.sys.script_recv(script);
    let received = receive(&fixture, &pool);

    fixture.fire(Action::In);

    let completion = received.take();
    assert_eq!((completion.result, completion.os_error()), (result, errno.map(Errno::raw_os_error)));
    assert!(completion.buffer.is_none());
    assert_eq!(counts(&pool), (1, 1));
}

// Tests_SRS_BUFFER_POOL_01_007
#[test]
fn a_receive_that_is_closed_while_it_waits_for_a_buffer_leaves_it_to_the_next() {
    let pool = pool(1);
    let (holder, closing, next) = (Fixture::open(), Fixture::open(), Fixture::open());
    for fixture in [&holder, &closing, &next] {
        fixture.sys.script_recv([Step::bytes("x")]);
    }
    let held = receive(&holder, &pool);
    holder.fire(Action::In);
    let (abandoned, received) = (receive(&closing, &pool), receive(&next, &pool));
    closing.fire(Action::In);
    next.fire(Action::In);

    // The buffer comes back and is granted to the receive on the socket that is then closed.
    drop(held.take());
    closing.socket.close();
    closing.port.run_scheduled();
    next.port.run_scheduled();

    let abandoned = abandoned.take();
    assert_eq!((abandoned.result, abandoned.buffer.is_none()), (ReceiveResult::Abandoned, true));
    assert_eq!(received.take().result, ReceiveResult::Ok);
}

// Tests_SRS_BUFFER_POOL_01_007
#[test]
fn a_receive_that_was_closed_before_a_buffer_came_back_is_passed_over() {
    let pool = pool(1);
    let (holder, closed, next) = (Fixture::open(), Fixture::open(), Fixture::open());
    for fixture in [&holder, &closed, &next] {
        fixture.sys.script_recv([Step::bytes("x")]);
    }
    let held = receive(&holder, &pool);
    holder.fire(Action::In);
    let (abandoned, received) = (receive(&closed, &pool), receive(&next, &pool));
    closed.fire(Action::In);
    next.fire(Action::In);
    closed.socket.close();
    assert_eq!(abandoned.take().result, ReceiveResult::Abandoned);
    assert_eq!(next.port.run_scheduled(), 0, "there is no buffer yet");

    drop(held.take());

    next.port.run_scheduled();
    assert_eq!(received.take().result, ReceiveResult::Ok);
}

// Tests_SRS_BUFFER_POOL_01_006
#[test]
fn a_buffer_dropped_in_the_callback_serves_the_next_receive_of_the_same_socket() {
    let (fixture, pool) = (Fixture::open(), pool(1));
    fixture.sys.script_recv([Step::bytes("1"), Step::bytes("2")]);
    let again = Arc::clone(&fixture.socket);
    let (second, report) = Outcome::new();
    let shared = pool.clone();
    let callback = move |first: PooledCompletion| {
        again.receive_pooled_async(&shared, report).expect("accepted");
        drop(first);
    };
    fixture.socket.receive_pooled_async(&pool, callback).unwrap();

    fixture.fire(Action::In);

    assert_eq!(second.take().buffer.as_deref(), Some(b"2".as_slice()));
    assert_eq!(pool.buffers_made(), 1);
}

/// Takes the pool's only buffer, and then starts receives on `count` sockets, which find the pool empty. Returns the
/// buffer and the receives.
fn waiting(pool: &BufferPool, count: usize) -> (PooledCompletion, Vec<(Fixture, Outcome<PooledCompletion>)>) {
    let receives = || {
        let fixture = Fixture::open();
        fixture.sys.script_recv([Step::bytes("x")]);
        let received = receive(&fixture, pool);
        fixture.fire(Action::In);
        (fixture, received)
    };
    let held = receives().1.take();
    (held, (0..count).map(|_| receives()).collect())
}

// Tests_SRS_BUFFER_POOL_01_006, Tests_SRS_BUFFER_POOL_01_010
#[rstest]
fn a_buffer_that_has_come_back_is_left_to_the_first_that_waits(#[values(1, 2)] waiters: usize) {
    let pool = pool(1);
    let (held, mut receives) = waiting(&pool, waiters);
    let late = Fixture::open();
    late.sys.script_recv([Step::bytes("x")]);
    let last = receive(&late, &pool);

    drop(held);
    // The first receive that waits has not been attempted again yet.
    late.fire(Action::In);
    receives.iter().for_each(|(_, received)| received.assert_pending());
    last.assert_pending();

    receives.push((late, last));
    for (fixture, received) in receives {
        assert_eq!(fixture.port.run_scheduled(), 1);
        assert_eq!(received.take().buffer.as_deref(), Some(b"x".as_slice()));
    }
}

// Tests_SRS_BUFFER_POOL_01_010
#[test]
fn two_buffers_that_have_come_back_are_left_to_the_first_two() {
    let pool = pool(2);
    let (first, receives) = waiting(&pool, 1);
    let second = receives[0].1.take();
    let (third, fourth) = (Fixture::open(), Fixture::open());
    let waiting = [&third, &fourth].map(|fixture| {
        fixture.sys.script_recv([Step::bytes("x")]);
        let received = receive(fixture, &pool);
        fixture.fire(Action::In);
        received
    });
    drop((first, second));
    let late = Fixture::open();
    let last = receive(&late, &pool);

    late.fire(Action::In);

    last.assert_pending();
    // The second waiting receive may be attempted first. It takes only its own buffer.
    assert_eq!((fourth.port.run_scheduled(), third.port.run_scheduled()), (1, 1));
    waiting.iter().for_each(|received| assert_eq!(received.take().result, ReceiveResult::Ok));
}

// Tests_SRS_BUFFER_POOL_01_007, Tests_SRS_BUFFER_POOL_01_009
#[rstest]
#[case::before_a_buffer_comes_back(false)]
#[case::when_it_has_been_granted_one(true)]
fn a_receive_that_is_closed_while_it_waits_leaves_nothing_in_the_pool(#[case] granted: bool) {
    let pool = pool(1);
    let (held, mut receives) = waiting(&pool, 3);
    let (fixture, received) = receives.remove(0);
    assert!(format!("{pool:?}").contains("waiting: 3"));
    let mut held = Some(held);
    if granted {
        drop(held.take());
    }

    fixture.socket.close();

    assert_eq!(received.take().result, ReceiveResult::Abandoned);
    assert!(format!("{pool:?}").contains("waiting: 2"));
    let Fixture { port, socket, .. } = fixture;
    drop(socket);
    // A scheduled socket keeps its memory until the port thread has served it.
    port.run_scheduled();
    assert_eq!(port.references(), 1, "the pool does not keep the port");
    drop(held);
    for (fixture, received) in receives {
        assert_eq!(fixture.port.run_scheduled(), 1);
        assert_eq!(received.take().result, ReceiveResult::Ok);
    }
}

// Tests_SRS_BUFFER_POOL_01_009
#[test]
fn many_receives_that_come_and_go_behind_one_that_waits_leave_the_order_as_it_is() {
    let pool = pool(1);
    let (held, receives) = waiting(&pool, 50);
    let (kept, gone): (Vec<_>, Vec<_>) = receives.into_iter().enumerate().partition(|(index, _)| index % 7 == 0);
    // From the last to the first.
    for (_, (fixture, received)) in gone.iter().rev() {
        fixture.socket.close();
        assert_eq!(received.take().result, ReceiveResult::Abandoned);
    }

    let mut completion = held;
    for (_, (fixture, received)) in kept {
        drop(completion);
        assert_eq!(fixture.port.run_scheduled(), 1);
        completion = received.take();
        assert_eq!(completion.result, ReceiveResult::Ok);
    }
    assert!(format!("{pool:?}").contains("waiting: 0"));
}

// Tests_SRS_BUFFER_POOL_01_011
#[rstest]
#[case::end([Step::bytes("")])]
#[case::reset([Step::Fails(Errno::CONNRESET)])]
#[case::error([Step::Fails(Errno::TIMEDOUT)])]
fn the_buffer_is_back_when_the_callback_of_an_end_runs(#[case] script: [Step; 1]) {
    let (fixture, pool) = (Fixture::open(), pool(1));
    fixture.sys.script_recv(script);
    let (seen, report) = Outcome::new();
    let shared = pool.clone();
    fixture.socket.receive_pooled_async(&pool, move |_| report(counts(&shared))).expect("accepted");

    fixture.fire(Action::In);

    assert_eq!(seen.take(), (1, 1));
}

// Tests_SRS_BUFFER_POOL_01_008
#[rstest]
#[case::never_opened(Fixture::closed())]
#[case::closed(Fixture::after_close())]
fn a_socket_that_is_not_open_refuses(#[case] fixture: Fixture) {
    let (callback, report) = Outcome::new();

    let refused = fixture.socket.receive_pooled_async(&pool(1), report);

    assert_eq!(refused, Err(ReceiveError::NotOpen { state: SocketState::Closed }));
    callback.assert_never();
}

// Tests_SRS_BUFFER_POOL_01_007
#[test]
fn an_error_that_the_receive_before_it_has_met_after_bytes_ends_a_pooled_receive() {
    let (fixture, pool) = (Fixture::open(), pool(1));
    let first = fixture.receive(vec![[0_u8; 1]; 1025]);
    let received = receive(&fixture, &pool);
    fixture.sys.script_recv([Step::bytes([7; 1024]), Step::Fails(Errno::TIMEDOUT)]);

    fixture.fire(Action::In);

    assert_eq!(first.take().bytes_received, 1024);
    let completion = received.take();
    assert_eq!(
        (completion.result, completion.os_error()),
        (ReceiveResult::Error, Some(Errno::TIMEDOUT.raw_os_error()))
    );
    assert_eq!(counts(&pool), (0, 0));
}

#[test]
fn a_pool_and_its_buffers_can_be_shown() {
    let (fixture, pool) = (Fixture::open(), pool(3));
    fixture.sys.script_recv([Step::bytes("four")]);
    let received = receive(&fixture, &pool);
    fixture.fire(Action::In);

    let buffer = received.take().buffer.expect("bytes arrived");

    assert_eq!(format!("{pool:?}"), "BufferPool { buffer_bytes: 16, limit: 3, made: 1, free: 0, waiting: 0 }");
    assert_eq!(format!("{buffer:?}"), "PooledBuffer { filled: 4, .. }");
}

/// Takes the only buffer of a pool into a send that waits.
fn held_by_a_send(fixture: &Fixture, pool: &BufferPool, within: Duration) -> Outcome<SendCompletion<PooledBuffer>> {
    fixture.sys.script_recv([Step::bytes("held")]);
    let received = receive(fixture, pool);
    fixture.fire(Action::In);
    let buffer = received.take().buffer.expect("the only buffer");
    fixture.sys.script_send([Step::Fails(Errno::AGAIN)]);
    let (sent, report) = Outcome::new();
    fixture.send_async_within(buffer, within, report).expect("accepted");
    sent
}

// Tests_SRS_BUFFER_POOL_01_013
#[rstest]
#[case::deadline(|fixture: &Fixture| fixture.port.advance(Duration::from_millis(5)))]
#[case::close(|fixture: &Fixture| fixture.close())]
#[case::error(|fixture: &Fixture| fixture.fire(Action::Error))]
fn a_buffer_that_a_peer_does_not_read_comes_back_when_its_send_ends_and_the_others_go_on(#[case] end: fn(&Fixture)) {
    let (slow, other, pool) = (Fixture::open(), Fixture::open(), pool(1));
    let sent = held_by_a_send(&slow, &pool, Duration::from_millis(5));
    other.sys.script_recv([Step::bytes("next")]);
    let waiting = receive(&other, &pool);
    other.fire(Action::In);
    waiting.assert_pending();

    end(&slow);
    drop(sent.take());
    other.port.run_scheduled();

    assert_eq!(waiting.take().buffer.as_deref(), Some(b"next".as_slice()));
}

// Tests_SRS_BUFFER_POOL_01_013
#[test]
fn with_a_high_water_mark_a_peer_that_does_not_read_holds_one_buffer() {
    let (slow, pool) = (Fixture::open(), pool(3));
    slow.set_high_water_mark(Some(1)).expect("there is memory");
    let _first = held_by_a_send(&slow, &pool, Duration::from_secs(1));
    slow.sys.script_recv([Step::bytes("more")]);
    let second = receive(&slow, &pool);
    slow.fire(Action::In);
    let second = second.take().buffer.expect("another buffer");

    let refused = slow.send_async(second, |_| {}).expect_err("one waits already");
    assert_eq!(refused.error, SendError::TooMuchQueued { queued_bytes: 4 });
    drop(refused);

    assert_eq!(counts(&pool), (2, 1));
}

// Tests_SRS_BUFFER_POOL_01_014, Tests_SRS_BUFFER_POOL_01_015
#[test]
fn metrics_are_what_the_pool_holds() {
    let (fixture, pool) = (Fixture::open(), pool(1));
    let holds = || {
        let metrics = pool.metrics();
        (metrics.limit, metrics.buffers_made, metrics.buffers_free, metrics.receives_waiting)
    };
    let delayed = || pool.metrics().receives_delayed;
    assert_eq!(holds(), (1, 0, 0, 0));
    fixture.sys.script_recv([Step::bytes("held")]);
    let (held, _waiting) = (receive(&fixture, &pool), receive(&fixture, &pool));
    fixture.fire(Action::In);
    assert_eq!((holds(), delayed()), ((1, 1, 0, 1), 1));
    fixture.fire(Action::In);
    assert_eq!(delayed(), 1, "it is the same receive");

    drop(held.take());
    fixture.port.run_scheduled();

    assert_eq!((holds(), delayed()), ((1, 1, 1, 0), 1));
}
