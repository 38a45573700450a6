//! The descriptors that each epoll instance watches, for re-arming descriptors and injecting events.

use completion_port::sys::{EventData, EventFlags};
use rustix::event::epoll;
use rustix::net::ipproto;
use rustix::net::sockopt::socket_protocol;
use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

/// The number of reported and of removed descriptors that are remembered.
const REMEMBERED: usize = 256;

/// An epoll instance's number and the data of one of its entries.
type Entry = (RawFd, u64);

/// An event: its data and its flags.
type Report = (EventFlags, u64);

#[derive(Default)]
pub(super) struct Watched {
    /// Duplicates of the instances that were made here.
    instances: HashMap<RawFd, Arc<OwnedFd>>,
    descriptors: HashMap<RawFd, Descriptor>,
    /// Whether the entry's socket has a queue of error messages. The kernel reports such a queue as an error, although
    /// the socket has no error.
    entries: HashMap<Entry, bool>,
    held: HashMap<RawFd, Vec<Report>>,
    reported: VecDeque<Entry>,
    removed: VecDeque<Entry>,
    removals: usize,
}

struct Descriptor {
    epoll: Arc<OwnedFd>,
    entry: Entry,
    flags: EventFlags,
}

impl Watched {
    /// Notes a new epoll instance. Its number may have been that of an earlier one.
    pub(super) fn created(&mut self, epoll: &OwnedFd) {
        let number = epoll.as_raw_fd();
        self.reported.retain(|(of, _)| *of != number);
        self.removed.retain(|(of, _)| *of != number);
        self.held.remove(&number);
        if let Ok(duplicate) = epoll.try_clone() {
            self.instances.insert(number, Arc::new(duplicate));
        }
    }

    pub(super) fn added(&mut self, epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, data: u64, flags: EventFlags) {
        let entry = (epoll.as_raw_fd(), data);
        let known = self.instances.get(&entry.0).cloned();
        let Some(epoll) = known.or_else(|| epoll.try_clone_to_owned().ok().map(Arc::new)) else { return };
        let has_error_queue = matches!(socket_protocol(fd), Ok(Some(ipproto::TCP)));
        self.entries.insert(entry, has_error_queue);
        self.descriptors.insert(fd.as_raw_fd(), Descriptor { epoll, entry, flags });
    }

    pub(super) fn modified(&mut self, fd: BorrowedFd<'_>, data: u64, flags: EventFlags) {
        if let Some(descriptor) = self.descriptors.get_mut(&fd.as_raw_fd()) {
            let old = descriptor.entry;
            descriptor.entry.1 = data;
            descriptor.flags = flags;
            if let Some(has_error_queue) = self.entries.remove(&old) {
                self.entries.insert((old.0, data), has_error_queue);
            }
        }
    }

    pub(super) fn deleted(&mut self, fd: BorrowedFd<'_>) {
        if let Some(descriptor) = self.descriptors.remove(&fd.as_raw_fd()) {
            self.entries.remove(&descriptor.entry);
            self.removals += 1;
            remember(&mut self.removed, descriptor.entry);
        }
    }

    pub(super) fn reported(&mut self, epoll: BorrowedFd<'_>, data: u64) {
        remember(&mut self.reported, (epoll.as_raw_fd(), data));
    }

    /// Makes the kernel look at a descriptor again, if the descriptor is watched.
    pub(super) fn rearm(&self, fd: BorrowedFd<'_>) -> bool {
        self.descriptors.get(&fd.as_raw_fd()).is_some_and(|Descriptor { epoll, entry, flags }| {
            epoll::modify(epoll, fd, EventData::new_u64(entry.1), *flags).is_ok()
        })
    }

    /// Keeps events until the next wait.
    pub(super) fn hold_back(&mut self, epoll: BorrowedFd<'_>, events: Vec<Report>) {
        self.held.insert(epoll.as_raw_fd(), events);
    }

    /// The events that were kept.
    pub(super) fn held_back(&mut self, epoll: BorrowedFd<'_>) -> Vec<Report> {
        self.held.remove(&epoll.as_raw_fd()).unwrap_or_default()
    }

    /// The data of each descriptor that was reported recently and is still watched, and whether it has a queue of error
    /// messages.
    pub(super) fn lately_reported(&self, epoll: BorrowedFd<'_>) -> Vec<(u64, bool)> {
        let here = |entry: &&Entry| entry.0 == epoll.as_raw_fd();
        let watched = |entry: &Entry| Some((entry.1, *self.entries.get(entry)?));
        self.reported.iter().filter(here).filter_map(watched).collect()
    }

    /// The number of descriptors that were removed so far, from any instance.
    pub(super) fn removals(&self) -> usize {
        self.removals
    }

    /// The data of each descriptor that was removed after the first `before` removals.
    pub(super) fn removed_since(&self, epoll: BorrowedFd<'_>, before: usize) -> Vec<u64> {
        let here = |entry: &&Entry| entry.0 == epoll.as_raw_fd();
        self.removed.iter().rev().take(self.removals - before).filter(here).map(|entry| entry.1).collect()
    }
}

fn remember(queue: &mut VecDeque<Entry>, entry: Entry) {
    if queue.len() == REMEMBERED {
        queue.pop_front();
    }
    queue.push_back(entry);
}
