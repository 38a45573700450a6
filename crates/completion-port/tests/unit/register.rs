//! `Registration::register`: one `epoll_ctl`, and the state after a failure.

use crate::common::{Scripted, mocked, op, pair, real, real_port};
use completion_port::sys::{Errno, EventFlags};
use completion_port::{Action, AddError, Attempt, Direction, Handler, Phase, RegisterError, Registration};
use rstest::rstest;
use std::os::fd::{AsRawFd, OwnedFd};
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
    let (port, descriptor) = (MockPort::new(), any_descriptor());
    let number = descriptor.as_raw_fd();
    let registration = Registration::new(port.clone(), Scripted::default(), descriptor);
    port.fail_next_attach(errno.raw_os_error());

    let refused = registration.register(|| ()).expect_err("the kernel refuses");

    let RegisterError::Kernel(error) = refused else { panic!("{refused:?}") };
    assert_eq!(error.raw_os_error(), Some(errno.raw_os_error()));
    assert_eq!(registration.phase(), Phase::Unregistered);
    assert_eq!(registration.add(Direction::In, op("a")).map_err(|refused| refused.error), Err(AddError::NotRegistered));

    registration.register(|| ()).unwrap();
    registration.add(Direction::In, op("a")).unwrap();
    assert_eq!(port.calls(), [PortCall::Attach(number), PortCall::Attach(number)]);
}

// Tests_SRS_COMPLETION_PORT_01_007
#[test]
fn a_failure_of_a_real_port_forgets_the_registration() {
    let (calls, port) = real_port();
    calls.fail(PortSyscall::EpollAdd, 2, Errno::NOMEM); // The first was the eventfd's.
    let (own, peer) = pair();
    let registration = Registration::new(port.clone(), Scripted::default(), own);

    registration.register(|| ()).expect_err("the kernel refuses");

    registration.register(|| ()).unwrap();
    let (operation, told) = op("a").told();
    registration.add(Direction::Out, operation).unwrap();
    crate::common::received(&told, "the operation after the second try");
    drop(peer);
}

// Tests_SRS_COMPLETION_PORT_01_009
#[test]
fn a_descriptor_that_the_handler_refuses_is_not_watched() {
    struct Picky;
    impl Handler for Picky {
        type Descriptor = OwnedFd;
        type Operation = ();

        fn prepare(&self, _: &OwnedFd) -> std::io::Result<()> {
            Err(Errno::NOTSOCK.into())
        }

        fn attempt(&self, (): (), _: Action, _: Attempt<'_, Self>) {}
    }
    let port = MockPort::new();
    let registration = Registration::new(port.clone(), Picky, any_descriptor());

    let refused = registration.register(|| ()).expect_err("the handler refuses");

    assert!(
        matches!(&refused, RegisterError::Unusable(error) if error.raw_os_error() == Some(Errno::NOTSOCK.raw_os_error()))
    );
    assert_eq!((registration.phase(), port.calls()), (Phase::Unregistered, vec![]));
}

// Tests_SRS_COMPLETION_PORT_01_008
#[rstest]
#[case::while_it_watches(false)]
#[case::after_removal(true)]
fn a_used_registration_refuses_to_register_again(#[case] removed: bool) {
    let (port, registration) = mocked();
    if removed {
        assert!(registration.remove());
    }
    let (calls, phase) = (port.calls().len(), registration.phase());

    let refused = registration.register(|| ()).expect_err("it was used");

    assert!(matches!(refused, RegisterError::AlreadyUsed(now) if now == phase), "{refused:?}");
    assert_eq!(port.calls().len(), calls, "the port is not asked");
}
