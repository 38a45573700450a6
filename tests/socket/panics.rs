//! Callbacks that panic: the thread and all sockets live on.

use async_socket_linux::{AsyncSocket, IoBuf, ReceiveResult, SendResult, SocketState};
use integration_tests::call::{block_sending, engine, open, receive, received, round_trip};
use integration_tests::{Socket, Transport, inbox, send, send_now, within};
use rstest::rstest;
use std::io::Write;
use std::panic::panic_any;
use std::sync::{Arc, Once};

/// The message of panics that belong to a test.
const ON_PURPOSE: &str = "on purpose";

/// Panics on purpose say nothing.
fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let payload = info.payload();
            let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
            if text != Some(ON_PURPOSE) && info.payload().downcast_ref::<Explosive>().is_none() {
                loud(info);
            }
        }));
    });
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Open,
    SendInline,
    SendQueued,
    Receive,
    ReceiveAtEnd,
    ReceiveOnClose,
    SendOnClose,
}

impl Kind {
    /// The result that its callback gets.
    fn result(self) -> &'static str {
        match self {
            Self::Open | Self::SendInline | Self::SendQueued | Self::Receive => "Ok",
            Self::ReceiveAtEnd | Self::ReceiveOnClose | Self::SendOnClose => "Abandoned",
        }
    }
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_033, Tests_SRS_ASYNC_SOCKET_LINUX_11_061, Tests_SRS_ASYNC_SOCKET_LINUX_11_093
// Tests_SRS_ASYNC_SOCKET_LINUX_11_100
#[rstest]
fn a_callback_that_panics_hurts_nobody_else(
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
) {
    quiet();
    within("a callback that panics", move || {
        let engine = engine(1);
        let (descriptor, mut peer) = Transport::TcpV4.narrow_pair();
        let socket = Socket::create(Some(&engine), descriptor).unwrap();
        // Freed when the callback unwinds.
        let (done, called) = inbox();
        let explode = move |result: String| {
            done.put(result);
            panic!("{ON_PURPOSE}");
        };
        let mut open = true;
        if matches!(kind, Kind::Open) {
            socket.open_async(move |result| explode(format!("{result:?}"))).unwrap();
        } else {
            socket.open_async(|_| {}).unwrap();
            match kind {
                Kind::Open => {}
                Kind::SendInline => {
                    socket.send_async(b"x", move |completion| explode(format!("{:?}", completion.result))).unwrap();
                    assert_eq!(peer.read_bytes(1), b"x");
                }
                Kind::SendQueued => {
                    let (blocked, position) = block_sending(&socket);
                    socket.send_async(b"x", move |completion| explode(format!("{:?}", completion.result))).unwrap();
                    let behind = send(&socket, b"y");
                    peer.read_pattern(position);
                    assert_eq!(peer.read_bytes(2), b"xy");
                    assert_eq!((blocked.only().result, behind.only().result), (SendResult::Ok, SendResult::Ok));
                }
                Kind::Receive => {
                    socket
                        .receive_async([0_u8; 1], move |completion| explode(format!("{:?}", completion.result)))
                        .unwrap();
                    let behind = receive(&socket, vec![0; 1]);
                    peer.write_all(b"xy").unwrap();
                    assert_eq!(received(&behind.only()), b"y");
                }
                Kind::ReceiveAtEnd => {
                    socket
                        .receive_async([0_u8; 1], move |completion| explode(format!("{:?}", completion.result)))
                        .unwrap();
                    let behind = receive(&socket, vec![0; 1]);
                    peer.finish();
                    assert_eq!(behind.only().result, ReceiveResult::Abandoned);
                }
                Kind::ReceiveOnClose | Kind::SendOnClose => {
                    let (blocked, _) = block_sending(&socket);
                    if matches!(kind, Kind::ReceiveOnClose) {
                        socket
                            .receive_async([0_u8; 1], move |completion| explode(format!("{:?}", completion.result)))
                            .unwrap();
                    } else {
                        socket.send_async(b"x", move |completion| explode(format!("{:?}", completion.result))).unwrap();
                    }
                    let behind = receive(&socket, vec![0; 1]);
                    socket.close();
                    open = false;
                    assert_eq!(blocked.only().result, SendResult::Abandoned);
                    assert_eq!(behind.only().result, ReceiveResult::Abandoned);
                }
            }
        }

        round_trip(&engine);
        assert_eq!(called.only(), kind.result());
        if open {
            assert_eq!(socket.state(), SocketState::Open);
            send_now(&socket, b"alive");
            assert_eq!(peer.read_bytes(5), b"alive");
        } else {
            assert_eq!(socket.state(), SocketState::Closed);
        }
        drop(socket);
    });
}

/// A panic payload whose drop panics again.
struct Explosive;

impl Drop for Explosive {
    fn drop(&mut self) {
        panic!("{ON_PURPOSE}");
    }
}

#[rstest]
fn a_panic_whose_payload_panics_when_it_is_dropped_hurts_nobody_else(#[values(false, true)] inline: bool) {
    quiet();
    let engine = engine(1);
    let (descriptor, mut peer) = Transport::Unix.pair();
    let socket = open(&engine, descriptor);

    if inline {
        let sender = Arc::clone(&socket);
        within("a send", move || sender.send_async(b"x", |_| panic_any(Explosive)).is_ok());
    } else {
        socket.receive_async([0_u8; 1], |_| panic_any(Explosive)).unwrap();
        peer.write_all(b"x").unwrap();
    }

    within("another socket", move || round_trip(&engine));
    within("close", move || drop(socket));
}

/// A buffer whose bytes cannot be had the second time.
struct Brittle(std::cell::Cell<u32>);

impl IoBuf for Brittle {
    fn as_slice(&self) -> &[u8] {
        self.0.set(self.0.get() + 1);
        assert!(self.0.get() < 2, "{ON_PURPOSE}");
        &[7; 16]
    }
}

#[test]
fn a_buffer_that_panics_on_the_ports_thread_ends_its_own_send_only() {
    quiet();
    let engine = engine(1);
    let (descriptor, mut peer) = Transport::Unix.narrow_pair();
    let socket = open(&engine, descriptor);
    let (blocked, position) = block_sending(&socket);
    let (done, ended) = inbox();
    socket.send_async(Brittle(0.into()), move |completion| done.put(completion.result)).unwrap();

    peer.read_pattern(position);

    assert_eq!(blocked.only().result, SendResult::Ok);
    assert_eq!(ended.only(), SendResult::Error);
    round_trip(&engine);
    within("close", move || drop(socket));
}
