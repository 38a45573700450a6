//! Waiting for single events of descriptors that somebody else owns: the specification's raw
//! `completion_port_add`.
//!
//! A [`Registration`](crate::Registration) owns its descriptor and costs no system call per operation. Here the
//! descriptor stays the caller's, who may close it without a word and get the number back as something else; so each
//! `add` asks the kernel anew, at the price of two system calls.
//!
//! Invariant: a waiter is in the table or in the hands of the thread that fires it, never both.

use crate::callback::run_caught;
use crate::handler::{Action, Direction};
use crate::port::{CompletionPort, Port, Source, Token, Turn};
use crate::readiness::Readiness;
use crate::sync::{Arc, Condvar, Mutex};
use crate::sys::Errno;
use bitflags::bitflags;
use rustix::fs::fstat;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

bitflags! {
    /// The events that one can wait for, with the kernel's values; errors and hang-ups come unasked.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Interest: u32 {
        /// `EPOLLIN`
        const IN = Readiness::IN.bits();
        /// `EPOLLOUT`
        const OUT = Readiness::OUT.bits();
        /// `EPOLLRDHUP`, which who waits for `IN` gets too.
        const READ_HANG_UP = Readiness::READ_HANG_UP.bits();
    }
}

/// What is called when its event comes.
pub trait Waiter: Send + 'static {
    /// Runs once, with no lock held, on the port's thread, or with [`Action::Abandoned`] on the thread that
    /// removes the descriptor or finds that it is gone.
    fn fire(self, action: Action);
}

impl<F: FnOnce(Action) + Send + 'static> Waiter for F {
    fn fire(self, action: Action) {
        self(action);
    }
}

/// The descriptors of others on a port, and who waits for their next event.
///
/// ```
/// use completion_port::{Action, CompletionPort, Interest, OneShots};
/// use std::{io::Write, os::fd::AsFd, os::unix::net::UnixStream, sync::mpsc::channel};
///
/// let waiting = OneShots::new(CompletionPort::create()?);
/// let (ours, mut theirs) = UnixStream::pair()?;
/// let (sender, fired) = channel();
/// waiting.add(ours.as_fd(), Interest::IN, move |action: Action| drop(sender.send(action)))?;
/// theirs.write_all(b"!")?;
/// assert_eq!(fired.recv()?, Action::In);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct OneShots<W: Waiter, P: Port = CompletionPort> {
    port: P,
    watches: Mutex<HashMap<RawFd, Arc<Watch<W>>>>,
}

/// One descriptor.
struct Watch<W> {
    /// Device and inode: another one under the same number is another descriptor.
    identity: (u64, u64),
    token: Mutex<Option<Token>>,
    state: Mutex<State<W>>,
    quiet: Condvar,
}

struct State<W> {
    waiters: VecDeque<Entry<W>>,
    next: u64,
    /// The port's thread is in a waiter's call-back.
    firing: bool,
}

struct Entry<W> {
    number: u64,
    interest: Interest,
    waiter: W,
}

impl<W: Waiter, P: Port> OneShots<W, P> {
    /// Nothing waits yet. This keeps the port alive.
    #[must_use]
    pub fn new(port: P) -> Self {
        Self { port, watches: Mutex::default() }
    }

    /// Waits for the next event of interest: at once if the descriptor is ready. Several can wait for the same.
    ///
    /// # Errors
    /// What `epoll_ctl(2)` says, `EBADF` or `EPERM` for instance, or `ENOMEM`; the waiter is then dropped.
    // Codes_SRS_COMPLETION_PORT_01_070, Codes_SRS_COMPLETION_PORT_01_071, Codes_SRS_COMPLETION_PORT_01_072
    pub fn add(&self, descriptor: BorrowedFd<'_>, interest: Interest, waiter: W) -> io::Result<()> {
        let identity = identity(descriptor)?;
        let mut watches = self.watches.lock();
        let Added { stale, refused } = self.add_locked(&mut watches, descriptor, identity, interest, waiter);
        // What is left over runs the user's code, so it goes without the lock.
        drop(watches);
        if let Some(watch) = stale {
            if let Some(token) = watch.token.lock().take() {
                self.port.forget(token);
            }
            watch.end(true);
        }
        refused.map_or(Ok(()), |(error, _waiter)| Err(error))
    }

