//! Crowds of hostile peers: the cost of each peer, and the effect on a well-behaved peer.
//!
//! `cargo xtask verify hostile-peers` prints the lines that begin with `figure:`.

use async_socket_linux::{AsyncSocket, ReceiveResult, SendError, SendResult};
use integration_tests::call::{block_sending, engine, open, receive, received, send, try_send};
use integration_tests::process::{alone, cpu_time, descriptors, port_threads, resident_kib, whole_name};
use integration_tests::wire::pattern;
use integration_tests::{LIMIT, Peer, Socket, Transport, eventually, inbox, spawn};
use nix::libc::ECONNRESET;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rstest::rstest;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Set in the process of the silent peers: the address to connect to, and the number of connections.
const SILENT: &str = "SILENT_PEERS";

/// The longest that a well-behaved peer may wait for an answer, on a busy machine.
const BOUND: Duration = Duration::from_millis(250);

/// A well-behaved peer and its socket.
struct Good {
    socket: Arc<Socket>,
    peer: Peer,
}

impl Good {
    fn new(engine: &async_socket_linux::ExecutionEngine) -> Self {
        let (descriptor, peer) = Transport::TcpV4.pair();
        Self { socket: open(engine, descriptor), peer }
    }

    /// The median and the longest time of `count` questions, each of which is answered.
    fn round_trips(&mut self, count: usize) -> (Duration, Duration) {
        let mut times: Vec<Duration> = (0..count)
            .map(|_| {
                let start = Instant::now();
                let question = receive(&self.socket, vec![0; 8]);
                self.peer.write_all(b"question").expect("the peer writes");
                assert_eq!(received(&question.only()), b"question");
                assert_eq!(send(&self.socket, "answer").only().result, SendResult::Ok);
                assert_eq!(self.peer.read_bytes(6), b"answer");
                start.elapsed()
            })
            .collect();
        times.sort_unstable();
        (times[count / 2], times[count - 1])
    }
}

/// Raises the limit of descriptors as far as allowed, and returns it.
fn raise_descriptor_limit() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("up to the hard limit");
    usize::try_from(hard).unwrap_or(usize::MAX)
}

/// Starts a process with `count` silent connections to `listener`. It is a process of its own because one process has
/// too few descriptors.
fn silent_peers(listener: &TcpListener, count: usize) -> Child {
    let name = whole_name("ten_thousand_silent_peers_cost_little_memory_and_no_time");
    Command::new(std::env::current_exe().expect("this binary"))
        .args([name.as_str(), "--exact", "--nocapture"])
        .env(SILENT, format!("{} {count}", listener.local_addr().expect("its address")))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the child starts")
}

/// In the child: connects, and waits until the parent closes its standard input.
fn be_silent(order: &str) {
    raise_descriptor_limit();
    let (address, count) = order.split_once(' ').expect("two words");
    let count: usize = count.parse().expect("a number");
    let all: Vec<TcpStream> = (0..count).map(|_| TcpStream::connect(address).expect("a connection")).collect();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    drop(all);
}

#[test]
fn ten_thousand_silent_peers_cost_little_memory_and_no_time() {
    if let Ok(order) = std::env::var(SILENT) {
        return be_silent(&order);
    }
    let _alone = alone();
    let count = 10_000.min(raise_descriptor_limit().saturating_sub(500));
    let engine = engine(1);
    let mut good = Good::new(&engine);
    let (by_itself, _) = good.round_trips(300);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut child = silent_peers(&listener, count);
    let accepting =
        spawn("accept", move || (0..count).map(|_| listener.accept().expect("accepted").0).collect::<Vec<_>>());
    let streams = accepting.join_within(Duration::from_secs(60));

    let before = resident_kib();
    let ended = Arc::new(AtomicUsize::new(0));
    let sockets: Vec<Arc<Socket>> = streams
        .into_iter()
        .map(|stream| {
            stream.set_nonblocking(true).unwrap();
            let socket = open(&engine, stream.into());
            let ended = Arc::clone(&ended);
            let callback = move |_| {
                ended.fetch_add(1, Ordering::SeqCst);
            };
            socket.receive_async(vec![0; 64], callback).map_err(|refused| refused.error).unwrap();
            socket
        })
        .collect();
    let bytes_each = resident_kib().saturating_sub(before) * 1024 / count;
    let (median, slowest) = good.round_trips(1_000);

    let port = port_threads()[0];
    let busy = cpu_time(port);
    thread::sleep(Duration::from_millis(500));
    let idle = cpu_time(port) - busy;

    println!(
        "figure: {count} silent peers: {bytes_each} B of memory each with a receive pending; a good peer's round trip is {} us (alone {} us, slowest {} us); the idle port used {} ms of 500",
        median.as_micros(),
        by_itself.as_micros(),
        slowest.as_micros(),
        idle.as_millis()
    );
    assert!(bytes_each < 2_048, "{bytes_each} bytes each");
    assert!(median < BOUND && idle < Duration::from_millis(100));

    // All of them go at once.
    drop(child.stdin.take());
    child.wait().unwrap();
    eventually("every receive ends", || ended.load(Ordering::SeqCst) == count);
    drop(sockets);
}

