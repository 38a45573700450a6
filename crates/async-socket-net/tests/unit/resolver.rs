//! Name look-up: what the pool gives, and what a connect makes of it.

use crate::connect::LONG;
use crate::script::{Inbox, doubles};
use async_socket_net::{ConnectError, ConnectErrorKind, Connector, ResolveError, Resolver};
use rstest::rstest;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};
use test_doubles::MockPort;

const PATIENCE: Duration = Duration::from_secs(20);

/// Half of the time after which a thread without work ends.
const AT_ONCE: Duration = Duration::from_secs(5);

type Answer = io::Result<Vec<SocketAddr>>;

/// A resolver whose look-ups are answered by the test. Each says its host and port, and waits.
fn asked(threads: usize, queue: usize) -> (Resolver, Receiver<(String, u16, Sender<Answer>)>) {
    let (ask, questions) = channel();
    let resolver = Resolver::with(threads, queue, move |host, port| {
        let (answer, answered) = channel();
        let _ = ask.send((host.to_owned(), port, answer));
        answered.recv().unwrap_or_else(|_| Err(io::Error::other("the test is over")))
    });
    (resolver, questions)
}

/// Runs what is scheduled until something was.
fn run_until_scheduled(port: &MockPort) {
    let began = Instant::now();
    while port.run_scheduled() == 0 {
        assert!(began.elapsed() < PATIENCE, "the look-up's result schedules the connect");
        thread::yield_now();
    }
}

// Tests_SRS_ASYNC_SOCKET_NET_01_032
#[test]
fn a_name_is_looked_up_on_another_thread_and_its_addresses_are_tried_on_the_ports() {
    let (port, script) = doubles();
    let (resolver, questions) = asked(1, 1);
    let outcome = Inbox::new();
    let connector = Connector::new().resolver(&resolver).syscalls(script.clone());
    let connecting = connector.connect_on(port.clone(), "host.test:81", LONG, outcome.callback());
    let (host, number, answer) = questions.recv_timeout(PATIENCE).unwrap();
    assert_eq!((host.as_str(), number), ("host.test", 81));
    port.advance(Duration::from_secs(1));
    assert!(script.calls().is_empty());

    answer.send(Ok(vec!["10.0.0.7:81".parse().unwrap()])).unwrap();
    run_until_scheduled(&port);

    assert_eq!(script.connected_to(), ["10.0.0.7:81"]);
    drop(connecting);
    assert!(outcome.only().is_err());
}

// Tests_SRS_ASYNC_SOCKET_NET_01_032, Tests_SRS_ASYNC_SOCKET_NET_01_045
#[test]
fn a_resolver_that_fails_or_knows_no_address_or_panics_ends_the_connect() {
    let (port, script) = doubles();
    let resolver = Resolver::with(1, 1, |host, _| match host {
        "fails" => Err(io::Error::other("no server")),
        "panics" => panic!("the panic of this test"),
        _ => Ok(Vec::new()),
    });
    let connector = Connector::new().resolver(&resolver).syscalls(script);
    for (host, text) in [("fails", "no server"), ("panics", "panicked"), ("empty", "no addresses")] {
        let outcome = Inbox::new();
        let _connecting = connector.connect_on(port.clone(), (host, 1), LONG, outcome.callback());
        while outcome.is_empty() {
            run_until_scheduled(&port);
        }
        let error = outcome.only().unwrap_err();
        assert_eq!(error.kind(), ConnectErrorKind::NotResolved);
        let ConnectError::Resolver { host: of, source } = &error else { panic!("{error:?}") };
        assert_eq!(of, host);
        assert!(format!("{source:?} {source}").contains(text), "{source:?}");
    }
}

