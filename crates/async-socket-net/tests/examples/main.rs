//! What the examples do, with plain sockets of the standard library as their peers.

mod chat;
mod fileserver;
mod proxy;
mod scan;

#[path = "../../examples/fileserver/connection.rs"]
mod connection;
#[path = "../../examples/fileserver/request.rs"]
mod request;
#[path = "../../examples/chat/room.rs"]
mod room;
#[path = "../../examples/scan/scanner.rs"]
mod scanner;
#[path = "../../examples/proxy/server.rs"]
mod server;
#[path = "../../examples/proxy/session.rs"]
mod session;

use async_socket_linux::ExecutionEngine;
use async_socket_net::Address;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// Nothing here takes longer, unless it hangs.
const LIMIT: Duration = Duration::from_secs(20);

fn engine() -> ExecutionEngine {
    ExecutionEngine::builder().threads(2).build().expect("an engine")
}

fn bound() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a listener")
}

/// A client that waits, but not for ever.
fn connected(address: &Address) -> TcpStream {
    let stream = TcpStream::connect(address.as_inet().expect("TCP")).expect("a connection");
    stream.set_read_timeout(Some(LIMIT)).expect("a time-out");
    stream.set_write_timeout(Some(LIMIT)).expect("a time-out");
    stream
}

/// Bytes that repeat at no power of two.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| u8::try_from(index % 251).expect("below 251")).collect()
}
