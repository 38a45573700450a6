//! A socket's span of `tracing`, on real sockets.

use async_socket_linux::AsyncSocket;
use integration_tests::call::{engine, open};
use integration_tests::{Socket, Transport, eventually, inbox};
use std::fmt::{Debug, Write as _};
use std::io::Write as _;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span, subscriber};

/// The fields of spans, and their ends.
#[derive(Clone, Default)]
struct Notes {
    text: Arc<Mutex<String>>,
    /// How many spans are entered at this moment.
    entered: Arc<AtomicUsize>,
}

impl Notes {
    fn text(&self) -> String {
        self.text.lock().expect("no panic").clone()
    }
}

impl Visit for Notes {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.text.lock().expect("no panic"), "{}={value:?} ", field.name()).expect("a string has room");
    }
}

impl Subscriber for Notes {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span()
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        span.record(&mut self.clone());
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &span::Id) {
        self.entered.fetch_add(1, Ordering::SeqCst);
    }

    fn exit(&self, _: &span::Id) {
        self.entered.fetch_sub(1, Ordering::SeqCst);
    }

    fn try_close(&self, _: span::Id) -> bool {
        self.text.lock().expect("no panic").push_str("end");
        true
    }
}

// Tests_SRS_SOCKET_01_125
#[test]
fn a_span_names_descriptor_peer_and_port_and_ends_with_the_close() {
    let (engine, notes) = (engine(1), Notes::default());
    let (descriptor, _peer) = Transport::TcpV4.pair();
    let number = descriptor.as_raw_fd();
    // The subscriber is this thread's, and a span keeps it.
    let socket: Arc<Socket> = subscriber::with_default(notes.clone(), || open(&engine, descriptor));
    let peer = socket.peer_addr().expect("it is open");
    let port = completion_port::Port::number(socket.port()).expect("it has an epoll instance");
    let expected = format!("descriptor={number} peer={peer} port={port} ");
    socket.open_async(|_| {}).expect_err("it is open");
    assert_eq!(notes.text(), expected);

    socket.close();

    assert_eq!(notes.text(), expected + "end");
}

// Tests_SRS_SOCKET_01_126
#[test]
fn callbacks_run_inside_the_span_on_every_thread() {
    let (engine, notes) = (engine(1), Notes::default());
    let (descriptor, mut peer) = Transport::Unix.pair();
    let socket = Socket::create(Some(&engine), descriptor).expect("a socket");
    let note = || {
        let ((done, entered), notes) = (inbox(), notes.clone());
        (entered, move || done.put(notes.entered.load(Ordering::SeqCst)))
    };
    let ((opened, on_open), (sent, on_sent), (received, on_received)) = (note(), note(), note());

    subscriber::with_default(notes.clone(), || socket.open_async(move |_| on_open()).expect("it opens"));
    socket.send_async("x", move |_| on_sent()).expect("accepted");
    socket.receive_async([0; 1], move |_| on_received()).expect("accepted");
    peer.write_all(b"y").expect("the peer writes");

    assert_eq!((opened.only(), sent.only(), received.only()), (1, 1, 1));
    eventually("every enter has its exit", || notes.entered.load(Ordering::SeqCst) == 0);
}
