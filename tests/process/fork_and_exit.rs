//! Sockets where processes and threads begin and end: `fork`, exit, signals, and descriptors that other code closes.
//!
//! A test that forks or closes everything runs in a process of its own.
#![allow(unsafe_code, reason = "forks, and closes descriptors that it does not own")]

use async_socket_linux::{
    AsyncSocket, AsyncSocketLinux, BufferPool, CreateError, ExecutionEngine, OpenError, ReceiveError, ReceiveResult,
    SendError, SocketState, platform,
};
use completion_port::{Action, Interest, OneShots};
use integration_tests::call::{engine, open, receive};
use integration_tests::process::{alone, cpu_time, is_child, is_open, port_threads, run_child, thread_name};
use integration_tests::wait::eventually;
use integration_tests::{Peer, Socket, Transport, inbox, send_now};
use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, alarm, fork};
use std::cell::RefCell;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Runs `what` in a fork of this process. The fork must neither panic nor hang.
fn in_a_fork(what: impl FnOnce()) {
    // SAFETY: the child runs what any program does after a fork; libc's allocator allows it.
    match unsafe { fork() }.expect("a fork") {
        ForkResult::Child => {
            alarm::set(30);
            let done = catch_unwind(AssertUnwindSafe(what));
            // SAFETY: ends the child, in which nothing else shall run.
            unsafe { libc::_exit(if done.is_ok() { 0 } else { 101 }) }
        }
        ForkResult::Parent { child } => {
            assert_eq!(waitpid(child, None).expect("a child"), WaitStatus::Exited(child, 0));
        }
    }
}

/// An echo from beginning to end.
fn works(engine: Option<&ExecutionEngine>) {
    let (ours, mut theirs) = UnixStream::pair().expect("a pair");
    let socket = AsyncSocketLinux::create(engine, ours.into()).expect("a socket");
    socket.open_async(|_| {}).expect("it opens");
    theirs.write_all(b"ping").expect("the peer writes");
    let completion = receive(&socket, vec![0; 8]).only();
    assert_eq!((completion.result, completion.bytes_received), (ReceiveResult::Ok, 4));
    send_now(&socket, b"pong");
    let mut answer = [0; 4];
    theirs.read_exact(&mut answer).expect("the answer");
    assert_eq!(&answer, b"pong");
    let pending = receive(&socket, vec![0; 8]);
    drop(socket);
    assert_eq!(pending.only().result, ReceiveResult::Abandoned);
}

fn connected(engine: &ExecutionEngine) -> (Arc<Socket>, Peer, RawFd) {
    let (descriptor, peer) = Transport::Unix.pair();
    let number = descriptor.as_raw_fd();
    (open(engine, descriptor), peer, number)
}

fn pair() -> (OwnedFd, UnixStream) {
    let (one, other) = UnixStream::pair().expect("a pair");
    one.set_nonblocking(true).expect("a socket can be made non-blocking");
    (one.into(), other)
}