#[rstest]
fn slow_peers_that_never_finish_a_message_do_not_delay_the_others(
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
) {
    const SLOW: usize = 300;
    let _alone = alone();
    let engine = engine(1);
    let mut good = Good::new(&engine);
    let arrived = Arc::new(AtomicUsize::new(0));
    let mut peers: Vec<Peer> = Vec::new();
    let sockets: Vec<Arc<Socket>> = (0..SLOW)
        .map(|_| {
            let (descriptor, peer) = transport.pair();
            let socket = open(&engine, descriptor);
            take_bytes(&socket, &arrived);
            peers.push(peer);
            socket
        })
        .collect();
    let dripping = spawn("drip", move || {
        for byte in pattern(0, 40) {
            for peer in &mut peers {
                peer.write_all(&[byte]).expect("the peer writes");
            }
            thread::sleep(Duration::from_millis(5));
        }
        peers
    });

    let (median, slowest) = good.round_trips(200);

    let peers = dripping.join();
    eventually("every byte arrives", || arrived.load(Ordering::SeqCst) == SLOW * 40);
    println!(
        "figure: {SLOW} {transport:?} peers that drip bytes: a good peer's round trip is {} us, the slowest {} us",
        median.as_micros(),
        slowest.as_micros()
    );
    assert!(median < BOUND, "{median:?}");
    drop((sockets, peers));
}

