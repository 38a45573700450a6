//! Sending: at once if the kernel takes the bytes, queued if it does not, refused if nothing can be sent.

use async_socket_linux::{
    AsyncSocket, AsyncSocketLinux, PayloadError, ReceiveResult, SendError, SendResult, SendSyncResult, SocketState,
};
use integration_tests::call::{block_sending, engine, open, receive, round_trip, try_send};
use integration_tests::kernel::HeldKernel;
use integration_tests::process::this_thread;
use integration_tests::wait::gate;
use integration_tests::wire::pattern;
use integration_tests::{NeverCalled, Socket, Transport, inbox, send, send_now, spawn};
use rstest::rstest;
use std::net::{Shutdown, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};

// Tests_SRS_ASYNC_SOCKET_LINUX_11_052, Tests_SRS_ASYNC_SOCKET_LINUX_11_053
// Tests_SRS_ASYNC_SOCKET_LINUX_11_061, Tests_SRS_ASYNC_SOCKET_LINUX_11_062
#[rstest]
fn a_send_that_the_kernel_takes_completes_once_before_the_call_returns(
    #[values(Transport::TcpV4, Transport::TcpV6, Transport::Unix)] transport: Transport,
    #[values(1, 2, 5, 16, 17, 40)] buffers: usize,
) {
    let (descriptor, mut peer) = transport.pair();
    let socket = open(&engine(1), descriptor);
    let lent: Vec<Vec<u8>> = (0..buffers).map(|index| pattern(index * 100, 100)).collect();
    let length = u32::try_from(buffers * 100).unwrap();
    let (done, sent) = inbox();

    socket
        .send_async(lent, move |completion| done.put((completion.result, completion.bytes_sent, this_thread())))
        .unwrap();
    let arrived = sent.try_next();

    assert_eq!(arrived, Some((SendResult::Ok, length, this_thread())), "done before the call returns");
    assert!(sent.is_dead(), "and only once");
    peer.read_pattern(buffers * 100);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_061
#[rstest]
fn the_callback_gives_the_same_buffers_back(#[values(Transport::TcpV4, Transport::Unix)] transport: Transport) {
    let (descriptor, mut peer) = transport.pair();
    let socket = open(&engine(1), descriptor);
    let lent = vec![pattern(0, 10), pattern(10, 1_000)];
    let addresses: Vec<_> = lent.iter().map(|buffer| buffer.as_ptr().addr()).collect();

    let completion = send(&socket, lent).only();

    assert_eq!((completion.result, completion.os_error(), completion.bytes_sent), (SendResult::Ok, None, 1_010));
    let returned: Vec<_> = completion.buffers.iter().map(|buffer| buffer.as_ptr().addr()).collect();
    assert_eq!(returned, addresses);
    peer.read_pattern(1_010);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_051
#[test]
fn a_socket_that_is_not_open_refuses_and_gives_the_buffers_back() {
    let never = NeverCalled::default();
    let (descriptor, _peer) = Transport::Unix.pair();
    let socket = Socket::create(Some(&engine(1)), descriptor).unwrap();
    let refuses = |socket: &Socket| {
        let lent = vec![7; 100];
        let address = lent.as_ptr();
        let refused = socket.send_async(lent, never.callback()).unwrap_err();
        assert_eq!(refused.error, SendError::NotOpen { state: SocketState::Closed });
        assert_eq!(refused.error.sync_result(), SendSyncResult::Abandoned);
        assert_eq!((refused.returned.as_ptr(), refused.returned.len()), (address, 100));
    };

    refuses(&socket);
    socket.open_async(|_| {}).unwrap();
    socket.close();
    refuses(&socket);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_052, Tests_SRS_ASYNC_SOCKET_LINUX_11_054, Tests_SRS_ASYNC_SOCKET_LINUX_11_055
// Tests_SRS_ASYNC_SOCKET_LINUX_11_056, Tests_SRS_ASYNC_SOCKET_LINUX_11_057, Tests_SRS_ASYNC_SOCKET_LINUX_11_094
// Tests_SRS_ASYNC_SOCKET_LINUX_11_096, Tests_SRS_ASYNC_SOCKET_LINUX_11_100, Tests_SRS_ASYNC_SOCKET_LINUX_11_101
#[rstest]
fn what_the_kernel_does_not_take_is_queued_and_sent_in_order(
    #[values(Transport::TcpV4, Transport::TcpV6, Transport::Unix)] transport: Transport,
) {
    let (descriptor, mut peer) = transport.narrow_pair();
    let socket = open(&engine(1), descriptor);
    let (blocked, position) = block_sending(&socket);
    // Each is small enough for the room that is left, so it would go out if it could overtake.
    let (done, later) = inbox();
    for number in 0..50 {
        let done = done.clone();
        let callback = move |completion: async_socket_linux::SendCompletion<_>| {
            done.put((number, completion.result, completion.bytes_sent, this_thread()));
        };
        socket
            .send_async(vec![pattern(position + number * 100, 60), pattern(position + number * 100 + 60, 40)], callback)
            .unwrap();
    }
    drop(done);
    assert!(blocked.is_pending() && later.is_pending());

    peer.read_pattern(position + 50 * 100);

    let completion = blocked.only();
    assert_eq!((completion.result, completion.bytes_sent), (SendResult::Ok, 64 * 1024));
    let mut ports = Vec::new();
    for number in 0..50 {
        let (completed, result, bytes, thread) = later.next();
        assert_eq!((completed, result, bytes), (number, SendResult::Ok, 100));
        ports.push(thread);
    }
    ports.dedup();
    assert!(ports.len() == 1 && ports[0] != this_thread(), "the port's thread completes them");
    later.assert_dead();
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_094, Tests_SRS_ASYNC_SOCKET_LINUX_11_097, Tests_SRS_ASYNC_SOCKET_LINUX_11_098
// Tests_SRS_ASYNC_SOCKET_LINUX_11_100
#[test]
fn a_blocked_send_is_abandoned_when_the_peer_resets_and_nothing_can_follow_it() {
    let (descriptor, peer) = Transport::TcpV4.narrow_pair();
    let socket = open(&engine(1), descriptor);
    let blocked = send(&socket, vec![pattern(0, 4 << 20), pattern(0, 4 << 20)]);
    let second = send(&socket, vec![1; 10]);
    assert!(blocked.is_pending());

    peer.reset();

    let completion = blocked.only();
    assert_eq!(completion.result, SendResult::Abandoned);
    assert_eq!(completion.os_error(), Some(nix::libc::ECONNRESET));
    assert!(completion.bytes_sent > 0 && completion.bytes_sent < 8 << 20, "{}", completion.bytes_sent);
    assert_eq!(second.only().result, SendResult::Abandoned);
    let refused = try_send(&socket, vec![1; 10]).unwrap_err();
    assert_eq!(refused.error, SendError::StreamBroken);
    assert_eq!(refused.error.sync_result(), SendSyncResult::Abandoned);
    assert_eq!(refused.returned, [1; 10]);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_097, Tests_SRS_ASYNC_SOCKET_LINUX_11_099, Tests_SRS_ASYNC_SOCKET_LINUX_11_100
#[rstest]
fn a_blocked_send_that_gets_epipe_ends_in_error(#[values(Transport::TcpV4, Transport::Unix)] transport: Transport) {
    let (descriptor, mut peer) = transport.narrow_pair();
    let other_handle = descriptor.try_clone().unwrap();
    let socket = open(&engine(1), descriptor);
    let blocked = send(&socket, vec![0; 8 << 20]);
    assert!(blocked.is_pending());

    socket2::SockRef::from(&other_handle).shutdown(Shutdown::Write).unwrap();
    // On TCP the shutdown is no event. The peer makes room, which is an event.
    let _ = peer.read_rest();

    let completion = blocked.only();
    assert_eq!((completion.result, completion.os_error()), (SendResult::Error, Some(nix::libc::EPIPE)));
    assert_eq!(completion.buffers.len(), 8 << 20);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_054, Tests_SRS_ASYNC_SOCKET_LINUX_11_060
#[test]
fn any_other_errno_is_an_error_that_names_it() {
    let never = NeverCalled::default();
    let (one, other) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    one.connect(other.local_addr().unwrap()).unwrap();
    let socket = AsyncSocketLinux::create_with(engine(1).completion_port(), HeldKernel::default(), one.into());
    socket.open_async(|_| {}).unwrap();

    // No datagram is that long, and no stream has such a limit.
    let refused = socket.send_async(vec![3; 100_000], never.callback()).unwrap_err();

    assert_eq!(refused.error, SendError::Os { os_error: nix::libc::EMSGSIZE, bytes_sent: 0 });
    assert_eq!(refused.error.sync_result(), SendSyncResult::Error);
    assert_eq!(refused.returned, vec![3; 100_000]);
    let (done, sent) = inbox();
    socket.send_async(b"a datagram that fits goes all the same", move |sent| done.put(sent.result)).unwrap();
    assert_eq!(sent.only(), SendResult::Ok);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_060, Tests_SRS_ASYNC_SOCKET_LINUX_11_095
#[test]
fn a_connection_that_was_refused_while_it_was_being_made_is_an_error() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let connecting = || -> OwnedFd {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.connect(&free.into()).unwrap_err();
        socket.into()
    };

    let socket = open(&engine(1), connecting());
    let completion = receive(&socket, vec![0; 8]).only();
    assert_eq!((completion.result, completion.os_error()), (ReceiveResult::Error, Some(nix::libc::ECONNREFUSED)));

    let refused = try_send(&open(&engine(1), connecting()), vec![0; 8]).unwrap_err();
    assert_eq!(refused.error, SendError::Os { os_error: nix::libc::ECONNREFUSED, bytes_sent: 0 });
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_063
#[test]
fn a_refused_payload_is_an_error_and_comes_back_while_the_socket_works_on() {
    let never = NeverCalled::default();
    let (descriptor, mut peer) = Transport::Unix.pair();
    let socket = open(&engine(1), descriptor);
    let lent = vec![vec![1; 10], vec![]];
    let address = lent[0].as_ptr();

    let refused = socket.send_async(lent, never.callback()).unwrap_err();

    assert_eq!(refused.error, SendError::Payload(PayloadError::EmptyBuffer { index: 1 }));
    assert_eq!(refused.error.sync_result(), SendSyncResult::Error);
    assert_eq!(refused.returned[0].as_ptr(), address);
    send_now(&socket, b"fine");
    assert_eq!(peer.read_bytes(4), b"fine");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_056, Tests_SRS_ASYNC_SOCKET_LINUX_11_100
#[test]
fn a_queued_send_keeps_its_buffers_until_it_is_done_and_no_longer() {
    let (descriptor, mut peer) = Transport::Unix.narrow_pair();
    let socket = open(&engine(1), descriptor);
    let (blocked, position) = block_sending(&socket);
    let shared: Arc<[u8]> = pattern(position, 1_000).into();
    let (done, sent) = inbox();
    socket.send_async(Arc::clone(&shared), move |completion| done.put(completion.result)).unwrap();
    assert_eq!(Arc::strong_count(&shared), 2);

    peer.read_pattern(position + 1_000);

    assert_eq!(blocked.only().result, SendResult::Ok);
    assert_eq!(sent.only(), SendResult::Ok);
    assert_eq!(Arc::strong_count(&shared), 1);
}

#[test]
fn sending_leaves_the_descriptors_flags_alone() {
    let (descriptor, _peer) = Transport::TcpV4.pair();
    let other_handle = descriptor.try_clone().unwrap();
    let flags = || nix::fcntl::fcntl(other_handle.as_fd(), nix::fcntl::FcntlArg::F_GETFL).unwrap();
    let before = flags();
    let socket = open(&engine(1), descriptor);
    send_now(&socket, b"x");
    assert_eq!(flags(), before);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_055, Tests_SRS_ASYNC_SOCKET_LINUX_11_057, Tests_SRS_ASYNC_SOCKET_LINUX_11_096
#[rstest]
fn room_that_appears_between_eagain_and_queueing_is_not_missed(
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
    #[values(1, 3)] buffers: usize,
) {
    const SIZE: usize = 2 << 20;
    let engine = engine(1);
    let (descriptor, mut peer) = transport.narrow_pair();
    let (gate, barrier) = gate();
    let kernel = HeldKernel { after_blocked_send: Mutex::new(Some(barrier)), ..HeldKernel::default() };
    let socket = Arc::new(AsyncSocketLinux::create_with(engine.completion_port(), kernel, descriptor));
    socket.open_async(|_| {}).unwrap();
    let handle = peer.try_clone();
    socket2::SockRef::from(&handle).set_nonblocking(true).unwrap();
    let (done, sent) = inbox();
    let sender = Arc::clone(&socket);
    let sending = spawn("send", move || {
        let callback = move |completion: async_socket_linux::SendCompletion<_>| done.put(completion.result);
        sender.send_async(vec![vec![7; SIZE]; buffers], callback).is_ok()
    });
    gate.wait_for_arrival();

    // The peer takes everything, and the port learns of the room, while the send is about to be queued.
    let mut taken = 0;
    let mut chunk = vec![0; 1 << 20];
    while let Ok(read) = std::io::Read::read(&mut peer, &mut chunk) {
        taken += read;
    }
    round_trip(&engine);
    gate.open();
    assert!(sending.join());

    socket2::SockRef::from(&handle).set_nonblocking(false).unwrap();
    assert!(peer.read_bytes(SIZE * buffers - taken).iter().all(|byte| *byte == 7));
    assert_eq!(sent.only(), SendResult::Ok);
}
