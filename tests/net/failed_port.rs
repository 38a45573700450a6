//! A port whose epoll instance other code has closed, and a process that was forked.
#![allow(unsafe_code, reason = "forks, and closes a descriptor that it does not own")]

use crate::connect::silent;
use crate::into_inbox;
use crate::names::hanging;
use crate::without_descriptors::leave;
use async_socket_net::{AcceptError, ConnectError, Connector, Listener, Tracker};
use integration_tests::call::{engine, round_trip};
use integration_tests::process::{alone, is_child, run_child};
use integration_tests::{LIMIT, NeverCalled, inbox};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, alarm, fork};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The numbers of this process's epoll instances.
fn epoll_instances() -> Vec<i32> {
    let is_epoll = |entry: &std::fs::DirEntry| {
        std::fs::read_link(entry.path()).is_ok_and(|link| link.to_string_lossy().contains("eventpoll"))
    };
    let entries = std::fs::read_dir("/proc/self/fd").expect("/proc").flatten();
    entries.filter(is_epoll).filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

// Tests_SRS_ASYNC_SOCKET_NET_01_021, Tests_SRS_ASYNC_SOCKET_NET_01_048
#[test]
fn a_port_that_other_code_has_broken_loses_its_listener_and_ends_its_connects() {
    let _alone = alone();
    if !is_child() {
        return run_child("a_port_that_other_code_has_broken_loses_its_listener_and_ends_its_connects", |_| {});
    }
    let engine = engine(1);
    let (callback, accepted) = into_inbox();
    let bound = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = bound.local_addr().unwrap();
    let listener = Listener::new(&engine, bound, callback).unwrap();
    let _client = TcpStream::connect(address).unwrap();
    let _accepted = accepted.next().unwrap();
    round_trip(&engine);
    assert!(accepted.is_pending() && listener.metrics().is_accepting, "it is not lost before");
    // No one answers here (RFC 5737), or there is no route, which ends the connect too.
    let (done, outcome) = inbox();
    let _connecting = Connector::new().connect(&engine, ("192.0.2.1", 9), LIMIT * 10, move |it| done.put(it));
    let (resolver, _release, _) = hanging(1, 1);
    let (done, looking_up) = inbox();
    let connector = Connector::new().resolver(&resolver);
    let _looking_up = connector.connect(&engine, ("hangs.test", 9), LIMIT * 10, move |it| done.put(it));

    let [epoll] = epoll_instances()[..] else { panic!("one port") };
    // SAFETY: the port's own number, as code that closes everything would do it. The port is built for that.
    unsafe { nix::libc::close(epoll) };

    let error = accepted.next().unwrap_err();
    assert!(matches!(error, AcceptError::Lost { .. }), "{error:?}");
    assert!(!listener.metrics().is_accepting);
    assert!(outcome.only().is_err());
    let error = looking_up.only().unwrap_err();
    assert!(matches!(error, ConnectError::Port(_)), "{error:?}");
    let (done, refused) = inbox();
    let _refused = Connector::new().connect(&engine, address, LIMIT, move |it| done.put(it));
    let error = refused.try_next().expect("inside the call").unwrap_err();
    assert!(matches!(error, ConnectError::Port(_)), "{error:?}");
    // What remains may not close numbers that are no longer its own.
    std::process::exit(0);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_021
#[test]
fn a_port_that_other_code_breaks_while_its_listener_pauses_loses_the_listener_too() {
    let _alone = alone();
    if !is_child() {
        return run_child("a_port_that_other_code_breaks_while_its_listener_pauses_loses_the_listener_too", |_| {});
    }
    let engine = engine(1);
    let bound = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = bound.local_addr().unwrap();
    let (callback, accepted) = into_inbox();
    let _listener = Listener::new(&engine, bound, callback).unwrap();
    let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let [epoll] = epoll_instances()[..] else { panic!("one port") };
    let another_file = std::fs::File::open("/dev/null").unwrap();
    leave(0);
    client.connect(&address.into()).unwrap();
    let error = accepted.next().unwrap_err();
    assert!(matches!(error, AcceptError::Paused { .. }), "{error:?}");

    // The number stays taken, so that there is still no descriptor for a connection.
    // SAFETY: the port's own number, as code that mistakes it for its own would do it. The port is built for that.
    unsafe { nix::libc::dup2(another_file.as_raw_fd(), epoll) };

    // The port may find out after a few more pauses.
    let mut errors = std::iter::repeat_with(|| accepted.next().unwrap_err());
    let error = errors.find(|error| !matches!(error, AcceptError::Paused { .. })).unwrap();
    let AcceptError::Lost { source } = error else { panic!("{error:?}") };
    assert_eq!(source.raw_os_error(), Some(nix::libc::EMFILE));
    // What remains may not close numbers that are no longer its own.
    std::process::exit(0);
}

/// Runs `what` in a fork of this process. The fork must neither panic nor hang.
fn in_a_fork(what: impl FnOnce()) {
    // SAFETY: the child runs what any program does after a fork; libc's allocator allows it.
    match unsafe { fork() }.expect("a fork") {
        ForkResult::Child => {
            alarm::set(30);
            let done = catch_unwind(AssertUnwindSafe(what));
            // SAFETY: ends the child, in which nothing else shall run.
            unsafe { nix::libc::_exit(if done.is_ok() { 0 } else { 101 }) }
        }
        ForkResult::Parent { child } => {
            assert_eq!(waitpid(child, None).expect("a child"), WaitStatus::Exited(child, 0));
        }
    }
}

// Tests_SRS_ASYNC_SOCKET_NET_01_081
#[test]
fn the_child_of_a_fork_drops_what_it_inherits_without_effect_on_the_parent() {
    let _alone = alone();
    if !is_child() {
        return run_child("the_child_of_a_fork_drops_what_it_inherits_without_effect_on_the_parent", |_| {});
    }
    let engine = engine(1);
    let bound = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = bound.local_addr().unwrap();
    let (mut callback, accepted) = into_inbox();
    let held = Arc::new(());
    let (by_callback, by_cut_off) = (Arc::clone(&held), Arc::clone(&held));
    let listener = Listener::new(&engine, bound, move |outcome| {
        let _ = &by_callback;
        callback(outcome);
    });
    let listener = listener.unwrap();
    let (full, _sockets) = silent();
    let (done, outcome) = inbox();
    let connecting = Connector::new().connect(&engine, full, LIMIT * 10, move |it| done.put(it));
    let tracker = Tracker::new();
    let tracked = tracker.track(move || drop(by_cut_off));

    let mut inherited = Some((listener, connecting, tracked));
    in_a_fork(|| {
        let never = NeverCalled::default();
        let mut callback = Some(never.callback());
        let refused = Listener::new(&engine, TcpListener::bind("127.0.0.1:0").unwrap(), move |outcome| {
            callback.take().into_iter().for_each(|callback| callback(outcome.is_ok()));
        });
        assert!(refused.is_err(), "the engine is the parent's");
        let (done, refused) = inbox();
        drop(Connector::new().connect(&engine, address, LIMIT, move |it| done.put(it)));
        assert!(refused.only().is_err());
        drop(inherited.take());
        assert!(outcome.is_pending(), "the parent's connect does not call back here");
        // A thread of the parent may have been in them at the fork.
        assert_eq!(Arc::strong_count(&held), 3, "the callback and the cut-off are left as they are");
        let own = integration_tests::call::engine(1);
        let (done, outcome) = inbox();
        let _connecting = Connector::new().connect(&own, address, LIMIT, move |it| done.put(it));
        outcome.only().unwrap();
    });

    // The child's own connect, and one of the parent's.
    accepted.next().unwrap();
    let _client = TcpStream::connect(address).unwrap();
    accepted.next().unwrap();
    assert_eq!(tracker.open(), 1);
    drop(inherited);
    assert!(matches!(outcome.only(), Err(ConnectError::Cancelled)));
}

// Tests_SRS_ASYNC_SOCKET_NET_01_081
#[test]
fn a_server_that_forks_in_its_accept_callback_goes_on_in_the_parent_only() {
    let _alone = alone();
    if !is_child() {
        return run_child("a_server_that_forks_in_its_accept_callback_goes_on_in_the_parent_only", |_| {});
    }
    let engine = engine(1);
    let bound = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = bound.local_addr().unwrap();
    let (done, forked) = inbox();
    let listener = Listener::new(&engine, bound, move |outcome| {
        let mut stream = TcpStream::from(outcome.unwrap().into_descriptor());
        // SAFETY: as in `in_a_fork`.
        match unsafe { fork() }.expect("a fork") {
            // Its copy of the port's thread ends after this callback, and with it the child.
            ForkResult::Child => {
                alarm::set(30);
                stream.write_all(b"from the child").unwrap();
            }
            ForkResult::Parent { child } => done.put(child),
        }
    });

    for _ in 0..3 {
        let mut client = TcpStream::connect(address).unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "from the child");
        let child = forked.next();
        assert_eq!(waitpid(child, None).expect("a child"), WaitStatus::Exited(child, 0));
    }
    assert_eq!(listener.unwrap().metrics().accepted, 3);
}
