//! An idle port uses no processor time unless it polls. It pauses when its waits fail.

use completion_port::sys::Errno;
use completion_port::{CompletionPort, Direction};
use integration_tests::port::{A_WHILE, Port, port, reads, round_trip, settled, socket, start, watch};
use integration_tests::process::{alone, cpu_time, port_threads};
use integration_tests::{LIMIT, within};
use rstest::rstest;
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
fn a_port_that_polls_does_so_for_as_long_as_it_was_told_and_then_sleeps() {
    const POLLING: Duration = Duration::from_millis(300);
    // How late the thread may notice, on a busy machine, that its time is over.
    const LATE: Duration = Duration::from_secs(2);
    let _alone = alone();
    let calls = ScriptedPort::new();
    let port = CompletionPort::builder().busy_poll(POLLING).create_with(calls.clone()).unwrap();
    let waits = || calls.made(PortSyscall::EpollWait);
    round_trip(&port);
    let (start, before) = (Instant::now(), waits());

    settled(&calls);

    // `settled` returns only after the thread has rested for this long.
    let polled = start.elapsed().saturating_sub(A_WHILE);
    assert!(waits() > before + 10, "it looked for events {} times", waits() - before);
    assert!(polled >= POLLING - A_WHILE && polled < POLLING + LATE, "{polled:?}");
    let asleep = (waits(), cpu_time(*port_threads().first().expect("the port's thread")));
    thread::sleep(Duration::from_millis(200));
    assert_eq!((waits(), cpu_time(*port_threads().first().expect("the port's thread"))), asleep);
    round_trip(&port);
}

// Tests_SRS_COMPLETION_PORT_01_064
#[rstest]
#[case::an_event(|port: Port| round_trip(&port))]
#[case::the_end(drop)]
fn polling_ends_at_once_with(#[case] ends: fn(Port)) {
    let _alone = alone();
    let port =
        CompletionPort::builder().busy_poll(Duration::from_secs(1_000)).create_with(ScriptedPort::new()).unwrap();
    let start = Instant::now();

    within("the end of polling", move || ends(port));

    assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
}

// Tests_SRS_COMPLETION_PORT_01_063
#[test]
fn a_port_whose_waits_fail_pauses_each_time_and_serves_on() {
    const FAILURES: u32 = 10;
    const PAUSE: Duration = Duration::from_millis(10);
    let _alone = alone();
    let calls = ScriptedPort::new();
    let port = CompletionPort::create_with(calls.clone()).unwrap();
    let (registration, mut peer) = socket(&port);
    round_trip(&port);
    let next = settled(&calls);
    (1..=FAILURES as usize).for_each(|nth| calls.fail(PortSyscall::EpollWait, next + nth, Errno::NOMEM));
    let pending = start(&registration, Direction::In, reads(1));
    let start = Instant::now();

    peer.write_all(b"x").unwrap();
    assert_eq!(pending.only().bytes, b"x");
    round_trip(&port);

    assert!(calls.made(PortSyscall::EpollWait) > next + FAILURES as usize);
    assert!(start.elapsed() >= FAILURES * PAUSE, "no pause: {:?}", start.elapsed());
}
