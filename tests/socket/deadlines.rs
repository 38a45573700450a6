//! Deadlines and the idle time-out on real connections and the real clock.

use async_socket_linux::{AsyncSocket, BufferPool, EndReason, ReceiveCompletion, SendCompletion};
use integration_tests::call::{block_sending, engine, open, receive, received};
use integration_tests::{Inbox, Socket, Transport, inbox, send_now, spawn, within};
use rstest::rstest;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);

fn start(socket: &Socket, within: Duration) -> Inbox<(ReceiveCompletion<Vec<u8>>, Instant)> {
    let (done, ended) = inbox();
    let report = move |completion| done.put((completion, Instant::now()));
    socket.receive_async_within(vec![0; 16], within, report).expect("accepted");
    ended
}

// Tests_SRS_SOCKET_01_100, Tests_SRS_SOCKET_01_101
#[rstest]
fn a_receive_from_a_silent_peer_ends_in_time_and_the_next_gets_every_byte(
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
) {
    let (descriptor, mut peer) = transport.pair();
    let socket = open(&engine(1), descriptor);
    let begin = Instant::now();

    let (completion, at) = start(&socket, 30 * MS).only();

    assert_eq!(completion.reason, EndReason::TimedOut);
    assert_eq!(completion.io_result().unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    assert!(at - begin >= 30 * MS, "{:?}", at - begin);
    let next = receive(&socket, vec![0; 16]);
    peer.write_all(b"all of it").unwrap();
    assert_eq!(received(&next.only()), b"all of it");
}

// Tests_SRS_SOCKET_01_100, Tests_SRS_SOCKET_01_102
#[rstest]
fn a_send_to_a_peer_that_does_not_read_ends_in_time_and_breaks_the_stream_only_if_bytes_went_out(
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
) {
    within("sends with a deadline", move || {
        let (descriptor, mut peer) = transport.narrow_pair();
        let socket = open(&engine(1), descriptor);
        let (blocked, position) = block_sending(&socket);
        let (done, ended) = inbox();
        let report = move |sent: SendCompletion<_>| done.put((sent.reason, sent.bytes_sent));
        socket.send_async_within(b"behind", 20 * MS, report).unwrap();

        assert_eq!(ended.only(), (EndReason::TimedOut, 0));
        peer.read_pattern(position);
        assert_eq!(blocked.only().reason, EndReason::Completed);
        send_now(&socket, b"still whole");
        assert_eq!(peer.read_bytes(11), b"still whole");

        let (done, ended) = inbox();
        let report = move |sent: SendCompletion<Vec<u8>>| done.put((sent.reason, sent.bytes_sent));
        socket.send_async_within(vec![1; 4 << 20], 20 * MS, report).unwrap();
        let (reason, bytes_sent) = ended.only();
        assert_eq!(reason, EndReason::TimedOut);
        assert!((1..4 << 20).contains(&bytes_sent), "{bytes_sent}");
        socket.send_async(b"no", |_| {}).unwrap_err();
        // What went out arrives.
        drop(socket);
        assert_eq!(peer.read_rest().len(), bytes_sent as usize);
    });
}

// Tests_SRS_SOCKET_01_104
#[test]
fn what_waits_behind_a_fragment_ends_with_it_although_the_peer_never_reads() {
    within("sends behind a fragment", || {
        let (descriptor, _peer) = Transport::TcpV4.narrow_pair();
        let socket = open(&engine(1), descriptor);
        let (done, ended) = inbox();
        let report = move |sent: SendCompletion<Vec<u8>>| done.put((sent.reason, sent.bytes_sent > 0));
        socket.send_async_within(vec![1; 4 << 20], 20 * MS, report).unwrap();
        let (done, behind) = inbox();
        socket.send_async(b"behind", move |sent: SendCompletion<_>| done.put((sent.reason, sent.bytes_sent))).unwrap();

        assert_eq!(ended.only(), (EndReason::TimedOut, true));
        assert_eq!(behind.only(), (EndReason::StreamBroken, 0));
    });
}

// Tests_SRS_SOCKET_01_103
#[test]
fn a_deadline_at_the_same_moment_as_the_data_has_one_outcome_and_no_byte_is_lost() {
    const ROUNDS: u64 = 3_000;
    within("deadlines that race with data", || {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let socket = open(&engine(1), ours.into());
        let mut random = fastrand::Rng::with_seed(16);
        let (sleep, pauses) = std::sync::mpsc::channel::<Duration>();
        let writes = spawn("the peer", move || {
            let mut bytes = 0_u64;
            for pause in pauses {
                std::thread::sleep(pause);
                theirs.write_all(&[bytes as u8]).unwrap();
                bytes += 1;
            }
            bytes
        });
        let (mut arrived, mut timed_out) = (0_u64, 0);
        for _ in 0..ROUNDS {
            let within = Duration::from_micros(random.u64(100..1_500));
            let (done, ended) = inbox();
            socket.receive_async_within([0_u8; 1], within, move |completion| done.put(completion)).unwrap();
            // The byte comes about when the receive is over.
            sleep.send(within + Duration::from_micros(random.u64(0..400))).unwrap();
            let completion: ReceiveCompletion<[u8; 1]> = ended.only();
            match completion.reason {
                EndReason::Completed => {
                    assert_eq!(completion.buffers, [arrived as u8], "in order");
                    arrived += 1;
                }
                EndReason::TimedOut => timed_out += 1,
                other => panic!("{other}"),
            }
        }
        drop(sleep);
        assert_eq!(arrived + timed_out, ROUNDS);
        let socket = Arc::into_inner(socket).expect("the only reference");
        let mut rest = UnixStream::from(socket.into_fd().expect("nothing waits"));
        rest.set_nonblocking(false).unwrap();
        let mut bytes = Vec::new();
        rest.read_to_end(&mut bytes).unwrap();
        assert_eq!(writes.join(), arrived + bytes.len() as u64, "nothing is lost");
        assert!(bytes.iter().zip(arrived..).all(|(byte, index)| *byte == index as u8), "in order");
    });
}

// Tests_SRS_SOCKET_01_100, Tests_SRS_SOCKET_01_103
#[test]
fn many_threads_begin_receives_with_deadlines_and_each_ends_in_time() {
    within("deadlines of many threads", || {
        let engine = engine(2);
        let threads: Vec<_> = (0..4)
            .map(|index| {
                let engine = engine.clone();
                spawn("deadlines", move || {
                    let (descriptor, _peer) = Transport::Unix.pair();
                    let socket = open(&engine, descriptor);
                    for round in 0..50 {
                        let within = Duration::from_millis((index * 7 + round * 3) % 20);
                        let begin = Instant::now();
                        let (completion, at) = start(&socket, within).only();
                        assert_eq!(completion.reason, EndReason::TimedOut);
                        assert!(at - begin >= within);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(integration_tests::Task::join);
    });
}

// Tests_SRS_SOCKET_01_110, Tests_SRS_SOCKET_01_111, Tests_SRS_SOCKET_01_112
#[rstest]
fn an_idle_connection_times_out_and_a_busy_one_does_not(
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
    #[values(false, true)] pooled: bool,
) {
    within("an idle time-out", move || {
        const TIMEOUT: Duration = Duration::from_millis(200);
        let (descriptor, mut peer) = transport.pair();
        let (socket, pool) = (open(&engine(1), descriptor), BufferPool::new(16, 1).unwrap());
        socket.set_idle_timeout(Some(TIMEOUT)).unwrap();
        let next = || {
            let (done, ended) = inbox();
            if pooled {
                socket.receive_pooled_async(&pool, move |it| done.put((it.reason, Instant::now()))).unwrap();
            } else {
                socket.receive_async([0; 1], move |it| done.put((it.reason, Instant::now()))).unwrap();
            }
            ended
        };
        let mut last_byte = Instant::now();
        for _ in 0..10 {
            let ended = next();
            std::thread::sleep(TIMEOUT / 4);
            last_byte = Instant::now();
            peer.write_all(b"x").unwrap();
            assert_eq!(ended.only().0, EndReason::Completed);
        }

        let (reason, at) = next().only();

        assert_eq!(reason, EndReason::TimedOut);
        assert!(at - last_byte >= TIMEOUT, "{:?}", at - last_byte);
        // It is as usable as before.
        let waiting = next();
        peer.write_all(b"y").unwrap();
        assert_eq!(waiting.only().0, EndReason::Completed);
    });
}

// Tests_SRS_SOCKET_01_111
#[rstest]
fn a_connection_on_which_bytes_are_only_sent_is_not_idle(#[values(false, true)] counts: bool) {
    within("an idle time-out beside sends", move || {
        const TIMEOUT: Duration = Duration::from_millis(800);
        let (descriptor, mut peer) = Transport::Unix.pair();
        let socket = open(&engine(1), descriptor);
        socket.set_metrics(counts).unwrap();
        socket.set_idle_timeout(Some(TIMEOUT)).unwrap();
        let waiting = receive(&socket, vec![0; 8]);

        for _ in 0..6 {
            std::thread::sleep(TIMEOUT / 4);
            send_now(&socket, b"x");
        }

        assert!(waiting.is_pending(), "longer than the time, but bytes were sent");
        peer.write_all(b"y").unwrap();
        assert_eq!(received(&waiting.only()), b"y");
    });
}

// Tests_SRS_SOCKET_01_110
#[test]
fn a_deadline_shortly_before_the_last_look_at_an_idle_socket_does_not_bring_it_forward() {
    const TIMEOUT: Duration = Duration::from_millis(800);
    let (descriptor, _peer) = Transport::Unix.pair();
    let socket = open(&engine(1), descriptor);
    socket.set_idle_timeout(Some(TIMEOUT)).unwrap();
    // Shortly before the first look.
    std::thread::sleep(TIMEOUT / 8 - 10 * MS);
    let waiting = receive(&socket, vec![0; 1]);

    let (completion, _) = start(&socket, TIMEOUT - 20 * MS).only();

    assert_eq!(completion.reason, EndReason::TimedOut);
    assert!(waiting.is_pending(), "it has not waited for the whole time");
}
