//! `set_metrics`: each operation and each byte is counted once, whichever way it goes.

use crate::common::{Fixture, Outcome};
use async_socket_linux::sys::Errno;
use async_socket_linux::{
    AsyncSocket, BufferPool, ExecutionEngine, OperationCounts, PooledCompletion, ReceiveCompletion, SendError,
    SocketCounts,
};
use completion_port::Action;
use rstest::rstest;
use std::sync::Arc;
use std::time::Duration;
use test_doubles::Step;

fn counting() -> Fixture {
    let fixture = Fixture::open();
    fixture.set_metrics(true).expect("there is memory");
    fixture
}

fn counts(fixture: &Fixture) -> SocketCounts {
    fixture.metrics().counts.expect("it counts")
}

/// How the operations of a direction ended: completed, abandoned, cancelled, timed out, failed.
fn ends(counts: OperationCounts) -> [u64; 5] {
    let OperationCounts { completed, abandoned, cancelled, timed_out, failed, .. } = counts;
    assert_eq!(counts.total(), completed + abandoned + cancelled + timed_out + failed);
    [completed, abandoned, cancelled, timed_out, failed]
}

fn receive_pooled(fixture: &Fixture, pool: &BufferPool) -> Outcome<PooledCompletion> {
    let (outcome, report) = Outcome::new();
    fixture.receive_pooled_async(pool, report).expect("accepted");
    outcome
}

// Tests_SRS_SOCKET_01_122
#[test]
fn nothing_is_counted_until_the_program_asks_and_a_pause_is_left_out() {
    let fixture = Fixture::open();
    let _ = fixture.send("one");
    assert_eq!(fixture.metrics().counts, None);
    fixture.set_metrics(false).expect("nothing to do");

    fixture.set_metrics(true).expect("there is memory");
    assert_eq!(counts(&fixture), SocketCounts::default());
    let _ = fixture.send("four");
    fixture.set_metrics(false).expect("there is memory");
    assert_eq!(fixture.metrics().counts, None);
    let _ = fixture.send("five5");
    fixture.set_metrics(true).expect("there is memory");
    let _ = fixture.send("sixsix");

    assert_eq!((ends(counts(&fixture).sends), counts(&fixture).bytes_sent), ([2, 0, 0, 0, 0], 10));
}

// Tests_SRS_SOCKET_01_121
#[test]
fn sends_are_counted_whether_the_kernel_takes_them_at_once_in_parts_or_later() {
    let fixture = counting();
    let _ = fixture.send("at once");
    fixture.sys.script_send([Step::Takes(2), Step::Takes(4)]);
    let _ = fixture.send("in two");
    assert_eq!((ends(counts(&fixture).sends), counts(&fixture).bytes_sent), ([2, 0, 0, 0, 0], 13));
    assert_eq!(counts(&fixture).sends_queued, 0);

    let (_first, _second) = (fixture.blocked_send("blocked", 3), fixture.send("behind"));
    assert_eq!((counts(&fixture).sends_queued, counts(&fixture).bytes_sent), (2, 16));
    fixture.sys.script_send([Step::Takes(1), Step::Fails(Errno::AGAIN)]);
    fixture.fire(Action::Out);
    assert_eq!((ends(counts(&fixture).sends), counts(&fixture).bytes_sent), ([2, 0, 0, 0, 0], 17));
    fixture.fire(Action::Out);

    assert_eq!((ends(counts(&fixture).sends), counts(&fixture).bytes_sent), ([4, 0, 0, 0, 0], 26));
    assert_eq!(fixture.sys.sent().len(), 26);
    assert_eq!(ends(counts(&fixture).receives), [0; 5]);
}

