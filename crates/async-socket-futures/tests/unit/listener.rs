//! Listeners.

use async_socket_futures::{Listener, Stream, block_on, timeout};
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

const LOOPBACK: &str = "127.0.0.1:0";

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_040
#[test]
fn every_connection_is_accepted_once_and_a_dropped_accept_loses_none() {
    block_on(async {
        let listener = Listener::bind(LOOPBACK.parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let _ = timeout(Duration::from_millis(5), listener.accept()).await.unwrap_err();
        let mut clients: Vec<_> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
        let mut ports = Vec::new();
        for _ in 0..20 {
            // Given up at once, again and again.
            let _ = timeout(Duration::ZERO, std::future::pending::<()>()).await;
            ports.push(listener.accept().await.unwrap().peer_addr().unwrap().port());
        }
        let mut expected: Vec<_> = clients.iter_mut().map(|client| client.local_addr().unwrap().port()).collect();
        ports.sort_unstable();
        expected.sort_unstable();
        assert_eq!(ports, expected);
        let _ = timeout(Duration::from_millis(5), listener.accept()).await.unwrap_err();
    })
    .unwrap();
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_040
#[test]
fn a_unix_listener_gives_streams_too() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = Listener::new(UnixListener::bind(&path).unwrap()).unwrap();
        let client = Stream::connect_unix(&path).await.unwrap();
        let server = listener.accept().await.unwrap();
        client.write_all(b"hello").await.unwrap();
        let mut buffer = [0; 8];
        assert_eq!(server.read(&mut buffer).await.unwrap(), 5);
    })
    .unwrap();
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_041
#[test]
fn a_client_that_is_gone_is_no_error() {
    block_on(async {
        let listener = Listener::bind(LOOPBACK.parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let gone = TcpStream::connect(address).unwrap();
        socket2::SockRef::from(&gone).set_linger(Some(Duration::ZERO)).unwrap();
        drop(gone);
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"x").unwrap();
        let mut buffer = [0; 1];
        // The first may be given as a stream that was reset, or left out.
        loop {
            let stream = listener.accept().await.unwrap();
            if matches!(stream.read(&mut buffer).await, Ok(1)) {
                break;
            }
        }
    })
    .unwrap();
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_041
#[test]
fn an_error_of_one_client_does_not_end_an_accept_but_others_do() {
    block_on(async {
        // `accept(2)` says `EOPNOTSUPP` of this socket. It is one of the errors that it also passes on from a client.
        let datagrams = UdpSocket::bind(LOOPBACK).unwrap();
        datagrams.send_to(b"x", datagrams.local_addr().unwrap()).unwrap();
        let listener = Listener::new(datagrams).unwrap();
        assert!(timeout(Duration::from_millis(10), listener.accept()).await.is_err(), "it waits for the next client");

        // `accept(2)` on a socket that does not listen says `EINVAL`.
        let (silent, mut peer) = UnixStream::pair().unwrap();
        peer.write_all(b"x").unwrap();
        let listener = Listener::new(silent).unwrap();
        let accepted = timeout(Duration::from_secs(5), listener.accept()).await.expect("it does not wait");
        assert_eq!(accepted.unwrap_err().kind(), ErrorKind::InvalidInput);
    })
    .unwrap();
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_033
#[test]
fn a_connect_waits_while_it_is_in_progress() {
    block_on(async {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.bind(&LOOPBACK.parse::<SocketAddr>().unwrap().into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        // The backlog has room for one.
        let _first = TcpStream::connect(address).unwrap();
        let connect = timeout(Duration::from_millis(20), Stream::connect(address)).await;
        assert!(connect.is_err(), "{connect:?}");
    })
    .unwrap();
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_033
#[test]
fn a_connect_gives_a_stream_or_the_error_of_the_connection() {
    block_on(async {
        let listener = Listener::bind(LOOPBACK.parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let stream = Stream::connect(address).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        drop(listener);
        let error = Stream::connect(address).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    })
    .unwrap();
}
