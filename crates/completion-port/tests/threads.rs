//! The thread of a port: its signals, name and stack, and the calls that are possible while a thread ends.
#![allow(unsafe_code, reason = "asks libc about a thread")]

mod common;

use common::{op, received, watch_over_all};
use completion_port::{CompletionPort, CompletionPortBuilder, Direction, Registration};
use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use std::cell::RefCell;
use std::fs;
use std::mem::MaybeUninit;
use std::sync::mpsc::channel;
use std::thread;

/// What a port's thread says of itself.
#[derive(Debug)]
struct Thread {
    name: String,
    blocked: SigSet,
    stack: usize,
}

fn thread_of(builder: CompletionPortBuilder) -> Thread {
    watch_over_all();
    let port = builder.create().expect("a port");
    let (own, _peer) = common::pair();
    let registration = Registration::new(port, common::Scripted::default(), own);
    registration.register(|| ()).expect("a socket");
    let (tell, told) = channel();
    let looks = op("looks").then(move || {
        let name = fs::read_to_string("/proc/thread-self/comm").expect("the kernel's name").trim_end().to_owned();
        let blocked = SigSet::thread_get_mask().expect("a mask");
        drop(tell.send(Thread { name, blocked, stack: stack_size() }));
    });
    registration.add(Direction::Out, looks).expect("registered");
    received(&told, "the thread's answer")
}

fn stack_size() -> usize {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let mut size = 0;
    // SAFETY: always succeeds.
    let this_thread = unsafe { libc::pthread_self() };
    // SAFETY: fills the attributes of a thread that runs.
    assert_eq!(unsafe { libc::pthread_getattr_np(this_thread, attributes.as_mut_ptr()) }, 0);
    // SAFETY: just filled.
    assert_eq!(unsafe { libc::pthread_attr_getstacksize(attributes.as_ptr(), &raw mut size) }, 0);
    // SAFETY: just filled, and not used again.
    unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    size
}

// Tests_SRS_COMPLETION_PORT_01_087
#[test]
fn the_thread_blocks_every_signal_but_those_of_a_fault() {
    let before = SigSet::thread_get_mask().expect("a mask");
    let thread = thread_of(CompletionPort::builder());

    for signal in Signal::iterator() {
        let of_a_fault = matches!(
            signal,
            Signal::SIGSEGV
                | Signal::SIGBUS
                | Signal::SIGFPE
                | Signal::SIGILL
                | Signal::SIGTRAP
                | Signal::SIGSYS
                | Signal::SIGABRT
        );
        // Nobody can block these.
        let never = matches!(signal, Signal::SIGKILL | Signal::SIGSTOP);
        assert_eq!(thread.blocked.contains(signal), !of_a_fault && !never, "{signal}");
    }
    assert_eq!(SigSet::thread_get_mask().expect("a mask"), before, "the creator's mask is as it was");
}

// Tests_SRS_COMPLETION_PORT_01_088
#[test]
fn the_thread_has_the_documented_name_or_the_one_that_is_asked_for() {
    assert_eq!(thread_of(CompletionPort::builder()).name, "completion-port");
    assert_eq!(thread_of(CompletionPort::builder().thread_name("network")).name, "network");
    let refused = CompletionPort::builder().thread_name("a\0b").create().expect_err("no name");
    assert_eq!(refused.call, "pthread_create");
}

// Tests_SRS_COMPLETION_PORT_01_089
#[test]
fn the_stack_is_that_of_a_pthread_or_the_one_that_is_asked_for() {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let mut usual = 0;
    // SAFETY: fills the attributes.
    assert_eq!(unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) }, 0);
    // SAFETY: just filled.
    assert_eq!(unsafe { libc::pthread_attr_getstacksize(attributes.as_ptr(), &raw mut usual) }, 0);

    let stack = |builder| thread_of(builder).stack;
    let asked = |bytes| CompletionPort::builder().thread_stack_size(bytes);
    assert!(stack(CompletionPort::builder()) >= usual.max(2 << 20));
    assert!((32 << 20..33 << 20).contains(&stack(asked(32 << 20))));
    assert!(stack(asked(1)) < 1 << 20);
    assert_eq!(asked(usize::MAX).create().expect_err("too much").call, "pthread_create");
}

/// Does something when its thread's variables go.
struct AtTheEnd(Option<Box<dyn FnOnce()>>);

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(|last| last());
    }
}

// Tests_SRS_COMPLETION_PORT_01_080
#[test]
fn everything_works_while_a_threads_own_variables_go() {
    thread_local! {
        static LAST: RefCell<AtTheEnd> = const { RefCell::new(AtTheEnd(None)) };
    }
    let (tell, told) = channel();
    let last = move || {
        let (_calls, port) = common::real_port();
        let (registration, _peer) = common::real(&port);
        let (runs, ran) = op("runs").told();
        registration.add(Direction::Out, runs).expect("registered");
        received(&ran, "the operation");
        let (waits, abandoned) = op("waits").told();
        registration.add(Direction::In, waits).expect("registered");
        registration.try_claim(Direction::In).expect_err("something waits");
        registration.remove();
        received(&abandoned, "the abandoned operation");
        drop((registration, port));
        tell.send(()).expect("the test listens");
    };
    let ends = thread::spawn(move || {
        // Registered before the thread uses the library, so that the library's thread-locals are destroyed first.
        LAST.with_borrow_mut(|end| end.0 = Some(Box::new(last)));
        let (_calls, port) = common::real_port();
        let (registration, _peer) = common::real(&port);
        registration.remove();
    });
    received(&told, "the end");
    ends.join().expect("no panic");
}
