//! Objects that a child of `fork` has inherited, and objects that it makes itself.
//!
//! The tests fork this process, whose other tests run on other threads meanwhile. So a child uses only the things it needs,
//! and ends with `_exit`.
#![allow(unsafe_code, reason = "forks")]

mod common;

use common::{Gate, LIMIT, Real, Scripted, eventually, op, real, real_port, real_with, received, watch_over_all};
use completion_port::process::{Inherited, PerProcess};
use completion_port::{
    Action, AddError, ClaimError, CompletionPort, Direction, Interest, OneShots, Phase, RegisterError, Registration,
};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, alarm, fork};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

/// Runs a function in a child. It must neither panic nor hang.
fn in_a_child(what: impl FnOnce()) {
    // SAFETY: the child runs code that any program may run after a fork; libc's allocator allows it.
    match unsafe { fork() }.expect("a fork") {
        ForkResult::Child => {
            alarm::set(30);
            let done = catch_unwind(AssertUnwindSafe(what));
            // SAFETY: ends the child, in which nothing else must run.
            unsafe { nix::libc::_exit(if done.is_ok() { 0 } else { 101 }) }
        }
        ForkResult::Parent { child } => {
            assert_eq!(waitpid(child, None).expect("a child"), WaitStatus::Exited(child, 0));
        }
    }
}

fn is_open(descriptor: RawFd) -> bool {
    std::fs::symlink_metadata(format!("/proc/self/fd/{descriptor}")).is_ok()
}

/// The number of a registration's descriptor.
fn number(registration: &Real) -> RawFd {
    registration.try_claim(Direction::Out).expect("idle").descriptor().as_raw_fd()
}

// Tests_SRS_COMPLETION_PORT_01_081
#[test]
fn an_inherited_registration_refuses_everything_and_says_why() {
    let (_calls, port) = real_port();
    let (registration, _peer) = real(&port);
    let (own, _other) = common::pair();
    let unregistered = Registration::new(port.clone(), Scripted::default(), own);
    let (own, _third) = common::pair();
    let lazy = Registration::new(port.clone(), Scripted::default(), own);
    lazy.register_lazily(|| ()).expect("registered");
    let (waits, told) = op("waits").told();
    registration.add(Direction::In, waits).expect("registered");

    in_a_child(|| {
        for direction in [Direction::In, Direction::Out] {
            let refused = registration.add(direction, op("refused")).expect_err("inherited");
            assert_eq!(refused.error, AddError::Inherited(Inherited));
            assert_eq!(registration.try_claim(direction).expect_err("inherited"), ClaimError::Inherited(Inherited));
            assert_eq!(registration.queued(direction), 0);
            assert!(!registration.resumer().resume(direction));
        }
        assert_eq!(
            lazy.add(Direction::In, op("refused")).expect_err("inherited").error,
            AddError::Inherited(Inherited)
        );
        assert_eq!(lazy.try_claim(Direction::Out).expect_err("inherited"), ClaimError::Inherited(Inherited));
        for inherited in [&*registration, &unregistered, &lazy] {
            assert!(matches!(inherited.register(|| ()), Err(RegisterError::Inherited(_))));
            assert_eq!(inherited.phase(), Phase::Removed);
            inherited.remove_and_wait();
            assert!(!inherited.remove());
        }
        assert!(told.try_recv().is_err(), "nobody is called back");
    });

    assert_eq!((registration.phase(), registration.queued(Direction::In)), (Phase::Registered, 1));
    assert!(lazy.try_claim(Direction::Out).is_ok(), "the parent's is as before");
    registration.remove();
    received(&told, "the abandoned operation");
}

// Tests_SRS_COMPLETION_PORT_01_082
#[test]
fn an_inherited_port_and_its_one_shot_waits_refuse_everything() {
    watch_over_all();
    let port = CompletionPort::create().expect("a port");
    let waiting = OneShots::<(Arc<OwnedFd>, Box<dyn FnOnce(Action) + Send>), _>::new(port.clone());
    let (own, mut peer) = common::pair();
    let own = Arc::new(own);
    let (tell, told) = channel();
    let fires = Box::new(move |action: Action| {
        let _ = tell.send(action);
    });
    waiting.add(Interest::IN, (Arc::clone(&own), fires)).expect("it can be waited for");

    let mut parents = Some(waiting);
    in_a_child(|| {
        let waiting = parents.take().expect("the child's copy");
        assert!(port.is_inherited());
        let refused = waiting.add(Interest::IN, (Arc::clone(&own), Box::new(|_| {}))).expect_err("inherited");
        assert!(refused.get_ref().is_some_and(|reason| reason.downcast_ref::<Inherited>().is_some()), "{refused}");
        waiting.remove(own.as_fd());
        let (new, _) = common::pair();
        let registration = Registration::new(port.clone(), Scripted::default(), new);
        assert!(
            matches!(registration.register(|| ()), Err(RegisterError::Kernel(error)) if error.to_string().contains("fork"))
        );
        drop(waiting);
        assert!(told.try_recv().is_err(), "nobody is called back");
    });

    assert!(!port.is_inherited());
    peer.write_all(b"x").expect("the peer writes");
    assert_eq!(received(&told, "the parent's event"), Action::In);
}

