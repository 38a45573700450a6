//! Names: looked up off the port's thread, cancellable, by a bounded pool.

use crate::{closed, closed_at};
use async_socket_net::{ConnectError, ConnectErrorKind, Connector, ResolveError, Resolver, connect};
use integration_tests::call::{engine, round_trip};
use integration_tests::process::{alone, is_child, run_child};
use integration_tests::{LIMIT, eventually, inbox, within};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io;
use std::net::{IpAddr, Ipv6Addr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Half of the time after which a thread without work ends.
const AT_ONCE: Duration = Duration::from_secs(5);

/// A resolver that blocks until the sender is dropped, and the number of look-ups that have begun.
pub(crate) fn hanging(threads: usize, queue: usize) -> (Resolver, Sender<()>, Arc<AtomicUsize>) {
    let (release, released) = channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let begun = Arc::new(AtomicUsize::new(0));
    let ours = Arc::clone(&begun);
    let resolver = Resolver::with(threads, queue, move |_, _| {
        ours.fetch_add(1, Ordering::SeqCst);
        let _ = released.lock().expect("set-up").recv();
        Ok(Vec::new())
    });
    (resolver, release, begun)
}

// Tests_SRS_ASYNC_SOCKET_NET_01_031, Tests_SRS_ASYNC_SOCKET_NET_01_032
#[test]
fn a_host_name_is_looked_up_by_the_systems_resolver() {
    let engine = engine(1);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("localhost:{}", listener.local_addr().unwrap().port());
    let (done, outcome) = inbox();

    let _connecting = connect(&engine, target, LIMIT, move |it| done.put(it));

    let _socket = outcome.only().unwrap();
    listener.accept().unwrap();
}

// Tests_SRS_ASYNC_SOCKET_NET_01_032, Tests_SRS_ASYNC_SOCKET_NET_01_045
#[test]
fn a_name_that_does_not_exist_fails_as_not_resolved() {
    let engine = engine(1);
    let (done, outcome) = inbox();

    let _connecting = connect(&engine, "no-such-name.invalid:80", LIMIT, move |it| done.put(it));

    let error = outcome.only().unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::NotResolved);
    assert!(error.to_string().contains("no-such-name.invalid"));
}

