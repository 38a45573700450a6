//! Registering real descriptors: what the kernel is told, and what it refuses.

mod completion_port_support;

use completion_port::{AddError, Direction, RegisterError, Registration};
use completion_port_support::{Transfers, port, reads, socket, start, watch, writes};
use integration_tests::process::epoll_entries;
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
    // EPOLLIN, PRI, OUT, ERR and HUP (unasked), RDHUP, ET.
    assert!(entries[0].contains("events: 8000201f"), "{entries:?}");
}

// Tests_SRS_COMPLETION_PORT_01_007
#[test]
fn a_regular_file_comes_back_with_eperm_and_a_socket_can_be_registered_instead() {
    let registration = Registration::new(port().1, Transfers::default());
    let file = OwnedFd::from(File::open("/proc/self/exe").unwrap());
    let number = file.as_raw_fd();

    let refused = registration.register(file).expect_err("epoll takes no regular files");

    let RegisterError::Kernel(error) = refused.error else { panic!("{:?}", refused.error) };
    assert_eq!(error.raw_os_error(), Some(Errno::PERM.raw_os_error()));
    assert_eq!(refused.returned.as_raw_fd(), number);
    let add = registration.add(Direction::In, reads(1)).map_err(|refused| refused.error);
    assert_eq!(add, Err(AddError::NotRegistered));

    let (ours, _theirs) = pair();
    registration.register(ours).unwrap();
    start(&registration, Direction::Out, writes("x")).next();
}

// Tests_SRS_COMPLETION_PORT_01_008
#[rstest]
#[case::while_it_watches(false)]
#[case::after_removal(true)]
fn a_used_registration_gives_another_descriptor_back(#[case] removed: bool) {
    let (registration, _peer) = socket(&port().1);
    if removed {
        registration.remove().unwrap();
    }
    let (another, _theirs) = pair();
    let number = another.as_raw_fd();

    let refused = registration.register(another).expect_err("it was used");

    assert!(matches!(refused.error, RegisterError::AlreadyUsed), "{:?}", refused.error);
    assert_eq!(refused.returned.as_raw_fd(), number);
    assert!(epoll_entries(number).is_empty());
}
