//! A port whose epoll instance or eventfd other code has closed.
#![allow(unsafe_code, reason = "gives a port's descriptor to other code")]

mod common;

use common::{A_WHILE, Real, eventually, op, real, real_port, received, settled, spawn};
use completion_port::{
    Action, AddError, ClaimError, CompletionPort, Direction, Interest, OneShots, Port as _, PortExt, RegisterError,
    Registration,
};
use rstest::rstest;
use rustix::event::epoll;
use std::fs;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};
use test_doubles::PortSyscall::{EpollModify, EpollWait, Wake};
use test_doubles::ScriptedPort;

/// The next call of each kind fails as if the number were closed, or another file's.
fn lose(calls: &ScriptedPort, errno: completion_port::sys::Errno) {
    let next = |call| calls.made(call) + 1;
    calls.fail(EpollWait, next(EpollWait), errno);
    // Repeated, because both the thread that notices first and the port's thread ask the kernel.
    (0..8).for_each(|nth| calls.fail(EpollModify, next(EpollModify) + nth, errno));
    (0..8).for_each(|nth| calls.fail(Wake, next(Wake) + nth, errno));
}

/// Ends the wait that the thread is in.
fn stir(peer: &mut impl Write) {
    peer.write_all(b"x").expect("the peer writes");
}

// Tests_SRS_COMPLETION_PORT_01_091, Tests_SRS_COMPLETION_PORT_01_093
#[rstest]
fn everything_that_waits_is_told_an_error_and_everything_new_is_refused(
    #[values(completion_port::sys::Errno::BADF, completion_port::sys::Errno::INVAL)] errno: completion_port::sys::Errno,
) {
    let (calls, port) = real_port();
    let (registration, _peer) = real(&port);
    let (other, mut stirs) = real(&port);
    let (waits, told) = op("waits").told();
    let (behind, told_behind) = op("behind it").told();
    registration.add(Direction::In, waits).expect("registered");
    registration.add(Direction::In, behind).expect("registered");
    let waiting = OneShots::<(Arc<OwnedFd>, Box<dyn FnOnce(Action) + Send>), _>::new(port.clone());
    let (own, _own_peer) = common::pair();
    let own = Arc::new(own);
    let (tell, fired) = channel();
    let fires = Box::new(move |action: Action| {
        let _ = tell.send(action);
    });
    waiting.add(Interest::IN, (Arc::clone(&own), fires)).expect("a wait");
    settled(&calls);

    lose(&calls, errno);
    stir(&mut stirs);

    received(&told, "the first operation");
    received(&told_behind, "the second");
    assert_eq!(received(&fired, "the raw wait"), Action::Error);
    let handler = registration.handler();
    assert_eq!(handler.attempts(), [("waits", Action::Error), ("behind it", Action::Error)]);
    for direction in [Direction::In, Direction::Out] {
        assert_eq!(registration.add(direction, op("new")).expect_err("refused").error, AddError::PortFailed);
        assert_eq!(registration.try_claim(direction).expect_err("refused"), ClaimError::PortFailed);
    }
    assert!(waiting.add(Interest::IN, (Arc::clone(&own), Box::new(|_| {}))).is_err());
    let (new, _) = common::pair();
    let late = Registration::new(port.clone(), common::Scripted::default(), new);
    assert!(matches!(late.register(|| ()), Err(RegisterError::Kernel(error)) if error.raw_os_error() == Some(9)));
    drop((registration, other, waiting, late));
    received(&spawn(move || drop(port)), "the last drop");
}

// Tests_SRS_COMPLETION_PORT_01_091
#[test]
fn what_is_suspended_or_waits_for_readiness_that_is_known_ends_too() {
    let (calls, port) = real_port();
    let (registration, _peer) = real(&port);
    let (suspended, told) = op("suspended").answers([common::Progress::Suspended]).told();
    registration.add(Direction::Out, suspended).expect("registered");
    let (_other, mut stirs) = real(&port);
    settled(&calls);

    lose(&calls, completion_port::sys::Errno::BADF);
    stir(&mut stirs);

    received(&told, "the suspended operation");
}

/// Where the kernel tells of the calling thread.
fn this_thread() -> PathBuf {
    fs::canonicalize("/proc/thread-self").expect("/proc")
}

/// How much processor time a thread has used.
fn cpu_time(thread: &std::path::Path) -> Duration {
    let said = fs::read_to_string(thread.join("schedstat")).expect("the thread lives");
    let nanoseconds = said.split_whitespace().next().and_then(|first| first.parse().ok()).expect("a number");
    Duration::from_nanos(nanoseconds)
}

