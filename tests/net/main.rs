//! Listeners, connectors and name look-up on real sockets.

mod connect;
mod failed_port;
mod listen;
mod names;
mod tracker;
mod two_hosts;
mod without_descriptors;

use async_socket_net::{AcceptError, Accepted};
use integration_tests::call::{Inbox, Outbox};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};

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

/// Waits until a connect to the address is refused. A child process that another test starts holds a copy of every socket for a
/// moment, until it has been replaced.
fn assert_refused(address: SocketAddr) {
    integration_tests::eventually("the address is refused", || TcpStream::connect(address).is_err());
}