// Tests_SRS_ASYNC_SOCKET_NET_01_032, Tests_SRS_ASYNC_SOCKET_NET_01_043
#[test]
fn a_resolver_that_hangs_holds_up_neither_the_port_nor_the_deadline() {
    let engine = engine(1);
    let (resolver, release, _) = hanging(1, 10);
    let (done, outcome) = inbox();
    let began = Instant::now();
    let connector = Connector::new().resolver(&resolver);
    let limit = Duration::from_millis(150);
    let _connecting = connector.connect(&engine, "hangs.test:80", limit, move |it| done.put(it));

    round_trip(&engine);

    let error = outcome.only().unwrap_err();
    assert!(began.elapsed() >= limit);
    assert!(matches!(&error, ConnectError::TimedOut { attempts, .. } if attempts.iter().count() == 0), "{error:?}");
    drop(release);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_034, Tests_SRS_ASYNC_SOCKET_NET_01_047
#[test]
fn a_look_up_that_hangs_is_cancelled_at_once_and_leaves_its_place_in_the_queue() {
    let engine = engine(1);
    let (resolver, release, begun) = hanging(1, 1);
    let connector = Connector::new().resolver(&resolver);
    let start = |host: &str| {
        let (done, outcome) = inbox();
        (connector.connect(&engine, (host, 80), LIMIT, move |it| done.put(it)), outcome)
    };
    let (running, first) = start("first.test");
    eventually("the thread hangs", || begun.load(Ordering::SeqCst) == 1);
    let (waiting, second) = start("second.test");
    // The thread has one, the queue the other.
    let (_refused, third) = start("third.test");
    let error = third.only().unwrap_err();
    assert!(matches!(error, ConnectError::Resolver { source: ResolveError::Busy, .. }), "{error:?}");

    drop(waiting);
    assert_eq!(second.only().unwrap_err().kind(), ConnectErrorKind::Cancelled);
    let (_fourth, fourth) = start("fourth.test");
    assert!(fourth.is_pending(), "there is room in the queue again");
    drop(running);
    assert_eq!(first.only().unwrap_err().kind(), ConnectErrorKind::Cancelled);

    drop(release);
    let error = fourth.only().unwrap_err();
    assert!(matches!(error, ConnectError::Resolver { source: ResolveError::NoAddress, .. }), "{error:?}");
}

// Tests_SRS_ASYNC_SOCKET_NET_01_033, Tests_SRS_ASYNC_SOCKET_NET_01_035
#[test]
fn a_pool_has_no_more_threads_than_it_may_and_its_drop_waits_for_none() {
    let _alone = alone();
    if !is_child() {
        return run_child("a_pool_has_no_more_threads_than_it_may_and_its_drop_waits_for_none", |_| {});
    }
    let engine = engine(1);
    let (resolver, release, begun) = hanging(3, 100);
    let connector = Connector::new().resolver(&resolver);
    let connecting: Vec<_> =
        (0..20).map(|number| connector.connect(&engine, (format!("{number}.test"), 80), LIMIT, drop)).collect();
    eventually("the threads hang", || begun.load(Ordering::SeqCst) == 3);

    within("dropping all of it", move || drop((connecting, connector, resolver)));
    assert_eq!(resolvers(), 3, "they still hang");

    drop(release);
    let released = Instant::now();
    eventually("the threads have ended", || resolvers() == 0);
    assert!(released.elapsed() < AT_ONCE, "they do not wait for work");
}

// Tests_SRS_ASYNC_SOCKET_NET_01_033
#[test]
fn a_pool_takes_a_look_up_for_each_thread_and_each_place_also_before_its_thread_has_begun() {
    let engine = engine(1);
    // Whether the thread has taken the first look-up when the others come is up to the scheduler.
    for queue in [0, 1, 3].repeat(50) {
        let (resolver, release, _) = hanging(1, queue);
        let connector = Connector::new().resolver(&resolver);
        let start = || {
            let (done, outcome) = inbox();
            (connector.connect(&engine, ("any.test", 80), LIMIT, move |it| done.put(it)), outcome)
        };

        let taken: Vec<_> = (0..1 + queue).map(|_| start()).collect();
        let (_connecting, refused) = start();

        let error = refused.only().unwrap_err();
        assert!(matches!(error, ConnectError::Resolver { source: ResolveError::Busy, .. }), "{error:?}");
        assert!(taken.iter().all(|(_, outcome)| outcome.is_pending()), "there is a thread or a place for each");
        drop(release);
    }
}

// Tests_SRS_ASYNC_SOCKET_NET_01_032
#[test]
fn a_name_for_which_no_thread_starts_is_not_resolved_unless_another_thread_can_take_it() {
    let _alone = alone();
    if !is_child() {
        return run_child(
            "a_name_for_which_no_thread_starts_is_not_resolved_unless_another_thread_can_take_it",
            |_| {},
        );
    }
    let engine = engine(1);
    let (resolver, release, begun) = hanging(2, 1);
    let connector = Connector::new().resolver(&resolver);
    let start = |host: &str| {
        let (done, outcome) = inbox();
        connector.connect(&engine, (host, 80), LIMIT, move |it| done.put(it)).detach();
        outcome
    };

    let refused = without_new_threads(|| start("refused.test"));
    let error = refused.only().unwrap_err();
    assert!(matches!(error, ConnectError::Resolver { source: ResolveError::NoThread(_), .. }), "{error:?}");
    assert!(error.to_string().contains("refused.test"), "{error}");

    let first = start("first.test");
    eventually("the thread hangs", || begun.load(Ordering::SeqCst) == 1);
    let second = without_new_threads(|| start("second.test"));
    drop(release);
    for outcome in [first, second] {
        let error = outcome.only().unwrap_err();
        assert!(matches!(error, ConnectError::Resolver { source: ResolveError::NoAddress, .. }), "{error:?}");
    }
}

/// Makes a call during which this process has too little address space for the stack of a thread, which has 2 MiB.
fn without_new_threads<T>(call: impl FnOnce() -> T) -> T {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).expect("VmSize");
    let kib: u64 = size.split_whitespace().next().and_then(|size| size.parse().ok()).expect("a number");
    let (soft, hard) = getrlimit(Resource::RLIMIT_AS).expect("set-up");
    setrlimit(Resource::RLIMIT_AS, (kib + 1024) << 10, hard).expect("set-up");
    let result = call();
    setrlimit(Resource::RLIMIT_AS, soft, hard).expect("set-up");
    result
}

/// How many threads of this process are a resolver's.
fn resolvers() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc").flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.trim_end() == "resolver").count()
}

// Tests_SRS_ASYNC_SOCKET_NET_01_036
#[test]
fn the_addresses_of_a_name_are_tried_in_turns_of_the_families() {
    let engine = engine(1);
    // Where there is no IPv6 the attempt fails all the same.
    let six = closed_at(IpAddr::from(Ipv6Addr::LOCALHOST)).unwrap_or_else(|_| "[::1]:1".parse().unwrap());
    let (one, two) = (closed(), closed());
    let resolver = Resolver::with(1, 1, move |_, _| Ok(vec![one, two, six]));
    let (done, outcome) = inbox();
    let connector = Connector::new().resolver(&resolver);

    let _connecting = connector.connect(&engine, "any.test:1", LIMIT, move |it| done.put(it));

    let error = outcome.only().unwrap_err();
    let tried: Vec<_> = error.attempts().iter().map(|attempt| attempt.address.as_inet().unwrap()).collect();
    assert_eq!(tried, [one, six, two]);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_032
#[test]
fn a_resolver_that_fails_or_panics_or_knows_no_address_fails_the_connect_only() {
    let engine = engine(1);
    let resolver = Resolver::with(1, 1, |host, _| match host {
        "panics.test" => panic!("the panic of this test"),
        "empty.test" => Ok(Vec::new()),
        _ => Err(io::Error::other("no server")),
    });
    let connector = Connector::new().resolver(&resolver);
    for host in ["panics.test", "fails.test", "empty.test", "panics.test"] {
        let (done, outcome) = inbox();
        let _connecting = connector.connect(&engine, (host, 80), LIMIT, move |it| done.put(it));
        let error = outcome.only().unwrap_err();
        assert_eq!(error.kind(), ConnectErrorKind::NotResolved, "{host}");
        assert!(error.to_string().contains(host), "{error}");
    }
}
