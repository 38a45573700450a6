//! A subscriber of log lines that always panics, for instance because it prints into a closed pipe. No thread ends, nothing
//! hangs, and everything completes once. The test runs in a process of its own, because a process has one subscriber.

use async_socket_linux::{AsyncSocket, ExecutionEngine, ReceiveResult, SendResult, SocketState};
use integration_tests::call::{block_sending, open, receive};
use integration_tests::process::{alone, is_child, run_child};
use integration_tests::{Transport, inbox, within};
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tracing::{Event, Metadata, Subscriber, span};

static PANICS: AtomicUsize = AtomicUsize::new(0);
static SPANS: AtomicUsize = AtomicUsize::new(0);
static ENTERED: AtomicUsize = AtomicUsize::new(0);

struct Panics;

impl Panics {
    fn panic(&self, what: &str) -> ! {
        PANICS.fetch_add(1, Ordering::Relaxed);
        panic!("a subscriber's panic in {what}, on purpose");
    }
}

impl Subscriber for Panics {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> tracing::subscriber::Interest {
        tracing::subscriber::Interest::sometimes()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        // Panics every other time, so that the remaining calls reach the event.
        if PANICS.load(Ordering::Relaxed).is_multiple_of(2) { self.panic("enabled") } else { true }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        // Every other socket gets a span.
        if SPANS.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            self.panic("new_span")
        } else {
            span::Id::from_u64(1)
        }
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {
        self.panic("record")
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {
        self.panic("event")
    }

    fn enter(&self, _: &span::Id) {
        ENTERED.fetch_add(1, Ordering::Relaxed);
        self.panic("enter")
    }

    fn exit(&self, _: &span::Id) {
        self.panic("exit")
    }

    fn clone_span(&self, _: &span::Id) -> span::Id {
        self.panic("clone_span")
    }

    fn try_close(&self, _: span::Id) -> bool {
        self.panic("try_close")
    }
}

// Tests_SRS_COMPLETION_PORT_01_110, Tests_SRS_SOCKET_01_126
#[test]
fn a_subscriber_that_always_panics_changes_nothing_but_the_log() {
    let _alone = alone();
    if !is_child() {
        return run_child("a_subscriber_that_always_panics_changes_nothing_but_the_log", |_| {});
    }
    std::panic::set_hook(Box::new(|_| {}));
    tracing::subscriber::set_global_default(Panics).expect("the first subscriber");
    within("everything", || {
        let engine = ExecutionEngine::builder().threads(1).build().expect("the engine is made");
        for round in 0..20 {
            let (descriptor, mut peer) = Transport::TcpV4.pair();
            let socket = open(&engine, descriptor);
            // A callback that panics is logged on the port's thread.
            let (done, told) = inbox();
            let panics = move |_| {
                done.put(());
                panic!("a callback's panic, on purpose");
            };
            socket.receive_async([0; 1], panics).expect("receive_async");
            peer.write_all(b"x").expect("the peer writes");
            told.only();
            let next = receive(&socket, [0; 1]);
            peer.write_all(b"y").expect("the peer writes");
            assert_eq!(next.only().result, ReceiveResult::Ok, "round {round}");
            // A blocked send is logged on the caller's thread. Its end is logged on the thread that closes the socket.
            let (blocked, _) = block_sending(&socket);
            let waits = receive(&socket, [0; 1]);
            if round % 2 == 0 {
                socket.close();
                assert_eq!(socket.state(), SocketState::Closed);
            }
            drop(Arc::into_inner(socket).expect("the last reference"));
            assert_eq!(blocked.only().result, SendResult::Abandoned);
            assert_eq!(waits.only().result, ReceiveResult::Abandoned);
            // The peer reads the bytes that had gone out, and then the end.
            let _ = peer.read(&mut [0; 1024]);
        }
    });
    let _ = std::panic::take_hook();
    assert!(PANICS.load(Ordering::Relaxed) >= 20, "the subscriber was asked");
    assert!(ENTERED.load(Ordering::Relaxed) >= 10, "some sockets had spans");
}
