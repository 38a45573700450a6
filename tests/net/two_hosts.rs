//! Two hosts in network namespaces with a cable between them: hosts that do not exist, that do not answer, and that vanish,
//! and a cable that loses, delays, reorders and doubles what it carries.
//!
//! They need root, `/dev/net/tun`, `ip`, `unshare` and `nsenter`. `cargo xtask verify two-hosts` runs them.
//! `TWO_HOSTS_SEED` changes which frames are lost.

mod cable;

use async_socket_linux::{
    AsyncSocket, AsyncSocketLinux, EndReason, ExecutionEngine, ReceiveCompletion, SendCompletion,
};
use async_socket_net::{ConnectError, ConnectErrorKind, Connector, KeepAlive, Listener, SocketOptions, ToTarget};
use cable::{Cable, Way, Weather, tap};
use integration_tests::call::{Inbox, engine, received};
use integration_tests::process::{alone, is_child, run_child};
use integration_tests::wire::pattern;
use integration_tests::{LIMIT, Task, eventually, inbox, receive, send, send_now, spawn, within};
use nix::libc::ETIMEDOUT;
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const WHY: &str = "needs root and network namespaces";

const MS: Duration = Duration::from_millis(1);

/// A cable that is as bad as a bad radio link.
const BAD: Weather = Weather { lost: 2.0, doubled: 1.0, late: 5.0, delay: Duration::from_millis(10), rate: 0 };

/// A network namespace. Dropping it ends it.
struct Namespace {
    /// Holds it.
    process: Child,
}

/// The other host, at 10.9.0.2. Ours is 10.9.0.1. A thread that is started after this is on our host.
struct OtherHost {
    /// Before the namespace, because the end of a namespace ends its device.
    cable: Cable,
    namespace: Namespace,
}

fn command(program: &str, args: &str) {
    let status = Command::new(program).args(args.split_whitespace()).stdout(Stdio::null()).status();
    assert!(status.expect("the program starts").success(), "{program} {args} ({WHY})");
}

fn ip(args: &str) {
    command("ip", args);
}

