//! `PortDriver`: a port that the caller drives.

use crate::common::{Operation, Real, Scripted, op, pair, received, spawn, watch_over_all};
use completion_port::{
    Action, AddError, CompletionPort, Direction, Port, PortDriver, PortExt, Registration, Turn, is_port_thread,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use test_doubles::{PortSyscall, ScriptedPort};

const MS: Duration = Duration::from_millis(1);
const NOW: Option<Duration> = Some(Duration::ZERO);

type Driven = (ScriptedPort, CompletionPort<ScriptedPort>, PortDriver<ScriptedPort>);

fn driven() -> Driven {
    watch_over_all();
    let calls = ScriptedPort::new();
    let (port, driver) = CompletionPort::builder().create_driven_with(calls.clone()).expect("the port is created");
    (calls, port, driver)
}

fn socket(port: &CompletionPort<ScriptedPort>) -> (Real, UnixStream) {
    let (own, peer) = pair();
    let registration = Registration::new(port.clone(), Scripted::default(), own);
    registration.register(|| ()).expect("a socket can be registered");
    (registration, peer)
}

fn counting(count: &Arc<AtomicUsize>) -> impl FnOnce() + Send + 'static {
    let count = Arc::clone(count);
    move || _ = count.fetch_add(1, Ordering::Relaxed)
}

fn is_readable(driver: &PortDriver<ScriptedPort>) -> bool {
    let mut one = [PollFd::new(driver, PollFlags::IN)];
    poll(&mut one, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).expect("epoll can be polled") == 1
}

// Tests_SRS_COMPLETION_PORT_01_175
#[test]
fn callbacks_run_on_the_thread_that_drives_and_only_then() {
    let (_calls, port, mut driver) = driven();
    let (registration, mut peer) = socket(&port);
    let (tell, told) = channel();
    let operation: Operation =
        op("a").then(move || tell.send((std::thread::current().id(), is_port_thread())).unwrap());
    registration.add(Direction::In, operation).unwrap();
    peer.write_all(b"x").unwrap();

    assert!(told.try_recv().is_err(), "nothing drives it yet");
    assert!(!is_port_thread());
    let turn = driver.run_once(None);

    assert_eq!(turn, Turn::Worked);
    assert_eq!(told.try_recv(), Ok((std::thread::current().id(), true)));
    assert!(!is_port_thread());
}

// Tests_SRS_COMPLETION_PORT_01_175
#[test]
fn run_returns_when_the_last_reference_is_gone() {
    let (_calls, port, mut driver) = driven();
    let count = Arc::new(AtomicUsize::new(0));
    let other = port.clone();
    let work = counting(&count);
    let dropping = spawn(move || {
        let again = other.clone();
        // In two rounds.
        other.post(move || again.post(work).unwrap()).unwrap();
        drop(other);
    });
    let last = port.clone();
    port.post(move || drop(last)).unwrap();
    drop(port);

    driver.run();

    received(&dropping, "the other thread");
    assert_eq!(count.load(Ordering::Relaxed), 1);
    assert_eq!(driver.run_once(None), Turn::Over);
}

// Tests_SRS_COMPLETION_PORT_01_175
#[test]
fn a_wake_from_the_driving_thread_itself_costs_no_system_call() {
    let (calls, port, mut driver) = driven();
    let count = Arc::new(AtomicUsize::new(0));
    let (inner, work) = (port.clone(), counting(&count));
    port.post(move || inner.post(work).unwrap()).unwrap();
    assert_eq!(driver.run_once(NOW), Turn::Worked);
    let woken = calls.made(PortSyscall::Wake);

    while count.load(Ordering::Relaxed) == 0 {
        assert_eq!(driver.run_once(NOW), Turn::Worked);
    }

    assert_eq!(calls.made(PortSyscall::Wake), woken);
}

