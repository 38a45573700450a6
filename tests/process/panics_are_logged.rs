//! Panics in callbacks and attempts, as a subscriber of log lines sees them. The test runs in a process of its own, because
//! a process has one subscriber.

use async_socket_linux::{AsyncSocket, IoBuf, SendResult};
use integration_tests::call::{block_sending, engine, open, round_trip};
use integration_tests::process::{alone, is_child, run_child};
use integration_tests::{Outbox, Transport, eventually, inbox};
use std::fmt::Debug;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

/// Sends on every error that is logged.
struct Errors(Mutex<Outbox<String>>);

/// The fields of an event, one after the other.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!("{field}={value:?} ");
    }
}

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        self.0.lock().expect("not poisoned").put(text.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// A buffer that panics when an attempt on the port's thread asks for its bytes.
struct Panics(AtomicUsize);

impl IoBuf for Panics {
    fn as_slice(&self) -> &[u8] {
        assert_eq!(self.0.fetch_add(1, Ordering::Relaxed), 0, "panic in the attempt");
        &[7; 16]
    }
}

// Tests_SRS_COMPLETION_PORT_01_041
#[test]
fn a_panic_in_a_callback_or_an_attempt_is_logged_once_and_the_thread_goes_on() {
    let _alone = alone();
    if !is_child() {
        return run_child("a_panic_in_a_callback_or_an_attempt_is_logged_once_and_the_thread_goes_on", |_| {});
    }
    let (tell, logged) = inbox();
    tracing::subscriber::set_global_default(Errors(Mutex::new(tell))).unwrap();
    let engine = engine(1);
    let (descriptor, mut peer) = Transport::Unix.narrow_pair();
    let socket = open(&engine, descriptor);

    socket.receive_async([0_u8; 1], |_| panic!("panic in the callback")).unwrap();
    peer.write_all(b"x").unwrap();
    let line = logged.next();
    assert!(line.contains("panic caught") && line.contains("panic in the callback"), "{line}");

    let (blocked, position) = block_sending(&socket);
    let (done, ended) = inbox();
    socket.send_async(Panics(0.into()), move |completion| done.put(completion.result)).unwrap();
    peer.read_pattern(position);
    assert_eq!(blocked.only().result, SendResult::Ok);
    assert_eq!(ended.only(), SendResult::Error);
    eventually("the other panic is logged", || {
        logged.try_next().is_some_and(|line| line.contains("panic caught") && line.contains("panic in the attempt"))
    });

    round_trip(&engine);
    assert!(logged.is_pending(), "once each");
}
