//! Registrations that are watched from their first operation on, on real descriptors.

use completion_port::sys::Errno;
use completion_port::{Action, AddError, ClaimError, Direction, Phase, Port as _, Registration};
use integration_tests::port::{Port, Transfers, Watched, port, reads, round_trip, start, watched_by, writes};
use integration_tests::spawn;
use rustix::io::ioctl_fionbio;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Barrier};

/// A descriptor that the port watches from its first operation on.
fn lazily(port: &Port, descriptor: impl Into<OwnedFd>) -> Arc<Watched> {
    let registration = Registration::new(port.clone(), Transfers::default(), descriptor.into());
    registration.register_lazily(|| ()).expect("the port takes it");
    Arc::new(registration)
}

/// One end of a socket pair, registered lazily, and the other end.
fn pair(port: &Port) -> (Arc<Watched>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a socket pair is made");
    ioctl_fionbio(&ours, true).expect("it can be made non-blocking");
    (lazily(port, ours), theirs)
}

/// How many descriptors the kernel watches for a port, its eventfd included.
fn watched(port: &Port) -> usize {
    watched_by(port.number().expect("a real port has a number"))
}

// Tests_SRS_COMPLETION_PORT_01_190
#[test]
fn what_is_never_used_is_never_in_epoll_and_the_peer_sees_the_end() {
    let port = port().1;
    let before = watched(&port);
    let (registration, mut peer) = pair(&port);
    assert_eq!((registration.phase(), watched(&port)), (Phase::Registered, before));

    drop(registration);

    assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
    assert_eq!(watched(&port), before);
}

// Tests_SRS_COMPLETION_PORT_01_191
#[test]
fn the_first_read_gets_what_came_before_it() {
    let port = port().1;
    let before = watched(&port);
    let (registration, mut peer) = pair(&port);
    peer.write_all(b"early").unwrap();
    round_trip(&port);

    let read = start(&registration, Direction::In, reads(8));

    assert_eq!(read.only().bytes, b"early");
    assert_eq!(watched(&port), before + 1);
    let (read, written) =
        (start(&registration, Direction::In, reads(8)), start(&registration, Direction::Out, writes("out")));
    assert_eq!(written.only().result, Some(Ok(3)));
    peer.write_all(b"late").unwrap();
    assert_eq!(read.only().bytes, b"late");
    assert_eq!(watched(&port), before + 1);
}

// Tests_SRS_COMPLETION_PORT_01_191
#[test]
fn a_claim_may_be_the_first_operation() {
    let port = port().1;
    let before = watched(&port);
    let (registration, _peer) = pair(&port);

    let claim = registration.try_claim(Direction::Out).expect("nothing waits");

    assert_eq!(watched(&port), before + 1);
    drop(claim);
    assert!(registration.remove());
    assert_eq!(watched(&port), before);
}

// Tests_SRS_COMPLETION_PORT_01_191
#[test]
fn of_two_first_operations_at_once_both_complete() {
    let port = port().1;
    let before = watched(&port);
    for _ in 0..500 {
        let (registration, mut peer) = pair(&port);
        peer.write_all(b"in").unwrap();
        let (other, barrier) = (Arc::clone(&registration), Arc::new(Barrier::new(2)));
        let both = Arc::clone(&barrier);
        let reading = spawn("reads", move || {
            both.wait();
            start(&other, Direction::In, reads(8)).only()
        });
        barrier.wait();
        let written = start(&registration, Direction::Out, writes("out")).only();

        assert_eq!((written.action, reading.join().bytes), (Action::Out, b"in".to_vec()));
        assert_eq!(watched(&port), before + 1);
    }
}

// Tests_SRS_COMPLETION_PORT_01_192
#[test]
fn what_epoll_cannot_watch_is_refused_at_each_operation() {
    let port = port().1;
    let before = watched(&port);
    // epoll(7) watches no regular files.
    let file = File::open("/proc/self/exe").unwrap();
    let registration = lazily(&port, file);

    for _ in 0..2 {
        let refused = registration.add(Direction::In, reads(8)).expect_err("epoll refuses");

        assert_eq!(refused.error, AddError::NotWatched(Errno::PERM));
        assert_eq!(registration.try_claim(Direction::Out).err(), Some(ClaimError::NotWatched(Errno::PERM)));
    }

    assert_eq!((registration.phase(), watched(&port)), (Phase::Registered, before));
    assert!(registration.remove());
}

// Tests_SRS_COMPLETION_PORT_01_193
#[test]
fn a_removal_at_the_moment_of_the_first_operation_leaves_nothing_in_epoll() {
    let port = port().1;
    let before = watched(&port);
    for _ in 0..2_000 {
        let (ours, _peer) = UnixStream::pair().unwrap();
        // Keeps the open file, so that closing the descriptor takes nothing out of epoll.
        let _duplicate = ours.try_clone().unwrap();
        let registration = lazily(&port, ours);
        let (other, barrier) = (Arc::clone(&registration), Arc::new(Barrier::new(2)));
        let both = Arc::clone(&barrier);
        let adding = spawn("adds", move || {
            both.wait();
            drop(other.add(Direction::In, reads(8)));
        });
        barrier.wait();
        registration.remove_and_wait();

        adding.join();
        assert_eq!(watched(&port), before);
    }
    // Without a removal it is watched.
    let (registration, _peer) = pair(&port);
    assert!(registration.add(Direction::In, reads(8)).is_ok());
}