    fn add_locked(
        &self,
        watches: &mut HashMap<RawFd, Arc<Watch<W>>>,
        descriptor: BorrowedFd<'_>,
        identity: (u64, u64),
        interest: Interest,
        mut waiter: W,
    ) -> Added<W> {
        let fd = descriptor.as_raw_fd();
        let is_another = watches.get(&fd).is_some_and(|watch| watch.identity != identity);
        let mut stale = if is_another { watches.remove(&fd) } else { None };
        if let Some(watch) = watches.get(&fd) {
            match self.add_to(watch, descriptor, interest, waiter) {
                Ok(()) => return Added { stale, refused: None },
                // All eventfds, say, have one inode; but the kernel knows that this is not the one we attached.
                Err((error, Some(returned))) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {
                    waiter = returned;
                    stale = watches.remove(&fd);
                }
                Err(refused) => return Added { stale, refused: Some(refused) },
            }
        }
        let refused = self.add_new(watches, descriptor, identity, interest, waiter).err();
        Added { stale, refused }
    }

    fn add_to(
        &self,
        watch: &Watch<W>,
        descriptor: BorrowedFd<'_>,
        interest: Interest,
        waiter: W,
    ) -> Result<(), (io::Error, Option<W>)> {
        let number = watch.push(interest, waiter)?;
        let Some(token) = *watch.token.lock() else { return Ok(()) };
        self.port.rearm(descriptor, token).or_else(|error| watch.take_back(number, error))
    }

    fn add_new(
        &self,
        watches: &mut HashMap<RawFd, Arc<Watch<W>>>,
        descriptor: BorrowedFd<'_>,
        identity: (u64, u64),
        interest: Interest,
        waiter: W,
    ) -> Result<(), (io::Error, Option<W>)> {
        if watches.try_reserve(1).is_err() {
            return Err((Errno::NOMEM.into(), Some(waiter)));
        }
        let watch = Arc::new(Watch::new(identity));
        let number = watch.push(interest, waiter)?;
        match self.port.attach(descriptor, Arc::clone(&watch) as _) {
            Ok(token) => {
                *watch.token.lock() = Some(token);
                watches.insert(descriptor.as_raw_fd(), watch);
                Ok(())
            }
            Err(error) => watch.take_back(number, error),
        }
    }

    /// Forgets a descriptor: waits for a call-back that runs on another thread, then abandons what waits, in the order
    /// it was added. Does nothing for a number that nobody waits for.
    // Codes_SRS_COMPLETION_PORT_01_073
    pub fn remove(&self, descriptor: BorrowedFd<'_>) {
        let mut watches = self.watches.lock();
        let Some(watch) = watches.remove(&descriptor.as_raw_fd()) else { return };
        if let Some(token) = watch.token.lock().take() {
            match identity(descriptor) {
                Ok(identity) if identity == watch.identity => self.port.detach(descriptor, token),
                // The number is somebody else's now; the kernel has forgotten ours.
                _ => self.port.forget(token),
            }
        }
        drop(watches);
        watch.end(self.port.is_current_thread());
    }
}

/// What an `add` leaves to be done without the lock.
struct Added<W> {
    /// Whom the number belonged to before.
    stale: Option<Arc<Watch<W>>>,
    refused: Option<(io::Error, Option<W>)>,
}

impl<W: Waiter, P: Port> Drop for OneShots<W, P> {
    /// Abandons everything. What the descriptors were registered with is forgotten by the port, but not by epoll, as
    /// long as they are open: another list on the same port cannot wait for them.
    // Codes_SRS_COMPLETION_PORT_01_074
    fn drop(&mut self) {
        for watch in self.watches.get_mut().drain().map(|(_, watch)| watch) {
            if let Some(token) = watch.token.lock().take() {
                // The descriptor may be anything by now. If it is ours still, its events find nothing.
                self.port.forget(token);
            }
            watch.end(self.port.is_current_thread());
        }
    }
}