impl Namespace {
    fn new() -> Self {
        let process = Command::new("unshare").args(["--net", "sleep", "600"]).spawn().expect(WHY);
        let namespace = Self { process };
        let ours = std::fs::read_link("/proc/thread-self/ns/net").expect("/proc");
        let path = namespace.path();
        eventually("the other host is there", || std::fs::read_link(&path).is_ok_and(|theirs| theirs != ours));
        namespace
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.process.id())
    }

    fn ip(&self, args: &str) {
        command("nsenter", &format!("--target {} --net ip {args}", self.process.id()));
    }

    /// Does this on the other host. What it opens stays there.
    fn on_it<T: Send + 'static>(&self, what: impl FnOnce() -> T + Send + 'static) -> T {
        let namespace = File::open(self.path()).expect("/proc");
        within("the other host", move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).expect(WHY);
            what()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl OtherHost {
    /// Puts the calling thread on a host of its own, connected to another.
    fn new() -> Self {
        Self::beyond(Weather::default())
    }

    /// The same, and the cable has this weather.
    fn beyond(weather: Weather) -> Self {
        unshare(CloneFlags::CLONE_NEWNET).expect(WHY);
        let namespace = Namespace::new();
        let cable = Cable::between(tap("here"), namespace.on_it(|| tap("there")), weather);
        ip("link set lo up");
        ip("link set here address 02:00:00:00:00:01");
        ip("addr add 10.9.0.1/24 dev here");
        ip("link set here up");
        namespace.ip("link set there address 02:00:00:00:00:02");
        namespace.ip("addr add 10.9.0.2/24 dev there");
        namespace.ip("link set there up");
        // The hosts know each other: while nothing arrives, TCP gives up, not the search for the neighbour.
        ip("neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev here");
        namespace.ip("neigh add 10.9.0.1 lladdr 02:00:00:00:00:01 dev there");
        Self { cable, namespace }
    }

    /// Pulls the cable out: everything that is sent from now on is lost.
    fn vanish(&self) {
        self.cable.cut(Way::There);
        self.cable.cut(Way::Back);
    }

    fn come_back(&self) {
        self.cable.mend(Way::There);
        self.cable.mend(Way::Back);
    }

    /// A listener on it.
    fn bind(&self) -> (TcpListener, SocketAddr) {
        self.namespace.on_it(|| {
            let listener = TcpListener::bind("10.9.0.2:0").expect("a listener");
            let address = listener.local_addr().expect("its address");
            (listener, address)
        })
    }

    /// A connection from our host: our socket, and a plain one on the other host.
    fn connection(&self, connector: &Connector) -> (AsyncSocketLinux, TcpStream) {
        let (listener, address) = self.bind();
        let socket = connect(connector, address, LIMIT).expect("a connection");
        let (peer, _) = listener.accept().expect("the connection");
        peer.set_read_timeout(Some(LIMIT)).expect("SO_RCVTIMEO");
        (socket, peer)
    }

    /// A connection of which both ends are ours; the other host's is the second.
    fn connection_of_ours(&self, engine: &ExecutionEngine, options: &SocketOptions) -> [AsyncSocketLinux; 2] {
        let (listener, address) = self.bind();
        let (done, accepted) = inbox();
        let builder = Listener::builder().options(options.clone());
        let _listener = builder.listen(engine, listener, move |outcome| done.put(outcome)).expect("a listener");
        let ours = connect(&Connector::new().options(options.clone()), address, LIMIT).expect("a connection");
        [ours, accepted.next().expect("the connection").open().expect("a socket")]
    }
}

/// Whether this is the child, in which the test goes on.
fn is_on_its_own(test: &str) -> bool {
    let _alone = alone();
    if !is_child() {
        run_child(test, |command| {
            command.arg("--ignored");
        });
    }
    is_child()
}

fn connect(connector: &Connector, to: impl ToTarget, within: Duration) -> Result<AsyncSocketLinux, ConnectError> {
    let engine = engine(1);
    let (done, outcome) = inbox();
    connector.connect(&engine, to, within, move |it| done.put(it)).detach();
    outcome.only()
}

fn receive_within(socket: &AsyncSocketLinux, within: Duration) -> Inbox<ReceiveCompletion<Vec<u8>>> {
    let (done, ended) = inbox();
    let report = move |completion| done.put(completion);
    socket.receive_async_within(vec![0; 16], within, report).map_err(|refused| refused.error).expect("accepted");
    ended
}

/// The end of a receive that waits, and how long it took from now.
fn end_of_receive(socket: &AsyncSocketLinux) -> (EndReason, Duration) {
    let began = Instant::now();
    let reason = receive(socket, vec![0; 1]).only().reason;
    (reason, began.elapsed())
}

/// Sends all of these bytes in pieces, and then the end. Each of the sends must complete once.
fn send_all(socket: &AsyncSocketLinux, bytes: &[u8]) -> impl FnOnce() + use<> {
    let (done, ended) = inbox();
    let mut random = fastrand::Rng::with_seed(bytes.len() as u64);
    let (mut rest, mut sizes) = (bytes, Vec::new());
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(random.usize(1..=20_000).min(rest.len()));
        let (done, number) = (done.clone(), sizes.len());
        let report = move |sent: SendCompletion<Vec<u8>>| done.put((number, sent.reason, sent.bytes_sent as usize));
        socket.send_async(piece.to_vec(), report).map_err(|refused| refused.error).expect("accepted");
        sizes.push(piece.len());
        rest = after;
    }
    let (end, shut) = inbox();
    socket.shutdown_async(move |shut| end.put(shut.reason)).expect("accepted");
    move || {
        assert_eq!(shut.only(), EndReason::Completed);
        let mut ends = ended.take(sizes.len());
        drop(done);
        ended.assert_dead();
        // Two callbacks on two threads may overlap, so their order is not promised.
        ends.sort_unstable_by_key(|(number, ..)| *number);
        let all = sizes.into_iter().enumerate().map(|(number, size)| (number, EndReason::Completed, size));
        assert!(ends == all.collect::<Vec<_>>(), "{ends:?}");
    }
}

/// Everything until the peer's end.
fn receive_all(socket: &AsyncSocketLinux) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let completion = receive(socket, vec![0; 16 << 10]).only();
        match completion.reason {
            EndReason::Completed => bytes.extend(received(&completion)),
            EndReason::PeerFinished => return bytes,
            other => panic!("a receive ended: {other:?}"),
        }
    }
}

