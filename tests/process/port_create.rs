//! A port as the process sees it: descriptors, its thread, and the remains of a failure.

use completion_port::{CompletionPort, Direction, Port};
use integration_tests::port::{A_WHILE, port, round_trip, settled, socket, watch, writes};
use integration_tests::process::{alone, descriptors, is_child, port_threads, run_child, thread_name};
use integration_tests::{eventually, inbox, spawn, wait, within};
use rstest::rstest;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The kinds of the open descriptors that a port makes.
fn kinds() -> [usize; 2] {
    let links =
        fs::read_dir("/proc/self/fd").expect("/proc").flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    let names: Vec<_> = links.map(|link| link.display().to_string()).collect();
    ["[eventpoll]", "[eventfd]"].map(|kind| names.iter().filter(|name| name.ends_with(kind)).count())
}

// Tests_SRS_COMPLETION_PORT_01_001
#[test]
fn a_port_is_an_epoll_instance_an_eventfd_and_a_thread() {
    let _alone = alone();
    let (before, [epolls, eventfds], threads) = (descriptors(), kinds(), port_threads().len());

    let port = CompletionPort::create().unwrap();

    assert_eq!((descriptors(), kinds()), (before + 2, [epolls + 1, eventfds + 1]));
    eventually("one thread more", || port_threads().len() == threads + 1);
    drop(port);
}

/// Uses up all descriptors except `free`. Call it only in a child process, which ends afterwards.
fn leave_descriptors(free: u64) -> Vec<File> {
    let open = descriptors() as u64;
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(open + 16), ..limit }).expect("a soft limit can be lowered");
    let mut fillers: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    fillers.truncate(fillers.len() - free as usize);
    fillers
}

// Tests_SRS_COMPLETION_PORT_01_002
#[rstest]
#[case::no_epoll(0, "epoll_create1")]
#[case::no_eventfd(1, "eventfd")]
fn without_descriptors_creating_fails_and_leaves_nothing(#[case] free: u64, #[case] call: &str) {
    let _alone = alone();
    if !is_child() {
        let case = if free == 0 { "case_1_no_epoll" } else { "case_2_no_eventfd" };
        return run_child(&format!("without_descriptors_creating_fails_and_leaves_nothing::{case}"), |_| {});
    }
    let fillers = leave_descriptors(free);

    let error = CompletionPort::create().expect_err("there is no descriptor left");

    assert_eq!((error.call, error.source.raw_os_error()), (call, Some(Errno::MFILE.raw_os_error())));
    let now_free: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert_eq!(now_free.len() as u64, free, "what was made is closed again");
    drop((fillers, now_free));
    CompletionPort::create().expect("it works again");
}

// Tests_SRS_COMPLETION_PORT_01_002
#[test]
fn without_memory_for_a_thread_creating_fails_and_leaves_nothing() {
    let _alone = alone();
    if !is_child() {
        return run_child("without_memory_for_a_thread_creating_fails_and_leaves_nothing", |_| {});
    }
    let status = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split_whitespace().next().unwrap().parse().unwrap();
    let before = descriptors();
    // Less than the two mebibytes of a thread's stack.
    let limit = getrlimit(Resource::As);
    setrlimit(Resource::As, Rlimit { current: Some(pages * 4096 + (1 << 20)), ..limit }).unwrap();

    let created = CompletionPort::create();
    setrlimit(Resource::As, limit).unwrap();

    let error = created.expect_err("there is no room for a stack");
    assert_eq!((error.call, error.source.raw_os_error()), ("pthread_create", Some(Errno::AGAIN.raw_os_error())));
    assert_eq!((descriptors(), port_threads().len()), (before, 0));
    CompletionPort::create().expect("it works again");
}

// Tests_SRS_COMPLETION_PORT_01_003
#[test]
fn a_clone_opens_nothing_and_keeps_the_port_alive() {
    let _alone = alone();
    let port = port().1;
    round_trip(&port);
    let before = (descriptors(), port_threads().len());

    let clone = port.clone();

    assert_eq!((descriptors(), port_threads().len()), before);
    drop(port);
    round_trip(&clone);
    assert_eq!((descriptors(), port_threads().len()), before);
}