// Tests_SRS_COMPLETION_PORT_01_081, Tests_SRS_COMPLETION_PORT_01_082, Tests_SRS_COMPLETION_PORT_01_083
// Tests_SRS_COMPLETION_PORT_01_084, Tests_SRS_PLATFORM_01_003, Tests_SRS_PLATFORM_01_004, Tests_SRS_PLATFORM_01_006
#[test]
fn a_child_uses_nothing_of_its_parents_and_works_with_its_own() {
    let _alone = alone();
    if !is_child() {
        return run_child("a_child_uses_nothing_of_its_parents_and_works_with_its_own", |_| {});
    }
    works(None);
    let engine = engine(2);
    assert!(!engine.is_inherited() && platform::is_initialized());
    let (socket, mut peer, number) = connected(&engine);
    let unopened = AsyncSocketLinux::create(Some(&engine), pair().0).expect("a socket");
    let pending = receive(&socket, vec![0; 8]);
    let waiting = OneShots::<(Arc<OwnedFd>, Box<dyn FnOnce(Action) + Send>)>::new(engine.completion_port());
    let (raw, _raw_peer) = pair();
    let raw = Arc::new(raw);
    waiting.add(Interest::IN, (Arc::clone(&raw), Box::new(|_| {}))).expect("a wait");

    let mut parents = Some((socket, unopened, waiting, engine));
    in_a_fork(|| {
        let (socket, unopened, waiting, engine) = parents.take().expect("the child's copy");
        assert!(engine.is_inherited() && !platform::is_initialized());
        assert_eq!(socket.state(), SocketState::Closed);
        let sent = socket.send_async("child", |_| {}).expect_err("inherited");
        assert_eq!((sent.error, sent.returned), (SendError::Inherited, "child"));
        assert_eq!(socket.receive_async([0; 4], |_| {}).expect_err("inherited").error, ReceiveError::Inherited);
        assert!(matches!(unopened.open_async(|_| {}), Err(OpenError::Inherited)));
        let refused = AsyncSocketLinux::create(Some(&engine), pair().0).expect_err("inherited");
        assert!(matches!(refused.error, CreateError::Inherited));
        assert!(waiting.add(Interest::IN, (Arc::clone(&raw), Box::new(|_| {}))).is_err());
        works(None);
        assert!(platform::is_initialized(), "the child has its own");
        works(Some(&integration_tests::call::engine(1)));
        drop(socket);
        assert!(!is_open(number), "the child's copy is closed");
        drop((unopened, waiting, engine));
        assert!(pending.is_pending(), "nobody is called back");
        works(None);
        platform::deinit();
        assert!(!platform::is_initialized());
        in_a_fork(|| works(None));
    });

    peer.write_all(b"x").expect("the peer writes");
    assert_eq!(pending.only().result, ReceiveResult::Ok);
    let (socket, ..) = parents.as_ref().expect("the parent's");
    send_now(socket, b"parent");
    works(None);
}

// Tests_SRS_COMPLETION_PORT_01_084, Tests_SRS_COMPLETION_PORT_01_086, Tests_SRS_PLATFORM_01_004
#[test]
fn a_child_of_a_busy_parent_hangs_nowhere() {
    let _alone = alone();
    const CHILDREN: usize = 30;
    if !is_child() {
        return run_child("a_child_of_a_busy_parent_hangs_nowhere", |_| {});
    }
    let engine = engine(2);
    let (socket, mut peer, _) = connected(&engine);
    let busy: Vec<_> = (0..2)
        .map(|_| {
            thread::spawn(|| {
                while !is_over() {
                    works(None);
                }
            })
        })
        .collect();
    let mut parents = Some(socket);
    for _ in 0..CHILDREN {
        in_a_fork(|| {
            drop(parents.take());
            works(None);
        });
    }
    OVER.store(true, Ordering::Relaxed);
    busy.into_iter().for_each(|thread| thread.join().expect("no panic"));
    let socket = parents.expect("the parent's");
    let pending = receive(&socket, vec![0; 8]);
    peer.write_all(b"x").expect("the peer writes");
    assert_eq!(pending.only().result, ReceiveResult::Ok);
}

static OVER: AtomicBool = AtomicBool::new(false);

fn is_over() -> bool {
    OVER.load(Ordering::Relaxed)
}

