//! Programs that misuse buffers, callbacks and destructors: they harm themselves at most.

use async_socket_linux::{
    AsyncSocket, IoBuf, IoBufs, PayloadError, ReceiveError, ReceiveResult, SendError, SendResult, SendSyncResult,
    SocketState,
};
use integration_tests::call::{block_sending, engine, open, receive, received, round_trip, try_send};
use integration_tests::wait::comes_true;
use integration_tests::{LIMIT, Socket, Transport, inbox, send, send_now, spawn, within};
use nix::libc::EPIPE;
use rstest::rstest;
use std::cell::RefCell;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A call that does not hang returns sooner.
const SOON: Duration = Duration::from_secs(3);

/// A connection as many programs have it: its destructor closes the socket.
struct Session(Arc<Socket>);

impl Drop for Session {
    fn drop(&mut self) {
        self.0.close();
    }
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_059
#[test]
fn a_refused_callback_whose_captured_session_closes_the_socket_does_not_hang() {
    let engine = ManuallyDrop::new(engine(1));
    let (descriptor, peer) = Transport::Unix.pair();
    let socket = ManuallyDrop::new(open(&engine, descriptor));
    drop(peer);
    let session = Session(Arc::clone(&socket));

    let sender = Arc::clone(&socket);
    let sending = spawn("a refused send", move || sender.send_async(b"nobody", move |_| drop(session)));

    let refused = sending.join_within(SOON).unwrap_err();
    assert_eq!(refused.error, SendError::Disconnected { os_error: EPIPE, bytes_sent: 0 });
    assert_eq!(socket.state(), SocketState::Closed);
    drop(ManuallyDrop::into_inner(socket));
    drop(ManuallyDrop::into_inner(engine));
}

#[test]
fn a_callback_that_is_refused_on_a_broken_stream_may_close_the_socket_too() {
    let engine = ManuallyDrop::new(engine(1));
    let (descriptor, peer) = Transport::TcpV4.narrow_pair();
    let socket = ManuallyDrop::new(open(&engine, descriptor));
    let blocked = send(&socket, vec![1; 4 << 20]);
    peer.reset();
    let completion = blocked.only();
    assert_eq!((completion.result, completion.os_error()), (SendResult::Abandoned, Some(nix::libc::ECONNRESET)));
    let session = Session(Arc::clone(&socket));

    let sender = Arc::clone(&socket);
    let sending = spawn("a refused send", move || sender.send_async(b"nobody", move |_| drop(session)));

    assert_eq!(sending.join_within(SOON).unwrap_err().error, SendError::StreamBroken);
    assert_eq!(socket.state(), SocketState::Closed);
    drop(ManuallyDrop::into_inner(socket));
    drop(ManuallyDrop::into_inner(engine));
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_051, Tests_SRS_ASYNC_SOCKET_LINUX_11_063, Tests_SRS_ASYNC_SOCKET_LINUX_11_072
#[test]
fn callbacks_that_are_refused_for_other_reasons_may_close_the_socket_too() {
    within("refused calls", || {
        let engine = engine(1);
        let (descriptor, _peer) = Transport::Unix.pair();
        let socket = open(&engine, descriptor);
        let session = Session(Arc::clone(&socket));
        let no_buffers = Vec::<Vec<u8>>::new();
        let refused = socket.send_async(no_buffers, move |_| drop(session)).unwrap_err().error;
        assert_eq!(refused, SendError::Payload(PayloadError::NoBuffers));
        assert_eq!(refused.sync_result(), SendSyncResult::Error);
        assert_eq!(socket.state(), SocketState::Closed);
        let session = Session(Arc::clone(&socket));
        let refused = socket.receive_async([0_u8; 1], move |_| drop(session)).unwrap_err().error;
        assert_eq!(refused, ReceiveError::NotOpen { state: SocketState::Closed });
        let session = Session(Arc::clone(&socket));
        let refused = socket.send_async(b"no", move |_| drop(session)).unwrap_err().error;
        assert_eq!(refused, SendError::NotOpen { state: SocketState::Closed });
        assert_eq!(refused.sync_result(), SendSyncResult::Abandoned);
    });
}

/// A buffer that is shorter each time it is asked.
struct Shrinking(AtomicUsize);

impl IoBuf for Shrinking {
    fn as_slice(&self) -> &[u8] {
        static BYTES: [u8; 1 << 20] = [3; 1 << 20];
        let looked = self.0.fetch_add(1, Ordering::Relaxed);
        &BYTES[..BYTES.len() >> looked.min(20)]
    }
}

/// A list that has fewer buffers after the first look, and whose size hint is wrong.
struct Forgetful(AtomicUsize);

impl IoBufs for Forgetful {
    fn slices_from(&self, first: usize) -> impl Iterator<Item = &[u8]> {
        let looked = self.0.fetch_add(1, Ordering::Relaxed);
        let count = if looked == 0 { 2_000 } else { 3 };
        // Not an exact size: the hint says 0.
        (0..count).skip(first).map(|_| b"0123456789".as_slice()).filter(|_| true)
    }
}

#[rstest]
fn buffers_that_lie_harm_only_their_own_socket(#[values(Transport::TcpV4, Transport::Unix)] transport: Transport) {
    within("buffers that lie", move || {
        let engine = engine(1);
        for lie in 0..2 {
            let (descriptor, mut peer) = transport.narrow_pair();
            let socket = open(&engine, descriptor);
            let (blocked, position) = block_sending(&socket);
            let (done, ended) = inbox();
            if lie == 0 {
                socket.send_async(Shrinking(0.into()), move |completion| done.put(completion.result)).unwrap();
            } else {
                socket.send_async(Forgetful(0.into()), move |completion| done.put(completion.result)).unwrap();
            }
            peer.read_pattern(position);
            assert_eq!(blocked.only().result, SendResult::Ok);
            round_trip(&engine);
            // The send ends once, at the latest when the socket is closed.
            socket.close();
            ended.only();
        }
        round_trip(&engine);
    });
}

thread_local! {
    static AT_EXIT: RefCell<Option<AtExit>> = const { RefCell::new(None) };
}

/// Sends when its thread ends.
struct AtExit(Arc<Socket>);

impl Drop for AtExit {
    fn drop(&mut self) {
        let sent = Arc::new(AtomicUsize::new(0));
        chain(&self.0, &sent);
        assert!(comes_true(LIMIT, || sent.load(Ordering::SeqCst) == 10));
    }
}

fn chain(socket: &Arc<Socket>, sent: &Arc<AtomicUsize>) {
    let (again, count) = (Arc::clone(socket), Arc::clone(sent));
    let callback = move |_| {
        if count.fetch_add(1, Ordering::SeqCst) < 9 {
            chain(&again, &count);
        }
    };
    socket.send_async(b"bye", callback).expect("send_async");
}

#[test]
fn a_thread_that_sends_while_it_ends() {
    let engine = engine(1);
    let (descriptor, mut peer) = Transport::Unix.pair();
    let socket = open(&engine, descriptor);
    let at_exit = AtExit(Arc::clone(&socket));
    std::thread::spawn(move || AT_EXIT.with(|slot| *slot.borrow_mut() = Some(at_exit))).join().unwrap();
    assert_eq!(peer.read_bytes(30), b"bye".repeat(10));
    within("close", move || drop(socket));
}

#[test]
fn a_socket_that_is_connected_to_itself() {
    within("a socket that is connected to itself", || {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let descriptor = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        descriptor.bind(&address.into()).unwrap();
        descriptor.connect(&address.into()).unwrap();
        let socket = open(&engine(1), descriptor.into());
        let sent = send(&socket, vec![8; 8 << 20]);
        let mut arrived = 0;
        while arrived < 8 << 20 {
            let completion = receive(&socket, vec![0; 100_000]).only();
            assert_eq!(completion.result, ReceiveResult::Ok);
            arrived += completion.bytes_received as usize;
        }
        assert_eq!(sent.only().result, SendResult::Ok);
        socket.close();
    });
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_037
#[test]
fn a_callback_that_drops_everything_there_is() {
    within("a callback that drops everything", || {
        for _ in 0..50 {
            let engine = engine(2);
            let (descriptor, mut peer) = Transport::Unix.pair();
            let others: Vec<_> = (0..6)
                .map(|_| {
                    let (descriptor, peer) = Transport::Unix.pair();
                    let socket = open(&engine, descriptor);
                    let pending = receive(&socket, vec![0; 1]);
                    (socket, peer, pending)
                })
                .collect();
            let socket = open(&engine, descriptor);
            let (done, ended) = inbox();
            let everything = (engine, others, Arc::clone(&socket));
            let callback = move |_| {
                drop(everything);
                done.put(());
            };
            socket.receive_async([0_u8; 1], callback).unwrap();
            drop(socket);
            peer.write_all(b"x").unwrap();
            ended.only();
            assert_eq!(peer.read_rest(), b"");
        }
    });
}

#[test]
fn a_callback_starts_a_thread_that_uses_the_same_socket_and_waits_for_it() {
    within("a callback that waits for a thread", || {
        let engine = engine(1);
        let (descriptor, mut peer) = Transport::Unix.pair();
        let socket = open(&engine, descriptor);
        let (done, ended) = inbox();
        let inner = Arc::clone(&socket);
        let callback = move |_| {
            let (refused, pending) = within("another thread", move || {
                send_now(&inner, b"from another thread");
                let refused = try_send::<Vec<u8>>(&inner, vec![]).unwrap_err().error;
                (refused, receive(&inner, vec![0; 4]))
            });
            done.put((refused, pending));
        };
        socket.receive_async([0_u8; 1], callback).unwrap();
        peer.write_all(b"x").unwrap();
        let (refused, pending) = ended.only();
        assert_eq!(refused, SendError::Payload(PayloadError::EmptyBuffer { index: 0 }));
        assert_eq!(peer.read_bytes(19), b"from another thread");
        peer.write_all(b"more").unwrap();
        assert_eq!(received(&pending.only()), b"more");
    });
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_055, Tests_SRS_ASYNC_SOCKET_LINUX_11_089
#[test]
fn a_connection_that_is_still_being_made_keeps_sends_and_receives_waiting() {
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    // The listener has room for fewer connections, so the last client has to wait.
    let mut clients: Vec<_> = (0..4)
        .map(|_| {
            let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            let _ = client.connect(&address);
            client
        })
        .collect();
    let engine = engine(1);
    let waiting = clients.pop().unwrap();
    assert!(waiting.peer_addr().is_err(), "not connected yet");
    let number = waiting.local_addr().unwrap();
    let socket = open(&engine, waiting.into());
    let sent = send(&socket, b"request");
    let pending = receive(&socket, vec![0; 16]);
    round_trip(&engine);
    assert!(sent.is_pending() && pending.is_pending());

    let mut peer = std::iter::repeat_with(|| listener.accept().unwrap())
        .find_map(|(peer, from)| (from.as_socket() == number.as_socket()).then_some(peer))
        .unwrap();

    assert_eq!(sent.only().result, SendResult::Ok);
    let mut request = [0; 7];
    std::io::Read::read_exact(&mut peer, &mut request).unwrap();
    assert_eq!(&request, b"request");
    peer.write_all(b"answer").unwrap();
    assert_eq!(received(&pending.only()), b"answer");
}
