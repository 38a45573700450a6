//! The seam to the kernel: the answers of the real system calls for real sockets, and the default answers of an
//! implementation.

use async_socket_linux::sys::{Errno, RECEIVE_FLAGS, RecvFlags, SEND_FLAGS, SendFlags};
use async_socket_linux::{Kernel, SocketSyscalls, UnsupportedKind};
use rstest::rstest;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, SendAncillaryBuffer, SendAncillaryMessage, SocketType,
    recvmsg, sendmsg, socket,
};
use socket2::SockRef;
use std::io::{IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

type Pair = (OwnedFd, OwnedFd);

fn tcp() -> Pair {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let peer = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    (listener.accept().expect("the peer has connected").0.into(), peer.into())
}

fn udp() -> Pair {
    let [one, other] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a port is free"));
    one.connect(other.local_addr().expect("it is bound")).expect("datagrams connect at once");
    (one.into(), other.into())
}

fn unix() -> Pair {
    let (one, other) = UnixStream::pair().expect("a pair");
    (one.into(), other.into())
}

fn unix_datagrams() -> Pair {
    let (one, other) = UnixDatagram::pair().expect("a pair");
    (one.into(), other.into())
}

fn tcp_listener() -> Pair {
    let [one, other] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
    (one.into(), other.into())
}

fn of_type(family: AddressFamily, kind: SocketType) -> Pair {
    let [one, other] = [(); 2].map(|()| socket(family, kind, None).expect("the kernel has such sockets"));
    (one, other)
}

// Tests_SRS_SOCKET_01_010
#[rstest]
#[case::tcp(tcp, None)]
#[case::unix_stream(unix, None)]
#[case::udp(udp, Some(UnsupportedKind::Datagram))]
#[case::unix_datagrams(unix_datagrams, Some(UnsupportedKind::Datagram))]
#[case::sequenced_packets(
    || of_type(AddressFamily::UNIX, SocketType::SEQPACKET),
    Some(UnsupportedKind::SequencedPackets)
)]
// A netlink socket, because a raw IP socket needs a privilege.
#[case::raw(|| of_type(AddressFamily::NETLINK, SocketType::RAW), Some(UnsupportedKind::Raw))]
#[case::listener(tcp_listener, Some(UnsupportedKind::Listening))]
fn a_socket_is_supported_if_it_is_a_stream_and_does_not_listen(
    #[case] make: fn() -> Pair,
    #[case] expected: Option<UnsupportedKind>,
) {
    let (socket, _peer) = make();

    assert_eq!(Kernel.unsupported_kind(socket.as_fd()), Ok(expected));
}

// Tests_SRS_SOCKET_01_030, Tests_SRS_SOCKET_01_031
#[rstest]
#[case::tcp(tcp, true, false)]
#[case::udp(udp, false, false)]
#[case::unix_stream(unix, false, true)]
#[case::unix_datagrams(unix_datagrams, false, false)]
fn the_kind_of_a_socket_says_what_a_short_read_means(
    #[case] make: fn() -> Pair,
    #[case] drains: bool,
    #[case] is_unix_stream: bool,
) {
    let (socket, _peer) = make();
    assert_eq!(Kernel.short_read_drains(socket.as_fd()), Ok(drains));
    assert_eq!(Kernel.is_unix_stream(socket.as_fd()), Ok(is_unix_stream));
}

#[rstest]
#[case::none(0)]
#[case::two(2)]
fn a_read_tells_whether_descriptors_came_along(#[case] count: usize) {
    let (socket, peer) = unix();
    let descriptors = vec![socket.as_fd(); count];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if count > 0 {
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    }
    sendmsg(&peer, &[IoSlice::new(b"bytes")], &mut control, SendFlags::empty()).expect("the peer sends");

    let mut buffer = [0; 8];
    let read = Kernel.recv_noting_scm_rights(socket.as_fd(), &mut buffer, RECEIVE_FLAGS);

    assert_eq!((read, &buffer), (Ok((5, count > 0)), b"bytes\0\0\0"));
}

#[test]
fn bytes_go_through_one_buffer_and_through_several() {
    let (one, other) = unix();
    let (one, other, mut first, mut second) = (one.as_fd(), other.as_fd(), [0; 4], [0; 4]);

    assert_eq!(Kernel.send(one, b"abc", SEND_FLAGS), Ok(3));
    assert_eq!(Kernel.sendmsg(one, &[IoSlice::new(b"de"), IoSlice::new(b"fg")], SEND_FLAGS), Ok(4));

    assert_eq!((Kernel.recv(other, &mut first[..2], RECEIVE_FLAGS), &first), (Ok(2), b"ab\0\0"));
    let mut buffers = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
    assert_eq!(Kernel.recvmsg(other, &mut buffers, RECEIVE_FLAGS), Ok(5));
    assert_eq!((&first, &second), (b"cdef", b"g\0\0\0"));
}

