//! A port in a process that is stopped and continued, because the kernel then interrupts `epoll_wait`.

use completion_port::sys::{EpollOp, Errno, Event, Milliseconds};
use completion_port::{CompletionPort, Direction, Kernel, PortSyscalls, Registration};
use integration_tests::port::{Transfers, reads};
use integration_tests::process::alone;
use integration_tests::{LIMIT, inbox};
use std::io::Write;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The kernel's calls, and the time between each `EINTR` and the next wait.
#[derive(Clone, Default)]
struct Observed {
    interrupted: Arc<Mutex<Option<Instant>>>,
    pauses: Arc<Mutex<Vec<Duration>>>,
}

impl PortSyscalls for Observed {
    fn epoll_create(&self) -> Result<OwnedFd, Errno> {
        Kernel.epoll_create()
    }

    fn eventfd(&self) -> Result<OwnedFd, Errno> {
        Kernel.eventfd()
    }

    fn epoll_ctl(&self, epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, op: EpollOp) -> Result<(), Errno> {
        Kernel.epoll_ctl(epoll, fd, op)
    }

    fn epoll_wait(&self, epoll: BorrowedFd<'_>, events: &mut Vec<Event>, at_most: Milliseconds) -> Result<(), Errno> {
        let mut interrupted = self.interrupted.lock().expect("nobody panics with it");
        if let Some(since) = interrupted.take() {
            self.pauses.lock().expect("nobody panics with it").push(since.elapsed());
        }
        drop(interrupted);
        let result = Kernel.epoll_wait(epoll, events, at_most);
        if result == Err(Errno::INTR) {
            *self.interrupted.lock().expect("nobody panics with it") = Some(Instant::now());
        }
        result
    }

    fn wake(&self, epoll: BorrowedFd<'_>, eventfd: BorrowedFd<'_>, data: u64) -> Result<(), Errno> {
        Kernel.wake(epoll, eventfd, data)
    }
}

// Tests_SRS_COMPLETION_PORT_01_062
#[test]
fn an_interrupted_wait_is_made_again_at_once() {
    let _alone = alone();
    const ROUNDS: usize = 10;
    let calls = Observed::default();
    let port = CompletionPort::create_with(calls.clone()).unwrap();
    let (ours, mut peer) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let registration = Registration::new(port, Transfers::default(), ours.into());
    registration.register(|| ()).unwrap();
    let (tell, told) = inbox();
    registration.add(Direction::In, reads(1).then(move |done| tell.put(done))).unwrap();

    let seen = || calls.pauses.lock().expect("nobody panics with it").len();
    let start = Instant::now();
    while seen() < ROUNDS {
        assert!(start.elapsed() < LIMIT, "only {} interruptions", seen());
        let stop_and_continue = ["-c", "kill -STOP $PPID; sleep 0.01; kill -CONT $PPID"];
        assert!(Command::new("sh").args(stop_and_continue).status().unwrap().success());
    }

    peer.write_all(b"x").unwrap();
    assert_eq!(told.only().bytes, b"x");
    let fastest = calls.pauses.lock().unwrap().iter().min().copied();
    // After a real failure the thread pauses for ten milliseconds each time.
    assert!(fastest < Some(Duration::from_millis(3)), "{fastest:?}");
}
