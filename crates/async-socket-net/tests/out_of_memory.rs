//! Connects and accepts without memory. The binary has an allocator of its own, which fails on demand.

use async_socket_linux::AsyncSocketLinux;
use async_socket_net::{
    AcceptError, Accepted, ConnectError, ConnectErrorKind, Connector, Listener, Target, ToTarget, Tracker, UnixAddress,
};
use completion_port::Action;
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use test_doubles::{FailingAllocator, MockPort, failing_nth, with_memory, without_memory};

#[global_allocator]
static ALLOCATOR: FailingAllocator = FailingAllocator;

type Outcome = Result<AsyncSocketLinux<MockPort>, ConnectError>;

/// Connects, with the nth allocation failing. Returns the outcome, and how many allocations were tried.
fn connect_failing_nth(nth: usize, to: Target) -> (Outcome, usize) {
    let (port, outcome) = (MockPort::new(), Arc::new(Mutex::new(None)));
    let ours = Arc::clone(&outcome);
    let connector = Connector::new();
    let (connecting, tried) = failing_nth(nth, || {
        let done = move |it| assert!(ours.lock().expect("one thread").replace(it).is_none(), "called once");
        let connecting = connector.connect_on(port.clone(), to, Duration::from_secs(60), done);
        port.run_scheduled();
        connecting
    });
    drop(connecting);
    let outcome = Arc::into_inner(outcome).expect("the callback is gone").into_inner().expect("no panic");
    (outcome.expect("it has ended"), tried)
}

// Tests_SRS_ASYNC_SOCKET_NET_01_051
#[test]
fn a_connect_for_which_any_one_allocation_fails_ends_with_an_error() {
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let tcp = tcp.local_addr().map(|address| (address, tcp)).expect("its address");
    let name = format!("async-socket-net-memory-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("an address");
    let _unix = UnixListener::bind_addr(&address).expect("a listener");
    // The first two are refused.
    let list = ["127.0.0.1:1", "[::1]:1", &tcp.0.to_string()].map(|text| text.parse().expect("an address"));
    let targets = [
        tcp.0.to_target().expect("a target"),
        Target::Unix(UnixAddress::of_abstract_name(&name).expect("an address")),
        list.to_target().expect("a target"),
    ];
    // What is allocated once for the process is not in the way.
    connect_failing_nth(usize::MAX, targets[0].clone()).0.expect("with memory it connects");
    for target in targets {
        let mut failed = 0;
        for nth in 1.. {
            let (outcome, tried) = connect_failing_nth(nth, target.clone());
            if tried < nth {
                outcome.expect("with all its memory it connects");
                break;
            }
            if let Err(error) = outcome {
                assert!(says_why(&error), "allocation {nth}: {error:?}");
                failed += 1;
            }
        }
        // The callback, the connect and the socket.
        assert!(failed > 2, "{failed} allocations of a connect can fail");
    }
}

/// Whether the error is more than a list without an attempt.
fn says_why(error: &ConnectError) -> bool {
    !matches!(error, ConnectError::Failed { .. }) || !error.attempts().is_empty()
}

// Tests_SRS_ASYNC_SOCKET_NET_01_051
#[test]
fn a_refused_connect_for_which_any_one_allocation_fails_ends_with_an_error() {
    let closed = Target::Address("127.0.0.1:1".parse().expect("an address"));
    for nth in 1.. {
        let (outcome, tried) = connect_failing_nth(nth, closed.clone());
        let error = outcome.map(drop).expect_err("nothing listens there");
        assert!(says_why(&error), "allocation {nth}: {error:?}");
        if tried < nth {
            assert_eq!(error.kind(), ConnectErrorKind::Refused);
            break;
        }
    }
}

// Tests_SRS_ASYNC_SOCKET_NET_01_051
#[test]
fn an_accept_allocates_nothing() {
    let port = MockPort::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    let accepted = Arc::new(Mutex::new(Vec::new()));
    let ours = Arc::clone(&accepted);
    let callback = move |outcome: Result<Accepted<MockPort>, AcceptError>| {
        with_memory(|| ours.lock().expect("one thread").push(outcome));
    };
    let _listener = Listener::builder().listen_on(port.clone(), listener, callback).expect("it listens");
    let _clients = [(); 3].map(|()| TcpStream::connect(address).expect("a connection"));

    let ((), tried) = failing_nth(1, || port.fire(Action::In));

    assert_eq!(tried, 0);
    let accepted = accepted.lock().expect("no panic");
    assert!(accepted.len() == 3 && accepted.iter().all(Result::is_ok));
}

// Tests_SRS_ASYNC_SOCKET_NET_01_016
#[test]
fn a_stop_without_memory_stops_all_the_same() {
    let port = MockPort::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    let listener = Listener::builder().listen_on(port, listener, drop).expect("it listens");
    let stopped = Arc::new(AtomicBool::new(false));
    let ours = Arc::clone(&stopped);

    without_memory(|| listener.stop(move || ours.store(true, Ordering::Relaxed)));

    assert!(stopped.load(Ordering::Relaxed));
    assert!(TcpStream::connect(address).is_err());
}

// Tests_SRS_ASYNC_SOCKET_NET_01_052
#[test]
fn a_listener_for_which_any_one_allocation_fails_does_not_start() {
    let (mut failed, mut nth) = (0, 0);
    loop {
        nth += 1;
        let (port, dropped) = (MockPort::new(), Arc::new(()));
        let bound = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let (address, owned) = (bound.local_addr().expect("its address"), Arc::clone(&dropped));
        let callback = move |outcome: Result<Accepted<MockPort>, AcceptError>| drop((&owned, outcome));
        let (listener, tried) = failing_nth(nth, || Listener::builder().listen_on(port.clone(), bound, callback));
        if tried < nth {
            drop(listener.expect("with all its memory it listens"));
            break;
        }
        let error = listener.map(drop).expect_err("without memory it does not");
        assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::OutOfMemory, "allocation {nth}");
        assert!(TcpStream::connect(address).is_err(), "its descriptor is closed");
        assert_eq!((Arc::strong_count(&dropped), port.references()), (1, 1), "nothing is left");
        failed += 1;
    }
    assert!(failed > 4, "{failed} allocations of a start can fail");
}

// Tests_SRS_ASYNC_SOCKET_NET_01_053
#[test]
fn a_tracker_for_which_any_one_allocation_fails_refuses_and_changes_nothing() {
    let (mut failed, mut nth) = (0, 0);
    loop {
        nth += 1;
        let (port, tracker, alive) = (MockPort::new(), Tracker::new(), Arc::new(()));
        let (of_track, of_finish) = (Arc::clone(&alive), Arc::clone(&alive));
        let ((tracked, finish), tried) = failing_nth(nth, || {
            let tracked = tracker.try_track(move || drop(of_track));
            let finish = tracker.finish(&port, Duration::ZERO, move |_| drop(of_finish));
            (tracked, finish)
        });
        assert_eq!(tracker.open(), usize::from(tracked.is_ok()), "allocation {nth}");
        assert_eq!(port.next_timer().is_some(), finish.is_ok(), "allocation {nth}");
        if let Err(error) = &finish {
            assert_eq!(error.kind(), std::io::ErrorKind::OutOfMemory);
        }
        if tried < nth {
            assert!(tracked.is_ok() && finish.is_ok());
            port.advance(Duration::from_millis(1));
            drop(tracked);
            assert_eq!(Arc::strong_count(&alive), 1, "both have run");
            break;
        }
        failed += usize::from(tracked.is_err()) + usize::from(finish.is_err());
    }
    assert!(failed > 4, "{failed} allocations of a tracker can fail");
}