// Tests_SRS_COMPLETION_PORT_01_083
#[test]
fn what_a_child_drops_it_takes_from_nobody() {
    let (calls, port) = real_port();
    let (handler, released) = Scripted::releasing();
    let (registration, mut peer) = real_with(&port, handler);
    let descriptor = number(&registration);
    let (waits, told) = op("waits").told();
    registration.add(Direction::In, waits).expect("registered");
    let before: Vec<_> = common::kernel_objects();

    let (calls, mut parents) = (calls, Some((registration, port)));
    in_a_child(|| {
        let (registration, port) = parents.take().expect("the child's copy");
        drop(Arc::into_inner(registration).expect("the only reference"));
        assert!(!is_open(descriptor), "the child's copy is closed");
        drop(port);
        assert!(common::kernel_objects().len() < before.len(), "so are those of the port");
        assert!(released.try_recv().is_err() && told.try_recv().is_err(), "no foreign code runs");
        assert_eq!(calls.made(test_doubles::PortSyscall::EpollDelete), 0);
    });

    assert!(is_open(descriptor));
    peer.write_all(b"x").expect("the peer writes");
    received(&told, "the parent's operation");
}

// Tests_SRS_COMPLETION_PORT_01_084
#[test]
fn a_port_that_a_child_makes_works() {
    let (_calls, port) = real_port();
    let (registration, _peer) = real(&port);
    in_a_child(|| {
        let (_calls, port) = real_port();
        let (own, mut peer) = real(&port);
        let (operation, told) = op("the child's").told();
        own.add(Direction::In, operation).expect("registered");
        peer.write_all(b"x").expect("the peer writes");
        received(&told, "the child's operation");
        drop(own.try_claim(Direction::Out).expect("idle"));
        drop((registration, own, port));
    });
}

// Tests_SRS_COMPLETION_PORT_01_085
#[test]
fn the_copy_of_a_port_thread_that_forks_in_a_callback_serves_nothing_and_ends() {
    let (_calls, port) = real_port();
    let (forks, mut peer) = real(&port);
    let (next, _next_peer) = real(&port);
    let (mut from_child, to_parent) = UnixStream::pair().expect("a pair");
    let (tell, told) = channel();
    let (_gate, stop) = Gate::new();
    let to_parent = Arc::new(Mutex::new(to_parent));
    let writes = Arc::clone(&to_parent);
    let parent = std::process::id();
    let served = op("served by the parent alone").then(move || {
        if std::process::id() != parent {
            let _ = writes.lock().expect("no panic").write_all(b"!");
        }
    });
    let fork_now = move || {
        // SAFETY: as in `in_a_child`.
        match unsafe { fork() }.expect("a fork") {
            ForkResult::Child => {
                alarm::set(30);
            }
            ForkResult::Parent { child } => tell.send(child).expect("the test listens"),
        }
    };
    next.add(Direction::In, served).expect("registered");
    forks.add(Direction::In, op("forks").then(fork_now)).expect("registered");
    peer.write_all(b"x").expect("the peer writes");
    let child = received(&told, "the fork");
    drop(stop);

    // The thread was the child's only one.
    assert_eq!(waitpid(child, None).expect("a child"), WaitStatus::Exited(child, 0));
    drop((forks, next, to_parent, port));
    let mut said = String::new();
    from_child.set_read_timeout(Some(LIMIT)).expect("SO_RCVTIMEO");
    from_child.read_to_string(&mut said).expect("every copy of the other end is closed");
    assert_eq!(said, "");
}

// Tests_SRS_COMPLETION_PORT_01_086
#[test]
fn a_child_waits_for_no_thread_of_its_parent() {
    let (_calls, port) = real_port();
    let (registration, _peer) = real(&port);
    let descriptor = number(&registration);
    let (gate, stop) = Gate::new();
    registration.add(Direction::Out, op("at work").attempting_once(stop)).expect("registered");
    gate.wait();

    // The port's thread has locked the lane. Another thread has closed the registration and waits for the lane.
    let removes = Arc::clone(&registration);
    let removed = common::spawn(move || removes.remove());
    eventually("the removal has begun", || registration.phase() == Phase::Removing);
    in_a_child(|| {
        assert_eq!(registration.phase(), Phase::Removed);
        assert!(registration.add(Direction::In, op("refused")).is_err());
        registration.remove_and_wait();
        registration.remove();
        assert!(!is_open(descriptor), "the child's copy is closed");
        registration.remove();
        drop(port);
    });
    gate.open();
    assert!(received(&removed, "the parent's removal"));
}

// Tests_SRS_COMPLETION_PORT_01_084, Tests_SRS_COMPLETION_PORT_01_086
#[test]
fn each_process_has_its_own_value_of_a_static() {
    static OWN: PerProcess<(Mutex<()>, AtomicUsize)> = PerProcess::new();
    let get = || OWN.get().expect("forks can be noticed");
    get().1.store(5, Ordering::Relaxed);
    assert!(std::ptr::eq(get(), get()));
    let locked = get().0.lock().expect("no panic");

    in_a_child(|| {
        assert_eq!(get().1.load(Ordering::Relaxed), 0);
        drop(get().0.lock().expect("nobody has it here"));
        get().1.store(7, Ordering::Relaxed);
        in_a_child(|| assert_eq!(get().1.load(Ordering::Relaxed), 0));
        assert_eq!(get().1.load(Ordering::Relaxed), 7);
    });

    drop(locked);
    assert_eq!(get().1.load(Ordering::Relaxed), 5);
}