// Tests_SRS_COMPLETION_PORT_01_086
#[test]
fn an_inherited_pool_is_waited_for_nowhere() {
    let _alone = alone();
    if !is_child() {
        return run_child("an_inherited_pool_is_waited_for_nowhere", |_| {});
    }
    let pool = BufferPool::new(64, 4).expect("a pool");
    let engine = engine(1);
    let (socket, mut peer, _) = connected(&engine);
    let pooled = |socket: &Socket| {
        let (done, received) = inbox();
        socket.receive_pooled_async(&pool, move |completion| done.put(completion.buffer)).map(|_| received)
    };
    let received = pooled(&socket).expect("accepted");
    peer.write_all(b"kept").expect("the peer writes");
    let kept = received.only().expect("a buffer");
    let busy = thread::spawn({
        let pool = pool.clone();
        move || {
            while !is_over() {
                let _ = (pool.buffers_free(), pool.buffers_made());
            }
        }
    });
    let mut parents = Some(kept);
    for _ in 0..30 {
        in_a_fork(|| {
            let own = integration_tests::call::engine(1);
            let (socket, _peer, _) = connected(&own);
            assert!(matches!(pooled(&socket), Err(ReceiveError::Inherited)));
            assert_eq!((pool.buffers_free(), pool.buffers_made()), (0, 0));
            assert!(format!("{pool:?}").contains("inherited"));
            drop(parents.take());
        });
    }
    OVER.store(true, Ordering::Relaxed);
    busy.join().expect("no panic");
    drop(parents);
    assert_eq!((pool.buffers_free(), pool.buffers_made()), (1, 1));
}

// Tests_SRS_COMPLETION_PORT_01_085
#[test]
fn the_child_of_a_callback_that_forks_takes_nothing_from_the_parent() {
    let _alone = alone();
    if !is_child() {
        return run_child("the_child_of_a_callback_that_forks_takes_nothing_from_the_parent", |_| {});
    }
    let engine = engine(1);
    let (forks, mut forks_peer, _) = connected(&engine);
    let (other, mut other_peer, _) = connected(&engine);
    let (done, forked) = inbox();
    forks
        .receive_async([0; 1], move |_| {
            // SAFETY: as in `in_a_fork`.
            match unsafe { fork() }.expect("a fork") {
                ForkResult::Child => {
                    alarm::set(30);
                    // If this copy of the thread served the parent, it would take the parent's bytes now.
                    thread::sleep(Duration::from_millis(100));
                }
                ForkResult::Parent { child } => done.put(child),
            }
        })
        .expect("receive_async");
    let pending = receive(&other, vec![0; 8]);
    forks_peer.write_all(b"f").expect("the peer writes");
    other_peer.write_all(b"for the parent").expect("the peer writes");
    assert_eq!(pending.only().result, ReceiveResult::Ok);
    let child: Pid = forked.next();
    let pending = receive(&other, vec![0; 8]);
    assert_eq!(waitpid(child, None).expect("a child"), WaitStatus::Exited(child, 0));
    other_peer.write_all(b"again").expect("the peer writes");
    assert_eq!(pending.only().result, ReceiveResult::Ok);
}

// Tests_SRS_COMPLETION_PORT_01_080
#[test]
fn sockets_work_while_the_variables_of_a_thread_go() {
    let _alone = alone();
    if !is_child() {
        return run_child("sockets_work_while_the_variables_of_a_thread_go", |_| {});
    }
    struct Works;

    impl Drop for Works {
        fn drop(&mut self) {
            works(None);
            works(Some(&engine(1)));
        }
    }

    thread_local! {
        static LAST: RefCell<Option<Works>> = const { RefCell::new(None) };
    }
    let before_any_use = || LAST.set(Some(Works));
    thread::spawn(move || {
        before_any_use();
        works(None);
    })
    .join()
    .expect("no panic");
}

extern "C" fn at_exit() {
    let done = catch_unwind(|| works(None));
    platform::deinit();
    // SAFETY: ends the process as the handler found it.
    unsafe { libc::_exit(if done.is_ok() { 0 } else { 101 }) }
}

// Tests_SRS_COMPLETION_PORT_01_080
#[test]
fn sockets_work_in_an_exit_handler() {
    let _alone = alone();
    if !is_child() {
        return run_child("sockets_work_in_an_exit_handler", |_| {});
    }
    works(None);
    // SAFETY: the handler unwinds nowhere.
    assert_eq!(unsafe { libc::atexit(at_exit) }, 0);
    std::process::exit(7);
}

