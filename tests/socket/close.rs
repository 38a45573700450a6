//! Closing: the callbacks that it waits for, the operations that it abandons, and the calls that do nothing.

use async_socket_linux::{AsyncSocket, ReceiveError, ReceiveResult, SendError, SendResult, SocketState};
use integration_tests::call::{block_sending, engine, hold, open, receive, received};
use integration_tests::process::{epoll_entries, this_thread};
use integration_tests::wait::{Barrier, gate};
use integration_tests::{NeverCalled, Peer, Socket, Task, Transport, eventually, inbox, send, spawn, within};
use rstest::rstest;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A callback that another thread is in.
#[derive(Debug, Clone, Copy)]
enum Busy {
    Open,
    SendInline,
    SendQueued,
    Receive,
}

impl Busy {
    /// Makes a callback of this kind run `inside`. Returns the thread that makes the call, if the callback runs inside
    /// the call.
    fn enter(self, socket: &Arc<Socket>, peer: &mut Peer, inside: impl FnOnce() + Send + 'static) -> Option<Task<()>> {
        let caller = Arc::clone(socket);
        match self {
            Self::Open => {
                return Some(spawn("open", move || caller.open_async(move |_| inside()).expect("open_async")));
            }
            _ => socket.open_async(|_| {}).expect("open_async"),
        }
        match self {
            Self::Open => None,
            Self::SendInline => Some(spawn("send", move || {
                caller.send_async(b"x", move |_| inside()).expect("send_async");
            })),
            Self::SendQueued => {
                let (blocked, bytes) = block_sending(socket);
                socket.send_async(b"x", move |_| inside()).expect("send_async");
                peer.read_pattern(bytes);
                assert_eq!(blocked.next().result, SendResult::Ok);
                None
            }
            Self::Receive => {
                socket.receive_async([0_u8; 1], move |_| inside()).expect("receive_async");
                peer.write_all(b"x").expect("the peer writes");
                None
            }
        }
    }
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_036, Tests_SRS_ASYNC_SOCKET_LINUX_11_037, Tests_SRS_ASYNC_SOCKET_LINUX_11_041
// Tests_SRS_ASYNC_SOCKET_LINUX_11_042, Tests_SRS_ASYNC_SOCKET_LINUX_11_051, Tests_SRS_ASYNC_SOCKET_LINUX_11_072
#[rstest]
fn close_waits_for_a_callback_on_another_thread_and_refuses_everything_meanwhile(
    #[values(Busy::Open, Busy::SendInline, Busy::SendQueued, Busy::Receive)] busy: Busy,
) {
    let never = NeverCalled::default();
    let (descriptor, mut peer) = Transport::Unix.pair();
    let socket = Arc::new(Socket::create(Some(&engine(1)), descriptor).unwrap());
    let (gate, barrier) = gate();
    let done = Arc::new(AtomicBool::new(false));
    let callback_done = Arc::clone(&done);
    let inside = move || sleepy(barrier, &callback_done);
    let caller = busy.enter(&socket, &mut peer, inside);
    gate.wait_for_arrival();

    let (closing, seen) = (Arc::clone(&socket), Arc::clone(&done));
    let closer = spawn("close", move || {
        closing.close();
        seen.load(Ordering::SeqCst)
    });
    eventually("the socket is closing", || socket.state() == SocketState::Closing);
    let refused = socket.send_async(b"no", never.callback()).unwrap_err().error;
    assert_eq!(refused, SendError::NotOpen { state: SocketState::Closing });
    let refused = socket.receive_async([0_u8; 2], never.callback()).unwrap_err().error;
    assert_eq!(refused, ReceiveError::NotOpen { state: SocketState::Closing });
    socket.close();
    assert!(closer.still_runs_after(Duration::from_millis(50)), "a second close returns at once, the first waits");
    gate.open();

    assert!(closer.join(), "close returned before the callback was over");
    assert_eq!(socket.state(), SocketState::Closed);
    if let Some(caller) = caller {
        caller.join();
    }
}

fn sleepy(barrier: Barrier, done: &AtomicBool) {
    barrier.wait();
    // Close must wait for the end of the callback, not only for its beginning.
    std::thread::sleep(Duration::from_millis(30));
    done.store(true, Ordering::SeqCst);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_037
#[test]
fn close_does_not_wait_for_the_callbacks_of_other_sockets() {
    let engine = engine(1);
    let (descriptor, mut peer) = Transport::Unix.pair();
    let socket = open(&engine, descriptor);
    let pending = receive(&socket, vec![0; 8]);
    let held = hold(&engine);

    let closing = Arc::clone(&socket);
    within("close", move || closing.close());

    assert_eq!(pending.only().result, ReceiveResult::Abandoned);
    assert_eq!(peer.read_rest(), b"");
    held.release();
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_039, Tests_SRS_ASYNC_SOCKET_LINUX_11_041
#[rstest]
fn after_close_the_descriptor_is_gone(#[values(Transport::TcpV4, Transport::TcpV6, Transport::Unix)] by: Transport) {
    let (descriptor, mut peer) = by.pair();
    let number = descriptor.as_raw_fd();
    let socket = open(&engine(1), descriptor);
    assert_eq!(epoll_entries(number).len(), 1);

    socket.close();

    assert_eq!(socket.state(), SocketState::Closed);
    assert_eq!(peer.read_rest(), b"");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_042
#[test]
fn closing_a_socket_that_is_not_open_does_nothing() {
    let (descriptor, mut peer) = Transport::Unix.pair();
    let socket = Socket::create(Some(&engine(1)), descriptor).unwrap();

    socket.close();
    assert_eq!(socket.state(), SocketState::Closed);

    // It still has its descriptor.
    socket.open_async(|_| {}).unwrap();
    let pending = receive(&socket, vec![0; 8]);
    peer.write_all(b"works").unwrap();
    assert_eq!(received(&pending.only()), b"works");
    socket.close();
    socket.close();
    assert_eq!(socket.state(), SocketState::Closed);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_037, Tests_SRS_ASYNC_SOCKET_LINUX_11_080, Tests_SRS_ASYNC_SOCKET_LINUX_11_081
// Tests_SRS_ASYNC_SOCKET_LINUX_11_084
#[rstest]
fn close_abandons_sends_and_receives_in_the_one_order_they_were_queued_in(
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
) {
    let (descriptor, _peer) = transport.narrow_pair();
    let socket = open(&engine(1), descriptor);
    let (done, abandoned) = inbox();
    let (blocked, _) = block_sending(&socket);
    for number in 0..20 {
        let done = done.clone();
        if number % 3 == 0 {
            let callback = move |completion: async_socket_linux::SendCompletion<_>| {
                assert_eq!((completion.result, completion.bytes_sent), (SendResult::Abandoned, 0));
                done.put((number, this_thread()));
            };
            socket.send_async(vec![1; 100], callback).unwrap();
        } else {
            let callback = move |completion: async_socket_linux::ReceiveCompletion<_>| {
                assert_eq!((completion.result, completion.bytes_received), (ReceiveResult::Abandoned, 0));
                done.put((number, this_thread()));
            };
            socket.receive_async(vec![1; 100], callback).unwrap();
        }
    }
    drop(done);

    socket.close();

    let completion = blocked.only();
    assert_eq!((completion.result, completion.os_error()), (SendResult::Abandoned, None));
    assert_eq!(completion.buffers.len(), 64 * 1024);
    let expected: Vec<_> = (0..20).map(|number| (number, this_thread())).collect();
    assert_eq!(abandoned.take(20), expected);
    assert!(abandoned.is_dead());
}

#[test]
fn what_was_sent_before_the_close_still_arrives() {
    for transport in [Transport::TcpV4, Transport::TcpV6, Transport::Unix] {
        let (descriptor, mut peer) = transport.pair();
        let socket = open(&engine(1), descriptor);
        let sent = send(&socket, vec!["one ", "payload"]);
        socket.close();
        assert_eq!(sent.only().result, SendResult::Ok);
        assert_eq!(peer.read_rest(), b"one payload");
    }
}
