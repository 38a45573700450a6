//! Closing and destroying a socket inside every kind of its own callbacks.

use async_socket_linux::{AsyncSocket, ReceiveResult, SendError, SendResult, SocketState};
use integration_tests::call::{block_sending, engine, round_trip};
use integration_tests::{NeverCalled, Peer, Socket, Transport, inbox, within};
use rstest::rstest;
use std::io::{ErrorKind, Read, Write};
use std::sync::{Arc, Mutex, Weak};

/// The kinds of callbacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Open,
    SendInline,
    SendQueued,
    Receive,
    ReceiveAtEnd,
    ReceiveOnClose,
    SendOnReset,
    SendOnClose,
}

/// The only reference that keeps the socket alive.
type Owner = Arc<Mutex<Option<Arc<Socket>>>>;

fn take(owner: &Owner) -> Option<Arc<Socket>> {
    owner.lock().expect("not poisoned").take()
}

impl Kind {
    /// Makes a callback of this kind run `inside`.
    fn enter(self, socket: &Arc<Socket>, peer: Peer, inside: impl FnOnce() + Send + 'static) -> Option<Peer> {
        if self == Self::Open {
            socket.open_async(move |_| inside()).expect("open_async");
            return Some(peer);
        }
        socket.open_async(|_| {}).expect("open_async");
        let receive = |inside: Box<dyn FnOnce() + Send>, expected| {
            let callback = move |completion: async_socket_linux::ReceiveCompletion<_>| {
                assert_eq!(completion.result, expected);
                inside();
            };
            socket.receive_async([0_u8; 8], callback).expect("receive_async");
        };
        let send = |inside: Box<dyn FnOnce() + Send>, expected| {
            let callback = move |completion: async_socket_linux::SendCompletion<_>| {
                // For a broken stream the kernel reports ECONNRESET once, and EPIPE from then on.
                let broken = expected == SendResult::Abandoned && completion.os_error() == Some(nix::libc::EPIPE);
                assert_eq!(completion.result, if broken { SendResult::Error } else { expected });
                inside();
            };
            socket.send_async([1_u8; 8], callback).expect("send_async");
        };
        let inside = Box::new(inside);
        let mut peer = peer;
        match self {
            Self::Open => {}
            Self::SendInline => send(inside, SendResult::Ok),
            Self::SendQueued => {
                let (_, position) = block_sending(socket);
                send(inside, SendResult::Ok);
                peer.read_pattern(position);
            }
            Self::Receive => {
                receive(inside, ReceiveResult::Ok);
                peer.write_all(b"x").expect("the peer writes");
            }
            Self::ReceiveAtEnd => {
                receive(inside, ReceiveResult::Abandoned);
                peer.finish();
            }
            Self::ReceiveOnClose => {
                receive(inside, ReceiveResult::Abandoned);
                socket.close();
            }
            Self::SendOnReset => {
                let (_, _) = block_sending(socket);
                send(inside, SendResult::Abandoned);
                peer.reset();
                return None;
            }
            Self::SendOnClose => {
                let (_, _) = block_sending(socket);
                send(inside, SendResult::Abandoned);
                socket.close();
            }
        }
        Some(peer)
    }
}