/// Connects two of our sockets a number of times, at once, and sends this many bytes in both directions of each, while
/// the test does something else.
fn exchange(other: &OtherHost, connections: usize, length: usize, meanwhile: impl FnOnce()) {
    // Different bytes for each direction of each connection.
    fn bytes(number: usize, way: Way, length: usize) -> Vec<u8> {
        pattern(8191 * number + way as usize * 4099, length)
    }
    let engines = [engine(2), engine(2)];
    let (listener, address) = other.bind();
    let (done, accepted) = inbox();
    let listener = Listener::new(&engines[1], listener, move |outcome| done.put(outcome)).expect("a listener");
    let client = |number: usize| {
        let engine = engines[0].clone();
        spawn("client", move || {
            let (done, outcome) = inbox();
            Connector::new().connect(&engine, address, LIMIT, move |it| done.put(it)).detach();
            let socket = outcome.only().expect("a connection");
            // Says which it is.
            send_now(&socket, [u8::try_from(number).expect("few")]);
            let sent = send_all(&socket, &bytes(number, Way::There, length));
            assert!(receive_all(&socket) == bytes(number, Way::Back, length), "the bytes to client {number}");
            sent();
        })
    };
    let clients: Vec<Task<()>> = (0..connections).map(client).collect();
    let serve = |_| {
        let socket = accepted.next().expect("a connection").open().expect("a socket");
        spawn("server", move || {
            let number = usize::from(received(&receive(&socket, vec![0; 1]).only())[0]);
            let sent = send_all(&socket, &bytes(number, Way::Back, length));
            assert!(receive_all(&socket) == bytes(number, Way::There, length), "the bytes from client {number}");
            sent();
            number
        })
    };
    let servers: Vec<Task<usize>> = (0..connections).map(serve).collect();
    meanwhile();
    let mut numbers: Vec<usize> = servers.into_iter().map(Task::join).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..connections));
    clients.into_iter().for_each(Task::join);
    assert_eq!(listener.metrics().accepted, connections as u64);
    assert!(accepted.is_pending());
}

/// Runs a test in a process of its own, because it moves to another host.
macro_rules! on_its_own {
    ($test:ident) => {
        if !is_on_its_own(stringify!($test)) {
            return;
        }
    };
}

