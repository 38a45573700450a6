//! The error queue: notifications in it are no errors; an error without readability or writability is one.
#![allow(unsafe_code, reason = "nix's macro for a socket option expands to it")]

use async_socket_linux::{AsyncSocket, AsyncSocketLinux, ReceiveCompletion, ReceiveResult, SendCompletion, SendResult};
use completion_port::CompletionPort;
use integration_tests::call::{block_sending, engine, hold, open, receive, received, round_trip};
use integration_tests::kernel::HeldKernel;
use integration_tests::wait::gate;
use integration_tests::{Inbox, Peer, Transport, eventually, inbox, send};
use nix::libc::{self, ECONNREFUSED, ECONNRESET, MSG_ZEROCOPY, SO_ZEROCOPY, SOL_SOCKET};
use nix::sys::socket::{TimestampingFlag, setsockopt, sockopt};
use rstest::rstest;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendFlags, SocketAddrUnix, recvmsg};
use std::io::Write;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

type HeldSocket = AsyncSocketLinux<CompletionPort, HeldKernel>;

nix::setsockopt_impl!(ZeroCopy, SOL_SOCKET, SO_ZEROCOPY, bool, sockopt::SetBool);

/// An option that nix does not have.
#[derive(Clone, Copy)]
struct ZeroCopy;

/// Makes the kernel report when the peer has acknowledged a send (`SOF_TIMESTAMPING_TX_ACK`), with no more than the
/// time.
fn ask_for_time_stamps(socket: &OwnedFd) {
    const TX_ACK: u32 = 1 << 9;
    let flags = TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_OPT_TSONLY
        | TimestampingFlag::from_bits_retain(TX_ACK);
    setsockopt(socket, sockopt::Timestamping, &flags).expect("SO_TIMESTAMPING");
}

/// Takes what is in the error queue.
fn drain(socket: &OwnedFd) -> usize {
    let flags = RecvFlags::ERRQUEUE | RecvFlags::DONTWAIT;
    let one = || recvmsg(socket, &mut [], &mut RecvAncillaryBuffer::default(), flags).is_ok();
    std::iter::repeat_with(one).take_while(|taken| *taken).count()
}

fn events(socket: &OwnedFd) -> PollFlags {
    let mut watched = [PollFd::new(socket, PollFlags::IN | PollFlags::OUT)];
    poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).expect("poll");
    watched[0].revents()
}

