//! `Registration::register`: one `epoll_ctl`, and what a failure leaves.

mod common;

use common::{Scripted, mocked, op, pair, real, real_port};
use completion_port::sys::{Errno, EventFlags};
use completion_port::{AddError, Direction, RegisterError, Registration};
use rstest::rstest;
use std::os::fd::AsRawFd;
use test_doubles::{MockPort, PortCall, PortSyscall, any_descriptor};

// Tests_SRS_COMPLETION_PORT_01_006
#[test]
fn a_descriptor_is_added_once_edge_triggered_for_everything() {
    let (calls, port) = real_port();
    let before = calls.made(PortSyscall::EpollAdd);

    let (registration, _peer) = real(&port);

    assert_eq!(calls.made(PortSyscall::EpollAdd), before + 1);
    let everything = EventFlags::IN | EventFlags::OUT | EventFlags::PRI | EventFlags::RDHUP | EventFlags::ET;
    assert_eq!(calls.interests().last(), Some(&everything));
    drop(registration);
}

// Tests_SRS_COMPLETION_PORT_01_007
#[rstest]
#[case::regular_file(Errno::PERM)]
#[case::no_memory(Errno::NOMEM)]
#[case::too_many_watches(Errno::NOSPC)]
fn a_failure_gives_error_and_descriptor_back_and_another_try_works(#[case] errno: Errno) {
    let port = MockPort::new();
    let registration = Registration::new(port.clone(), Scripted::default());
    let descriptor = any_descriptor();
    let number = descriptor.as_raw_fd();
    port.fail_next_attach(errno.raw_os_error());

    let refused = registration.register(descriptor).expect_err("the kernel refuses");

    let RegisterError::Kernel(error) = refused.error else { panic!("{:?}", refused.error) };
    assert_eq!(error.raw_os_error(), Some(errno.raw_os_error()));
    assert_eq!(refused.returned.as_raw_fd(), number);
    assert_eq!(registration.add(Direction::In, op("a")).map_err(|refused| refused.error), Err(AddError::NotRegistered));

    registration.register(refused.returned).unwrap();
    registration.add(Direction::In, op("a")).unwrap();
    assert_eq!(port.calls(), [PortCall::Attach(number), PortCall::Attach(number)]);
}

// Tests_SRS_COMPLETION_PORT_01_007
#[test]
fn a_failure_of_a_real_port_forgets_the_registration() {
    let (calls, port) = real_port();
    calls.fail(PortSyscall::EpollAdd, 2, Errno::NOMEM); // The first was the eventfd's.
    let handler = Scripted::default();
    let registration = Registration::new(port.clone(), handler);
    let (own, peer) = pair();

    let refused = registration.register(own).expect_err("the kernel refuses");

    registration.register(refused.returned).unwrap();
    let (operation, told) = op("a").told();
    registration.add(Direction::Out, operation).unwrap();
    common::received(&told, "the operation after the second try");
    drop(peer);
}

// Tests_SRS_COMPLETION_PORT_01_008
#[rstest]
#[case::while_it_watches(false)]
#[case::after_removal(true)]
fn a_used_registration_refuses_another_descriptor(#[case] removed: bool) {
    let (port, registration) = mocked();
    if removed {
        registration.remove();
    }
    let calls = port.calls().len();
    let another = any_descriptor();
    let number = another.as_raw_fd();

    let refused = registration.register(another).expect_err("it was used");

    assert!(matches!(refused.error, RegisterError::AlreadyUsed), "{:?}", refused.error);
    assert_eq!(refused.returned.as_raw_fd(), number);
    assert_eq!(port.calls().len(), calls, "the port is not asked");
}
