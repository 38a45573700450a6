//! A socket's span of `tracing`, as a subscriber sees it.

use crate::common::{Fixture, Outcome};
use async_socket_linux::AsyncSocket;
use completion_port::Action;
use std::fmt::{Debug, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use test_doubles::Step;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span, subscriber};

/// Notes what is logged, and inside which span.
#[derive(Clone)]
struct Notes {
    level: Level,
    lines: Arc<Mutex<Vec<String>>>,
    /// The spans that this test's one thread is in.
    inside: Arc<Mutex<Vec<u64>>>,
    next: Arc<AtomicU64>,
}

impl Notes {
    fn new(level: Level) -> Self {
        Self { level, lines: Arc::default(), inside: Arc::default(), next: Arc::new(AtomicU64::new(1)) }
    }

    fn note(&self, line: String) {
        self.lines.lock().expect("no panic").push(line);
    }

    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().expect("no panic"))
    }
}

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        }
        .expect("a string has room");
    }
}

impl Subscriber for Notes {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("async_socket_linux") && *metadata.level() <= self.level
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut line = format!("begin {} {id}:", span.metadata().name());
        span.record(&mut Fields(&mut line));
        self.note(line);
        span::Id::from_u64(id)
    }

    fn record(&self, span: &span::Id, values: &span::Record<'_>) {
        let mut line = format!("record {}:", span.into_u64());
        values.record(&mut Fields(&mut line));
        self.note(line);
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = format!("{:?}", self.inside.lock().expect("no panic"));
        event.record(&mut Fields(&mut line));
        self.note(line);
    }

    fn enter(&self, span: &span::Id) {
        self.inside.lock().expect("no panic").push(span.into_u64());
    }

    fn exit(&self, span: &span::Id) {
        assert_eq!(self.inside.lock().expect("no panic").pop(), Some(span.into_u64()));
    }

    fn try_close(&self, span: span::Id) -> bool {
        self.note(format!("end {}", span.into_u64()));
        true
    }
}

/// How the lines begin: enough to know them, without numbers that differ.
fn begin_with(lines: &[String], expected: &[&str]) {
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line:?} does not begin with {expected:?}");
    }
}

// Tests_SRS_SOCKET_01_125
#[test]
fn a_span_lasts_from_open_to_close_and_holds_what_is_logged_meanwhile() {
    let notes = Notes::new(Level::TRACE);
    subscriber::with_default(notes.clone(), || {
        let fixture = Fixture::closed();
        let number = fixture.descriptor;
        begin_with(&notes.taken(), &["[] socket created"]);
        fixture.open_async(|_| ()).expect("it opens");
        begin_with(
            &notes.taken(),
            &[&format!("begin socket 1: descriptor={number}"), &format!("[1] socket opened descriptor={number}")],
        );
        let blocked = fixture.blocked_send("blocked", 3);
        begin_with(&notes.taken(), &["[1] send blocked"]);
        fixture.open_async(|_| ()).expect_err("it is open");
        begin_with(&notes.taken(), &["[] socket not opened"]);
        fixture.close();
        let _ = blocked.take();
        begin_with(&notes.taken(), &["[1] send ended", "[1] socket closed", "end 1"]);
        drop(Arc::into_inner(fixture.socket).expect("the last reference"));
        begin_with(&notes.taken(), &["[] socket destroyed"]);
    });
}

// Tests_SRS_SOCKET_01_125
#[test]
fn each_way_to_close_ends_the_span() {
    let notes = Notes::new(Level::DEBUG);
    subscriber::with_default(notes.clone(), || {
        let dropped = Fixture::open();
        drop(Arc::into_inner(dropped.socket).expect("the last reference"));
        begin_with(&notes.taken()[3..], &["[1] socket destroyed", "end 1"]);

        let closed = Fixture::open();
        closed.close_async(|| ()).expect("it is open");
        begin_with(&notes.taken()[3..], &["[2] socket closing", "end 2"]);

        let waited = Fixture::open();
        waited.close_and_wait();
        begin_with(&notes.taken()[3..], &["[3] socket closed", "end 3"]);

        let taken_back = Fixture::open();
        let socket = Arc::into_inner(taken_back.socket).expect("the last reference");
        drop(socket.into_fd().map_err(|refused| refused.error).expect("nothing waits"));
        begin_with(&notes.taken()[3..], &["end 4", "[] socket destroyed"]);

        let refused = Fixture::closed();
        refused.port.fail_next_attach(12);
        refused.open_async(|_| ()).expect_err("there is no memory");
        begin_with(&notes.taken()[2..], &["[5] socket not opened", "end 5"]);
        refused.open_async(|_| ()).expect("the next one goes well");
        begin_with(&notes.taken(), &["begin socket 6", "[6] socket opened"]);
    });
}

// Tests_SRS_SOCKET_01_126
#[test]
fn every_callback_runs_inside_the_span() {
    let notes = Notes::new(Level::DEBUG);
    subscriber::with_default(notes.clone(), || {
        let fixture = Fixture::closed();
        let inside = || {
            let (seen, report) = Outcome::new();
            let inside = Arc::clone(&notes.inside);
            (seen, move || report(inside.lock().expect("no panic").clone()))
        };
        let (opened, note) = inside();
        fixture.open_async(move |_| note()).expect("it opens");
        let (sent, note) = inside();
        fixture.send_async("hello", move |_| note()).expect("accepted");
        let (received, note) = inside();
        fixture.receive_async(vec![0; 4], move |_| note()).expect("accepted");
        fixture.sys.script_recv([Step::bytes("x")]);
        fixture.fire(Action::In);
        let (failed, note) = inside();
        fixture
            .receive_async(vec![0; 4], move |_| {
                note();
                panic!("on purpose");
            })
            .expect("accepted");
        fixture.close();
        assert_eq!([opened, sent, received, failed].map(|it| it.take()), [[1]; 4]);
        assert!(notes.inside.lock().expect("no panic").is_empty(), "each enter had its exit");
    });
}

// Tests_SRS_SOCKET_01_125
#[test]
fn a_subscriber_that_wants_no_span_gets_none() {
    let notes = Notes::new(Level::INFO);
    subscriber::with_default(notes.clone(), || {
        let fixture = Fixture::open();
        let _ = fixture.send("hello");
        fixture.close();
    });
    assert_eq!(notes.taken(), Vec::<String>::new());
}