// A host that answers no ARP request is reported by an event, after three seconds.
#[test]
#[ignore = "needs root and network namespaces"]
fn a_host_that_does_not_exist_is_unreachable() {
    on_its_own!(a_host_that_does_not_exist_is_unreachable);
    let _other = OtherHost::new();

    let error = connect(&Connector::new(), "10.9.0.77:80", LIMIT).unwrap_err();

    assert_eq!(error.kind(), ConnectErrorKind::Unreachable, "{error}");
    assert_eq!(error.attempts()[0].call, "connect");
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_host_that_does_not_answer_costs_the_deadline_or_a_quarter_of_a_second() {
    on_its_own!(a_host_that_does_not_answer_costs_the_deadline_or_a_quarter_of_a_second);
    let other = OtherHost::new();
    // Its frames go to nobody.
    ip("neigh add 10.9.0.99 lladdr 02:00:00:00:00:99 dev here");
    let silent = "10.9.0.99:80".parse().unwrap();

    let began = Instant::now();
    let error = connect(&Connector::new(), silent, 700 * MS).unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::TimedOut, "{error}");
    assert!(began.elapsed() >= 700 * MS);

    let (_listener, address) = other.bind();
    let began = Instant::now();
    let socket = connect(&Connector::new(), [silent, address], LIMIT).unwrap();
    assert!((250 * MS..2000 * MS).contains(&began.elapsed()));
    drop(socket);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_connect_whose_answer_is_lost_ends_in_time_and_the_listener_never_hears_of_it() {
    on_its_own!(a_connect_whose_answer_is_lost_ends_in_time_and_the_listener_never_hears_of_it);
    let other = OtherHost::new();
    let (listener, address) = other.bind();
    let (done, accepted) = inbox();
    let engine = engine(1);
    let listener = Listener::new(&engine, listener, move |outcome| done.put(outcome)).unwrap();

    other.cable.cut(Way::Back);
    let began = Instant::now();
    let error = connect(&Connector::new(), address, 700 * MS).unwrap_err();
    let took = began.elapsed();
    other.cable.mend(Way::Back);
    let socket = connect(&Connector::new(), address, LIMIT).unwrap();

    assert_eq!(error.kind(), ConnectErrorKind::TimedOut, "{error}");
    assert!((700 * MS..2000 * MS).contains(&took), "{took:?}");
    let peer = accepted.next().unwrap().open().unwrap();
    send_now(&peer, b"hello");
    assert_eq!(received(&receive(&socket, vec![0; 9]).only()), b"hello");
    // The kernel repeats its answer to the first connect after a second, and gets a reset.
    std::thread::sleep(1500 * MS);
    assert!(accepted.is_pending());
    assert_eq!(listener.metrics().accepted, 1);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_host_that_vanishes_is_noticed_within_the_user_time_out() {
    on_its_own!(a_host_that_vanishes_is_noticed_within_the_user_time_out);
    let other = OtherHost::new();
    let options = SocketOptions::new().user_timeout(Duration::from_secs(1));
    let (socket, _peer) = other.connection(&Connector::new().options(options));

    other.vanish();
    send_now(&socket, b"is anybody there?");

    let (reason, took) = end_of_receive(&socket);
    assert_eq!(reason, EndReason::Os(ETIMEDOUT));
    assert!(took < Duration::from_secs(10), "{took:?}");
    socket.close();
}

// The server of a client that vanishes in the middle of its request has nothing to send, so only probes find out.
#[test]
#[ignore = "needs root and network namespaces"]
fn a_host_that_vanishes_is_noticed_by_keep_alive_probes_of_both_ends() {
    on_its_own!(a_host_that_vanishes_is_noticed_by_keep_alive_probes_of_both_ends);
    let other = OtherHost::new();
    let keep_alive = KeepAlive::after(Duration::from_secs(1)).every(Duration::from_secs(1)).probes(2);
    let engine = engine(1);
    let [client, server] = other.connection_of_ours(&engine, &SocketOptions::new().keep_alive(keep_alive));
    send_now(&client, b"half a requ");
    assert_eq!(received(&receive(&server, vec![0; 64]).only()), b"half a requ");

    other.vanish();

    let began = Instant::now();
    let ends = [receive(&client, vec![0; 1]), receive(&server, vec![0; 1])];
    assert_eq!(ends.map(|end| end.only().reason), [EndReason::Os(ETIMEDOUT); 2]);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

/// More than the buffers of two kernels hold.
const MUCH: usize = 16 << 20;

#[test]
#[ignore = "needs root and network namespaces"]
fn a_host_that_vanishes_in_the_middle_of_a_send_ends_it_within_the_user_time_out() {
    on_its_own!(a_host_that_vanishes_in_the_middle_of_a_send_ends_it_within_the_user_time_out);
    let other = OtherHost::new();
    let options = SocketOptions::new().user_timeout(Duration::from_secs(1));
    let (socket, mut peer) = other.connection(&Connector::new().options(options));
    let sending = send(&socket, pattern(0, MUCH));
    let behind = send(&socket, b"behind it");
    let receiving = receive(&socket, vec![0; 1]);
    peer.read_exact(&mut [0; 1 << 10]).unwrap();

    other.vanish();
    let began = Instant::now();

    let (sent, behind, received) = (sending.only(), behind.only(), receiving.only());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!((1..MUCH).contains(&(sent.bytes_sent as usize)), "{}", sent.bytes_sent);
    assert_eq!((behind.bytes_sent, received.bytes_received), (0, 0));
    // The kernel tells the first that asks.
    let reasons = [sent.reason, behind.reason, received.reason];
    assert!(reasons.contains(&EndReason::Os(ETIMEDOUT)), "{reasons:?}");
    assert!(!reasons.contains(&EndReason::Completed), "{reasons:?}");
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_host_that_vanishes_is_noticed_by_deadlines_and_by_the_idle_time_out() {
    on_its_own!(a_host_that_vanishes_is_noticed_by_deadlines_and_by_the_idle_time_out);
    let other = OtherHost::new();
    let (idle, mut idle_peer) = other.connection(&Connector::new());
    let (socket, mut peer) = other.connection(&Connector::new());
    idle.set_idle_timeout(Some(500 * MS)).unwrap();
    idle_peer.write_all(b"x").unwrap();
    send_now(&idle, b"y");
    assert_eq!(received(&receive(&idle, vec![0; 9]).only()), b"x");

    other.vanish();
    peer.write_all(b"sent in vain, for now").unwrap();
    let (done, sent) = inbox();
    let report = move |it: SendCompletion<Vec<u8>>| done.put((it.reason, it.bytes_sent as usize, Instant::now()));
    let began = Instant::now();
    socket.send_async_within(pattern(0, MUCH), 700 * MS, report).map_err(|it| it.error).unwrap();
    let receiving = receive_within(&socket, 400 * MS);
    let idling = receive(&idle, vec![0; 1]);

    let (reason, bytes, at) = sent.only();
    assert_eq!(reason, EndReason::TimedOut);
    assert!((1..MUCH).contains(&bytes) && (700 * MS..3000 * MS).contains(&(at - began)), "{bytes}, {:?}", at - began);
    assert_eq!(receiving.only().reason, EndReason::TimedOut);
    assert_eq!(idling.only().reason, EndReason::TimedOut);
    assert!(began.elapsed() < 3000 * MS);
    assert!(socket.send_async(b"after a torn stream", |_| {}).is_err());

    // What did not arrive in time is not lost.
    other.come_back();
    let mut came: Vec<u8> = Vec::new();
    while came.len() < 21 {
        came.extend(received(&receive(&socket, vec![0; 64]).only()));
    }
    assert_eq!(came, b"sent in vain, for now");
}

#[test]
#[ignore = "needs root and network namespaces"]
fn over_a_slow_and_lossy_network_every_byte_arrives_in_order_and_then_the_end() {
    on_its_own!(over_a_slow_and_lossy_network_every_byte_arrives_in_order_and_then_the_end);
    let other = OtherHost::beyond(BAD);

    exchange(&other, 32, 96 << 10, || {});

    other.cable.assert_was(BAD);
}

// Without a loss, the peer's kernel takes a frame that is overtaken for a lost one, and asks for it again.
#[test]
#[ignore = "needs root and network namespaces"]
fn over_a_network_that_reorders_and_doubles_every_byte_arrives_once_and_in_order() {
    const MIXED: Weather = Weather { lost: 0.0, doubled: 20.0, late: 20.0, delay: Duration::from_millis(2), rate: 0 };
    on_its_own!(over_a_network_that_reorders_and_doubles_every_byte_arrives_once_and_in_order);
    let other = OtherHost::beyond(MIXED);

    exchange(&other, 4, 1 << 20, || {});

    other.cable.assert_was(MIXED);
}

// The whole question takes a second, and so does the whole answer.
#[test]
#[ignore = "needs root and network namespaces"]
fn over_a_slow_network_the_answer_to_a_half_close_arrives_whole() {
    const LENGTH: usize = 256 << 10;
    const SLOW: Weather =
        Weather { lost: 0.0, doubled: 0.0, late: 0.0, delay: Duration::from_millis(50), rate: 256 << 10 };
    on_its_own!(over_a_slow_network_the_answer_to_a_half_close_arrives_whole);
    let other = OtherHost::beyond(SLOW);
    let engine = engine(1);
    let [client, server] = other.connection_of_ours(&engine, &SocketOptions::new());
    let began = Instant::now();

    let asked = send_all(&client, &pattern(1, LENGTH));
    let answering = spawn("server", move || {
        assert!(receive_all(&server) == pattern(1, LENGTH), "the question");
        send_all(&server, &pattern(2, LENGTH))();
        server
    });

    assert!(receive_all(&client) == pattern(2, LENGTH), "the answer");
    asked();
    assert!(began.elapsed() > 2000 * MS, "{:?}", began.elapsed());
    drop(answering.join());
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_network_that_stalls_for_seconds_loses_no_byte() {
    const SLOW: Weather =
        Weather { lost: 0.0, doubled: 0.0, late: 0.0, delay: Duration::from_millis(5), rate: 1 << 20 };
    on_its_own!(a_network_that_stalls_for_seconds_loses_no_byte);
    let other = OtherHost::beyond(SLOW);
    let (waiting, mut peer) = other.connection(&Connector::new());

    exchange(&other, 8, 256 << 10, || {
        // Each way alone, then both. After a stall, TCP tries again when that time has passed once more, at the latest.
        for ways in [&[Way::There][..], &[Way::Back], &[Way::There, Way::Back]] {
            std::thread::sleep(200 * MS);
            ways.iter().for_each(|way| other.cable.cut(*way));
            std::thread::sleep(1200 * MS);
            // A receive with a deadline ends meanwhile.
            assert_eq!(receive_within(&waiting, 50 * MS).only().reason, EndReason::TimedOut);
            ways.iter().for_each(|way| other.cable.mend(*way));
            assert!(ways.iter().all(|way| other.cable.swallowed(*way) > 0), "nothing was on its way");
        }
    });

    peer.write_all(b"still here").unwrap();
    assert_eq!(received(&receive(&waiting, vec![0; 64]).only()), b"still here");
}
