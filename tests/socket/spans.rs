//! A socket's span of `tracing`, on real sockets.

use async_socket_linux::AsyncSocket;
use integration_tests::call::{engine, open};
use integration_tests::{Socket, Transport};
use std::fmt::{Debug, Write as _};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span, subscriber};

/// The fields of spans, and their ends.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<String>>);

impl Visit for Notes {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0.lock().expect("no panic"), "{}={value:?} ", field.name()).expect("a string has room");
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
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}

    fn try_close(&self, _: span::Id) -> bool {
        self.0.lock().expect("no panic").push_str("end");
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
    socket.close();

    let expected = format!("descriptor={number} peer={peer} port={port} end");
    assert_eq!(*notes.0.lock().expect("no panic"), expected);
}
