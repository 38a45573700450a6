//! Kinds of socket: the kinds that open, a socket that is still being connected, and the close of a socket that
//! lingers.
#![allow(unsafe_code, reason = "calls the C ABI")]
#![allow(clippy::unwrap_used, reason = "a panic is the test's failure, in helpers too")]

use async_socket::{
    ASYNC_SOCKET_OPEN_RESULT, async_socket_create, async_socket_destroy, async_socket_open_async, platform_init,
};
use async_socket_linux::sys::Errno;
use async_socket_linux::{AsyncSocket, OpenError, ReceiveResult, SendError, SendResult, SocketState, UnsupportedKind};
use integration_tests::call::{engine, hold, open, receive, received, round_trip, send, try_send};
use integration_tests::process::is_open;
use integration_tests::wire::{PatternChecker, pattern};
use integration_tests::{NeverCalled, Peer, Socket, Transport, eventually, inbox, send_now};
use nix::libc::{ECONNREFUSED, ENOPROTOOPT, EPROTONOSUPPORT};
use rstest::rstest;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, getpeername, recv, socket};
use socket2::SockRef;
use std::ffi::c_void;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

// ---- what is refused

fn udp() -> OwnedFd {
    UdpSocket::bind("127.0.0.1:0").unwrap().into()
}

fn unix_datagrams() -> OwnedFd {
    UnixDatagram::pair().unwrap().0.into()
}

fn sequenced_packets() -> OwnedFd {
    socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap()
}

/// A netlink socket, because a raw IP socket needs a privilege.
fn raw() -> OwnedFd {
    socket(AddressFamily::NETLINK, SocketType::RAW, None).unwrap()
}

fn tcp_listener() -> OwnedFd {
    TcpListener::bind("127.0.0.1:0").unwrap().into()
}

fn unix_listener() -> OwnedFd {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("a_listener");
    let _ = std::fs::remove_file(&path);
    UnixListener::bind(path).unwrap().into()
}

/// Guards the numbers that these tests use, so that none reuses a number that another has just closed.
fn one_number_at_a_time() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

// Tests_SRS_SOCKET_01_010, Tests_SRS_SOCKET_01_011
#[rstest]
#[case::udp(udp, UnsupportedKind::Datagram, "a datagram socket")]
#[case::unix_datagrams(unix_datagrams, UnsupportedKind::Datagram, "a datagram socket")]
#[case::sequenced_packets(sequenced_packets, UnsupportedKind::SequencedPackets, "sequenced packets")]
#[case::raw(raw, UnsupportedKind::Raw, "a raw socket")]
#[case::tcp_listener(tcp_listener, UnsupportedKind::Listening, "a listening socket")]
#[case::unix_listener(unix_listener, UnsupportedKind::Listening, "a listening socket")]
fn a_socket_without_a_stream_is_refused_by_name_and_closed_in_the_end(
    #[case] make: fn() -> OwnedFd,
    #[case] expected: UnsupportedKind,
    #[case] name: &str,
) {
    let never = NeverCalled::default();
    let _number = one_number_at_a_time();
    let made = make();
    // A number that nothing else here gets.
    let descriptor = rustix::io::fcntl_dupfd_cloexec(&made, 900).unwrap();
    drop(made);
    let number = descriptor.as_raw_fd();
    let socket = Socket::create(Some(&engine(1)), descriptor).unwrap();

    for _ in 0..2 {
        let error = socket.open_async(never.callback()).unwrap_err();

        let message = error.to_string();
        assert!(message.contains(&format!("descriptor {number} is ")) && message.contains(name), "{message}");
        let OpenError::UnsupportedKind { descriptor, kind } = error else { panic!("{error}") };
        assert_eq!((descriptor, kind), (number, expected));
        assert_eq!(socket.state(), SocketState::Closed);
    }

    assert!(is_open(number));
    drop(socket);
    assert!(!is_open(number));
}

// Tests_SRS_SOCKET_01_010, Tests_SRS_SOCKET_01_011
#[test]
fn a_socket_that_listens_no_more_and_has_connected_instead_can_be_opened() {
    let never = NeverCalled::default();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    let handle = socket2::Socket::from(listener.try_clone().unwrap());
    let ours = Socket::create(Some(&engine(1)), listener.into()).unwrap();
    ours.open_async(never.callback()).unwrap_err();

    handle.shutdown(std::net::Shutdown::Both).unwrap();
    handle.connect(&peer.local_addr().unwrap().into()).unwrap();
    ours.open_async(|_| {}).unwrap();

    let (mut peer, _) = peer.accept().unwrap();
    send_now(&ours, b"at last");
    let mut bytes = [0; 7];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"at last");
}