// Tests_SRS_ASYNC_SOCKET_NET_01_033, Tests_SRS_ASYNC_SOCKET_NET_01_034
#[test]
fn a_full_queue_refuses_and_a_cancelled_look_up_makes_room() {
    let (port, script) = doubles();
    let (resolver, questions) = asked(2, 1);
    let connector = Connector::new().resolver(&resolver).syscalls(script);
    let start = |host: &str| {
        let outcome = Inbox::new();
        let connecting = connector.connect_on(port.clone(), (host, 1), LONG, outcome.callback());
        port.run_scheduled();
        (connecting, outcome)
    };
    let running = [start("one"), start("two")];
    let answers = [(); 2].map(|()| questions.recv_timeout(PATIENCE).unwrap());
    let (waiting, cancelled) = start("three");

    let (_refused, refused) = start("four");
    let error = refused.only().unwrap_err();
    assert!(matches!(error, ConnectError::Resolver { source: ResolveError::Busy, .. }), "{error:?}");
    drop(waiting);
    assert!(matches!(cancelled.only(), Err(ConnectError::Cancelled)));
    let (_waiting, pending) = start("five");
    assert!(pending.is_empty());

    drop(answers);
    let (host, ..) = questions.recv_timeout(PATIENCE).unwrap();
    assert_eq!(host, "five", "the cancelled name is not looked up");
    drop(running);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_033
#[rstest]
fn a_pool_takes_a_look_up_for_each_thread_and_each_place_also_before_its_thread_has_begun(
    #[values(0, 1, 3)] queue: usize,
) {
    // Whether the thread has taken the first look-up when the others come is up to the scheduler.
    for _ in 0..100 {
        let (port, script) = doubles();
        let (resolver, _questions) = asked(1, queue);
        let connector = Connector::new().resolver(&resolver).syscalls(script);
        let start = || {
            let outcome = Inbox::new();
            (connector.connect_on(port.clone(), ("any", 1), LONG, outcome.callback()), outcome)
        };

        let taken: Vec<_> = (0..1 + queue).map(|_| start()).collect();
        let (_connecting, refused) = start();
        port.run_scheduled();

        assert!(taken.iter().all(|(_, outcome)| outcome.is_empty()), "there is a thread or a place for each");
        let error = refused.only().unwrap_err();
        assert!(matches!(error, ConnectError::Resolver { source: ResolveError::Busy, .. }), "{error:?}");
    }
}

// Tests_SRS_ASYNC_SOCKET_NET_01_048
#[test]
fn a_failed_port_ends_a_connect_whose_name_is_being_looked_up() {
    let (port, script) = doubles();
    let (resolver, questions) = asked(1, 1);
    let outcome = Inbox::new();
    let connector = Connector::new().resolver(&resolver).syscalls(script);
    let _connecting = connector.connect_on(port.clone(), ("hangs", 1), LONG, outcome.callback());
    let _hanging = questions.recv_timeout(PATIENCE).unwrap();
    port.run_scheduled();
    assert!(outcome.is_empty());

    port.fail();
    port.run_scheduled();

    let error = outcome.only().unwrap_err();
    assert!(matches!(error, ConnectError::Port(_)), "{error:?}");
}

// Tests_SRS_ASYNC_SOCKET_NET_01_034, Tests_SRS_ASYNC_SOCKET_NET_01_043
#[test]
fn the_deadline_and_a_cancel_do_not_wait_for_a_look_up_and_its_late_answer_does_nothing() {
    let (port, script) = doubles();
    let (resolver, questions) = asked(2, 1);
    let connector = Connector::new().resolver(&resolver).syscalls(script.clone());
    let (timed_out, cancelled) = (Inbox::new(), Inbox::new());
    let _one = connector.connect_on(port.clone(), ("one", 1), LONG, timed_out.callback());
    let two = connector.connect_on(port.clone(), ("two", 1), Duration::MAX, cancelled.callback());
    let answers = [(); 2].map(|()| questions.recv_timeout(PATIENCE).unwrap());

    port.advance(LONG);
    let error = timed_out.only().unwrap_err();
    assert_eq!((error.kind(), error.attempts().len()), (ConnectErrorKind::TimedOut, 0));
    assert_eq!(error.to_string(), "not connected within 60000 ms");
    drop(two);
    assert!(matches!(cancelled.only(), Err(ConnectError::Cancelled)));

    for (_, _, answer) in answers {
        answer.send(Ok(vec!["10.0.0.7:81".parse().unwrap()])).unwrap();
    }
    // The next look-up's answer comes after these two.
    drop((connector, resolver));
    port.run_scheduled();
    assert!(script.calls().is_empty());
}

// Tests_SRS_ASYNC_SOCKET_NET_01_035
#[test]
fn dropping_the_last_handle_does_not_wait_for_a_thread_that_hangs() {
    let (port, script) = doubles();
    let (resolver, questions) = asked(1, 1);
    let connector = Connector::new().resolver(&resolver).syscalls(script);
    let outcome = Inbox::new();
    let connecting = connector.connect_on(port, ("hangs", 1), LONG, outcome.callback());
    let (_, _, hanging) = questions.recv_timeout(PATIENCE).unwrap();

    drop((connector, resolver, connecting));

    assert!(matches!(outcome.only(), Err(ConnectError::Cancelled)));
    drop(hanging);
    // The pool's function is dropped with its last thread.
    assert!(
        questions.recv_timeout(PATIENCE).is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Disconnected)
    );
}

// Tests_SRS_ASYNC_SOCKET_NET_01_035
#[test]
fn dropping_the_last_handle_ends_the_threads_without_work() {
    let (port, script) = doubles();
    let (resolver, questions) = asked(1, 1);
    let connector = Connector::new().resolver(&resolver).syscalls(script);
    let outcome = Inbox::new();
    let connecting = connector.connect_on(port.clone(), ("done", 1), LONG, outcome.callback());
    let (_, _, answer) = questions.recv_timeout(PATIENCE).unwrap();
    answer.send(Ok(Vec::new())).unwrap();
    while outcome.is_empty() {
        run_until_scheduled(&port);
    }

    drop((connector, resolver, connecting));

    assert!(
        questions.recv_timeout(AT_ONCE).is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Disconnected)
    );
}