// Tests_SRS_COMPLETION_PORT_01_091
#[test]
fn the_thread_of_a_port_that_has_failed_does_not_spin() {
    let (calls, port) = real_port();
    let (registration, mut stirs) = real(&port);
    let (tell, told) = channel();
    registration.add(Direction::In, op("waits").then(move || tell.send(this_thread()).unwrap())).expect("registered");
    settled(&calls);
    lose(&calls, completion_port::sys::Errno::BADF);
    stir(&mut stirs);
    let thread = received(&told, "the operation");

    let before = cpu_time(&thread);
    thread::sleep(Duration::from_millis(500));

    let used = cpu_time(&thread) - before;
    assert!(used < Duration::from_millis(25), "{used:?}");
}

// Tests_SRS_COMPLETION_PORT_01_092, Tests_SRS_COMPLETION_PORT_01_094
#[test]
fn a_number_that_other_code_has_taken_over_stays_its_own() {
    common::watch_over_all();
    let port = CompletionPort::create().expect("a port");
    let (tell, told) = channel();
    port.post(move || tell.send(this_thread()).unwrap()).expect("there is memory");
    let thread = received(&told, "the work");
    // It sleeps for a second now.
    thread::sleep(A_WHILE);
    let number = port.number().expect("an epoll instance");
    // SAFETY: the port is to lose this descriptor. Nothing here closes it.
    let mut taken = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(number) });
    rustix::io::dup2(epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll instance"), &mut taken)
        .expect("the number is taken over");

    let begin = Instant::now();
    received(&spawn(move || drop(port)), "the last drop");

    assert!(begin.elapsed() < Duration::from_millis(500), "{:?}", begin.elapsed());
    assert!(thread.exists(), "the thread sleeps still");
    let info = || fs::read_to_string(format!("/proc/self/fdinfo/{number}"));
    assert!(!info().expect("it is open").contains("tfd:"), "nothing was added to it");
    eventually("the thread has ended", || !thread.exists());
    thread::sleep(A_WHILE);
    info().expect("it is open still");
}

// Tests_SRS_COMPLETION_PORT_01_092, Tests_SRS_COMPLETION_PORT_01_094
#[test]
fn a_last_reference_that_cannot_wake_the_thread_does_not_wait_for_it() {
    let (calls, port) = real_port();
    settled(&calls);
    lose(&calls, completion_port::sys::Errno::NOENT);

    received(&spawn(move || drop(port)), "the last drop");

    assert_eq!(calls.made(Wake), 1);
}

// Tests_SRS_COMPLETION_PORT_01_092
#[test]
fn a_wake_up_that_fails_is_noticed_and_the_thread_serves_without_the_kernel() {
    let (calls, port) = real_port();
    let (registration, _peer) = real(&port);
    let (waits, told) = op("waits").told();
    registration.add(Direction::In, waits).expect("registered");
    let (ready, mut stirs) = real(&port);
    settled(&calls);
    lose(&calls, completion_port::sys::Errno::NOENT);
    // The descriptor is ready already, so the thread has to be woken, which fails.
    let _ = ready.add(Direction::Out, op("ready"));
    stir(&mut stirs);

    received(&told, "the operation that waited");
    // The thread is still there to drop the rest of a removal.
    let ended = Ended::of(&registration);
    registration.remove();
    drop((registration, ready));
    received(&spawn(move || drop(port)), "the last drop");
    assert!(ended.is_gone());
}

/// Whether a registration's memory is gone.
struct Ended(std::sync::Weak<Real>);

impl Ended {
    fn of(registration: &Arc<Real>) -> Self {
        Self(Arc::downgrade(registration))
    }

    fn is_gone(&self) -> bool {
        self.0.upgrade().is_none()
    }
}

// Tests_SRS_COMPLETION_PORT_01_063
#[test]
fn a_failure_that_does_not_last_is_no_reason_to_give_up() {
    let (calls, port) = real_port();
    let (registration, mut peer) = real(&port);
    settled(&calls);
    calls.fail(EpollWait, calls.made(EpollWait) + 1, completion_port::sys::Errno::BADF);
    let (waits, told) = op("waits").told();
    registration.add(Direction::In, waits).expect("registered");
    peer.write_all(b"x").expect("the peer writes");

    received(&told, "the operation");
    assert_eq!(registration.handler().attempts(), [("waits", Action::In)]);
    drop(CompletionPort::builder());
}