// Tests_SRS_COMPLETION_PORT_01_087, Tests_SRS_COMPLETION_PORT_01_088, Tests_SRS_COMPLETION_PORT_01_089
// Tests_SRS_PLATFORM_01_001, Tests_SRS_PLATFORM_01_002, Tests_SRS_PLATFORM_01_005
#[test]
fn signals_threads_and_stacks_are_the_programs() {
    let _alone = alone();
    if !is_child() {
        return run_child("signals_threads_and_stacks_are_the_programs", |_| {});
    }
    platform::init(0).expect("an engine");
    works(None);
    assert!(platform::init(4).expect_err("there is one").to_string().contains("1 threads already"));
    assert_eq!(port_threads().len(), 1);
    for task in port_threads() {
        let status = std::fs::read_to_string(format!("/proc/self/task/{task}/status")).expect("/proc");
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).expect("SigBlk").trim();
        let mask = u64::from_str_radix(mask, 16).expect("hexadecimal");
        for signal in [Signal::SIGUSR1, Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD] {
            assert_ne!(mask & 1 << (signal as i32 - 1), 0, "{signal}");
        }
        assert_eq!(mask & 1 << (Signal::SIGSEGV as i32 - 1), 0);
    }
    let engine =
        ExecutionEngine::builder().thread_name("network").thread_stack_size(40 << 20).build().expect("an engine");
    let (socket, mut peer, _) = connected(&engine);
    let (done, said) = inbox();
    socket
        .receive_async([0; 1], move |_| {
            // As large as the whole stack of a default thread.
            let large = std::hint::black_box([1_u8; 8 << 20]);
            done.put((thread_name(), usize::from(large[4711])));
        })
        .expect("receive_async");
    peer.write_all(b"x").expect("the peer writes");
    assert_eq!(said.only(), ("network".to_owned(), 1));
}

/// Closes the kernel's objects of all ports of this process, or everything.
fn close_from_outside(everything: bool) {
    for number in 3..1024 {
        let link = std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap_or_default();
        if everything || link.to_string_lossy().contains("eventpoll") {
            // SAFETY: other code does this too, and the library must cope.
            unsafe { libc::close(number) };
        }
    }
}

// Tests_SRS_COMPLETION_PORT_01_091, Tests_SRS_COMPLETION_PORT_01_092, Tests_SRS_COMPLETION_PORT_01_093
// Tests_SRS_COMPLETION_PORT_01_094
#[test]
fn a_port_whose_descriptors_are_closed_ends_what_waits_and_refuses_what_is_new() {
    let _alone = alone();
    if !is_child() {
        return run_child("a_port_whose_descriptors_are_closed_ends_what_waits_and_refuses_what_is_new", |_| {});
    }
    for everything in [false, true] {
        let engine = engine(1);
        let (socket, peer, _) = connected(&engine);
        // The thread takes its name when it starts to run.
        eventually("the port's thread runs", || !port_threads().is_empty());
        let thread = port_threads()[0];
        let pending = receive(&socket, vec![0; 8]);
        let start = Instant::now();
        close_from_outside(everything);

        let completion = pending.only();
        assert_eq!((completion.result, completion.os_error()), (ReceiveResult::Error, Some(libc::EBADF)));
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        assert_eq!(socket.send_async("more", |_| {}).expect_err("refused").error, SendError::PortFailed);
        assert_eq!(socket.receive_async([0; 4], |_| {}).expect_err("refused").error, ReceiveError::PortFailed);
        let late = AsyncSocketLinux::create(Some(&engine), pair().0).expect("a socket");
        assert!(matches!(late.open_async(|_| {}), Err(OpenError::NotRegistered { .. })));
        let before = cpu_time(thread);
        thread::sleep(Duration::from_millis(300));
        assert!(cpu_time(thread) - before < Duration::from_millis(50), "it spins");
        drop((socket, late, engine));
        works(Some(&integration_tests::call::engine(1)));
        // Its number is closed already.
        std::mem::forget(peer);
    }
}
