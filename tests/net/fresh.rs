//! Connections that a connector has made and whose descriptor the program has not asked for: what the kernel is not asked about
//! them, and when they are watched.

use crate::bound;
use crate::connect::start;
use async_socket_linux::sys::{Errno, RecvFlags, SendFlags};
use async_socket_linux::{
    AsyncSocket as _, AsyncSocketLinux, FreshStream, Kernel as KernelCalls, ReceiveError, SendError, SocketState,
    SocketSyscalls, UnsupportedKind,
};
use completion_port::{Port as _, PortExt as _};
use integration_tests::call::{Inbox, engine, hold, received};
use integration_tests::port::watched_by;
use integration_tests::{LIMIT, Transport, inbox, receive};
use rstest::rstest;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, sendmsg};
use socket2::SockRef;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The kernel's calls, and the questions that are asked about a descriptor.
#[derive(Clone, Default)]
struct Questions(Arc<Mutex<Vec<&'static str>>>);

impl Questions {
    fn note(&self, question: &'static str) -> KernelCalls {
        self.0.lock().expect("nobody panics with it").push(question);
        KernelCalls
    }
}

impl SocketSyscalls for Questions {
    fn unsupported_kind(&self, fd: BorrowedFd<'_>) -> Result<Option<UnsupportedKind>, Errno> {
        self.note("kind").unsupported_kind(fd)
    }

    fn is_connecting(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        self.note("connecting").is_connecting(fd)
    }

    fn lingers(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        self.note("lingers").lingers(fd)
    }

    fn short_read_drains(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        self.note("short read").short_read_drains(fd)
    }

    fn send(&self, fd: BorrowedFd<'_>, bytes: &[u8], flags: SendFlags) -> Result<usize, Errno> {
        KernelCalls.send(fd, bytes, flags)
    }

    fn sendmsg(&self, fd: BorrowedFd<'_>, buffers: &[IoSlice<'_>], flags: SendFlags) -> Result<usize, Errno> {
        KernelCalls.sendmsg(fd, buffers, flags)
    }

    fn recv(&self, fd: BorrowedFd<'_>, buffer: &mut [u8], flags: RecvFlags) -> Result<usize, Errno> {
        KernelCalls.recv(fd, buffer, flags)
    }

    fn recvmsg(&self, fd: BorrowedFd<'_>, buffers: &mut [IoSliceMut<'_>], flags: RecvFlags) -> Result<usize, Errno> {
        KernelCalls.recvmsg(fd, buffers, flags)
    }

    fn receive_error_message(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        KernelCalls.receive_error_message(fd)
    }

    fn take_error(&self, fd: BorrowedFd<'_>) -> Result<Option<Errno>, Errno> {
        KernelCalls.take_error(fd)
    }

    fn is_broken(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        KernelCalls.is_broken(fd)
    }

    fn close(&self, fd: OwnedFd) {
        KernelCalls.close(fd);
    }
}

// Tests_SRS_SOCKET_01_129, Tests_SRS_SOCKET_01_130
#[rstest]
fn a_fresh_stream_is_opened_used_and_closed_without_a_question(#[values(false, true)] is_tcp: bool) {
    let engine = engine(1);
    let (ours, mut peer) = if is_tcp { Transport::TcpV4.pair() } else { Transport::Unix.pair() };
    let stream = if is_tcp { FreshStream::Tcp } else { FreshStream::Unix };
    let questions = Questions::default();
    let port = engine.completion_port();
    let socket = AsyncSocketLinux::open_fresh_with(port.clone(), questions.clone(), ours, stream).unwrap();

    let (done, bytes) = inbox();
    socket.receive_async(vec![0; 8], move |it| done.put(it.received().to_vec())).unwrap();
    peer.write_all(b"one").unwrap();
    assert_eq!(bytes.only(), b"one");
    let (done, bytes) = inbox();
    socket.receive_async(vec![0; 8], move |it| done.put(it.received().to_vec())).unwrap();
    peer.write_all(b"two").unwrap();
    assert_eq!(bytes.only(), b"two", "the short read before was the last of its event");
    let (done, closed) = inbox();
    let close = move || {
        drop(socket);
        done.put(());
    };
    port.post(close).unwrap();

    closed.only();
    assert_eq!(*questions.0.lock().unwrap(), [""; 0]);
}