static CALLED_BACK: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn count(_: *mut c_void, _: ASYNC_SOCKET_OPEN_RESULT) {
    CALLED_BACK.fetch_add(1, Ordering::SeqCst);
}

// Tests_SRS_SOCKET_01_010, Tests_SRS_SOCKET_01_011
#[test]
fn a_c_program_gets_non_zero_for_a_socket_without_a_stream() {
    let _number = one_number_at_a_time();
    let made = UdpSocket::bind("127.0.0.1:0").unwrap();
    let number = rustix::io::fcntl_dupfd_cloexec(&made, 900).unwrap().into_raw_fd();
    assert_eq!(platform_init(), 0);
    // SAFETY: the descriptor is given away.
    let socket = unsafe { async_socket_create(std::ptr::null_mut(), number) };
    assert!(!socket.is_null());
    // SAFETY: a valid handle.
    assert_ne!(unsafe { async_socket_open_async(socket, Some(count), std::ptr::null_mut()) }, 0);
    assert!(is_open(number));
    // SAFETY: the handle is not used again.
    unsafe { async_socket_destroy(socket) };
    assert!(!is_open(number));
    assert_eq!(CALLED_BACK.load(Ordering::SeqCst), 0);
}

// ---- other streams

/// A pair of another protocol than TCP. Its short reads prove nothing.
fn mptcp() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let make = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, Some(socket2::Protocol::MPTCP));
    let (listener, client) = (make()?, make()?);
    listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    listener.listen(1).unwrap();
    client.connect(&listener.local_addr().unwrap()).unwrap();
    Ok((listener.accept().unwrap().0.into(), client.into()))
}

#[test]
fn a_stream_of_another_protocol_works_both_ways() {
    let (ours, peer) = match mptcp() {
        Ok(pair) => pair,
        Err(error) => {
            // A kernel without MPTCP, or one whose sysctl forbids it.
            assert!([Some(EPROTONOSUPPORT), Some(ENOPROTOOPT)].contains(&error.raw_os_error()), "{error}");
            return println!("not run: this kernel has no MPTCP");
        }
    };
    let mut peer = TcpStream::from(peer);
    let socket = open(&engine(1), ours);

    for round in 0..50 {
        let pending = receive(&socket, vec![0; 64]);
        let message = format!("message {round}");
        peer.write_all(message.as_bytes()).unwrap();
        assert_eq!(received(&pending.only()), message.as_bytes());
        send_now(&socket, message.clone());
        let mut bytes = vec![0; message.len()];
        peer.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, message.as_bytes());
    }
}

// ---- a connect that is still in progress

fn connecting_to(address: SocketAddr) -> OwnedFd {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    let _ = socket.connect(&address.into());
    socket.into()
}

/// A listener whose queue is full, the sockets that fill the queue, and a socket whose connect waits for room in it.
pub(crate) fn waiting_for_room() -> (TcpListener, Vec<OwnedFd>, OwnedFd) {
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    listener.listen(0).unwrap();
    let listener = TcpListener::from(listener);
    let mut fillers = Vec::new();
    loop {
        let socket = connecting_to(listener.local_addr().unwrap());
        let mut watched = [PollFd::new(&socket, PollFlags::OUT)];
        let timeout = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        if poll(&mut watched, Some(&timeout)).unwrap() == 0 && getpeername(&socket).is_err() {
            return (listener, fillers, socket);
        }
        fillers.push(socket);
    }
}

// Tests_SRS_SOCKET_01_014
#[test]
fn the_first_send_of_a_socket_that_is_being_connected_waits_for_the_connection() {
    let (listener, fillers, descriptor) = waiting_for_room();
    let socket = open(&engine(1), descriptor);
    let (pending, first, second) = (receive(&socket, vec![0; 16]), send(&socket, "first "), send(&socket, "second"));
    assert!(pending.is_pending() && first.is_pending() && second.is_pending());

    for _ in &fillers {
        listener.accept().unwrap();
    }
    // The kernel tries to connect again after a second.
    let (mut peer, _) = listener.accept().unwrap();

    assert_eq!((first.only().result, second.only().result), (SendResult::Ok, SendResult::Ok));
    let mut bytes = [0; 12];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"first second");
    peer.write_all(b"and back").unwrap();
    assert_eq!(received(&pending.only()), b"and back");
}

