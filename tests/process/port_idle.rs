//! A port with nothing to do uses no processor time.

use completion_port::{CompletionPort, Direction};
use integration_tests::eventually;
use integration_tests::port::{port, reads, round_trip, settled, socket, start, watch};
use integration_tests::process::{alone, cpu_time, port_threads};
use std::io::Write;
use std::thread;
use std::time::Duration;
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
    let port = CompletionPort::builder().busy_poll(Duration::from_millis(100)).create_with(calls.clone()).unwrap();
    let waits = || calls.made(PortSyscall::EpollWait);
    round_trip(&port);
    let before = waits();

    eventually("it looks for events", || waits() > before + 10);
    settled(&calls);

    let asleep = (waits(), cpu_time(*port_threads().first().expect("the port's thread")));
    thread::sleep(Duration::from_millis(200));
    assert_eq!((waits(), cpu_time(*port_threads().first().expect("the port's thread"))), asleep);
    round_trip(&port);
}
