//! No descriptors left: a listener neither spins, nor is lost, nor leaves clients unseen; connects fail one by one.

use crate::into_inbox;
use async_socket_linux::ExecutionEngine;
use async_socket_net::{AcceptError, ConnectError, Connector, Listener};
use integration_tests::call::{Outbox, engine};
use integration_tests::process::{alone, cpu_time, is_child, port_threads, run_child};
use integration_tests::{LIMIT, inbox};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Leaves this many descriptors to the process.
pub(crate) fn leave(descriptors: u64) {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("set-up");
    let next = std::fs::File::open("/dev/null").expect("set-up");
    let next = u64::try_from(next.as_raw_fd()).expect("set-up");
    setrlimit(Resource::RLIMIT_NOFILE, next + descriptors, hard).expect("set-up");
}

// Tests_SRS_ASYNC_SOCKET_NET_01_010, Tests_SRS_ASYNC_SOCKET_NET_01_011, Tests_SRS_ASYNC_SOCKET_NET_01_014
#[test]
fn without_descriptors_a_listener_pauses_says_so_and_goes_on_when_there_are_some() {
    let _alone = alone();
    if !is_child() {
        return run_child("without_descriptors_a_listener_pauses_says_so_and_goes_on_when_there_are_some", |_| {});
    }
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let engine = engine(1);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (callback, accepted) = into_inbox();
    let listener = Listener::new(&engine, listener, callback).unwrap();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    leave(0);
    socket.connect(&address.into()).unwrap();

    let mut pauses = Vec::new();
    for _ in 0..4 {
        let AcceptError::Paused { source, pause } = accepted.next().unwrap_err() else { panic!("it pauses") };
        assert_eq!(source.raw_os_error(), Some(nix::libc::EMFILE));
        pauses.push(pause.as_millis());
    }
    assert_eq!(pauses, [10, 20, 40, 80]);
    assert!(listener.metrics().is_paused && listener.metrics().is_accepting);

    // The pauses that these end would take five seconds.
    let began = Instant::now();
    for _ in 0..8 {
        listener.resume();
        assert!(matches!(accepted.next(), Err(AcceptError::Paused { .. })));
    }
    assert!(began.elapsed() < Duration::from_secs(3), "a resume ends a pause");

    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    assert!(listener.resume(), "it pauses for a second now");

    let next = std::iter::repeat_with(|| accepted.next()).find_map(Result::ok).unwrap();
    assert_eq!(next.peer().as_inet(), socket.local_addr().unwrap().as_socket());
    assert!(!listener.metrics().is_paused);
    assert!(!listener.resume(), "there is no pause to end");
    let [thread] = port_threads()[..] else { panic!("one port") };
    assert!(cpu_time(thread) < Duration::from_millis(100), "it has not spun");
}

// Tests_SRS_ASYNC_SOCKET_NET_01_010, Tests_SRS_ASYNC_SOCKET_NET_01_014
#[test]
fn ten_thousand_clients_are_served_with_64_descriptors() {
    const CLIENTS: usize = 10_000;
    const THREADS: usize = 100;
    let _alone = alone();
    if !is_child() {
        return run_child("ten_thousand_clients_are_served_with_64_descriptors", |_| {});
    }
    let engine = engine(1);
    let clients = [(); THREADS].map(|()| {
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap()
    });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = Arc::new(AtomicUsize::new(0));
    let ours = Arc::clone(&served);
    let open = Arc::new(Mutex::new(Vec::new()));
    let held_open = Arc::clone(&open);
    let listener = Listener::new(&engine, listener, move |outcome: crate::Outcome| {
        if let Ok(accepted) = outcome {
            held_open.lock().unwrap().push(accepted.open());
            ours.fetch_add(1, Ordering::SeqCst);
        } else {
            held_open.lock().unwrap().clear();
        }
    })
    .unwrap();
    leave(64);

    let clients = clients.map(|client| {
        integration_tests::spawn("client", move || {
            for _ in 0..CLIENTS / THREADS {
                rustix::net::connect(&client, &address).unwrap();
                // Served means closed by the server. Then the connection is dissolved, and the descriptor kept.
                let _ = rustix::io::read(&client, &mut [0_u8]);
                rustix::net::connect_unspec(&client).unwrap();
            }
        })
    });

    let mut before = 0;
    integration_tests::eventually("all are accepted", || {
        let now = served.load(Ordering::SeqCst);
        if now == before {
            // The last clients are too few to use the descriptors up.
            open.lock().unwrap().clear();
        }
        before = now;
        now == CLIENTS
    });
    assert!(listener.metrics().pauses > 0);
    drop((listener, open));
    for client in clients {
        client.join();
    }
}

// Tests_SRS_ASYNC_SOCKET_NET_01_046
#[test]
fn ten_thousand_connects_do_with_64_descriptors() {
    const CONNECTS: usize = 10_000;
    const AT_ONCE: usize = 20;
    let _alone = alone();
    if !is_child() {
        return run_child("ten_thousand_connects_do_with_64_descriptors", |_| {});
    }
    let engine = engine(2);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Closes each connection at once.
    let _listener = Listener::new(&engine, listener, drop).unwrap();
    leave(64);
    let (report, ended) = inbox();
    let left = Arc::new(AtomicUsize::new(CONNECTS));
    for _ in 0..AT_ONCE {
        connect_to_the_end(engine.clone(), address, Arc::clone(&left), report.clone());
    }
    drop(report);

    let failed: Vec<_> = ended.take(CONNECTS).into_iter().filter_map(Result::err).collect();

    assert!(failed.is_empty(), "{} failed, the first with {:?}", failed.len(), failed.first());
    ended.assert_dead();
}

/// Each connect begins in the callback of the one before.
fn connect_to_the_end(
    engine: ExecutionEngine,
    address: SocketAddr,
    left: Arc<AtomicUsize>,
    report: Outbox<Result<(), ConnectError>>,
) {
    if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err() {
        return;
    }
    let on = engine.clone();
    let connecting = Connector::new().connect(&on, address, LIMIT, move |outcome| {
        report.put(outcome.map(drop));
        connect_to_the_end(engine, address, left, report);
    });
    connecting.detach();
}

// Tests_SRS_ASYNC_SOCKET_NET_01_044
#[test]
fn a_connect_without_a_descriptor_fails_with_the_reason_and_later_ones_succeed() {
    let _alone = alone();
    if !is_child() {
        return run_child("a_connect_without_a_descriptor_fails_with_the_reason_and_later_ones_succeed", |_| {});
    }
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let engine = engine(1);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let start = || {
        let (done, outcome) = inbox();
        Connector::new().connect(&engine, address, LIMIT, move |it| done.put(it)).detach();
        outcome
    };

    leave(0);
    let error = start().only().unwrap_err();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();

    assert_eq!(error.attempts()[0].call, "socket");
    assert_eq!(error.attempts()[0].source.raw_os_error(), Some(nix::libc::EMFILE));
    let _socket = start().only().unwrap();
}