// Tests_SRS_SOCKET_01_015
#[test]
fn everything_that_waits_for_a_connection_names_why_it_is_not_made() {
    let (listener, _fillers, descriptor) = waiting_for_room();
    let socket = open(&engine(1), descriptor);
    let (pending, first, second) = (receive(&socket, vec![0; 16]), send(&socket, "first"), send(&socket, "second"));

    // The kernel tries to connect again after a second, and finds no listener.
    drop(listener);

    let ended = pending.only();
    assert_eq!((ended.result, ended.os_error(), ended.bytes_received), (ReceiveResult::Error, Some(ECONNREFUSED), 0));
    for send in [first, second] {
        let ended = send.only();
        assert_eq!((ended.result, ended.os_error(), ended.bytes_sent), (SendResult::Error, Some(ECONNREFUSED), 0));
    }
    let refused = try_send(&socket, "third").unwrap_err();
    assert_eq!(refused.error, SendError::Os { os_error: ECONNREFUSED, bytes_sent: 0 });
}

// Tests_SRS_SOCKET_01_015
#[rstest]
fn a_connect_that_had_failed_before_the_open_shows_on_all_that_follows(#[values(false, true)] send_first: bool) {
    // Bound and not listening.
    let nobody = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    nobody.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    let address = nobody.local_addr().unwrap().as_socket().unwrap();
    let socket = open(&engine(1), connecting_to(address));
    let sends = || {
        let refused = try_send(&socket, "hello").unwrap_err();
        assert_eq!(refused.error, SendError::Os { os_error: ECONNREFUSED, bytes_sent: 0 });
    };
    let receives = || {
        let ended = receive(&socket, vec![0; 16]).only();
        assert_eq!((ended.result, ended.os_error()), (ReceiveResult::Error, Some(ECONNREFUSED)));
    };

    if send_first {
        sends();
    }
    receives();
    sends();
    receives();
}

// ---- close

