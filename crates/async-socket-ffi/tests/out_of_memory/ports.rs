//! `completion_port_*`.

use crate::operation::{Seen, Which, failing, give_up, wait_for_input};
use COMPLETION_PORT_EPOLL_ACTION::{COMPLETION_PORT_EPOLL_ABANDONED, COMPLETION_PORT_EPOLL_EPOLLIN};
use async_socket::*;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

/// A port that was created reports an event.
pub(crate) fn reports(port: COMPLETION_PORT_HANDLE) {
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let seen = Seen::default();
    assert!(wait_for_input(port, ours.as_raw_fd(), &seen));
    peer.write_all(b"x").unwrap();
    assert_eq!(seen.wait(), COMPLETION_PORT_EPOLL_EPOLLIN as u32);
}

pub(crate) fn a_port_is_created_or_not(which: Which) -> usize {
    let (port, tried) = failing(which, || completion_port_create());
    if !port.is_null() {
        reports(port);
        give_up(port);
    }
    tried
}

pub(crate) fn references_need_nothing(which: Which) -> usize {
    let port = completion_port_create();
    let ((), tried) = failing(which, || {
        // SAFETY: a reference that we have.
        unsafe { completion_port_inc_ref(port) };
        give_up(port);
    });
    reports(port);
    give_up(port);
    tried
}

pub(crate) fn the_last_reference_abandons_what_waits(which: Which) -> usize {
    let port = completion_port_create();
    let (ours, _peer) = UnixStream::pair().unwrap();
    let (one, two) = (Seen::default(), Seen::default());
    assert!(wait_for_input(port, ours.as_raw_fd(), &one));
    assert!(wait_for_input(port, ours.as_raw_fd(), &two));
    let ((), tried) = failing(which, || give_up(port));
    assert_eq!([one.result(), two.result()], [COMPLETION_PORT_EPOLL_ABANDONED as u32; 2]);
    tried
}

/// Adds a wait with some allocations failing. An accepted wait ends with its event. A refused wait can be added later.
pub(crate) fn a_wait(which: Which, port: COMPLETION_PORT_HANDLE, ours: &UnixStream, peer: &mut UnixStream) -> usize {
    let (seen, later) = (Seen::default(), Seen::default());
    let (accepted, tried) = failing(which, || wait_for_input(port, ours.as_raw_fd(), &seen));
    assert!(wait_for_input(port, ours.as_raw_fd(), &later));
    peer.write_all(b"x").unwrap();
    assert_eq!(later.wait(), COMPLETION_PORT_EPOLL_EPOLLIN as u32);
    seen.ends_with(accepted, COMPLETION_PORT_EPOLL_EPOLLIN as u32);
    tried
}

pub(crate) fn a_first_wait(which: Which) -> usize {
    let port = completion_port_create();
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let tried = a_wait(which, port, &ours, &mut peer);
    give_up(port);
    tried
}

pub(crate) fn a_second_wait(which: Which) -> usize {
    let port = completion_port_create();
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let first = Seen::default();
    assert!(wait_for_input(port, ours.as_raw_fd(), &first));
    let tried = a_wait(which, port, &ours, &mut peer);
    assert_eq!(first.wait(), COMPLETION_PORT_EPOLL_EPOLLIN as u32);
    give_up(port);
    tried
}

pub(crate) fn a_wait_for_another_descriptor(which: Which) -> usize {
    let port = completion_port_create();
    let (first, _first_peer) = UnixStream::pair().unwrap();
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let waits = Seen::default();
    assert!(wait_for_input(port, first.as_raw_fd(), &waits));
    let tried = a_wait(which, port, &ours, &mut peer);
    give_up(port);
    assert_eq!(waits.result(), COMPLETION_PORT_EPOLL_ABANDONED as u32);
    tried
}

pub(crate) fn a_wait_for_what_is_ready(which: Which) -> usize {
    let port = completion_port_create();
    let (ours, mut peer) = UnixStream::pair().unwrap();
    peer.write_all(b"x").unwrap();
    let tried = a_wait(which, port, &ours, &mut peer);
    give_up(port);
    tried
}

pub(crate) fn a_refused_wait(which: Which) -> usize {
    let port = completion_port_create();
    let file = std::fs::File::open("/dev/null").unwrap();
    let seen = Seen::default();
    let (accepted, tried) = failing(which, || wait_for_input(port, file.as_raw_fd(), &seen));
    assert!(!accepted, "epoll does not take such a file");
    reports(port);
    give_up(port);
    assert_eq!(seen.calls(), 0);
    tried
}

pub(crate) fn a_removal_abandons_what_waits(which: Which) -> usize {
    let port = completion_port_create();
    let (ours, _peer) = UnixStream::pair().unwrap();
    let (one, two) = (Seen::default(), Seen::default());
    assert!(wait_for_input(port, ours.as_raw_fd(), &one));
    assert!(wait_for_input(port, ours.as_raw_fd(), &two));
    // SAFETY: a reference that we have.
    let ((), tried) = failing(which, || unsafe { completion_port_remove(port, ours.as_raw_fd()) });
    assert_eq!([one.result(), two.result()], [COMPLETION_PORT_EPOLL_ABANDONED as u32; 2]);
    reports(port);
    give_up(port);
    tried
}
