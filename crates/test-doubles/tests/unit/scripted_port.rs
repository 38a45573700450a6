//! `ScriptedPort`: the n-th call of a kind fails, the others are real, and all are counted.

use completion_port::sys::{EpollOp, Errno, EventFlags};
use completion_port::{CompletionPort, PortSyscalls};
use std::os::fd::AsFd;
use std::sync::mpsc::channel;
use test_doubles::{PortSyscall, ScriptedPort};

#[test]
fn the_nth_call_of_a_kind_fails_and_the_others_are_made() {
    let sys = ScriptedPort::new();
    sys.fail(PortSyscall::EventFd, 2, Errno::MFILE);

    sys.eventfd().expect("the first is real");
    assert_eq!(sys.eventfd().expect_err("as told"), Errno::MFILE);
    sys.eventfd().expect("the third is real again");
    sys.epoll_create().expect("another kind is not concerned");

    assert_eq!((sys.made(PortSyscall::EventFd), sys.made(PortSyscall::EpollCreate)), (3, 1));
    assert_eq!(sys.made(PortSyscall::EpollWait), 0);
}

#[test]
fn the_calls_that_are_made_are_real() {
    let sys = ScriptedPort::new();
    let (epoll, eventfd) = (sys.epoll_create().expect("real"), sys.eventfd().expect("real"));
    let mut events = Vec::with_capacity(4);
    sys.epoll_ctl(epoll.as_fd(), eventfd.as_fd(), EpollOp::Add { data: 77, flags: EventFlags::IN | EventFlags::ET })
        .expect("real");

    sys.epoll_wait(epoll.as_fd(), &mut events, 0).expect("real");
    assert!(events.is_empty());
    sys.wake(epoll.as_fd(), eventfd.as_fd(), 77).expect("real");
    sys.epoll_wait(epoll.as_fd(), &mut events, 0).expect("real");
    assert_eq!(events.iter().map(|event| event.data.u64()).collect::<Vec<_>>(), [77]);
    sys.epoll_ctl(epoll.as_fd(), eventfd.as_fd(), EpollOp::Delete).expect("real");

    assert_eq!(sys.interests(), [EventFlags::IN | EventFlags::ET]);
}

#[test]
fn a_hook_runs_after_the_nth_call() {
    let sys = ScriptedPort::new();
    let (note, noted) = channel();
    sys.after(PortSyscall::EventFd, 2, move || note.send(()).expect("the test listens"));

    sys.eventfd().expect("real");
    noted.try_recv().expect_err("not after the first");
    sys.eventfd().expect("real");
    noted.try_recv().expect("after the second");
}

#[test]
fn a_port_fails_with_the_call_that_was_told_to() {
    let sys = ScriptedPort::new();
    sys.fail(PortSyscall::EpollAdd, 1, Errno::NOSPC);

    let error = CompletionPort::create_with(sys).expect_err("the eventfd cannot be watched");

    assert_eq!((error.call, error.source.raw_os_error()), ("epoll_ctl", Some(Errno::NOSPC.raw_os_error())));
}
