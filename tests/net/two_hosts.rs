//! Two hosts in network namespaces with a cable between them: hosts that do not exist, that do not answer, and that vanish.
//!
//! They need root, `ip`, `tc`, `unshare` and `nsenter`. `cargo xtask verify two-hosts` runs them.

use async_socket_linux::{AsyncSocket, AsyncSocketLinux, EndReason, SendCompletion};
use async_socket_net::{ConnectError, ConnectErrorKind, Connector, KeepAlive, SocketOptions, ToTarget};
use integration_tests::call::engine;
use integration_tests::process::{alone, is_child, run_child};
use integration_tests::wait::Task;
use integration_tests::{LIMIT, eventually, inbox, receive, send_now, spawn};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::File;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const WHY: &str = "needs root and network namespaces";

/// The other host, at 10.9.0.2. Ours is 10.9.0.1. A thread that is started after this is on our host.
struct OtherHost {
    /// Holds its namespace.
    process: Child,
}

fn command(program: &str, args: &str) -> bool {
    let status = Command::new(program).args(args.split_whitespace()).stdout(Stdio::null()).status();
    status.expect("the program starts").success()
}

fn ip_or_tc(program: &str, args: &str) {
    assert!(command(program, args), "{program} {args} ({WHY})");
}

fn ip(args: &str) {
    ip_or_tc("ip", args);
}

impl OtherHost {
    /// Puts the calling thread on a host of its own, connected to another.
    fn new() -> Self {
        unshare(CloneFlags::CLONE_NEWNET).expect(WHY);
        let process = Command::new("unshare").args(["--net", "sleep", "600"]).spawn().expect(WHY);
        let host = Self { process };
        let ours = std::fs::read_link("/proc/thread-self/ns/net").expect("/proc");
        let theirs = format!("/proc/{}/ns/net", host.process.id());
        eventually("the other host is there", || std::fs::read_link(&theirs).is_ok_and(|theirs| theirs != ours));
        ip("link set lo up");
        ip("link add here type veth peer name there");
        ip(&format!("link set there netns {}", host.process.id()));
        ip("addr add 10.9.0.1/24 dev here");
        ip("link set here up");
        host.ip("addr add 10.9.0.2/24 dev there");
        host.ip("link set there up");
        host
    }

    fn ip(&self, args: &str) {
        assert!(command("nsenter", &format!("--target {} --net ip {args}", self.process.id())), "ip {args}");
    }

    /// Pulls the cable out: everything that is sent from now on is lost.
    fn vanish(&self) {
        self.ip("link set there down");
    }

    /// A listener on it that accepts one connection, holds it and says nothing.
    fn listen(&self) -> SocketAddr {
        let namespace = File::open(format!("/proc/{}/ns/net", self.process.id())).expect("/proc");
        let (report, reported) = channel();
        let _listening = spawn("other host", move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("root");
            let listener = TcpListener::bind("10.9.0.2:0").expect("a listener");
            report.send(listener.local_addr().expect("its address")).expect("the test waits");
            let accepted = listener.accept();
            std::thread::sleep(3 * LIMIT);
            drop(accepted);
        });
        reported.recv().expect("it listens")
    }
}

impl OtherHost {
    /// A listener on it that reads one connection to its end, and reports what came.
    fn read_all(&self) -> (SocketAddr, Task<Vec<u8>>) {
        let namespace = File::open(format!("/proc/{}/ns/net", self.process.id())).expect("/proc");
        let (report, reported) = channel();
        let reading = spawn("reader", move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("root");
            let listener = TcpListener::bind("10.9.0.2:0").expect("a listener");
            report.send(listener.local_addr().expect("its address")).expect("the test waits");
            let (mut accepted, _) = listener.accept().expect("a connection");
            let mut bytes = Vec::new();
            accepted.read_to_end(&mut bytes).expect("it ends in order");
            bytes
        });
        (reported.recv().expect("it listens"), reading)
    }
}

/// Whether the kernel can make a network slow and lossy.
fn has_netem() -> bool {
    let made = "ip link add here type veth peer name there && tc qdisc add dev here root netem loss 1%";
    let status = Command::new("unshare").args(["--net", "sh", "-c", made]).stderr(Stdio::null()).status();
    status.expect(WHY).success()
}

