//! A port with nothing to do uses no processor time.

use completion_port::sys::Errno;
use completion_port::{CompletionPort, Direction};
use integration_tests::port::{port, reads, round_trip, settled, socket, start, watch};
use integration_tests::process::{alone, cpu_time, port_threads};
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};
use test_doubles::{PortSyscall, ScriptedPort};

// Tests_SRS_COMPLETION_PORT_01_036
#[test]
fn descriptors_that_are_ready_without_operations_cost_no_time() {
    let _alone = alone();
    let (calls, port) = port();
    let (_readable, mut peer) = socket(&port);
    peer.write_all(b"unread").unwrap();
    let (_hung_up, _) = socket(&port);
    let (reader, writer) = std::io::pipe().unwrap();
    let (_broken, _) = (watch(&port, reader), drop(writer));
    round_trip(&port);
    settled(&calls);
    let thread = *port_threads().first().expect("the port's thread");
    let before = (calls.made(PortSyscall::EpollWait), cpu_time(thread));

    thread::sleep(Duration::from_millis(300));

    assert_eq!((calls.made(PortSyscall::EpollWait), cpu_time(thread)), before);
}

#[test]
fn operations_that_wait_cost_no_time() {
    let _alone = alone();
    let (calls, port) = port();
    let (registration, mut peer) = socket(&port);
    peer.write_all(b"x").unwrap();
    let reading: Vec<_> = (0..3).map(|_| start(&registration, Direction::In, reads(1))).collect();
    round_trip(&port);
    settled(&calls);
    let before = (calls.made(PortSyscall::EpollWait), registration.handler().attempts());

    thread::sleep(Duration::from_millis(200));

    assert_eq!((calls.made(PortSyscall::EpollWait), registration.handler().attempts()), before);
    assert_eq!(reading.iter().filter(|done| done.is_pending()).count(), 2);
}

// Tests_SRS_COMPLETION_PORT_01_064
#[test]
fn a_port_that_polls_uses_time_for_as_long_as_it_was_told_and_no_longer() {
    let _alone = alone();
    let calls = ScriptedPort::new();
    let long = Duration::from_millis(100);
    let port = CompletionPort::builder().busy_poll(long).create_with(calls.clone()).unwrap();
    let waits = || calls.made(PortSyscall::EpollWait);
    // The last event comes between these two.
    let before = Instant::now();
    round_trip(&port);
    let served = Instant::now();
    let (mut looked, mut last_look) = (waits(), Instant::now());
    while last_look.elapsed() < long {
        if waits() != looked {
            (looked, last_look) = (waits(), Instant::now());
        }
        thread::yield_now();
    }
    assert!(last_look - before >= long && last_look - served < 20 * long, "{:?}", last_look - before);

    let asleep = (waits(), cpu_time(*port_threads().first().expect("the port's thread")));
    thread::sleep(Duration::from_millis(200));
    assert_eq!((waits(), cpu_time(*port_threads().first().expect("the port's thread"))), asleep);
    round_trip(&port);
}

// Tests_SRS_COMPLETION_PORT_01_063
#[test]
fn a_port_whose_waits_fail_pauses_after_each_and_goes_on() {
    let _alone = alone();
    let calls = ScriptedPort::new();
    (1..=5).for_each(|nth| calls.fail(PortSyscall::EpollWait, nth, Errno::NOMEM));
    let start = Instant::now();
    let port = CompletionPort::create_with(calls).unwrap();
    round_trip(&port);
    assert!(start.elapsed() >= Duration::from_millis(50), "{:?}", start.elapsed());
}
