//! The port itself, on a model of the kernel: wake-ups, late events, and the last reference.

use crate::kernel::{ModelKernel, any_descriptor};
use crate::{ANY, check};
use completion_port::memory::TryArc;
use completion_port::sys::EventFlags;
use completion_port::{CompletionPort, Direction, Dispatch, Port, Readiness, Source, Token};
use loom::sync::{Condvar, Mutex};
use loom::thread;

type ModelledPort = CompletionPort<ModelKernel>;

fn port() -> (ModelKernel, ModelledPort) {
    let kernel = ModelKernel::default();
    let port = CompletionPort::create_with(kernel.clone()).expect("the model's calls succeed");
    (kernel, port)
}

fn attach(port: &ModelledPort, noted: &TryArc<Noted>) -> Token {
    port.attach(any_descriptor(), noted.clone().into()).expect("the model's calls succeed")
}

/// Notes its turns, and runs a function in the first.
#[derive(Default)]
struct Noted {
    turns: Mutex<Vec<Readiness>>,
    had_one: Condvar,
    first: std::sync::Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Noted {
    fn new() -> TryArc<Self> {
        TryArc::new(Self::default())
    }

    fn doing(first: impl FnOnce() + Send + 'static) -> TryArc<Self> {
        TryArc::new(Self { first: std::sync::Mutex::new(Some(Box::new(first))), ..Self::default() })
    }

    /// Sleeps until there was a turn. If the port forgets it, it sleeps for ever, which loom finds.
    fn wait(&self) {
        let mut turns = self.turns.lock().expect("no panic");
        while turns.is_empty() {
            turns = self.had_one.wait(turns).expect("no panic");
        }
    }

    fn turns(&self) -> Vec<Readiness> {
        self.turns.lock().expect("no panic").clone()
    }
}

impl Source for Noted {
    fn on_ready(&self, events: Readiness) -> Dispatch {
        let first = self.first.lock().expect("no panic").take();
        if let Some(first) = first {
            first();
        }
        self.turns.lock().expect("no panic").push(events);
        self.had_one.notify_all();
        Dispatch::Idle
    }

    fn queued(&self, _: Direction) -> usize {
        0
    }
}

#[test]
fn who_is_scheduled_has_a_turn() {
    check("who_is_scheduled_has_a_turn", 2, || {
        let (_, port) = port();
        let (one, other) = (Noted::new(), Noted::new());
        let (first, second) = (attach(&port, &one), attach(&port, &other));
        let scheduler = thread::spawn({
            let port = port.clone();
            move || port.schedule(second)
        });
        port.schedule(first);
        one.wait();
        other.wait();
        scheduler.join().expect("no panic");
        drop(port);
        assert_eq!((one.turns().len(), other.turns().len()), (1, 1));
    });
}

#[test]
fn who_is_scheduled_from_inside_a_turn_has_one() {
    check("who_is_scheduled_from_inside_a_turn_has_one", 2, || {
        let (_, port) = port();
        let inner = Noted::new();
        let outer = Noted::doing({
            let (port, inner) = (port.clone(), attach(&port, &inner));
            move || port.schedule(inner)
        });
        port.schedule(attach(&port, &outer));
        inner.wait();
        drop(port);
        assert_eq!((outer.turns().len(), inner.turns().len()), (1, 1));
    });
}

#[test]
fn a_late_event_finds_nobody() {
    check("a_late_event_finds_nobody", 2, || {
        let (kernel, port) = port();
        let (old, round, new) = (Noted::new(), Noted::new(), Noted::new());
        let gone = attach(&port, &old);
        kernel.arrive(EventFlags::IN);
        port.detach(any_descriptor(), gone);
        // After this the thread has applied the removal. So the new source gets the index of the old one, but not its
        // events.
        port.schedule(attach(&port, &round));
        round.wait();
        let token = attach(&port, &new);
        kernel.arrive_late(gone, EventFlags::IN);
        port.detach(any_descriptor(), token);
        drop(port);
        assert_eq!(new.turns(), []);
    });
}

#[test]
fn an_event_reaches_who_is_attached() {
    check("an_event_reaches_who_is_attached", 3, || {
        let (kernel, port) = port();
        let noted = Noted::new();
        let token = attach(&port, &noted);
        let peer = thread::spawn(move || kernel.arrive(EventFlags::IN));
        noted.wait();
        peer.join().expect("no panic");
        port.detach(any_descriptor(), token);
        assert_eq!(noted.turns(), [Readiness::IN]);
    });
}

#[test]
fn the_last_of_two_references_ends_the_thread() {
    check("the_last_of_two_references_ends_the_thread", ANY, || {
        let (_, port) = port();
        let other = thread::spawn({
            let port = port.clone();
            move || drop(port)
        });
        // If this is the last reference, the drop returns when the port's thread has ended.
        drop(port);
        other.join().expect("no panic");
    });
}

#[test]
fn the_last_reference_can_go_inside_a_turn() {
    check("the_last_reference_can_go_inside_a_turn", 3, || {
        let (_, port) = port();
        let noted = Noted::doing({
            let port = port.clone();
            move || drop(port)
        });
        port.schedule(attach(&port, &noted));
        drop(port);
        noted.wait();
    });
}
