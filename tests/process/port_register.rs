//! Registering real descriptors: the entry in epoll, and the descriptors that are refused.

use completion_port::{Action, AddError, Attempt, Direction, Handler, Phase, RegisterError, Registration};
use integration_tests::port::{Transfers, port, reads, socket, start, watch, writes};
use integration_tests::process::{alone, epoll_entries, is_open};
use rstest::rstest;
use rustix::io::Errno;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

fn pair() -> (OwnedFd, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a socket pair is made");
    ours.set_nonblocking(true).expect("a socket can be made non-blocking");
    (ours.into(), theirs)
}

// Tests_SRS_COMPLETION_PORT_01_006
#[test]
fn the_kernel_watches_a_descriptor_once_edge_triggered_for_everything() {
    let _alone = alone();
    let port = port().1;
    let (ours, mut theirs) = pair();
    let number = ours.as_raw_fd();

    let registration = watch(&port, ours);
    let pending = start(&registration, Direction::In, reads(1));
    start(&registration, Direction::Out, writes("x")).next();
    theirs.write_all(b"x").unwrap();
    pending.next();

    let entries = epoll_entries(number);
    assert_eq!(entries.len(), 1, "{entries:?}");
    // EPOLLIN, PRI, OUT, RDHUP and ET; the kernel adds ERR and HUP.
    assert!(entries[0].contains("events: 8000201f"), "{entries:?}");
}

// Tests_SRS_COMPLETION_PORT_01_007
#[test]
fn a_regular_file_is_refused_with_eperm_and_stays_with_the_registration() {
    let _alone = alone();
    let file = OwnedFd::from(File::open("/proc/self/exe").unwrap());
    let number = file.as_raw_fd();
    let registration = Registration::new(port().1, Transfers::default(), file);

    for _ in 0..2 {
        let refused = registration.register(|| ()).expect_err("epoll takes no regular files");
        let RegisterError::Kernel(error) = refused else { panic!("{refused:?}") };
        assert_eq!(error.raw_os_error(), Some(Errno::PERM.raw_os_error()));
    }

    let add = registration.add(Direction::In, reads(1)).map_err(|refused| refused.error);
    assert_eq!(add, Err(AddError::NotRegistered));
    assert!(is_open(number));
    drop(registration);
    assert!(!is_open(number), "its owner closes it");
}

// Tests_SRS_COMPLETION_PORT_01_009
#[test]
fn a_descriptor_that_the_handler_refuses_stays_unwatched() {
    let _alone = alone();
    struct OnlySockets;
    impl Handler for OnlySockets {
        type Descriptor = OwnedFd;
        type Operation = ();

        fn prepare(&self, descriptor: &OwnedFd) -> std::io::Result<()> {
            rustix::net::sockopt::socket_type(descriptor)?;
            Ok(())
        }

        fn attempt(&self, (): (), _: Action, _: Attempt<'_, Self>) {}
    }
    let pipe = OwnedFd::from(std::io::pipe().unwrap().0);
    let number = pipe.as_raw_fd();
    let registration = Registration::new(port().1, OnlySockets, pipe);

    let refused = registration.register(|| ()).expect_err("a pipe is no socket");

    let RegisterError::Unusable(error) = refused else { panic!("{refused:?}") };
    assert_eq!(error.raw_os_error(), Some(Errno::NOTSOCK.raw_os_error()));
    assert!(epoll_entries(number).is_empty());
}

// Tests_SRS_COMPLETION_PORT_01_109
#[test]
fn a_descriptor_over_which_the_handler_panics_stays_unwatched_and_its_registration_can_be_dropped() {
    struct Panics;
    impl Handler for Panics {
        type Descriptor = OwnedFd;
        type Operation = ();

        fn prepare(&self, _: &OwnedFd) -> std::io::Result<()> {
            panic!("on purpose");
        }

        fn attempt(&self, (): (), _: Action, _: Attempt<'_, Self>) {}
    }
    let _alone = alone();
    let pipe = OwnedFd::from(std::io::pipe().unwrap().0);
    let number = pipe.as_raw_fd();
    let registration = Registration::new(port().1, Panics, pipe);

    registration.register(|| ()).expect_err("the handler panics");

    assert!(epoll_entries(number).is_empty());
    integration_tests::within("the drop", || drop(registration));
    assert!(!is_open(number));
}

// Tests_SRS_COMPLETION_PORT_01_008
#[rstest]
#[case::while_it_watches(false, Phase::Registered)]
#[case::after_removal(true, Phase::Removed)]
fn a_used_registration_refuses_to_register_again_and_says_which_phase_it_is_in(
    #[case] removed: bool,
    #[case] phase: Phase,
) {
    let _alone = alone();
    let (registration, _peer) = socket(&port().1);
    if removed {
        assert!(registration.remove());
    }

    let refused = registration.register(|| ()).expect_err("it was used");

    let RegisterError::AlreadyUsed(said) = refused else { panic!("{refused:?}") };
    assert_eq!((said, registration.phase()), (phase, phase));
}