// Tests_SRS_COMPLETION_PORT_01_004
#[rstest]
#[case::never_used(false)]
#[case::used(true)]
fn the_last_drop_ends_thread_and_descriptors_at_once(#[case] used: bool) {
    let _alone = alone();
    let (before, threads) = (descriptors(), port_threads().len());
    let (calls, port) = port();
    if used {
        round_trip(&port);
    }
    settled(&calls);

    let start = Instant::now();
    within("the last drop", move || drop(port));

    assert!(start.elapsed() < Duration::from_secs(1), "it took {:?}", start.elapsed());
    assert_eq!(descriptors(), before);
    // The kernel takes a thread out of /proc a little after it can be joined.
    eventually("the thread is gone", || port_threads().len() == threads);
}

// Tests_SRS_COMPLETION_PORT_01_004
#[test]
fn the_last_drop_waits_for_the_callback_that_runs() {
    let _alone = alone();
    let port = port().1;
    let (registration, _peer) = socket(&port);
    let ((give, given), (gate, barrier)) = (inbox::<Arc<_>>(), wait::gate());
    let callback = move |_| {
        drop(given.next());
        barrier.wait();
    };
    registration.add(Direction::Out, writes("x").then(callback)).unwrap();
    give.put(registration);
    gate.wait_for_arrival();

    let dropped = spawn("drop", move || drop(port));

    assert!(dropped.still_runs_after(A_WHILE));
    gate.open();
    dropped.join();
}

// Tests_SRS_COMPLETION_PORT_01_005
#[test]
fn the_last_drop_on_the_own_thread_does_not_wait() {
    let _alone = alone();
    let (before, threads) = (descriptors(), port_threads().len());
    let port = port().1;
    let (registration, peer) = socket(&port);
    drop(port);
    let ((give, given), (tell, told)) = (inbox::<Arc<_>>(), inbox());
    let callback = move |_| {
        drop(given.next());
        tell.put(());
    };
    registration.add(Direction::Out, writes("x").then(callback)).unwrap();

    give.put(registration);

    told.next();
    drop(peer);
    eventually("the thread has ended", || port_threads().len() == threads);
    eventually("all is closed", || descriptors() == before);
}

// Tests_SRS_COMPLETION_PORT_01_005
#[test]
fn two_ports_that_drop_each_other_on_their_threads_do_not_wait_for_each_other() {
    let _alone = alone();
    let (before, threads) = (descriptors(), port_threads().len());
    let ports = [port().1, port().1];
    // Each port's thread holds the last reference to the other port. It drops the reference when both threads are in
    // their callbacks.
    let ((tell, told), (gates, barriers)) =
        (inbox(), [wait::gate(), wait::gate()].into_iter().unzip::<_, _, Vec<_>, Vec<_>>());
    let mut sockets = Vec::new();
    let (mut gives, others) = (Vec::new(), ports.clone().into_iter().rev());
    for ((port, other), barrier) in ports.into_iter().zip(others).zip(barriers) {
        let (registration, peer) = socket(&port);
        let ((give, given), tell) = (inbox::<Arc<_>>(), tell.clone());
        let callback = move |_| {
            drop(given.next());
            barrier.wait();
            drop(other);
            tell.put(());
        };
        registration.add(Direction::Out, writes("x").then(callback)).unwrap();
        give.put(registration);
        gives.push(give);
        sockets.push(peer);
    }

    gates.iter().for_each(wait::Gate::wait_for_arrival);
    gates.into_iter().for_each(wait::Gate::open);

    told.take(2);
    drop(sockets);
    eventually("both threads have ended", || port_threads().len() == threads);
    eventually("all is closed", || descriptors() == before);
}

// Tests_SRS_COMPLETION_PORT_01_001
#[test]
fn operations_run_on_the_ports_thread() {
    let _alone = alone();
    let port = port().1;
    let registration = watch(&port, UnixStream::pair().unwrap().0);
    let ((tell, told), on) = (inbox(), port.clone());
    let callback = move |_| tell.put((on.is_current_thread(), thread_name()));

    registration.add(Direction::Out, writes("x").then(callback)).unwrap();

    assert_eq!(told.next(), (true, "completion-port".to_owned()));
    assert!(!port.is_current_thread());
}
