//! The faulty system calls of a port.

use super::{Fault, FaultySyscalls};
use crate::no_memory::with_memory;
use completion_port::sys::{EpollOp, Errno, Event, EventData, EventFlags, Milliseconds};
use completion_port::{Kernel, PortSyscalls};
use std::os::fd::{BorrowedFd, OwnedFd};

/// The flags that an injected event may have: something may be ready, but nothing has ended.
const SPURIOUS: [EventFlags; 3] = [EventFlags::IN, EventFlags::OUT, EventFlags::IN.union(EventFlags::OUT)];

/// The same for a socket with a queue of error messages, which another reader may have emptied.
const SPURIOUS_WITH_ERRORS: [EventFlags; 2] = [EventFlags::ERR, EventFlags::ERR.union(EventFlags::IN)];

impl PortSyscalls for FaultySyscalls {
    fn epoll_create(&self) -> Result<OwnedFd, Errno> {
        self.before_making_a_descriptor()?;
        let epoll = Kernel.epoll_create()?;
        self.state.watched.lock().created(&epoll);
        Ok(epoll)
    }

    fn eventfd(&self) -> Result<OwnedFd, Errno> {
        self.before_making_a_descriptor()?;
        Kernel.eventfd()
    }

    fn epoll_ctl(&self, epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, op: EpollOp) -> Result<(), Errno> {
        self.interrupt()?;
        if matches!(op, EpollOp::Add { .. }) {
            self.fail(Fault::NoDescriptors, Errno::NOSPC)?;
            self.fail(Fault::NoMemory, Errno::NOMEM)?;
        }
        // Holds the lock during the call. So the descriptor is noted before an event can come, and no thread sees a
        // descriptor whose call fails.
        let mut watched = self.state.watched.lock();
        if op == EpollOp::Delete {
            watched.deleted(fd);
        }
        Kernel.epoll_ctl(epoll, fd, op)?;
        match op {
            EpollOp::Add { data, flags } => watched.added(epoll, fd, data, flags),
            EpollOp::Modify { data, flags } => watched.modified(fd, data, flags),
            EpollOp::Delete => {}
        }
        Ok(())
    }

    fn epoll_wait(&self, epoll: BorrowedFd<'_>, events: &mut Vec<Event>, at_most: Milliseconds) -> Result<(), Errno> {
        with_memory(|| {
            let mut watched = self.state.watched.lock();
            let (held, before) = (watched.held_back(epoll), watched.removals());
            drop(watched);
            if !held.is_empty() {
                events.extend(held.into_iter().map(|(flags, data)| event(flags, data)));
                return Ok(());
            }
            self.interrupt()?;
            Kernel.epoll_wait(epoll, events, at_most)?;
            self.hold_some_back(epoll, events);
            self.invent(epoll, events, before);
            Ok(())
        })
    }

    fn wake(&self, epoll: BorrowedFd<'_>, eventfd: BorrowedFd<'_>, data: u64) -> Result<(), Errno> {
        self.interrupt()?;
        Kernel.wake(epoll, eventfd, data)
    }
}

impl FaultySyscalls {
    fn before_making_a_descriptor(&self) -> Result<(), Errno> {
        self.interrupt()?;
        self.fail(Fault::NoDescriptors, self.one_of(&[Errno::MFILE, Errno::NFILE]))?;
        self.fail(Fault::NoMemory, Errno::NOMEM)
    }

    /// Keeps the tail of the batch for the next wait, which then does not ask the kernel. It is as if the thread had
    /// been delayed in between. By then some of these descriptors may have been removed.
    fn hold_some_back(&self, epoll: BorrowedFd<'_>, events: &mut Vec<Event>) {
        if events.len() > 1 && self.happens(Fault::Late) {
            let keep = self.state.random.lock().usize(1..events.len());
            let held = events.drain(keep..).map(|event| (event.flags, event.data.u64())).collect();
            self.state.watched.lock().hold_back(epoll, held);
        }
    }

    fn invent(&self, epoll: BorrowedFd<'_>, events: &mut Vec<Event>, removals_before: usize) {
        let mut watched = self.state.watched.lock();
        for event in events.iter() {
            watched.reported(epoll, event.data.u64());
        }
        let removed = watched.removed_since(epoll, removals_before);
        let lately = if self.wants(Fault::Spurious) { watched.lately_reported(epoll) } else { Vec::new() };
        drop(watched);
        let mut invent = |fault, data, has_error_queue| {
            if events.len() < events.capacity() {
                self.count(fault);
                let errors = has_error_queue && self.state.random.lock().bool();
                let flags = if errors { self.one_of(&SPURIOUS_WITH_ERRORS) } else { self.one_of(&SPURIOUS) };
                events.push(event(flags, data));
            }
        };
        if !lately.is_empty() {
            let (data, has_error_queue) = self.one_of(&lately);
            invent(Fault::Spurious, data, has_error_queue);
        }
        for data in removed {
            if self.wants(Fault::Removed) {
                invent(Fault::Removed, data, false);
            }
        }
    }
}

fn event(flags: EventFlags, data: u64) -> Event {
    Event { flags, data: EventData::new_u64(data) }
}
