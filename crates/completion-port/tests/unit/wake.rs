//! The port's thread: wake-ups, interrupted calls, and an `epoll_wait` that fails.

use crate::common::{
    Real, Scripted, drop_on_the_own_thread, log, occupy, op, real, real_port, real_with, received, settled,
};
use completion_port::sys::Errno;
use completion_port::{CompletionPort, Direction, Registration};
use rstest::rstest;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};
use test_doubles::{PortSyscall, ScriptedPort};

/// Registrations whose readiness the port has seen already, so that each `add` schedules one.
fn ready(calls: &ScriptedPort, port: &CompletionPort<ScriptedPort>, count: usize) -> Vec<Arc<Real>> {
    let registrations = (0..count).map(|_| real(port).0).collect();
    settled(calls);
    registrations
}

// Tests_SRS_COMPLETION_PORT_01_060
#[test]
fn wake_ups_from_many_threads_are_one_write_until_the_thread_has_looked() {
    let (calls, port) = real_port();
    let registrations = ready(&calls, &port, 8);
    let (gate, _occupied) = occupy(&port);
    let before = calls.made(PortSyscall::Wake);
    let (tell, told) = channel();

    thread::scope(|scope| {
        for registration in &registrations {
            let tell = tell.clone();
            scope.spawn(move || {
                for _ in 0..10 {
                    let tell = tell.clone();
                    let operation = op("a").then(move || tell.send(()).expect("the test listens"));
                    registration.add(Direction::Out, operation).expect("it is registered");
                }
            });
        }
    });

    assert_eq!(calls.made(PortSyscall::Wake), before + 1);
    gate.open();
    for _ in 0..80 {
        received(&told, "one of the operations");
    }
}

// Tests_SRS_COMPLETION_PORT_01_060
#[test]
fn when_the_thread_has_looked_the_next_wake_up_is_written_again() {
    let (calls, port) = real_port();
    let registrations = ready(&calls, &port, 1);

    for nth in 1..=5 {
        let (operation, told) = op("a").told();
        registrations[0].add(Direction::Out, operation).unwrap();
        received(&told, "the operation");
        settled(&calls);
        assert_eq!(calls.made(PortSyscall::Wake), nth);
    }
}

// Tests_SRS_COMPLETION_PORT_01_060
#[test]
fn no_wake_up_is_lost_whenever_it_comes() {
    let (calls, port) = real_port();
    let registrations = ready(&calls, &port, 4);
    thread::scope(|scope| {
        for registration in &registrations {
            scope.spawn(move || {
                for round in 0..2000 {
                    let (operation, told) = op("a").told();
                    registration.add(Direction::Out, operation).expect("it is registered");
                    received(&told, &format!("the operation of round {round}"));
                }
            });
        }
    });
}

// Tests_SRS_COMPLETION_PORT_01_060
#[test]
fn a_wake_up_between_looking_and_sleeping_is_not_lost() {
    let (calls, port) = real_port();
    let registrations = ready(&calls, &port, 2);
    // The thread has returned from epoll_wait but has not looked yet. The next `add` must not write.
    let next = calls.made(PortSyscall::EpollWait);
    let (tell, told) = channel();
    let (late, late_tell) = (Arc::clone(&registrations[1]), tell.clone());
    calls.after(PortSyscall::EpollWait, next, move || {
        let operation = op("late").then(move || late_tell.send("late").expect("the test listens"));
        crate::common::on_another_thread("the late add", move || {
            late.add(Direction::Out, operation).expect("registered");
        });
    });

    let operation = op("early").then(move || tell.send("early").expect("the test listens"));
    registrations[0].add(Direction::Out, operation).unwrap();

    let mut names = [received(&told, "the one"), received(&told, "the other")];
    names.sort_unstable();
    assert_eq!(names, ["early", "late"]);
}

// Tests_SRS_COMPLETION_PORT_01_061
#[test]
fn what_the_own_thread_adds_writes_no_wake_up_and_runs() {
    let (calls, port) = real_port();
    let mut registrations = ready(&calls, &port, 9);
    let first = registrations.pop().unwrap();
    let before = calls.made(PortSyscall::Wake);
    let (tell, told) = channel();

    let callback = move || {
        for registration in registrations {
            let (kept, tell) = (Arc::clone(&registration), tell.clone());
            let operation = op("inner").then(move || tell.send(kept).expect("the test listens"));
            registration.add(Direction::Out, operation).expect("it is registered");
        }
    };
    first.add(Direction::Out, op("outer").then(callback)).unwrap();

    let _kept: Vec<_> = (0..8).map(|_| received(&told, "an operation that the own thread added")).collect();
    assert_eq!(calls.made(PortSyscall::Wake), before + 1, "only the first, from this thread");
}