/// Lets the peer read until there is a time stamp but still no room to send.
fn provoke_error_alone(peer: &mut Peer, handle: &OwnedFd) -> usize {
    let mut read = 0;
    eventually("an error alone", || {
        let events = events(handle);
        assert!(!events.contains(PollFlags::OUT), "the peer has read too much: {read}");
        if !events.contains(PollFlags::ERR) {
            read += peer.read_bytes(4_096).len();
        }
        events == PollFlags::ERR
    });
    read
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_086, Tests_SRS_ASYNC_SOCKET_LINUX_11_089
#[rstest]
fn zero_copy_notifications_leave_a_pending_receive_pending(
    #[values(Transport::TcpV4, Transport::TcpV6)] transport: Transport,
) {
    let (descriptor, mut peer) = transport.pair();
    let handle = descriptor.try_clone().unwrap();
    setsockopt(&handle, ZeroCopy, &true).unwrap();
    let engine = engine(1);
    let socket = open(&engine, descriptor);
    let pending = receive(&socket, vec![0; 16]);

    let mut notified = 0;
    for _ in 0..50 {
        let flags = SendFlags::from_bits_retain(u32::try_from(MSG_ZEROCOPY).unwrap());
        assert_eq!(rustix::net::send(&handle, &[7; 10_000], flags), Ok(10_000));
        assert_eq!(peer.read_bytes(10_000), [7; 10_000]);
        round_trip(&engine);
        notified += drain(&handle);
        assert!(pending.is_pending());
    }
    assert!(notified > 0, "the kernel sent notifications");

    peer.write_all(b"in the end").unwrap();
    assert_eq!(received(&pending.only()), b"in the end");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_086
#[test]
fn notifications_beside_a_blocked_send_disturb_neither_it_nor_a_pending_receive_and_are_drained() {
    let engine = engine(1);
    let (descriptor, mut peer) = Transport::TcpV4.pair();
    let handle = descriptor.try_clone().unwrap();
    ask_for_time_stamps(&handle);
    let socket = open(&engine, descriptor);
    let pending = receive(&socket, vec![0; 16]);
    let (blocked, position) = block_sending(&socket);
    let behind = send(&socket, vec![0; 10]);

    let mut read = 0;
    for _ in 0..3 {
        // While the port is held it leaves the notification where it is.
        let held = hold(&engine);
        read += provoke_error_alone(&mut peer, &handle);
        held.release();
        eventually("the port drains the queue", || {
            let is_drained = !events(&handle).contains(PollFlags::ERR);
            if !is_drained {
                // On a busy machine the event may report room to send beside the error. The port then leaves the error
                // to the next event.
                read += peer.read_bytes(1_024).len();
            }
            is_drained
        });
        assert!(pending.is_pending());
    }

    let _ = peer.read_bytes(position + 10 - read);
    assert_eq!((blocked.only().result, behind.only().result), (SendResult::Ok, SendResult::Ok));
    assert!(pending.is_pending());
    peer.write_all(b"in the end").unwrap();
    assert_eq!(received(&pending.only()), b"in the end");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_086
#[test]
fn a_notification_that_comes_when_the_queue_has_just_been_drained_is_no_error() {
    let (engine, (gate, barrier)) = (engine(1), gate());
    let (descriptor, mut peer) = Transport::TcpV4.pair();
    let handle = descriptor.try_clone().unwrap();
    ask_for_time_stamps(&handle);
    let kernel = HeldKernel { after_error_queue: Some(barrier).into(), ..HeldKernel::default() };
    let socket = AsyncSocketLinux::create_with(engine.completion_port(), kernel, descriptor);
    socket.open_async(|_| {}).unwrap();
    let (received, pending) = inbox();
    socket.receive_async([0_u8; 16], move |completion| received.put(completion.result)).unwrap();
    // Each call of `send` has a time stamp.
    let blocked = loop {
        let (done, sent) = inbox();
        socket.send_async(vec![7; 64 * 1024], move |completion| done.put(completion.result)).unwrap();
        if sent.is_pending() {
            break sent;
        }
    };

    provoke_error_alone(&mut peer, &handle);
    gate.wait_for_arrival();
    provoke_error_alone(&mut peer, &handle);
    gate.open();

    eventually("the port drains the queue", || !events(&handle).contains(PollFlags::ERR));
    round_trip(&engine);
    assert!(pending.is_pending() && blocked.is_pending());
    socket.close();
    assert_eq!((pending.only(), blocked.only()), (ReceiveResult::Abandoned, SendResult::Abandoned));
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_086
// A program that uses MSG_ZEROCOPY or time stamps takes the notifications itself. If it is faster than the port, the port
// finds an empty queue.
#[test]
fn notifications_that_the_program_took_first_are_no_error() {
    let engine = engine(1);
    let (descriptor, mut peer) = Transport::TcpV4.pair();
    let handle = descriptor.try_clone().unwrap();
    ask_for_time_stamps(&handle);
    let socket = open(&engine, descriptor);
    let (first, mut first_peer) = Transport::Unix.pair();
    let first = open(&engine, first);
    let pending = receive(&socket, vec![0; 16]);
    let (blocked, position) = block_sending(&socket);

    let (mut read, mut taken) = (0, 0);
    while taken == 0 {
        round_trip(&engine);
        // One batch of two events. The first is that of `first`, whose callback waits while the test takes the
        // notification. The second is that of `socket`. If a notification of earlier sends is late, the port is faster,
        // and the loop tries again.
        let held = hold(&engine);
        let (gate, barrier) = gate();
        first.receive_async([0_u8; 1], move |_| barrier.wait()).unwrap();
        first_peer.write_all(b"x").unwrap();
        read += provoke_error_alone(&mut peer, &handle);
        held.release();
        gate.wait_for_arrival();
        taken = drain(&handle);
        gate.open();
    }
    round_trip(&engine);

    if let Some(completion) = pending.try_next() {
        panic!("completed: {completion:?}");
    }
    assert!(blocked.is_pending());
    let _ = peer.read_bytes(position - read);
    peer.write_all(b"in the end").unwrap();
    assert_eq!(received(&pending.only()), b"in the end");
    assert_eq!(blocked.only().result, SendResult::Ok);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_085, Tests_SRS_ASYNC_SOCKET_LINUX_11_086, Tests_SRS_ASYNC_SOCKET_LINUX_11_087
#[test]
fn an_error_with_neither_readability_nor_writability_ends_what_is_pending_in_order() {
    // Corked bytes leave no room to send. A twin socket on the same UDP port provokes the error.
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let bind = |address: std::net::SocketAddr| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
        socket.set_reuse_port(true).unwrap();
        socket.bind(&address.into()).unwrap();
        UdpSocket::from(socket)
    };
    let ours = bind("127.0.0.1:0".parse().unwrap());
    let ours_at = ours.local_addr().unwrap();
    let twin = bind(ours_at);
    ours.connect(nobody).unwrap();
    socket2::SockRef::from(&ours).set_send_buffer_size(1).unwrap();
    let descriptor = OwnedFd::from(ours);
    let handle = descriptor.try_clone().unwrap();
    let corked = rustix::net::send(&handle, &[0; 3_000], SendFlags::MORE).unwrap();
    assert_eq!(corked, 3_000);
    assert_eq!(events(&handle), PollFlags::empty());
    let engine = engine(1);
    // No stream shows such an event alone. The kernel would cork another send too. So the test answers EAGAIN, as poll
    // does.
    let kernel = HeldKernel { no_room: true, ..HeldKernel::default() };
    let socket = AsyncSocketLinux::create_with(engine.completion_port(), kernel, descriptor);
    socket.open_async(|_| {}).unwrap();
    let (ended, captured) = send_and_receive_in_turn(&socket);
    round_trip(&engine);
    assert!(ended.is_pending());

    twin.send_to(b"is anybody there?", nobody).unwrap();

    for number in 0..6 {
        assert_eq!(ended.next(), (number, "Error".to_owned(), Some(ECONNREFUSED)));
    }
    ended.assert_dead();
    assert_eq!(Arc::strong_count(&captured), 1, "what the operations held is let go");

    // The error is over. The socket is alive, and a later receive waits.
    let (done, pending) = inbox();
    socket.receive_async(vec![0; 16], move |completion| done.put(completion)).unwrap();
    round_trip(&engine);
    if let Some(completion) = pending.try_next() {
        panic!("told again: {completion:?}");
    }
    let somebody = UdpSocket::bind(nobody).unwrap();
    somebody.send_to(b"here I am", ours_at).unwrap();
    assert_eq!(received(&pending.only()), b"here I am");
}

/// A message that takes most of the room to send.
const DATAGRAM: [u8; 2_048] = [7; 2_048];

/// A Unix datagram socket with a name that the kernel chose.
fn named_datagrams() -> UnixDatagram {
    let socket = UnixDatagram::unbound().expect("a socket");
    rustix::net::bind(&socket, &SocketAddrUnix::new_unnamed()).expect("bind");
    socket
}

/// A connected Unix datagram socket with no room to send, its peer, and the socket whose unread messages occupy the room.
///
/// No stream shows an error without readability or writability. This socket does when its peer connects elsewhere, because a
/// message that the peer has not read is then lost.
fn unix_datagrams() -> (OwnedFd, UnixDatagram, UnixDatagram) {
    let (ours, peer) = UnixDatagram::pair().expect("a pair");
    ours.set_nonblocking(true).expect("O_NONBLOCK");
    socket2::SockRef::from(&ours).set_send_buffer_size(1).expect("SO_SNDBUF");
    ours.send(b"lost").expect("there is room");
    let occupant = named_datagrams();
    let name = occupant.local_addr().expect("its name");
    while ours.send_to_addr(&DATAGRAM, &name).is_ok() {}
    (ours.into(), peer, occupant)
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_087
#[test]
fn a_reset_that_is_reported_as_an_error_alone_abandons_what_is_pending_in_order() {
    let (descriptor, peer, _occupant) = unix_datagrams();
    let handle = descriptor.try_clone().unwrap();
    let engine = engine(1);
    let socket = AsyncSocketLinux::create_with(engine.completion_port(), HeldKernel::default(), descriptor);
    socket.open_async(|_| {}).unwrap();
    let (ended, captured) = send_and_receive_in_turn(&socket);
    round_trip(&engine);
    assert!(ended.is_pending());

    let held = hold(&engine);
    let elsewhere = named_datagrams();
    peer.connect_addr(&elsewhere.local_addr().unwrap()).unwrap();
    assert_eq!(events(&handle), PollFlags::ERR);
    held.release();

    for number in 0..6 {
        assert_eq!(ended.next(), (number, "Abandoned".to_owned(), Some(ECONNRESET)));
    }
    ended.assert_dead();
    assert_eq!(Arc::strong_count(&captured), 1, "what the operations held is let go");
}

type Ended = (usize, String, Option<i32>);

/// Starts three sends and three receives, which will be pending. Returns their ends, and the value that all their
/// callbacks have captured.
fn send_and_receive_in_turn(socket: &HeldSocket) -> (Inbox<Ended>, Arc<()>) {
    let (captured, (done, ended)) = (Arc::new(()), inbox());
    for number in 0..6 {
        let (held, done) = (Arc::clone(&captured), done.clone());
        if number % 2 == 0 {
            let callback = move |completion: SendCompletion<_>| {
                drop(held);
                done.put((number, format!("{:?}", completion.result), completion.os_error()));
            };
            socket.send_async(DATAGRAM.to_vec(), callback).expect("send_async");
        } else {
            let callback = move |completion: ReceiveCompletion<_>| {
                drop(held);
                done.put((number, format!("{:?}", completion.result), completion.os_error()));
            };
            socket.receive_async([0_u8; 8], callback).expect("receive_async");
        }
    }
    (ended, captured)
}