// Tests_SRS_SOCKET_01_001
#[rstest]
fn a_socket_that_lingers_holds_up_no_other_when_it_is_closed_in_a_callback_and_loses_no_byte(
    #[values(false, true)] by_close: bool,
) {
    const LENGTH: usize = 8 << 20;
    let engine = engine(1);
    let (descriptor, mut peer) = Transport::TcpV4.pair();
    SockRef::from(&descriptor).set_linger(Some(Duration::from_secs(20))).unwrap();
    // Otherwise the kernel would take everything before the peer reads.
    SockRef::from(&peer).set_recv_buffer_size(16 * 1024).unwrap();
    let lingering = open(&engine, descriptor);
    let (other, mut others_peer) = Transport::Unix.pair();
    let other = open(&engine, other);
    let pending = receive(&other, vec![0; 1]);

    // The peer reads until the kernel has taken everything. Then it reads no more until the socket is closed.
    let ((done, sent), (close, go)) = (inbox(), std::sync::mpsc::channel::<()>());
    let (report, closed) = inbox();
    let closes = std::sync::Arc::clone(&lingering);
    lingering
        .send_async(pattern(0, LENGTH), move |completion| {
            done.put(completion.result);
            let _ = go.recv();
            let start = Instant::now();
            if by_close {
                closes.close();
            }
            drop(closes);
            report.put(start.elapsed());
        })
        .unwrap();
    drop(lingering);
    let mut checker = PatternChecker::default();
    let mut chunk = vec![0; 64 * 1024];
    let mut read = || {
        let length = peer.read(&mut chunk).unwrap();
        checker.check(&chunk[..length]);
        (length, checker.position())
    };
    let mut position = 0;
    let result = loop {
        if let Some(result) = sent.try_next() {
            break result;
        }
        // On a busy machine everything can arrive before the callback says that it was sent.
        if position < LENGTH {
            position = read().1;
        } else {
            std::thread::yield_now();
        }
    };
    assert_eq!(result, SendResult::Ok);
    close.send(()).unwrap();

    let held_up = closed.only();
    others_peer.write_all(b"x").unwrap();
    assert_eq!(received(&pending.only()), b"x");
    assert!(held_up < Duration::from_secs(10), "the port's thread waited for {held_up:?}");
    loop {
        match read() {
            (0, _) => break,
            (_, so_far) => position = so_far,
        }
        // A slow peer.
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(position, LENGTH);
}

// Tests_SRS_SOCKET_01_003
#[test]
fn a_thread_of_the_program_lingers_as_the_program_asked() {
    let (descriptor, peer) = Transport::TcpV4.pair();
    SockRef::from(&descriptor).set_linger(Some(Duration::from_secs(1))).unwrap();
    let engine = engine(1);
    let socket = Socket::create(Some(&engine), descriptor).unwrap();
    socket.open_async(|_| {}).unwrap();
    let _blocked = send(&socket, vec![7; 8 << 20]);

    let start = Instant::now();
    socket.close();

    assert!(start.elapsed() >= Duration::from_millis(900), "closed after {:?}", start.elapsed());
    drop(peer);
}

// Tests_SRS_SOCKET_01_001, Tests_SRS_SOCKET_01_002
#[test]
fn a_linger_time_of_0_resets_also_when_a_callback_closes() {
    let engine = engine(1);
    let (descriptor, mut peer) = Transport::TcpV4.pair();
    SockRef::from(&descriptor).set_linger(Some(Duration::ZERO)).unwrap();
    let socket = open(&engine, descriptor);
    let (done, closed) = inbox();
    let closes = std::sync::Arc::clone(&socket);
    socket
        .receive_async([0; 1], move |_| {
            closes.close();
            done.put(());
        })
        .unwrap();

    peer.write_all(b"x").unwrap();
    closed.next();

    assert_eq!(peer.read(&mut [0; 1]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

// ---- what a read leaves behind

// Tests_SRS_SOCKET_01_034
#[rstest]
fn once_the_port_has_seen_urgent_data_a_mark_whose_byte_was_taken_holds_nothing_back(
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
) {
    let engine = engine(1);
    let (descriptor, mut peer) = transport.pair();
    let handle = descriptor.try_clone().unwrap();
    let socket = open(&engine, descriptor);
    let urgent = |peer: &Peer| rustix::net::send(peer, b"!", SendFlags::OOB);

    let pending = receive(&socket, vec![0; 64]);
    peer.write_all(b"abc").unwrap();
    if let Err(error) = urgent(&peer) {
        assert_eq!((transport, error), (Transport::Unix, Errno::OPNOTSUPP));
        return println!("not run: this kernel has no urgent data on Unix sockets");
    }
    assert_eq!(received(&pending.only()), b"abc");
    for plain in [b"def", b"ghi"] {
        // The receive finds nothing at first. The kernel no longer reports the urgent data.
        let pending = receive(&socket, vec![0; 64]);
        round_trip(&engine);
        peer.write_all(plain).unwrap();
        assert_eq!(received(&pending.only()), plain);
    }

    for round in 0..20 {
        let held = hold(&engine);
        peer.write_all(b"before").unwrap();
        assert_eq!(urgent(&peer), Ok(1));
        peer.write_all(b"behind").unwrap();
        let taken = || recv(&handle, &mut [0; 1], RecvFlags::OOB | RecvFlags::DONTWAIT).is_ok();
        eventually("the urgent byte", taken);
        held.release();

        let mut bytes = Vec::new();
        while bytes.len() < 12 {
            let completion = receive(&socket, vec![0; 64]).only();
            assert_eq!(completion.result, ReceiveResult::Ok);
            bytes.extend_from_slice(received(&completion));
        }
        assert_eq!(bytes, b"beforebehind", "round {round}");
    }
}

// Tests_SRS_SOCKET_01_033
#[test]
fn looking_for_error_messages_takes_nothing_from_a_unix_socket() {
    use async_socket_linux::SocketSyscalls;
    use rustix::net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, SendAncillaryBuffer, SendAncillaryMessage, recvmsg, sendmsg,
    };
    use std::mem::MaybeUninit;

    let (ours, peer) = UnixStream::pair().unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let passed = [peer.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&passed)));
    sendmsg(&peer, &[std::io::IoSlice::new(b"x")], &mut control, SendFlags::empty()).unwrap();

    assert_eq!(async_socket_linux::Kernel.receive_error_message(ours.as_fd()), Err(Errno::AGAIN));

    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0; 1];
    recvmsg(&ours, &mut [std::io::IoSliceMut::new(&mut byte)], &mut control, RecvFlags::DONTWAIT).unwrap();
    let descriptors: usize = control
        .drain()
        .map(|message| match message {
            RecvAncillaryMessage::ScmRights(passed) => passed.count(),
            _ => 0,
        })
        .sum();
    assert_eq!((&byte, descriptors), (b"x", 1));
}