// Tests_SRS_SOCKET_01_131
#[test]
fn a_connection_is_watched_from_its_first_operation_on() {
    let engine = engine(1);
    let epoll = engine.completion_port().number().unwrap();
    let before = watched_by(epoll);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = || {
        let (_connecting, outcome) = start(&engine, listener.local_addr().unwrap(), LIMIT);
        (outcome.only().unwrap(), listener.accept().unwrap().0)
    };

    let (unused, mut peer) = connect();
    assert_eq!(watched_by(epoll), before);
    drop(unused);
    assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
    assert_eq!(watched_by(epoll), before);

    let (socket, mut peer) = connect();
    peer.write_all(b"early").unwrap();
    let (done, bytes) = inbox();
    socket.receive_async(vec![0; 8], move |it| done.put(it.received().to_vec())).unwrap();
    assert_eq!(bytes.only(), b"early");
    assert_eq!(watched_by(epoll), before + 1);
}

// Tests_SRS_SOCKET_01_132
#[test]
fn what_epoll_refuses_at_the_first_operation_is_its_reason_and_nothing_is_lost() {
    let engine = engine(1);
    // epoll(7) watches no regular files.
    let file = File::open("/proc/self/exe").unwrap();
    let port = engine.completion_port();
    let socket = AsyncSocketLinux::open_fresh_with(port, KernelCalls, file, FreshStream::Tcp).unwrap();
    let os_error = Errno::PERM.raw_os_error();

    let receive = socket.receive_async([7; 8], |_| panic!("it is refused")).expect_err("not watched");
    let send = socket.send_async("x", |_| panic!("it is refused")).expect_err("not watched");

    let large = socket.send_async([7; 1 << 16], |_| panic!("it is refused")).expect_err("not watched");
    let shutdown = socket.shutdown_async(|_| panic!("it is refused")).expect_err("not watched");

    assert_eq!((receive.error, receive.returned), (ReceiveError::Os { os_error }, [7; 8]));
    let refused = SendError::Os { os_error, bytes_sent: 0 };
    assert_eq!((send.error, send.returned), (refused, "x"));
    assert_eq!((large.error, large.returned[0]), (refused, 7));
    assert_eq!(shutdown, refused);
    assert_eq!((socket.state(), socket.queued_bytes()), (SocketState::Open, 0));
}

// Tests_SRS_ASYNC_SOCKET_NET_01_054
#[test]
fn a_unix_connection_that_was_not_asked_is_read_beyond_a_passed_descriptor() {
    let engine = engine(1);
    let name = format!("async-socket-net-passes-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    let (_connecting, outcome) = start(&engine, address, LIMIT);
    let socket = outcome.only().unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    let held = hold(&engine);
    let pending = [(); 2].map(|()| receive(&socket, vec![0; 64]));
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let passed = [peer.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&passed)));
    sendmsg(&peer, &[IoSlice::new(b"first")], &mut control, rustix::net::SendFlags::empty()).unwrap();
    peer.write_all(b"second").unwrap();

    // Both are there at the one event.
    held.release();

    let [first, second] = pending.map(Inbox::only);
    // The kernel reads to the passed descriptor and no further.
    assert_eq!((received(&first), received(&second)), (&b"first"[..], &b"second"[..]));
}

// Tests_SRS_SOCKET_01_130, Tests_SRS_ASYNC_SOCKET_NET_01_054
#[test]
fn a_connected_socket_that_the_program_lets_linger_holds_up_no_other_when_it_is_closed_on_the_ports_thread() {
    let engine = engine(1);
    let (listener, address) = bound();
    let (_connecting, outcome) = start(&engine, address, LIMIT);
    let socket = outcome.only().unwrap();
    let (_silent, _) = listener.accept().unwrap();
    let set = socket.with_descriptor(|fd| SockRef::from(&fd).set_linger(Some(Duration::from_secs(20))));
    set.unwrap().unwrap();
    // More than the kernel takes.
    socket.send_async(vec![7; 8 << 20], drop).unwrap();

    let (done, closed) = inbox();
    let close = move || {
        let start = Instant::now();
        drop(socket);
        done.put(start.elapsed());
    };
    engine.completion_port().post(close).unwrap();

    let held_up = closed.only();
    assert!(held_up < Duration::from_secs(10), "the port's thread waited for {held_up:?}");
}
