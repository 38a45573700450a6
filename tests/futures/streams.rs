//! What the crate promises of one stream or listener, on real sockets.

use async_socket_futures::{Listener, Stream, block_on, timeout};
use integration_tests::LIMIT;
use integration_tests::process::{is_child, run_child};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::cmsg_space;
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::iter::from_fn;
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const LOOPBACK: &str = "127.0.0.1:0";

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_030, Tests_SRS_ASYNC_SOCKET_FUTURES_01_031
#[test]
fn a_short_read_of_a_unix_stream_hides_no_byte_behind_it() {
    block_on(async {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let stream = Stream::new(ours).unwrap();
        assert!(
            timeout(Duration::ZERO, stream.read(&mut [0; 8])).await.is_err(),
            "it is dropped, and has read nothing"
        );
        // A read ends behind the bytes that come with a descriptor.
        let (mut room, descriptors) = ([MaybeUninit::uninit(); cmsg_space!(ScmRights(1))], [theirs.as_fd()]);
        let mut with = SendAncillaryBuffer::new(&mut room);
        assert!(with.push(SendAncillaryMessage::ScmRights(&descriptors)));
        sendmsg(&theirs, &[IoSlice::new(b"abc")], &mut with, SendFlags::empty()).unwrap();
        theirs.write_all(b"def").unwrap();
        for expected in [b"abc", b"def"] {
            let mut buffer = [0; 8];
            let count = timeout(LIMIT, stream.read(&mut buffer)).await.expect("no byte is lost").unwrap();
            assert_eq!(&buffer[..count], expected);
        }
    })
    .unwrap();
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_032
#[test]
fn a_descriptor_in_blocking_mode_does_not_block_the_port() {
    block_on(async {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        assert!(!fcntl_getfl(&ours).unwrap().contains(OFlags::NONBLOCK));
        let stream = Stream::new(ours).unwrap();
        assert!(fcntl_getfl(&stream).unwrap().contains(OFlags::NONBLOCK));
        theirs.write_all(b"x").unwrap();
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 1);
        assert!(timeout(MS, stream.read(&mut [0; 8])).await.is_err(), "there is nothing more");
    })
    .unwrap();
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_033
#[test]
fn a_connect_waits_while_the_backlog_is_full() {
    block_on(async {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.bind(&LOOPBACK.parse::<SocketAddr>().unwrap().into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        // There is room for one.
        let _first = TcpStream::connect(address).unwrap();
        let connect = timeout(20 * MS, Stream::connect(address)).await;
        assert!(connect.is_err(), "{connect:?}");
    })
    .unwrap();
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_035
#[test]
fn sends_that_are_given_up_say_how_much_the_peer_gets() {
    const SIZE: usize = 16 << 20;
    block_on(async {
        for several in [false, true] {
            let listener = Listener::bind(LOOPBACK.parse().unwrap()).unwrap();
            let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let stream = listener.accept().await.unwrap();
            let all: Vec<u8> = (0..SIZE).map(|at| (at * 31 % 251) as u8).collect();
            let sent = if several {
                let list: Vec<Vec<u8>> = all.chunks(100_000).map(<[u8]>::to_vec).collect();
                let mut sending = stream.send_buffers(list.clone());
                assert!(timeout(20 * MS, &mut sending).await.is_err(), "the peer does not read");
                let told = sending.sent();
                let (back, sent) = sending.into_parts();
                assert!(back == Some(list) && sent == told);
                sent
            } else {
                let mut sending = stream.send(all.clone());
                assert!(timeout(20 * MS, &mut sending).await.is_err(), "the peer does not read");
                let told = sending.sent();
                let (back, sent) = sending.into_parts();
                assert!(back.as_ref() == Some(&all) && sent == told);
                sent
            };
            drop(stream);
            let mut received = Vec::new();
            peer.read_to_end(&mut received).unwrap();
            assert!(received == all[..sent], "the peer got {} bytes of {sent}", received.len());
            assert!(sent > 0);
        }
    })
    .unwrap();
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_041
#[test]
fn an_error_of_one_client_does_not_end_an_accept() {
    block_on(async {
        // `accept(2)` says `EOPNOTSUPP` of this socket. It is one of the errors that it also passes on from a client.
        let datagrams = UdpSocket::bind(LOOPBACK).unwrap();
        datagrams.send_to(b"x", datagrams.local_addr().unwrap()).unwrap();
        let listener = Listener::new(datagrams).unwrap();
        assert!(timeout(10 * MS, listener.accept()).await.is_err(), "it waits for the next client");
    })
    .unwrap();
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_041
#[test]
fn without_descriptors_an_accept_fails_and_a_later_one_succeeds() {
    if !is_child() {
        return run_child("without_descriptors_an_accept_fails_and_a_later_one_succeeds", |_| {});
    }
    block_on(async {
        let listener = Listener::bind(LOOPBACK.parse().unwrap()).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 64, hard).unwrap();
        let all_others: Vec<File> = from_fn(|| File::open("/dev/null").ok()).collect();
        let accept = || timeout(Duration::from_secs(5), listener.accept());

        let refused = accept().await.expect("it does not wait").unwrap_err();

        assert_eq!(refused.raw_os_error(), Some(nix::libc::EMFILE));
        drop(all_others);
        accept().await.unwrap().unwrap();
    })
    .unwrap();
}