#[test]
fn a_reset_breaks_a_socket_and_its_error_is_taken_once() {
    let (socket, peer) = tcp();
    let socket = socket.as_fd();
    assert_eq!((Kernel.is_broken(socket), Kernel.take_error(socket)), (Ok(false), Ok(None)));

    SockRef::from(&peer).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    drop(peer);

    // On the loopback the reset has arrived when the peer is closed.
    assert_eq!(Kernel.is_broken(socket), Ok(true));
    assert_eq!(Kernel.take_error(socket), Ok(Some(Errno::CONNRESET)));
    assert_eq!(Kernel.take_error(socket), Ok(None));
}

// Tests_SRS_SOCKET_01_033
#[rstest]
#[case::tcp(tcp)]
#[case::unix(unix)]
fn no_message_is_taken_from_an_error_queue_that_is_empty_or_absent(#[case] make: fn() -> Pair) {
    let (socket, peer) = make();
    assert_eq!(Kernel.receive_error_message(socket.as_fd()), Err(Errno::AGAIN));
    std::fs::File::from(peer).write_all(b"x").expect("the peer sends");
    assert_eq!(Kernel.receive_error_message(socket.as_fd()), Err(Errno::AGAIN), "these are no messages");
    assert_eq!(Kernel.recv(socket.as_fd(), &mut [0; 4], RECEIVE_FLAGS), Ok(1));
}

// Tests_SRS_SOCKET_01_033
#[test]
fn looking_for_error_messages_leaves_passed_descriptors_where_they_are() {
    let (socket, peer) = unix();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let passed = [peer.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&passed)));
    sendmsg(&peer, &[IoSlice::new(b"x")], &mut control, SendFlags::empty()).expect("the peer sends");

    assert_eq!(Kernel.receive_error_message(socket.as_fd()), Err(Errno::AGAIN));

    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(&socket, &mut [IoSliceMut::new(&mut [0])], &mut control, RecvFlags::DONTWAIT).expect("the byte is there");
    let is_passed = |message: RecvAncillaryMessage<'_>| matches!(message, RecvAncillaryMessage::ScmRights(_));
    assert_eq!(control.drain().filter_map(|message| is_passed(message).then_some(())).count(), 1);
}

/// Receives three bytes, and says nothing of descriptors.
struct Plain;

impl SocketSyscalls for Plain {
    fn short_read_drains(&self, _: BorrowedFd<'_>) -> Result<bool, Errno> {
        Ok(false)
    }

    fn send(&self, _: BorrowedFd<'_>, _: &[u8], _: SendFlags) -> Result<usize, Errno> {
        Err(Errno::AGAIN)
    }

    fn sendmsg(&self, _: BorrowedFd<'_>, _: &[IoSlice<'_>], _: SendFlags) -> Result<usize, Errno> {
        Err(Errno::AGAIN)
    }

    fn recv(&self, _: BorrowedFd<'_>, _: &mut [u8], _: RecvFlags) -> Result<usize, Errno> {
        Ok(3)
    }

    fn recvmsg(&self, _: BorrowedFd<'_>, _: &mut [IoSliceMut<'_>], _: RecvFlags) -> Result<usize, Errno> {
        Err(Errno::AGAIN)
    }

    fn receive_error_message(&self, _: BorrowedFd<'_>) -> Result<(), Errno> {
        Err(Errno::AGAIN)
    }

    fn take_error(&self, _: BorrowedFd<'_>) -> Result<Option<Errno>, Errno> {
        Ok(None)
    }

    fn is_broken(&self, _: BorrowedFd<'_>) -> Result<bool, Errno> {
        Ok(false)
    }

    fn close(&self, _: OwnedFd) {}
}

#[test]
fn system_calls_that_do_not_know_of_descriptors_count_as_if_some_came_along() {
    let (socket, _peer) = unix();
    assert_eq!(Plain.is_unix_stream(socket.as_fd()), Ok(false));
    assert_eq!(Plain.recv_noting_scm_rights(socket.as_fd(), &mut [0; 8], RECEIVE_FLAGS), Ok((3, true)));
}