/// Two receives that stay pending until a close abandons them.
fn add_pending(socket: &Socket) -> [integration_tests::Inbox<ReceiveResult>; 2] {
    [0, 1].map(|_| {
        let (done, ended) = inbox();
        let _ = socket.receive_async([0_u8; 8], move |completion| done.put(completion.result));
        ended
    })
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_037, Tests_SRS_ASYNC_SOCKET_LINUX_11_039, Tests_SRS_ASYNC_SOCKET_LINUX_11_041
#[rstest]
fn a_socket_can_be_closed_inside_its_own_callback(
    #[values(
        Kind::Open,
        Kind::SendInline,
        Kind::SendQueued,
        Kind::Receive,
        Kind::ReceiveAtEnd,
        Kind::ReceiveOnClose,
        Kind::SendOnClose
    )]
    kind: Kind,
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
) {
    close_inside(kind, transport);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_037, Tests_SRS_ASYNC_SOCKET_LINUX_11_039, Tests_SRS_ASYNC_SOCKET_LINUX_11_041
#[test]
fn a_socket_can_be_closed_inside_the_callback_of_a_send_that_a_reset_ends() {
    close_inside(Kind::SendOnReset, Transport::TcpV4);
}

fn close_inside(kind: Kind, transport: Transport) {
    within("close inside a callback", move || {
        let never = NeverCalled::default();
        let engine = engine(1);
        let (descriptor, peer) = transport.narrow_pair();
        let socket = Arc::new(Socket::create(Some(&engine), descriptor).expect("create"));
        let (done, states) = inbox();
        let inner = Arc::clone(&socket);
        let peer = kind.enter(&socket, peer, move || {
            let pending = add_pending(&inner);
            let open = inner.state() == SocketState::Open;
            inner.close();
            // If this call closed the socket, both receives are abandoned before it returns.
            let abandoned = pending.map(|ended| ended.try_next());
            done.put((open, abandoned, inner.state()));
        });

        let (was_open, abandoned, state) = states.only();
        if was_open {
            assert_eq!(abandoned, [Some(ReceiveResult::Abandoned); 2]);
            assert_eq!(state, SocketState::Closed);
        } else {
            assert_eq!((abandoned, state), ([None; 2], SocketState::Closing));
        }
        if let Some(peer) = peer {
            expect_end(peer);
        }
        let refused = socket.send_async(b"no", never.callback()).expect_err("it is closed").error;
        assert_eq!(refused, SendError::NotOpen { state: SocketState::Closed });
        round_trip(&engine);
    });
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_021, Tests_SRS_ASYNC_SOCKET_LINUX_11_022, Tests_SRS_ASYNC_SOCKET_LINUX_11_023
// Tests_SRS_ASYNC_SOCKET_LINUX_11_037
#[rstest]
fn a_socket_can_be_destroyed_inside_its_own_callback(
    #[values(
        Kind::Open,
        Kind::SendInline,
        Kind::SendQueued,
        Kind::Receive,
        Kind::ReceiveAtEnd,
        Kind::ReceiveOnClose,
        Kind::SendOnClose
    )]
    kind: Kind,
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
    #[values(true, false)] with_its_engine: bool,
) {
    destroy_inside(kind, transport, with_its_engine);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_021, Tests_SRS_ASYNC_SOCKET_LINUX_11_022, Tests_SRS_ASYNC_SOCKET_LINUX_11_023
// Tests_SRS_ASYNC_SOCKET_LINUX_11_037
#[rstest]
fn a_socket_can_be_destroyed_inside_the_callback_of_a_send_that_a_reset_ends(
    #[values(true, false)] with_its_engine: bool,
) {
    destroy_inside(Kind::SendOnReset, Transport::TcpV4, with_its_engine);
}

fn destroy_inside(kind: Kind, transport: Transport, with_its_engine: bool) {
    within("destroy inside a callback", move || {
        let mut engine = Some(engine(1));
        let (descriptor, peer) = transport.narrow_pair();
        let socket = Arc::new(Socket::create(engine.as_ref(), descriptor).expect("create"));
        let alive: Weak<Socket> = Arc::downgrade(&socket);
        let owner: Owner = Arc::new(Mutex::new(Some(Arc::clone(&socket))));
        let (done, destroyed) = inbox();
        let (inner, weak) = (Arc::clone(&owner), Weak::clone(&alive));
        if with_its_engine {
            // The socket then holds the last reference to the port, and drops it on the port's own thread.
            engine = None;
        }
        let on_the_ports_thread =
            matches!(kind, Kind::SendQueued | Kind::Receive | Kind::ReceiveAtEnd | Kind::SendOnReset);
        let (let_go, gone) = std::sync::mpsc::channel::<()>();
        let peer = kind.enter(&socket, peer, move || {
            let socket = take(&inner).expect("the owner's reference");
            let pending = add_pending(&socket);
            if on_the_ports_thread {
                // Ends when the test has dropped its own reference.
                let _ = gone.recv_timeout(integration_tests::LIMIT);
            }
            drop(socket);
            done.put((pending.map(|ended| ended.try_next()), weak.strong_count()));
        });
        drop(socket);
        drop(let_go);

        let (abandoned, references) = destroyed.only();
        if on_the_ports_thread {
            assert_eq!((abandoned, references), ([Some(ReceiveResult::Abandoned); 2], 0));
        }
        assert_eq!(alive.strong_count(), 0);
        if let Some(peer) = peer {
            expect_end(peer);
        }
        if let Some(engine) = engine {
            round_trip(&engine);
        }
    });
}

/// Reads the bytes of a blocked send, and then the end of the stream.
fn expect_end(mut peer: Peer) {
    let mut chunk = [0; 4_096];
    loop {
        match peer.read(&mut chunk) {
            Ok(0) => return,
            Ok(_) => {}
            // If the socket had not received all bytes, the end is a reset.
            Err(error) => return assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
}
