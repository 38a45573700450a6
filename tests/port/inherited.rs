//! A port in the child of a `fork`. The test forks in a process of its own.
#![allow(unsafe_code, reason = "forks")]

use completion_port::{Direction, Phase, RegisterError, Registration};
use integration_tests::port::{Transfers, port, socket, writes};
use integration_tests::process::{is_child, run_child};
use integration_tests::{eventually, spawn, wait};
use nix::libc;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, alarm, fork};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Runs `what` in a fork of this process. The fork must neither panic nor hang.
fn in_a_fork(what: impl FnOnce()) {
    // SAFETY: the child runs what any program does after a fork; libc's allocator allows it.
    match unsafe { fork() }.expect("a fork") {
        ForkResult::Child => {
            alarm::set(15);
            let done = catch_unwind(AssertUnwindSafe(what));
            // SAFETY: ends the child, in which nothing else shall run.
            unsafe { libc::_exit(if done.is_ok() { 0 } else { 101 }) }
        }
        ForkResult::Parent { child } => {
            assert_eq!(waitpid(child, None).expect("a child"), WaitStatus::Exited(child, 0));
        }
    }
}

// Tests_SRS_COMPLETION_PORT_01_082, Tests_SRS_COMPLETION_PORT_01_086
#[test]
fn a_port_that_was_at_work_at_the_fork_refuses_what_the_child_makes_and_lets_it_wait_for_nothing() {
    if !is_child() {
        let this = "a_port_that_was_at_work_at_the_fork_refuses_what_the_child_makes_and_lets_it_wait_for_nothing";
        return run_child(this, |_| {});
    }
    let port = port().1;
    let (registration, _peer) = socket(&port);
    let (gate, barrier) = wait::gate();
    registration.add(Direction::Out, writes("x").then(move |_| barrier.wait())).unwrap();
    gate.wait_for_arrival();
    // The port's thread is in a callback, and another thread waits for the end of the callback.
    let removes = Arc::clone(&registration);
    let removing = spawn("the removal", move || removes.remove());
    eventually("the removal has begun", || registration.phase() == Phase::Removing);

    in_a_fork(|| {
        assert_eq!(registration.phase(), Phase::Removed);
        let (own, _peer) = UnixStream::pair().expect("a pair");
        let made_here = Registration::new(port.clone(), Transfers::default(), OwnedFd::from(own));
        let refused = made_here.register(|| ()).expect_err("the port is the parent's");
        assert!(matches!(&refused, RegisterError::Kernel(error) if error.to_string().contains("fork")), "{refused:?}");
    });

    gate.open();
    assert!(removing.join());
}
