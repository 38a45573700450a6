//! A busy socket beside a quiet one: the quiet one is served in between.

use async_socket_linux::{AsyncSocket, ReceiveCompletion, ReceiveResult, SendCompletion};
use integration_tests::call::{engine, open, receive};
use integration_tests::{Socket, Transport, send_now, spawn};
use rstest::rstest;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Far longer than a turn of the port, and far shorter than the firehose flows.
const PATIENCE: Duration = Duration::from_millis(500);

fn drink(socket: &Arc<Socket>, swallowed: Arc<AtomicUsize>, buffer: Vec<u8>) {
    let again = Arc::clone(socket);
    let callback = move |completion: ReceiveCompletion<Vec<u8>>| {
        if completion.result == ReceiveResult::Ok {
            swallowed.fetch_add(completion.bytes_received as usize, Ordering::Relaxed);
            drink(&again, swallowed, completion.buffers);
        }
    };
    // Refused at last, by the close.
    let _ = socket.receive_async(buffer, callback);
}

fn pour(socket: &Arc<Socket>, poured: Arc<AtomicUsize>, buffer: Vec<u8>) {
    let again = Arc::clone(socket);
    let callback = move |completion: SendCompletion<Vec<u8>>| {
        poured.fetch_add(completion.bytes_sent as usize, Ordering::Relaxed);
        pour(&again, poured, completion.buffers);
    };
    let _ = socket.send_async(buffer, callback);
}

/// The longest of many round trips on a quiet socket.
fn longest_round_trip(quiet: &Socket, mut peer: integration_tests::Peer, flowed: &AtomicUsize) -> Duration {
    let mut longest = Duration::ZERO;
    let start = Instant::now();
    let mut trips = 0;
    while trips < 300 || start.elapsed() < Duration::from_millis(100) {
        trips += 1;
        let before = Instant::now();
        let pending = receive(quiet, vec![0; 1]);
        peer.write_all(b"?").expect("the peer writes");
        assert_eq!(pending.next().result, ReceiveResult::Ok);
        send_now(quiet, b"!");
        assert_eq!(peer.read_bytes(1), b"!");
        longest = longest.max(before.elapsed());
    }
    assert!(flowed.load(Ordering::Relaxed) > 10_000, "the firehose flowed meanwhile, for {:?}", start.elapsed());
    longest
}

#[rstest]
fn a_firehose_of_receives_does_not_starve_a_quiet_socket(
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
    #[values(16, 4_096)] size: usize,
) {
    let engine = engine(1);
    let ((busy, mut hose), (quiet, peer)) = (transport.pair(), transport.pair());
    let (busy, quiet) = (open(&engine, busy), open(&engine, quiet));
    let flowed = Arc::new(AtomicUsize::new(0));
    drink(&busy, Arc::clone(&flowed), vec![0; size]);
    let pouring = spawn("hose", move || while hose.write(&[5; 65_536]).is_ok() {});

    let longest = longest_round_trip(&quiet, peer, &flowed);

    busy.close();
    pouring.join();
    assert!(longest < PATIENCE, "{longest:?}");
}

#[rstest]
fn a_firehose_of_sends_does_not_starve_a_quiet_socket(
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
    #[values(16, 4_096, 1 << 20)] size: usize,
) {
    let engine = engine(1);
    let ((busy, mut hose), (quiet, peer)) = (transport.pair(), transport.pair());
    let (busy, quiet) = (open(&engine, busy), open(&engine, quiet));
    let flowed = Arc::new(AtomicUsize::new(0));
    pour(&busy, Arc::clone(&flowed), vec![6; size]);
    let draining = spawn("hose", move || {
        let mut chunk = vec![0; 65_536];
        while hose.read(&mut chunk).is_ok_and(|read| read > 0) {}
    });

    let longest = longest_round_trip(&quiet, peer, &flowed);

    busy.close();
    draining.join();
    assert!(longest < PATIENCE, "{longest:?}");
}

#[test]
fn a_thousand_queued_receives_on_one_socket_do_not_hold_up_another() {
    let engine = engine(1);
    let ((busy, mut hose), (quiet, peer)) = (Transport::Unix.pair(), Transport::Unix.pair());
    let (busy, quiet) = (open(&engine, busy), open(&engine, quiet));
    let flowed = Arc::new(AtomicUsize::new(0));
    for _ in 0..1_000 {
        drink(&busy, Arc::clone(&flowed), vec![0; 64]);
    }
    let pouring = spawn("hose", move || while hose.write(&[5; 65_536]).is_ok() {});

    let longest = longest_round_trip(&quiet, peer, &flowed);

    busy.close();
    pouring.join();
    assert!(longest < PATIENCE, "{longest:?}");
}
