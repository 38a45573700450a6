//! `CompletionPort::create` makes its objects, and leaves nothing behind when it fails.

use crate::common::process::{alone, descriptors, port_threads};
use crate::common::{eventually, op, real, received};
use completion_port::sys::{Errno, EventFlags, Kernel, PortSyscalls as _};
use completion_port::{CompletionPort, Direction};
use rstest::rstest;
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::{FdFlags, fcntl_getfd};
use std::error::Error;
use std::fs;
use std::io;
use test_doubles::{PortSyscall, ScriptedPort};

// Tests_SRS_COMPLETION_PORT_01_001
#[test]
fn a_port_is_one_epoll_instance_one_eventfd_and_one_thread() {
    let _alone = alone();
    let (descriptors_before, threads_before) = (descriptors(), port_threads());
    let calls = ScriptedPort::new();

    let port = CompletionPort::create_with(calls.clone()).unwrap();

    assert_eq!(calls.made(PortSyscall::EpollCreate), 1);
    assert_eq!(calls.made(PortSyscall::EventFd), 1);
    assert_eq!(calls.interests(), [EventFlags::IN | EventFlags::ET]);
    assert_eq!(descriptors(), descriptors_before + 2);
    // The thread takes its name when it starts to run.
    eventually("one thread more", || port_threads() == threads_before + 1);
    drop(port);
}

#[test]
fn what_the_kernel_makes_for_a_port_is_closed_in_children_and_never_blocks() {
    let _alone = alone();
    let (epoll, eventfd) = (Kernel.epoll_create().unwrap(), Kernel.eventfd().unwrap());

    for descriptor in [&epoll, &eventfd] {
        assert!(fcntl_getfd(descriptor).unwrap().contains(FdFlags::CLOEXEC));
    }
    assert!(fcntl_getfl(&eventfd).unwrap().contains(OFlags::NONBLOCK));
}

// Tests_SRS_COMPLETION_PORT_01_001
#[test]
fn operations_run_on_the_thread_of_the_port() {
    let _alone = alone();
    let port = CompletionPort::create_with(ScriptedPort::new()).unwrap();
    let (registration, _peer) = real(&port);
    let (tell, told) = std::sync::mpsc::channel();

    let name = move || tell.send(fs::read_to_string("/proc/thread-self/comm")).unwrap();
    registration.add(Direction::Out, op("a").then(name)).unwrap();

    assert_eq!(received(&told, "the callback").expect("the kernel's name").trim_end(), "completion-port");
}

// Tests_SRS_COMPLETION_PORT_01_002
#[rstest]
#[case::epoll(PortSyscall::EpollCreate, Errno::MFILE, "epoll_create1")]
#[case::eventfd(PortSyscall::EventFd, Errno::MFILE, "eventfd")]
#[case::epoll_ctl(PortSyscall::EpollAdd, Errno::NOMEM, "epoll_ctl")]
fn a_call_that_fails_is_named_with_its_errno_and_nothing_stays(
    #[case] call: PortSyscall,
    #[case] errno: Errno,
    #[case] name: &str,
) {
    let _alone = alone();
    let (descriptors_before, threads_before) = (descriptors(), port_threads());
    let calls = ScriptedPort::new();
    calls.fail(call, 1, errno);

    let error = CompletionPort::create_with(calls).expect_err("creating fails");

    assert_eq!(error.call, name);
    assert!(error.to_string().contains(name), "{error}");
    assert_eq!(error.source.raw_os_error(), Some(errno.raw_os_error()));
    assert!(error.source().is_some_and(<dyn Error>::is::<io::Error>));
    assert_eq!(descriptors(), descriptors_before);
    assert_eq!(port_threads(), threads_before);
}

// Tests_SRS_COMPLETION_PORT_01_002
#[test]
fn without_a_thread_creating_names_the_call_and_nothing_stays() {
    let _alone = alone();
    let (descriptors_before, threads_before) = (descriptors(), port_threads());
    // More than any address space has.
    let builder = CompletionPort::builder().thread_stack_size(isize::MAX as usize - (2 << 20));

    let error = builder.create_with(ScriptedPort::new()).expect_err("creating fails");

    assert_eq!(error.call, "pthread_create");
    assert_eq!(error.source.raw_os_error(), Some(Errno::AGAIN.raw_os_error()));
    assert_eq!((descriptors(), port_threads()), (descriptors_before, threads_before));
}