// Tests_SRS_COMPLETION_PORT_01_176
#[test]
fn a_round_waits_no_longer_than_it_is_told() {
    let (_calls, _port, mut driver) = driven();
    let begin = Instant::now();
    assert_eq!(driver.run_once(NOW), Turn::Idle);
    assert_eq!(driver.run_once(Some(20 * MS)), Turn::Idle);
    assert!(begin.elapsed() >= 20 * MS);
}

// Tests_SRS_COMPLETION_PORT_01_176
#[test]
fn a_round_inside_a_callback_of_another_port_lets_that_callback_remove_its_registration() {
    let (_calls, outer, mut outer_driver) = driven();
    let (registration, mut peer) = socket(&outer);
    let registration = Arc::new(registration);
    let count = Arc::new(AtomicUsize::new(0));
    let (own, work) = (Arc::clone(&registration), counting(&count));
    let nested = move || {
        let (_calls, inner, mut inner_driver) = driven();
        inner
            .post(move || {
                own.remove_and_wait();
                work();
            })
            .unwrap();
        assert_eq!(inner_driver.run_once(NOW), Turn::Worked);
    };
    registration.add(Direction::In, op("a").then(nested)).unwrap();
    peer.write_all(b"x").unwrap();

    assert_eq!(outer_driver.run_once(None), Turn::Worked);

    assert_eq!(count.load(Ordering::Relaxed), 1);
}

// Tests_SRS_COMPLETION_PORT_01_177
#[test]
fn an_outer_loop_sees_when_there_is_something_to_do() {
    let (_calls, port, mut driver) = driven();
    while driver.run_once(NOW) == Turn::Worked {}
    assert_eq!(driver.time_to_wait(), None);
    assert!(!is_readable(&driver));

    let count = Arc::new(AtomicUsize::new(0));
    port.post(counting(&count)).unwrap();
    assert!(is_readable(&driver), "woken");
    assert_eq!(driver.time_to_wait(), Some(Duration::ZERO));
    while driver.run_once(NOW) == Turn::Worked {}
    assert!(!is_readable(&driver));

    let timer = port.after(30 * MS, counting(&count)).unwrap();
    while driver.run_once(NOW) == Turn::Worked {}
    let left = driver.time_to_wait().expect("a timer is armed");
    assert!(left > Duration::ZERO && left <= 31 * MS, "{left:?}");
    while count.load(Ordering::Relaxed) < 2 {
        std::thread::sleep(driver.time_to_wait().unwrap_or(MS));
        let _ = driver.run_once(NOW);
    }
    drop(timer);
}

// Tests_SRS_COMPLETION_PORT_01_178
#[test]
fn dropping_the_driver_ends_what_waits_and_refuses_what_is_new() {
    let (_calls, port, driver) = driven();
    let (registration, _peer) = socket(&port);
    registration.add(Direction::In, op("a")).unwrap();
    registration.add(Direction::In, op("b")).unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    port.post(counting(&count)).unwrap();
    let _timer = port.after(MS, counting(&count)).unwrap();

    drop(driver);

    assert_eq!(registration.handler().attempts(), [("a", Action::Error), ("b", Action::Error)]);
    assert_eq!(count.load(Ordering::Relaxed), 1, "the work ran, the timer did not");
    assert_eq!(registration.add(Direction::In, op("c")).map_err(|it| it.error), Err(AddError::PortFailed));
    assert!(port.post(|| ()).is_err());
    assert!(port.set_timer(completion_port::Token(0), None).is_ok(), "nothing to disarm");
    drop(registration);
    drop(port);
}

// Tests_SRS_COMPLETION_PORT_01_175
#[test]
fn timers_of_a_driven_port_fire_while_it_is_driven() {
    let (_calls, port, mut driver) = driven();
    let count = Arc::new(AtomicUsize::new(0));
    let begin = Instant::now();
    let timers = [15, 5].map(|ms| port.after(ms * MS, counting(&count)).unwrap());

    while count.load(Ordering::Relaxed) < 2 {
        let _ = driver.run_once(None);
    }

    assert!(begin.elapsed() >= 15 * MS);
    drop((timers, port));
    driver.run();
}