// Tests_SRS_SOCKET_01_121
#[test]
fn receives_are_counted_with_their_bytes_from_whichever_memory() {
    let (fixture, pool) = (counting(), BufferPool::new(16, 1).expect("a pool"));
    fixture.sys.script_recv([
        Step::bytes("one"),
        Step::Fails(Errno::AGAIN),
        Step::bytes("four"),
        Step::bytes("fives"),
        Step::bytes(""),
    ]);
    let (own, pooled, several) =
        (fixture.receive(vec![0; 8]), receive_pooled(&fixture, &pool), fixture.receive([vec![0; 3], vec![0; 8]]));
    let within = |_: ReceiveCompletion<Vec<u8>>| ();
    fixture.receive_async_within(vec![0; 8], Duration::from_secs(1000), within).expect("accepted");

    for _ in 0..6 {
        fixture.fire(Action::In);
    }

    assert_eq!((own.received(), pooled.take().buffer.as_deref()), (b"one".to_vec(), Some(b"four".as_slice())));
    assert_eq!(several.take().bytes_received, 5);
    let counts = counts(&fixture);
    assert_eq!((ends(counts.receives), counts.bytes_received), ([3, 1, 0, 0, 0], 12));
    assert_eq!((ends(counts.sends), counts.bytes_sent), ([0; 5], 0));
}

/// Ends what waits: two receives, one of them from a pool, and two sends, of the first of which 3 bytes have gone out.
type End = fn(&Fixture);

// Tests_SRS_SOCKET_01_121
#[rstest]
#[case::closed(|it: &Fixture| it.close(), [0, 2, 0, 0, 0], [0, 2, 0, 0, 0], 3)]
#[case::failed(|it: &Fixture| it.fire(Action::Error), [0, 0, 0, 0, 2], [0, 0, 0, 0, 2], 3)]
#[case::broken(|it: &Fixture| {
    it.sys.script_send([Step::Takes(1), Step::Fails(Errno::IO)]);
    it.fire(Action::Out);
    it.fire(Action::Out);
    it.fire(Action::Out);
}, [0; 5], [0, 1, 0, 0, 1], 4)]
fn what_ends_otherwise_than_well_is_counted_by_its_reason(
    #[case] end: End,
    #[case] receives: [u64; 5],
    #[case] sends: [u64; 5],
    #[case] bytes_sent: u64,
) {
    let (fixture, pool) = (counting(), BufferPool::new(16, 1).expect("a pool"));
    let _receives = (fixture.receive(vec![0; 1]), receive_pooled(&fixture, &pool));
    let _sends = (fixture.blocked_send("blocked", 3), fixture.send("behind"));

    end(&fixture);

    let counts = counts(&fixture);
    assert_eq!((ends(counts.receives), ends(counts.sends)), (receives, sends));
    assert_eq!((counts.bytes_received, counts.bytes_sent), (0, bytes_sent));
}

// Tests_SRS_SOCKET_01_121
#[test]
fn cancelled_operations_and_those_whose_time_is_over_are_counted_as_such() {
    let (fixture, _blocked) = Fixture::blocked();
    fixture.set_metrics(true).expect("there is memory");
    let receive = fixture.receive_async(vec![0; 1], |_| ()).expect("accepted");
    let send = fixture.send_async("behind", |_| ()).expect("accepted").expect("it waits");
    let soon = Duration::from_millis(1);
    fixture.receive_async_within(vec![0; 1], soon, |_| ()).expect("accepted");
    let _ = fixture.cancel(receive);
    let _ = fixture.cancel(send);

    fixture.port.advance(Duration::from_secs(1));

    let counts = counts(&fixture);
    assert_eq!((ends(counts.receives), ends(counts.sends)), ([0, 0, 1, 1, 0], [0, 0, 1, 0, 0]));
    assert_eq!((counts.sends_queued, counts.bytes_sent), (1, 0));
}

// Tests_SRS_SOCKET_01_121
#[test]
fn shutdowns_count_as_sends_without_bytes() {
    let fixture = counting();
    let _blocked = fixture.blocked_send("blocked", 0);
    fixture.shutdown_async(|_| ()).expect("accepted");
    fixture.fire(Action::Out);
    fixture.fire(Action::Out);
    let counted = counts(&fixture);
    assert_eq!((ends(counted.sends), counted.bytes_sent), ([2, 0, 0, 0, 0], 7));

    let at_once = counting();
    at_once.shutdown_async(|_| ()).expect("accepted");
    assert_eq!(ends(counts(&at_once).sends), [1, 0, 0, 0, 0]);
}

