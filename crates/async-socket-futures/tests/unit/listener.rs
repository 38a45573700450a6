//! Listeners.

use async_socket_futures::{Listener, Stream, block_on, timeout};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
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
