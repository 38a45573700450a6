//! Engines and streams that a child of `fork` has inherited, and those that it makes itself. And what a test can try only in
//! a process of its own.
#![allow(unsafe_code, reason = "forks")]
#![allow(clippy::unwrap_used, reason = "a test fails with it")]

use async_socket_futures::{Engine, JoinError, Listener, Stream, block_on, timeout};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, alarm, fork};
use std::fs::File;
use std::iter::from_fn;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Runs a function in a child. It must neither panic nor hang.
fn in_a_child(what: impl FnOnce()) {
    // SAFETY: the child runs code that any program may run after a fork; libc's allocator allows it.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            alarm::set(30);
            let done = catch_unwind(AssertUnwindSafe(what));
            // SAFETY: ends the child, in which nothing else must run.
            unsafe { nix::libc::_exit(if done.is_ok() { 0 } else { 101 }) }
        }
        ForkResult::Parent { child } => assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0)),
    }
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_036
#[test]
fn in_a_child_inherited_engines_and_streams_refuse_and_new_ones_work() {
    let engine = Engine::builder().build().unwrap();
    assert_eq!(block_on(engine.spawn(async { 1 })).unwrap().unwrap(), 1);
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let stream = Stream::on(engine.port(0), ours).unwrap();

    in_a_child(|| {
        let task = engine.spawn(async { 2 });
        assert!(matches!(block_on(task).unwrap(), Err(JoinError::Aborted)));
        let read = stream.poll_read(&Context::from_waker(Waker::noop()), &mut [0; 1]);
        assert!(matches!(read, Poll::Ready(Err(_))), "{read:?}");
        assert!(Stream::on(engine.port(0), UnixStream::pair().unwrap().0).is_err());
        assert_eq!(block_on(async { 3 }).unwrap(), 3);
        let own = Engine::builder().build().unwrap();
        assert_eq!(block_on(own.spawn(async { 4 })).unwrap().unwrap(), 4);
        drop(engine.clone());
    });

    assert_eq!(block_on(engine.spawn(async { 5 })).unwrap().unwrap(), 5);
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_041
#[test]
fn without_descriptors_an_accept_fails_and_a_later_one_succeeds() {
    in_a_child(|| {
        block_on(async {
            let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
            setrlimit(Resource::RLIMIT_NOFILE, 64, hard).unwrap();
            let all_others: Vec<File> = from_fn(|| File::open("/dev/null").ok()).collect();
            let accept = || timeout(Duration::from_secs(5), listener.accept());

            let refused = accept().await.expect("it does not wait").unwrap_err();

            assert_eq!(refused.raw_os_error(), Some(nix::libc::EMFILE));
            drop(all_others);
            accept().await.unwrap().unwrap();
        })
        .unwrap();
    });
}
