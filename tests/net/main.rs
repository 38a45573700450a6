//! Listeners, connectors and name look-up on real sockets.

mod connect;
mod failed_port;
mod fresh;
mod listen;
mod names;
mod tracker;
mod two_hosts;
mod without_descriptors;

use async_socket_net::{AcceptError, Accepted};
use integration_tests::call::{Inbox, Outbox};
use socket2::{Domain, Socket, Type};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use test_doubles::FailingAllocator;

/// For the tests that run out of memory.
#[global_allocator]
static ALLOCATOR: FailingAllocator = FailingAllocator;

/// What an accept callback got.
type Outcome = Result<Accepted, AcceptError>;

/// An accept callback that leaves everything in an inbox.
fn into_inbox() -> (impl FnMut(Outcome) + Clone + Send + 'static, Inbox<Outcome>) {
    let (done, accepted): (Outbox<Outcome>, _) = integration_tests::inbox();
    (move |outcome| done.put(outcome), accepted)
}

/// A loopback address that no other test has.
fn loopback() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = u8::try_from(std::process::id() % 200).expect("below 200");
    Ipv4Addr::new(127, 1 + process, 0, NEXT.fetch_add(1, Ordering::Relaxed)).into()
}

/// A listener on an address that no other test has, so that the address is refused once it is closed.
fn bound() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((loopback(), 0)).expect("a listener");
    let address = listener.local_addr().expect("its address");
    (listener, address)
}

/// An address that refuses, because nothing has ever listened there.
fn closed() -> SocketAddr {
    closed_at(loopback()).expect("a bound socket")
}

/// The same at an address of this machine.
fn closed_at(ip: IpAddr) -> std::io::Result<SocketAddr> {
    let address = SocketAddr::new(ip, 0);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.bind(&address.into())?;
    Ok(socket.local_addr()?.as_socket().expect("an IP address"))
}

/// How many connections wait to be accepted at an IPv4 address, as the kernel counts them.
fn accept_queue(address: SocketAddr) -> u32 {
    let IpAddr::V4(ip) = address.ip() else { panic!("IPv4") };
    let table = std::fs::read_to_string("/proc/net/tcp").expect("set-up");
    let local = format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port());
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let line =
        lines.find(|words| words.get(1) == Some(&local.as_str()) && words.get(3) == Some(&"0A")).expect("set-up");
    let (_, waiting) = line[4].split_once(':').expect("set-up");
    u32::from_str_radix(waiting, 16).expect("set-up")
}

/// Waits until a connect to the address is refused. A child process that another test starts holds a copy of every socket for a
/// moment, until it has been replaced.
fn assert_refused(address: SocketAddr) {
    integration_tests::eventually("the address is refused", || TcpStream::connect(address).is_err());
}