// Tests_SRS_COMPLETION_PORT_01_060
#[test]
fn what_asks_for_a_turn_has_it_before_the_next_wait() {
    let (calls, port) = real_port();
    let registrations = ready(&calls, &port, 1);
    let before = settled(&calls);

    let (operation, told) = op("a").told();
    registrations[0].add(Direction::Out, operation).unwrap();
    received(&told, "the operation");

    assert_eq!(settled(&calls), before + 1, "woken from one wait, and in the next");
}

// Tests_SRS_COMPLETION_PORT_01_057
#[test]
fn a_removal_on_the_own_thread_costs_no_wait_more() {
    let (calls, port) = real_port();
    let registration = ready(&calls, &port, 1).remove(0);
    let before = settled(&calls);
    let (give, given) = channel::<Arc<Real>>();
    let (tell, told) = channel();

    let removes = move || {
        let registration = received(&given, "the registration");
        tell.send(registration.remove()).expect("the test listens");
    };
    registration.add(Direction::Out, op("removes").then(removes)).unwrap();
    give.send(registration).unwrap();

    assert!(received(&told, "the removal"));
    assert_eq!(settled(&calls), before + 1);
}

// Tests_SRS_COMPLETION_PORT_01_057, Tests_SRS_COMPLETION_PORT_01_061
#[test]
fn what_the_drop_of_a_handler_adds_on_the_own_thread_runs() {
    let (calls, port) = real_port();
    let other = ready(&calls, &port, 1).remove(0);
    let (operation, told) = op("added by a drop").told();
    let adds = {
        let other = Arc::clone(&other);
        move || _ = other.add(Direction::Out, operation).expect("it is registered")
    };
    let (registration, _peer) = real_with(&port, Scripted::ending_with(adds));
    settled(&calls);

    drop_on_the_own_thread(registration);

    received(&told, "the operation that was added when nobody was left to wake");
    drop(other);
}

// Tests_SRS_COMPLETION_PORT_01_061
#[test]
fn the_last_drop_on_the_own_thread_writes_no_wake_up() {
    let (calls, port) = real_port();
    let (registration, _peer) = real(&port);
    drop(port);
    let ((give, given), (tell, told)) = (channel::<Arc<Real>>(), channel());
    let inspected = calls.clone();
    let callback = move || {
        let registration = received(&given, "the registration");
        let before = inspected.made(PortSyscall::Wake);
        drop(registration);
        tell.send(inspected.made(PortSyscall::Wake) - before).expect("the test listens");
    };
    registration.add(Direction::Out, op("a").then(callback)).unwrap();
    give.send(registration).unwrap();

    assert_eq!(received(&told, "the drop"), 0);
}

// Tests_SRS_COMPLETION_PORT_01_062
#[rstest]
#[case::epoll_create(PortSyscall::EpollCreate)]
#[case::eventfd(PortSyscall::EventFd)]
#[case::epoll_add(PortSyscall::EpollAdd)]
fn an_interrupted_call_of_create_is_made_again(#[case] call: PortSyscall) {
    let calls = ScriptedPort::new();
    calls.fail(call, 1, Errno::INTR);
    calls.fail(call, 2, Errno::INTR);

    let port = CompletionPort::create_with(calls.clone()).unwrap();

    assert_eq!(calls.made(call), 3);
    crate::common::round_trip(&port);
}

// Tests_SRS_COMPLETION_PORT_01_062
#[test]
fn interrupted_calls_of_register_and_remove_are_made_again() {
    let (calls, port) = real_port();
    calls.fail(PortSyscall::EpollAdd, 2, Errno::INTR); // The first was the eventfd's.
    calls.fail(PortSyscall::EpollDelete, 1, Errno::INTR);

    let ((own, _peer), (handler, released)) = (crate::common::pair(), crate::common::Scripted::releasing());
    let registration = Registration::new(port.clone(), handler, own);
    registration.register(|| ()).unwrap();
    assert!(registration.remove());

    assert_eq!((calls.made(PortSyscall::EpollAdd), calls.made(PortSyscall::EpollDelete)), (3, 2));
    // The descriptor was really deleted, because it can be added again.
    let descriptor = crate::common::received(&released, "the release");
    Registration::new(port, crate::common::Scripted::default(), descriptor).register(|| ()).unwrap();
}