impl<W: Waiter, P: Port> fmt::Debug for OneShots<W, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneShots").field("descriptors", &self.watches.lock().len()).finish_non_exhaustive()
    }
}

impl<W: Waiter> Watch<W> {
    fn new(identity: (u64, u64)) -> Self {
        let state = State { waiters: VecDeque::new(), next: 0, firing: false };
        Self { identity, token: Mutex::new(None), state: Mutex::new(state), quiet: Condvar::new() }
    }

    fn push(&self, interest: Interest, waiter: W) -> Result<u64, (io::Error, Option<W>)> {
        let mut state = self.state.lock();
        if state.waiters.try_reserve(1).is_err() {
            return Err((Errno::NOMEM.into(), Some(waiter)));
        }
        let number = state.next;
        state.next += 1;
        state.waiters.push_back(Entry { number, interest, waiter });
        Ok(number)
    }

    /// Refuses a waiter, unless it has been fired in the meantime: then it has been accepted.
    fn take_back(&self, number: u64, error: io::Error) -> Result<(), (io::Error, Option<W>)> {
        let mut state = self.state.lock();
        let Some(index) = state.waiters.iter().position(|entry| entry.number == number) else { return Ok(()) };
        let entry = state.waiters.remove(index);
        Err((error, entry.map(|entry| entry.waiter)))
    }

    /// Takes all who wait, so that an event that is under way finds nobody; waits for the call-back that runs, unless
    /// that is where the caller is or may be, and abandons them.
    fn end(&self, inside_callback: bool) {
        let mut state = self.state.lock();
        let waiters = std::mem::take(&mut state.waiters);
        while state.firing && !inside_callback {
            self.quiet.wait(&mut state);
        }
        drop(state);
        for entry in waiters {
            run_caught("call-back", || entry.waiter.fire(Action::Abandoned));
        }
    }
}

/// What an event means for who waits: bytes before the end of the stream, and both before an error.
fn action(events: Readiness, interest: Interest) -> Option<Action> {
    let wanted = events.intersection(Readiness::from_bits_truncate(interest.bits()));
    let half_closed = interest.contains(Interest::IN) && events.contains(Readiness::READ_HANG_UP);
    let broken = events.intersects(Readiness::ERROR | Readiness::HANG_UP);
    if wanted.contains(Readiness::IN) {
        Some(Action::In)
    } else if wanted.contains(Readiness::OUT) {
        Some(Action::Out)
    } else if wanted.contains(Readiness::READ_HANG_UP) || half_closed {
        Some(Action::RdHup)
    } else {
        broken.then_some(Action::Error)
    }
}

impl<W: Waiter> Source for Watch<W> {
    /// Fires everyone whose event it is; who is added meanwhile waits for the next, which `add` has asked for.
    fn on_ready(&self, events: Readiness) -> Turn {
        let mut state = self.state.lock();
        let end = state.next;
        loop {
            let due = state
                .waiters
                .iter()
                .enumerate()
                .take_while(|(_, entry)| entry.number < end)
                .find_map(|(index, entry)| Some((index, action(events, entry.interest)?)));
            let Some((index, action)) = due else { return Turn::Over };
            let Some(entry) = state.waiters.remove(index) else { return Turn::Over };
            state.firing = true;
            drop(state);
            run_caught("call-back", || entry.waiter.fire(action));
            state = self.state.lock();
            state.firing = false;
            self.quiet.notify_all();
        }
    }

    fn queued(&self, direction: Direction) -> usize {
        self.state.lock().waiters.iter().filter(|entry| entry.interest.contains(direction.into())).count()
    }
}

impl From<Direction> for Interest {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::In => Self::IN,
            Direction::Out => Self::OUT,
        }
    }
}

fn identity(descriptor: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let stat = fstat(descriptor)?;
    Ok((stat.st_dev, stat.st_ino))
}