/// Receives byte by byte until the end.
fn take_bytes(socket: &Arc<Socket>, arrived: &Arc<AtomicUsize>) {
    let (again, count) = (Arc::downgrade(socket), Arc::clone(arrived));
    let callback = move |completion: async_socket_linux::ReceiveCompletion<[u8; 16]>| {
        count.fetch_add(completion.bytes_received as usize, Ordering::SeqCst);
        if let (ReceiveResult::Ok, Some(socket)) = (completion.result, again.upgrade()) {
            take_bytes(&socket, &count);
        }
    };
    let _ = socket.receive_async([0_u8; 16], callback);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_056, Tests_SRS_ASYNC_SOCKET_LINUX_11_081
#[rstest]
fn peers_that_never_read_hold_only_what_was_lent_and_are_closed_at_once(
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
) {
    const STUCK: usize = 100;
    const EACH: usize = 256 * 1024;
    let _alone = alone();
    let engine = engine(1);
    let mut good = Good::new(&engine);
    let payload: Arc<[u8]> = pattern(0, EACH).into();
    let stuck: Vec<_> = (0..STUCK)
        .map(|_| {
            let (descriptor, peer) = transport.narrow_pair();
            let socket = open(&engine, descriptor);
            let (blocked, _) = block_sending(&socket);
            (socket, peer, blocked)
        })
        .collect();
    let before = resident_kib();
    let queued: Vec<_> =
        stuck.iter().flat_map(|(socket, ..)| (0..10).map(|_| send(socket, Arc::clone(&payload)))).collect();
    let grown = resident_kib().saturating_sub(before);

    let (median, slowest) = good.round_trips(200);
    assert!(queued.iter().all(integration_tests::Inbox::is_pending));
    let start = Instant::now();
    for (socket, peer, blocked) in stuck {
        socket.close();
        assert_eq!(blocked.only().result, SendResult::Abandoned);
        drop(peer);
    }
    let closing = start.elapsed();

    for send in queued {
        let completion = send.only();
        assert_eq!((completion.result, completion.bytes_sent), (SendResult::Abandoned, 0));
    }
    println!(
        "figure: {STUCK} {transport:?} peers that never read, 10 sends of {EACH} B queued to each: {grown} KiB more memory; a good peer's round trip is {} us, the slowest {} us; all closed in {} ms",
        median.as_micros(),
        slowest.as_micros(),
        closing.as_millis()
    );
    assert!(grown < 4_096, "the one payload of all is not copied, but {grown} KiB were used");
    assert!(median < BOUND && closing < LIMIT / 4);
}

#[test]
fn a_reset_in_mid_message_ends_what_waits_and_the_next_sends_and_harms_nobody_else() {
    const ROUNDS: usize = 200;
    let _alone = alone();
    let engine = engine(1);
    let mut good = Good::new(&engine);
    let before = descriptors();
    for round in 0..ROUNDS {
        let (descriptor, mut peer) = Transport::TcpV4.narrow_pair();
        let socket = open(&engine, descriptor);
        let (blocked, _) = block_sending(&socket);
        let head = 1 + round * 7 % 1_000;
        peer.write_all(&pattern(0, head)).unwrap();
        let part = receive(&socket, vec![0; 4_096]).only();
        assert_eq!((part.result, received(&part)), (ReceiveResult::Ok, &pattern(0, head)[..]));
        let rest = receive(&socket, vec![0; 4_096]);

        peer.reset();

        let rest = rest.only();
        assert!(matches!(rest.result, ReceiveResult::Abandoned | ReceiveResult::Error), "{rest:?}");
        let blocked = blocked.only();
        assert!(matches!(blocked.result, SendResult::Abandoned | SendResult::Error), "{:?}", blocked.result);
        assert!([rest.os_error(), blocked.os_error()].contains(&Some(ECONNRESET)), "one of them learns why");
        let refused = try_send(&socket, "more").map(drop).expect_err("the connection is gone");
        assert!(matches!(refused.error, SendError::Disconnected { .. } | SendError::StreamBroken), "{refused}");
    }
    let (median, slowest) = good.round_trips(200);
    assert_eq!(descriptors(), before);
    println!(
        "figure: {ROUNDS} resets in mid-message: every operation ended, nothing left behind; a good peer's round trip is {} us, the slowest {} us",
        median.as_micros(),
        slowest.as_micros()
    );
}

#[test]
fn a_callback_that_sleeps_delays_its_own_port_and_no_other_and_no_send() {
    const SLEEP: Duration = Duration::from_millis(1_000);
    let _alone = alone();
    let (engine, other) = (engine(1), engine(1));
    let (mut neighbour, mut elsewhere) = (Good::new(&engine), Good::new(&other));
    let (descriptor, mut peer) = Transport::TcpV4.pair();
    let sleeper = open(&engine, descriptor);
    let (done, asleep) = inbox();
    let callback = move |_| {
        done.put(());
        thread::sleep(SLEEP);
    };
    sleeper.receive_async([0_u8; 1], callback).map_err(|refused| refused.error).unwrap();
    peer.write_all(b"x").unwrap();
    asleep.next();
    let start = Instant::now();

    // Another port is not delayed.
    let (median, slowest) = elsewhere.round_trips(20);
    // On the same port a send goes out on its caller's thread, and a receive waits.
    assert_eq!(send(&neighbour.socket, "at once").only().result, SendResult::Ok);
    assert_eq!(neighbour.peer.read_bytes(7), b"at once");
    let sent_after = start.elapsed();
    let waiting = receive(&neighbour.socket, vec![0; 4]);
    neighbour.peer.write_all(b"late").unwrap();
    assert_eq!(received(&waiting.only()), b"late");
    let received_after = start.elapsed();

    println!(
        "figure: a callback that sleeps {} ms: on another port a round trip is {} us (slowest {} us), a send on the same port is out within {} ms, a receive there waits for it ({} ms)",
        SLEEP.as_millis(),
        median.as_micros(),
        slowest.as_micros(),
        sent_after.as_millis(),
        received_after.as_millis()
    );
    assert!(slowest < SLEEP / 2 && sent_after < SLEEP, "{slowest:?}, {sent_after:?}");
    assert!(received_after + Duration::from_millis(20) > SLEEP && received_after < SLEEP + LIMIT / 4);
}