impl Drop for OtherHost {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
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

/// The end of a receive that waits, and how long it took from now.
fn end_of_receive(socket: &AsyncSocketLinux) -> (EndReason, Duration) {
    let began = Instant::now();
    let reason = receive(socket, vec![0; 1]).only().reason;
    (reason, began.elapsed())
}

// A host that answers no ARP request is reported by an event, after three seconds.
#[test]
#[ignore = "needs root and network namespaces"]
fn a_host_that_does_not_exist_is_unreachable() {
    if !is_on_its_own("a_host_that_does_not_exist_is_unreachable") {
        return;
    }
    let _other = OtherHost::new();

    let error = connect(&Connector::new(), "10.9.0.77:80", LIMIT).unwrap_err();

    assert_eq!(error.kind(), ConnectErrorKind::Unreachable, "{error}");
    assert_eq!(error.attempts()[0].call, "connect");
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_host_that_does_not_answer_costs_the_deadline_or_a_quarter_of_a_second() {
    if !is_on_its_own("a_host_that_does_not_answer_costs_the_deadline_or_a_quarter_of_a_second") {
        return;
    }
    let other = OtherHost::new();
    // Its frames go to nobody.
    ip("neigh add 10.9.0.99 lladdr 02:00:00:00:00:99 dev here");
    let silent = "10.9.0.99:80".parse().unwrap();

    let began = Instant::now();
    let error = connect(&Connector::new(), silent, Duration::from_millis(700)).unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::TimedOut, "{error}");
    assert!(began.elapsed() >= Duration::from_millis(700));

    let began = Instant::now();
    let socket = connect(&Connector::new(), [silent, other.listen()], LIMIT).unwrap();
    assert!((Duration::from_millis(250)..Duration::from_secs(2)).contains(&began.elapsed()));
    drop(socket);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_host_that_vanishes_is_noticed_within_the_user_time_out() {
    if !is_on_its_own("a_host_that_vanishes_is_noticed_within_the_user_time_out") {
        return;
    }
    let other = OtherHost::new();
    let options = SocketOptions::new().user_timeout(Duration::from_secs(1));
    let socket = connect(&Connector::new().options(options), other.listen(), LIMIT).unwrap();

    other.vanish();
    send_now(&socket, b"is anybody there?");

    let (reason, took) = end_of_receive(&socket);
    assert_eq!(reason, EndReason::Os(nix::libc::ETIMEDOUT));
    assert!(took < Duration::from_secs(10), "{took:?}");
    socket.close();
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_host_that_vanishes_is_noticed_by_keep_alive_probes() {
    if !is_on_its_own("a_host_that_vanishes_is_noticed_by_keep_alive_probes") {
        return;
    }
    let other = OtherHost::new();
    let keep_alive = KeepAlive::after(Duration::from_secs(1)).every(Duration::from_secs(1)).probes(2);
    let connector = Connector::new().options(SocketOptions::new().keep_alive(keep_alive));
    let socket = connect(&connector, other.listen(), LIMIT).unwrap();

    other.vanish();

    let (reason, took) = end_of_receive(&socket);
    assert_eq!(reason, EndReason::Os(nix::libc::ETIMEDOUT));
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
#[ignore = "needs root and network namespaces"]
fn over_a_slow_and_lossy_network_every_byte_arrives_in_order_and_then_the_end() {
    const BYTES: usize = 256 << 10;
    if !is_child() && !has_netem() {
        return println!("skipped: this kernel has no netem, so no network is slow or lossy");
    }
    if !is_on_its_own("over_a_slow_and_lossy_network_every_byte_arrives_in_order_and_then_the_end") {
        return;
    }
    let other = OtherHost::new();
    ip_or_tc("tc", "qdisc add dev here root netem delay 10ms 3ms loss 1% duplicate 1% reorder 5%");
    let (address, reading) = other.read_all();
    let socket = connect(&Connector::new(), address, LIMIT).unwrap();
    let bytes: Vec<u8> = (0..BYTES).map(|at| (at % 251).to_le_bytes()[0]).collect();

    let (done, ended) = inbox();
    socket.send_async(bytes.clone(), move |sent: SendCompletion<Vec<u8>>| done.put(sent.reason)).unwrap();
    let (done, shut) = inbox();
    socket.shutdown_async(move |shut| done.put(shut.reason)).unwrap();

    assert_eq!([ended.only(), shut.only()], [EndReason::Completed; 2]);
    assert!(reading.join() == bytes);
    assert_eq!(end_of_receive(&socket).0, EndReason::PeerFinished);
}