// Tests_SRS_SOCKET_01_121
#[test]
fn refused_sends_are_counted_and_nothing_else_of_them() {
    let fixture = counting();
    fixture.set_high_water_mark(Some(1)).expect("there is memory");
    let _blocked = fixture.blocked_send("blocked", 0);
    assert!(matches!(fixture.refused_send("too much").error, SendError::TooMuchQueued { .. }));
    fixture.fire(Action::Out);
    fixture.sys.script_send([Step::Takes(2), Step::Fails(Errno::PIPE)]);
    fixture.refused_send("breaks");
    fixture.refused_send("after it");
    fixture.close();
    fixture.refused_send("closed");
    fixture.refused_send("");

    let counts = counts(&fixture);
    assert_eq!((ends(counts.sends), counts.sends_queued), ([1, 0, 0, 0, 0], 1));
    assert_eq!((counts.sends_refused, counts.bytes_sent), (4, 9));
}

// Tests_SRS_SOCKET_01_121
#[test]
fn a_callback_finds_itself_counted() {
    let fixture = counting();
    let (seen, report) = Outcome::new();
    let socket = Arc::clone(&fixture.socket);
    fixture.send_async("hello", move |_| report(socket.metrics().counts)).expect("accepted");
    assert_eq!(seen.take().expect("it counts").sends.completed, 1);

    let (seen, report) = Outcome::new();
    let socket = Arc::clone(&fixture.socket);
    fixture.receive_async(vec![0; 1], move |_| report(socket.metrics().counts)).expect("accepted");
    fixture.close();
    assert_eq!(seen.take().expect("it counts").receives.abandoned, 1);
}

// Tests_SRS_SOCKET_01_123
#[rstest]
#[case::at_once(|it: &Fixture, slow: fn()| {
    it.send_async("hello", move |_| slow()).expect("accepted");
})]
#[case::received(|it: &Fixture, slow: fn()| {
    drop(it.receive_async(vec![0; 1], move |_| slow()));
    it.sys.script_recv([Step::bytes("x")]);
    it.fire(Action::In);
})]
#[case::abandoned(|it: &Fixture, slow: fn()| {
    drop(it.receive_async(vec![0; 1], move |_| slow()));
    it.close();
})]
fn the_longest_callback_is_measured_also_if_it_panics(#[case] run: fn(&Fixture, fn())) {
    const TOOK: Duration = Duration::from_millis(20);
    let fixture = counting();
    let _ = fixture.send("fast");
    assert!(counts(&fixture).longest_callback < TOOK);

    run(&fixture, || {
        std::thread::sleep(TOOK);
        panic!("on purpose");
    });

    let longest = counts(&fixture).longest_callback;
    assert!((TOOK..Duration::from_secs(20)).contains(&longest), "{longest:?}");
}

// Tests_SRS_SOCKET_01_122
#[test]
fn counts_and_an_idle_time_out_do_not_end_each_other() {
    let fixture = counting();
    fixture.set_idle_timeout(Some(Duration::from_secs(8))).expect("it is open");
    fixture.set_idle_timeout(None).expect("it is open");
    let _ = fixture.send("counted");
    assert_eq!(counts(&fixture).bytes_sent, 7);

    fixture.set_idle_timeout(Some(Duration::from_secs(8))).expect("it is open");
    fixture.set_metrics(false).expect("it counts");
    let waits = fixture.receive(vec![0; 1]);
    for _ in 0..20 {
        fixture.port.advance(Duration::from_secs(1));
        let _ = fixture.send("a byte moves");
    }
    waits.assert_pending();
}

// Tests_SRS_COMPLETION_PORT_01_185
#[test]
fn the_ports_of_an_engine_count_if_its_builder_says_so() {
    let port_counts = |counts| {
        let engine = ExecutionEngine::builder().metrics(counts).build().expect("an engine");
        engine.port(0).expect("it has one").metrics().is_some()
    };
    assert_eq!((port_counts(true), port_counts(false)), (true, false));
}