// Tests_SRS_COMPLETION_PORT_01_062
#[test]
fn an_interrupted_wake_up_is_written_again() {
    let (calls, port) = real_port();
    let registrations = ready(&calls, &port, 1);
    calls.fail(PortSyscall::Wake, 1, Errno::INTR);

    let (operation, told) = op("a").told();
    registrations[0].add(Direction::Out, operation).unwrap();

    received(&told, "the operation after the interrupted wake-up");
    assert_eq!(calls.made(PortSyscall::Wake), 2);
}

// Tests_SRS_COMPLETION_PORT_01_062
#[test]
fn an_interrupted_wait_is_made_again_at_once() {
    const INTERRUPTIONS: usize = 500;
    let calls = ScriptedPort::new();
    (1..=INTERRUPTIONS).for_each(|nth| calls.fail(PortSyscall::EpollWait, nth, Errno::INTR));
    let start = Instant::now();

    let port = CompletionPort::create_with(calls.clone()).unwrap();
    crate::common::round_trip(&port);

    assert!(calls.made(PortSyscall::EpollWait) > INTERRUPTIONS);
    // The pause after a real failure would add up to five seconds.
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

// Tests_SRS_COMPLETION_PORT_01_063
#[test]
fn a_wait_that_fails_is_logged_and_the_thread_pauses_and_goes_on() {
    const FAILURES: usize = 10;
    log::listen();
    let calls = ScriptedPort::new();
    (1..=FAILURES).for_each(|nth| calls.fail(PortSyscall::EpollWait, nth, Errno::BADF));
    let start = Instant::now();

    let port = CompletionPort::create_with(calls.clone()).unwrap();
    crate::common::round_trip(&port);

    assert!(log::errors_with("epoll_wait failed") >= FAILURES);
    assert_eq!(log::errors_with("(os error 9)"), FAILURES, "EBADF is told");
    let pauses = 10 * Duration::from_millis(FAILURES as u64);
    assert!(start.elapsed() >= pauses, "a pause of 10 ms each: {:?}", start.elapsed());
    assert!(calls.made(PortSyscall::EpollWait) > FAILURES);
}

// Tests_SRS_COMPLETION_PORT_01_063
#[test]
fn a_port_whose_wait_fails_can_be_stopped() {
    let calls = ScriptedPort::new();
    (1..=10_000).for_each(|nth| calls.fail(PortSyscall::EpollWait, nth, Errno::NOMEM));
    let port = CompletionPort::create_with(calls).unwrap();

    crate::common::on_another_thread("the last drop", move || drop(port));
}

// Tests_SRS_COMPLETION_PORT_01_064
#[test]
fn with_busy_poll_the_thread_asks_again_and_again_for_so_long_before_it_sleeps() {
    const LONG: Duration = Duration::from_millis(200);
    let calls = ScriptedPort::new();
    let port = CompletionPort::builder().busy_poll(LONG).create_with(calls.clone()).unwrap();
    let waits = || calls.made(PortSyscall::EpollWait);

    // The last event comes between these two.
    let before = Instant::now();
    crate::common::round_trip(&port);
    let served = Instant::now();
    let (mut asked, mut last_change) = (waits(), Instant::now());
    while last_change.elapsed() < LONG {
        if waits() != asked {
            (asked, last_change) = (waits(), Instant::now());
        }
        thread::yield_now();
    }

    assert!(last_change - before >= LONG, "asks for {:?}", last_change - before);
    assert!(last_change - served < 10 * LONG, "still asks after {:?}", last_change - served);
    crate::common::round_trip(&port);
    assert!(waits() > asked, "it sleeps at last, and can be woken");
}

// Tests_SRS_COMPLETION_PORT_01_064
#[test]
fn a_port_that_polls_for_long_serves_and_ends_at_once() {
    let port = CompletionPort::builder().busy_poll(Duration::from_secs(100)).create_with(ScriptedPort::new()).unwrap();
    let start = Instant::now();

    for _ in 0..10 {
        crate::common::round_trip(&port);
    }
    drop(port);

    assert!(start.elapsed() < crate::common::LIMIT, "{:?}", start.elapsed());
}

#[test]
fn a_port_that_is_not_asked_to_poll_goes_to_sleep_at_once() {
    let calls = ScriptedPort::new();
    let _port = CompletionPort::builder().create_with(calls.clone()).unwrap();
    assert_eq!(settled(&calls), 1);
}
