//! The proxy: all bytes, both ways, and both ends of each half.

use crate::server::{Plan, Proxy};
use crate::{LIMIT, bound, connected, engine, pattern};
use async_socket_net::ToTarget as _;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

fn proxy(to: SocketAddr, idle: Duration) -> Proxy {
    let to = to.to_target().expect("a target");
    Proxy::start(&engine(), bound(), Plan { to, connect_within: LIMIT, idle }).expect("a proxy")
}

/// A proxy with one client, and the server's end of its connection.
fn pair(idle: Duration) -> (Proxy, TcpStream, TcpStream) {
    let listener = bound();
    let proxy = proxy(listener.local_addr().expect("an address"), idle);
    let client = connected(proxy.address());
    let server = accepted(&listener);
    (proxy, client, server)
}

fn accepted(listener: &TcpListener) -> TcpStream {
    let (server, _) = listener.accept().expect("the proxy connects");
    server.set_read_timeout(Some(LIMIT)).expect("a time-out");
    server
}

fn read_rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the end in time");
    bytes
}

#[test]
fn sixteen_megabytes_pass_both_ways_at_once() {
    const BYTES: usize = 16 << 20;
    let (proxy, client, server) = pair(LIMIT);
    let ends = [client, server].map(|end| {
        let mut writer = end.try_clone().expect("a duplicate");
        let writing = thread::spawn(move || {
            writer.write_all(&pattern(BYTES)).expect("the proxy reads");
            writer.shutdown(Shutdown::Write).expect("half closed");
        });
        let mut reader = end;
        (writing, thread::spawn(move || read_rest(&mut reader)))
    });

    for (writing, reading) in ends {
        writing.join().expect("the writer ends");
        assert!(reading.join().expect("the reader ends") == pattern(BYTES), "the same bytes arrive");
    }

    let served = proxy.end(LIMIT);
    assert_eq!((served.connections, served.cut_off, served.refused), (1, 0, 0));
    assert_eq!((served.to_servers, served.to_clients), (BYTES as u64, BYTES as u64));
}

#[test]
fn a_half_close_of_either_side_reaches_the_other_and_the_answer_comes_back() {
    for client_first in [true, false] {
        let (_proxy, client, server) = pair(LIMIT);
        let (mut first, mut second) = if client_first { (client, server) } else { (server, client) };
        first.write_all(b"question").expect("the proxy reads");
        first.shutdown(Shutdown::Write).expect("half closed");
        assert_eq!(read_rest(&mut second), b"question");
        second.write_all(b"answer").expect("the other half is open");
        drop(second);
        assert_eq!(read_rest(&mut first), b"answer");
    }
}

#[test]
fn a_writer_is_slowed_down_by_a_reader_that_does_not_read() {
    let (_proxy, mut client, server) = pair(LIMIT);
    client.set_nonblocking(true).expect("non-blocking");
    let piece = pattern(1 << 20);
    let mut written = 0;
    let mut refused = 0;
    // Nothing more goes in once the kernel's buffers and the proxy's one are full.
    while refused < 50 {
        match client.write(&piece) {
            Ok(bytes) => (written, refused) = (written + bytes, 0),
            Err(_) => {
                refused += 1;
                thread::sleep(Duration::from_millis(2));
            }
        }
        assert!(written < 64 << 20, "the proxy takes no more than the kernel's buffers hold");
    }
    drop(server);
}

#[test]
fn a_connection_on_which_nothing_moves_is_closed() {
    let (_proxy, mut client, mut server) = pair(Duration::from_millis(200));

    assert_eq!(read_rest(&mut client), b"");
    assert_eq!(read_rest(&mut server), b"");
}

#[test]
fn if_the_server_refuses_the_client_is_closed() {
    let nobody = bound().local_addr().expect("an address");
    let proxy = proxy(nobody, LIMIT);
    let mut client = connected(proxy.address());

    assert_eq!(read_rest(&mut client), b"");

    assert_eq!(proxy.end(LIMIT).refused, 1);
}

#[test]
fn the_end_cuts_off_what_is_open_at_its_deadline() {
    let (proxy, mut client, mut server) = pair(LIMIT);
    client.write_all(b"x").expect("the proxy reads");
    server.read_exact(&mut [0]).expect("it passes");

    assert_eq!(proxy.end(Duration::from_millis(50)).cut_off, 1);

    assert_eq!(read_rest(&mut client), b"");
    assert_eq!(read_rest(&mut server), b"");
}
