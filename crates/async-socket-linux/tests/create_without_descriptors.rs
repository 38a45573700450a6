//! `create` in a process that has run out of descriptors. Alone in its binary, because the limit is the process's.

use async_socket_linux::{AsyncSocketLinux, CreateError, platform};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

// Tests_SRS_ASYNC_SOCKET_LINUX_11_002, Tests_SRS_ASYNC_SOCKET_LINUX_11_005, Tests_SRS_ASYNC_SOCKET_LINUX_11_006
#[test]
fn a_create_that_fails_gives_the_descriptor_back_and_leaks_nothing() {
    let (ours, mut theirs) = UnixStream::pair().expect("a socket pair");
    let number = ours.as_raw_fd();
    let mut ours = OwnedFd::from(ours);
    let before = (entries("/proc/self/fd"), entries("/proc/self/task"));

    // A port needs an epoll instance and an eventfd.
    for (left, call) in [(0, "epoll_create1"), (1, "eventfd")] {
        let refused = with_descriptors_left(left, || AsyncSocketLinux::create(None, ours)).expect_err("none left");

        let CreateError::CompletionPort(cause) = &refused.error else { panic!("{}", refused.error) };
        assert_eq!(cause.call, call);
        assert_eq!(cause.source.raw_os_error(), Some(rustix::io::Errno::MFILE.raw_os_error()));
        assert_eq!(refused.returned.as_raw_fd(), number, "the caller keeps the descriptor");
        assert_eq!((entries("/proc/self/fd"), entries("/proc/self/task")), before, "nothing is left of the port");
        assert!(!platform::is_initialized());
        ours = refused.returned;
    }

    let socket = AsyncSocketLinux::create(None, ours).expect("with descriptors again, the same call works");
    theirs.write_all(b"open").expect("the descriptor was never closed");
    drop(socket);
    assert_eq!(theirs.write_all(b"closed").expect_err("it is now").kind(), ErrorKind::BrokenPipe);
}

/// Runs `call` while the process may open only `left` more descriptors.
fn with_descriptors_left<T>(left: u64, call: impl FnOnce() -> T) -> T {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(lowest_free() + left), ..limit }).expect("the limit lowers");
    let result = call();
    setrlimit(Resource::Nofile, limit).expect("the limit rises");
    result
}

/// The number that the next descriptor gets. All numbers below it are taken.
fn lowest_free() -> u64 {
    let file = fs::File::open("/dev/null").expect("/dev/null opens");
    u64::try_from(file.as_raw_fd()).expect("not negative")
}

fn entries(directory: &str) -> usize {
    fs::read_dir(directory).expect("/proc is there").count()
}
