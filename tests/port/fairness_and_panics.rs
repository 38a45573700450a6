//! One descriptor's burst and one callback's panic do not hurt the others.

use completion_port::{Action, Direction};
use integration_tests::port::{Watched, port, reads, socket, start, watch, writes};
use integration_tests::{eventually, spawn, within};
use rstest::rstest;
use std::fs::File;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Reads on and on.
fn firehose(registration: Weak<Watched>, reads_done: Arc<AtomicUsize>) {
    let Some(strong) = registration.upgrade() else { return };
    reads_done.fetch_add(1, Ordering::Relaxed);
    let operation = reads(16).then(move |done| {
        if done.action != Action::Abandoned {
            firehose(registration, reads_done);
        }
    });
    let _ = strong.add(Direction::In, operation);
}

// Tests_SRS_COMPLETION_PORT_01_040
#[test]
fn a_firehose_leaves_a_quiet_descriptor_its_turns() {
    let port = port().1;
    // Always readable, and never empty.
    let hose = watch(&port, File::open("/dev/zero").and_then(as_pollable).expect("an endless source"));
    let count = Arc::new(AtomicUsize::new(0));
    firehose(Arc::downgrade(&hose), Arc::clone(&count));
    let (quiet, mut peer) = socket(&port);
    eventually("the hose runs", || count.load(Ordering::Relaxed) > 1000);
    let before = count.load(Ordering::Relaxed);

    let slowest = within("the quiet descriptor's turns", move || {
        let mut slowest = Duration::ZERO;
        for _ in 0..100 {
            let pending = start(&quiet, Direction::In, reads(1));
            let begin = Instant::now();
            peer.write_all(b"x").expect("the socket has room");
            assert_eq!(pending.only().bytes, b"x");
            slowest = slowest.max(begin.elapsed());
        }
        slowest
    });

    assert!(count.load(Ordering::Relaxed) > before, "the hose ran on meanwhile");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

/// A pipe that a thread keeps full from an endless file.
fn as_pollable(mut file: File) -> std::io::Result<std::io::PipeReader> {
    let (reader, mut writer) = std::io::pipe()?;
    drop(spawn("the source", move || std::io::copy(&mut file, &mut writer).ok()));
    Ok(reader)
}

// Tests_SRS_COMPLETION_PORT_01_040
#[test]
fn a_long_queue_on_one_descriptor_does_not_delay_another_until_its_end() {
    const LONG: usize = 20_000;
    let port = port().1;
    let ((busy, mut busy_peer), (quiet, _quiet_peer)) = (socket(&port), socket(&port));
    let reading = spawn("the reader", move || busy_peer.read_exact(&mut vec![0; LONG]));
    let (begun, left) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(LONG)));
    let hold = Arc::clone(&begun);
    let wait = move |_| while !hold.load(Ordering::Relaxed) {};
    let (holder, _holder_peer) = socket(&port);
    holder.add(Direction::Out, writes("x").then(wait)).unwrap();
    for _ in 0..LONG {
        let left = Arc::clone(&left);
        let operation = writes("x").then(move |_| {
            left.fetch_sub(1, Ordering::Relaxed);
        });
        busy.add(Direction::Out, operation).unwrap();
    }
    let then_left = {
        let (tell, told) = integration_tests::inbox();
        let left = Arc::clone(&left);
        quiet.add(Direction::Out, writes("x").then(move |_| tell.put(left.load(Ordering::Relaxed)))).unwrap();
        begun.store(true, Ordering::Relaxed);
        told.only()
    };

    assert!(then_left > LONG / 2, "only {then_left} of {LONG} were left when the quiet one had its turn");
    reading.join().unwrap();
}

// Tests_SRS_COMPLETION_PORT_01_041
#[rstest]
#[case::same_descriptor(true)]
#[case::other_descriptor(false)]
fn after_a_panic_everything_goes_on(#[case] same: bool) {
    let port = port().1;
    let ((one, mut one_peer), (two, mut two_peer)) = (socket(&port), socket(&port));
    let panics = |_| panic!("on purpose");
    one.add(Direction::In, reads(1).then(panics)).unwrap();
    one.add(Direction::Out, writes("x").then(panics)).unwrap();
    let (other, peer) = if same { (&one, &mut one_peer) } else { (&two, &mut two_peer) };
    let pending = start(other, Direction::In, reads(1));

    peer.write_all(b"12").unwrap();

    assert_eq!(pending.only().bytes, if same { b"2" } else { b"1" });
    assert_eq!(start(other, Direction::Out, writes("y")).only().action, Action::Out);
    assert!(within("the removal", move || one.remove()));
}

// Tests_SRS_COMPLETION_PORT_01_041, Tests_SRS_COMPLETION_PORT_01_052
#[test]
fn a_panic_while_abandoning_does_not_stop_it() {
    let port = port().1;
    let (registration, _peer) = socket(&port);
    registration.add(Direction::In, reads(1).then(|_| panic!("on purpose"))).unwrap();
    let behind = start(&registration, Direction::In, reads(1));

    assert!(registration.remove());

    assert_eq!(behind.only().action, Action::Abandoned);
}
