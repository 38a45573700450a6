//! The system calls of a real port, as a model: attached descriptors, events that have come, and the sleeping thread.

use completion_port::sys::{EpollOp, Errno, Event, EventData, EventFlags, LONGEST_WAIT, Milliseconds};
use completion_port::{PortSyscalls, Token};
use loom::sync::{Condvar, Mutex};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// One epoll instance, with its eventfd and one descriptor.
#[derive(Clone, Default)]
pub struct ModelKernel(Arc<Inner>);

#[derive(Default)]
struct Inner {
    epoll: Mutex<Epoll>,
    slept: Condvar,
}

#[derive(Default)]
struct Epoll {
    /// The eventfd's, and then the descriptors'.
    tokens: [Option<u64>; 3],
    events: Vec<(u64, EventFlags)>,
    /// How long the thread has slept.
    slept: Duration,
}

/// The time at which every model begins.
pub fn beginning() -> Instant {
    static BEGINNING: OnceLock<Instant> = OnceLock::new();
    *BEGINNING.get_or_init(Instant::now)
}

/// Any descriptor at all.
pub fn any_descriptor() -> BorrowedFd<'static> {
    static ANY: OnceLock<File> = OnceLock::new();
    ANY.get_or_init(|| File::open("/dev/null").expect("it is always there")).as_fd()
}

impl ModelKernel {
    fn change(&self, change: impl FnOnce(&mut Epoll)) {
        change(&mut self.0.epoll.lock().expect("no panic"));
        self.0.slept.notify_all();
    }

    /// An event with an old token. It belongs to a descriptor that its owner has closed and that still has a duplicate.
    pub fn arrive_late(&self, token: Token, flags: EventFlags) {
        self.change(|epoll| epoll.events.push((token.0, flags)));
    }

    /// An event of the descriptor; lost if nothing is attached.
    pub fn arrive(&self, flags: EventFlags) {
        self.change(|epoll| epoll.report(1, flags));
    }
}

impl Epoll {
    fn report(&mut self, which: usize, flags: EventFlags) {
        self.events.extend(self.tokens[which].map(|token| (token, flags)));
    }
}

impl PortSyscalls for ModelKernel {
    fn epoll_create(&self) -> Result<OwnedFd, Errno> {
        any_descriptor().try_clone_to_owned().map_err(|_| Errno::MFILE)
    }

    fn eventfd(&self) -> Result<OwnedFd, Errno> {
        self.epoll_create()
    }

    fn epoll_ctl(&self, _: BorrowedFd<'_>, _: BorrowedFd<'_>, op: EpollOp) -> Result<(), Errno> {
        self.change(|epoll| match op {
            EpollOp::Add { data, .. } => {
                let free = epoll.tokens.iter_mut().find(|token| token.is_none());
                *free.expect("the model has two descriptors at a time") = Some(data);
            }
            // Registrations do not rearm. The port only checks whether its descriptors are still its own.
            EpollOp::Modify { .. } => {}
            EpollOp::Delete => {
                let token = epoll.tokens[1].take();
                epoll.events.retain(|event| Some(event.0) != token);
            }
        });
        Ok(())
    }

    fn epoll_wait(&self, _: BorrowedFd<'_>, events: &mut Vec<Event>, at_most: Milliseconds) -> Result<(), Errno> {
        let mut epoll = self.0.epoll.lock().expect("no panic");
        if (1..LONGEST_WAIT).contains(&at_most) && epoll.events.is_empty() {
            // A timer ends the wait. No time passes in a model but here.
            epoll.slept += Duration::from_millis(at_most.into());
        }
        while at_most == LONGEST_WAIT && epoll.events.is_empty() {
            epoll = self.0.slept.wait(epoll).expect("no panic");
        }
        let reported = epoll.events.drain(..);
        events.extend(reported.map(|(token, flags)| Event { flags, data: EventData::new_u64(token) }));
        Ok(())
    }

    fn now(&self) -> Instant {
        beginning() + self.0.epoll.lock().expect("no panic").slept
    }

    fn wake(&self, _: BorrowedFd<'_>, _: BorrowedFd<'_>, _: u64) -> Result<(), Errno> {
        self.change(|epoll| epoll.report(0, EventFlags::IN));
        Ok(())
    }
}
