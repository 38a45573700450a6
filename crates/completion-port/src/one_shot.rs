//! Waiting for single events of descriptors that stay the caller's: the specification's raw `completion_port_add`.
//!
//! A [`Registration`](crate::Registration) owns its descriptor and costs no system call per operation. Here the caller may
//! close the descriptor without notice and get its number back for another file. So each `add` asks the kernel anew, at the
//! price of two system calls.
//!
//! Invariants:
//! * A waiter is in the table or in the hands of the thread that fires it, never both.
//! * While a waiter waits for a descriptor, the kernel is armed for every event waited for, or the port thread is in the
//!   descriptor's dispatch and arms the kernel at its end. The kernel reports one event each time it is armed, so a
//!   descriptor without waiters wakes no thread.

use crate::action::{Action, Direction};
use crate::callback::{run_caught, timed};
use crate::memory::TryArc;
use crate::port::{CompletionPort, Port};
use crate::process::{Generation, Inherited};
use crate::readiness::{Interest, Readiness};
use crate::source::{Dispatch, Rearm, Source, Token};
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::sys::Errno;
use rustix::fs::fstat;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// The most waiters that a descriptor without waiters keeps room for.
const ROOM_KEPT: usize = 8;

/// A waiter for one event of a descriptor.
///
/// A pair of a descriptor and a closure is a waiter: `(stream, |action| …)`. A descriptor that is lent as an `Arc` stays
/// open while the waiter waits.
pub trait Waiter: Send + 'static {
    /// The descriptor, the same one at each call. Runs with a lock held, and must not use the [`OneShots`]. If the
    /// descriptor's number was closed in the meantime, the kernel reports it.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// Runs once, with no lock held, on the port's thread. With [`Action::Abandoned`] it runs on the thread that removes
    /// the descriptor or finds that it is gone.
    fn fire(self, action: Action);
}

impl<D: AsFd + Send + 'static, F: FnOnce(Action) + Send + 'static> Waiter for (D, F) {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn fire(self, action: Action) {
        (self.1)(action);
    }
}

/// Waiters on a port for single events of descriptors that the port does not own.
///
/// All methods can be called from any thread, also inside the callback of a waiter.
///
/// ```
/// use completion_port::{Action, CompletionPort, Interest, OneShots};
/// use std::{io::Write, os::unix::net::UnixStream, sync::Arc, sync::mpsc::channel};
///
/// let waiting = OneShots::new(CompletionPort::create()?);
/// let (ours, mut theirs) = UnixStream::pair()?;
/// let ours = Arc::new(ours);
/// let (sender, fired) = channel();
/// waiting.add(Interest::IN, (Arc::clone(&ours), move |action: Action| drop(sender.send(action))))?;
/// theirs.write_all(b"!")?;
/// assert_eq!(fired.recv()?, Action::In);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct OneShots<W: Waiter, P: Port = CompletionPort> {
    port: P,
    made_in: Generation,
    watches: Mutex<HashMap<RawFd, TryArc<Watch<W>>>>,
}

/// One descriptor.
struct Watch<W> {
    /// Device and inode. If they differ, the number belongs to another descriptor.
    identity: (u64, u64),
    made_in: Generation,
    state: Mutex<State<W>>,
    quiesced: Condvar,
}

struct State<W> {
    /// The port's name for it, until it is removed.
    token: Option<Token>,
    /// The events that the kernel is armed for. `None` once it has reported one.
    armed: Option<Interest>,
    waiters: VecDeque<Entry<W>>,
    next: u64,
    /// The port's thread is in a waiter's callback.
    firing: bool,
    /// The number of threads that wait for the end of that callback.
    ending: usize,
    port_failed: bool,
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
        Self { port, made_in: Generation::current(), watches: Mutex::default() }
    }

    /// Waits for the next event of interest. If the descriptor is ready, the waiter fires at once. Several waiters can wait
    /// for the same descriptor, for the same events or others.
    ///
    /// If the number belonged to another descriptor before, the waiters of that descriptor fire with [`Action::Abandoned`].
    ///
    /// # Errors
    /// The error of `epoll_ctl(2)`, `EBADF` or `EPERM` for instance; `EEXIST` if a [`Registration`](crate::Registration) or
    /// another list of the same port uses the descriptor; `ENOMEM`; `EBADF` too if the port has failed; [`Inherited`] in a
    /// child of `fork`. The waiter is then dropped.
    // Codes_SRS_COMPLETION_PORT_01_070, Codes_SRS_COMPLETION_PORT_01_071, Codes_SRS_COMPLETION_PORT_01_072
    // Codes_SRS_COMPLETION_PORT_01_082, Codes_SRS_COMPLETION_PORT_01_126
    pub fn add(&self, interest: Interest, waiter: W) -> io::Result<()> {
        if self.made_in.is_inherited() {
            return Err(Inherited.into());
        }
        let identity = identity(waiter.descriptor())?;
        let mut watches = self.watches.lock();
        let Added { stale, refused } = self.add_locked(&mut watches, identity, interest, waiter);
        // Dropping or firing the rest runs user code, so the lock is released first.
        drop(watches);
        if let Some(watch) = stale {
            watch.end(false);
        }
        refused.map_or(Ok(()), |(error, _waiter)| Err(error))
    }

    fn add_locked(
        &self,
        watches: &mut HashMap<RawFd, TryArc<Watch<W>>>,
        identity: (u64, u64),
        interest: Interest,
        mut waiter: W,
    ) -> Added<W> {
        let number = waiter.descriptor().as_raw_fd();
        if let Some(watch) = watches.get(&number).filter(|watch| watch.identity == identity) {
            match watch.wait(interest, waiter, |descriptor, known, all| self.rearm(descriptor, known, all)) {
                Ok(()) => return Added { stale: None, refused: None },
                // All eventfds, for instance, have one inode. The kernel's `ENOENT` says that this is not the one we
                // attached.
                Err((error, returned)) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {
                    waiter = returned;
                }
                Err(refused) => return Added { stale: None, refused: Some(refused) },
            }
        }
        let stale = watches.remove(&number);
        if let Some(token) = stale.as_ref().and_then(|watch| watch.state.lock().token.take()) {
            self.port.forget_once(number, token);
        }
        let refused = self.add_new(watches, identity, interest, waiter).err();
        Added { stale, refused }
    }

    fn rearm(&self, descriptor: BorrowedFd<'_>, known: Option<Token>, interest: Interest) -> io::Result<Token> {
        let token = known.ok_or(Errno::NOENT)?;
        self.port.rearm(descriptor, token, interest).map(|()| token)
    }

    fn add_new(
        &self,
        watches: &mut HashMap<RawFd, TryArc<Watch<W>>>,
        identity: (u64, u64),
        interest: Interest,
        waiter: W,
    ) -> Result<(), (io::Error, W)> {
        if watches.try_reserve(1).is_err() {
            return Err((Errno::NOMEM.into(), waiter));
        }
        let number = waiter.descriptor().as_raw_fd();
        let Ok(watch) = TryArc::try_new(Watch::new(identity)) else { return Err((Errno::NOMEM.into(), waiter)) };
        watch.wait(interest, waiter, |descriptor, _, all| {
            self.port.attach_once(descriptor, all, watch.clone().into())
        })?;
        watches.insert(number, watch);
        Ok(())
    }

    /// Forgets a descriptor. Waits for its callback if that runs on another thread, then abandons its waiters in the order
    /// they were added. Does nothing if the number has no waiters, or if another thread is removing it.
    ///
    /// On the port's own thread, and so in each callback of a waiter, it does not wait. On another port's thread it does:
    /// two callbacks on the threads of two ports that remove each other's descriptor wait for each other for ever. Do not
    /// hold a lock here that a callback of the descriptor needs.
    // Codes_SRS_COMPLETION_PORT_01_073
    pub fn remove(&self, descriptor: BorrowedFd<'_>) {
        if self.made_in.is_inherited() {
            return;
        }
        let number = descriptor.as_raw_fd();
        let mut watches = self.watches.lock();
        let Some(watch) = watches.remove(&number) else { return };
        if watches.is_empty() {
            *watches = HashMap::new();
        }
        if let Some(token) = watch.state.lock().token.take() {
            self.end_watching(&watch, number, Some(descriptor), token);
        }
        drop(watches);
        // Codes_SRS_COMPLETION_PORT_01_073, Codes_SRS_COMPLETION_PORT_01_125
        watch.end(!self.port.is_current_thread());
    }

    /// Makes the kernel and the port forget a watch.
    fn end_watching(&self, watch: &Watch<W>, number: RawFd, descriptor: Option<BorrowedFd<'_>>, token: Token) {
        match descriptor {
            Some(ours) if identity(ours).is_ok_and(|identity| identity == watch.identity) => {
                self.port.detach_once(ours, token);
            }
            // The number belongs to another descriptor, or the kernel is not armed and so reports nothing.
            _ => self.port.forget_once(number, token),
        }
    }
}

/// The part of an `add` that is done after the lock is released.
struct Added<W> {
    /// What the number belonged to before.
    stale: Option<TryArc<Watch<W>>>,
    refused: Option<(io::Error, W)>,
}

impl<W: Waiter, P: Port> Drop for OneShots<W, P> {
    /// Waits for a callback that the port's thread is in, then abandons all waiters.
    ///
    /// On the thread of this port or another it does not wait. The callback that the port's thread is in may then still run
    /// when this returns, and may use everything that its waiter captured. No other callback begins.
    fn drop(&mut self) {
        if self.made_in.is_inherited() {
            return mem::forget(mem::take(self.watches.get_mut()));
        }
        let waits = !self.port.is_on_port_thread();
        let watches = mem::take(self.watches.get_mut());
        for (number, watch) in &watches {
            let mut state = watch.state.lock();
            if let Some(token) = state.token.take() {
                let descriptor = state.waiters.front().map(|entry| entry.waiter.descriptor());
                self.end_watching(watch, *number, descriptor, token);
            }
        }
        // Codes_SRS_COMPLETION_PORT_01_074, Codes_SRS_COMPLETION_PORT_01_124
        for watch in watches.into_values() {
            watch.end(waits);
        }
    }
}

impl<W: Waiter, P: Port> fmt::Debug for OneShots<W, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let descriptors = (!self.made_in.is_inherited()).then(|| self.watches.lock().len());
        f.debug_struct("OneShots").field("descriptors", &descriptors).finish_non_exhaustive()
    }
}

impl<W: Waiter> Watch<W> {
    fn new(identity: (u64, u64)) -> Self {
        let state = State {
            token: None,
            armed: None,
            waiters: VecDeque::new(),
            next: 0,
            firing: false,
            ending: 0,
            port_failed: false,
        };
        Self { identity, made_in: Generation::current(), state: Mutex::new(state), quiesced: Condvar::new() }
    }

    /// Adds a waiter, and arms the kernel for the events of all waiters. The lock is held meanwhile, so that the port
    /// thread, which arms for the remaining waiters after its dispatch, cannot arm for fewer events.
    fn wait(
        &self,
        interest: Interest,
        waiter: W,
        arm: impl FnOnce(BorrowedFd<'_>, Option<Token>, Interest) -> io::Result<Token>,
    ) -> Result<(), (io::Error, W)> {
        let mut state = self.state.lock();
        if state.waiters.try_reserve(1).is_err() {
            return Err((Errno::NOMEM.into(), waiter));
        }
        let all = state.interest() | interest;
        match arm(waiter.descriptor(), state.token, all) {
            Ok(token) => {
                state.token = Some(token);
                state.armed = Some(all);
                let number = state.next;
                state.next += 1;
                state.waiters.push_back(Entry { number, interest, waiter });
                Ok(())
            }
            Err(error) => Err((error, waiter)),
        }
    }

    /// Takes all waiters, so that an event under way finds none, and abandons them. If `waits`, it first waits for the
    /// running callback. `waits` is false if the caller is or may be inside that callback.
    fn end(&self, waits: bool) {
        let mut state = self.state.lock();
        let waiters = mem::take(&mut state.waiters);
        while state.firing && waits {
            state.ending += 1;
            self.quiesced.wait(&mut state);
            state.ending -= 1;
        }
        drop(state);
        let mut waiters = waiters.into_iter();
        for entry in waiters.by_ref() {
            run_caught("callback", || entry.waiter.fire(Action::Abandoned));
            if self.made_in.is_inherited() {
                // The callback has forked, and this is the child. The other waiters belong to the parent.
                return mem::forget(waiters);
            }
        }
    }

    /// Fires a waiter without the lock. `None` if the callback has forked, and this is the child.
    fn fire<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<W>>,
        waiter: W,
        action: Action,
    ) -> Option<MutexGuard<'a, State<W>>> {
        state.firing = true;
        drop(state);
        timed(|| run_caught("callback", || waiter.fire(action)));
        if self.made_in.is_inherited() {
            return None;
        }
        state = self.state.lock();
        state.firing = false;
        if state.ending > 0 {
            self.quiesced.notify_all();
        }
        Some(state)
    }
}

impl<W> State<W> {
    /// All events that the descriptor's waiters wait for.
    fn interest(&self) -> Interest {
        self.waiters.iter().fold(Interest::empty(), |all, entry| all | entry.interest)
    }

    /// Takes the oldest waiter with a number below `end` that waits for one of the events.
    fn take_due(&mut self, events: Readiness, end: u64) -> Option<(W, Action)> {
        let due = |(index, entry): (usize, &Entry<W>)| Some((index, action(events, entry.interest)?));
        let mut old = self.waiters.iter().enumerate().take_while(|(_, entry)| entry.number < end);
        let (index, action) = old.find_map(due)?;
        self.waiters.remove(index).map(|entry| (entry.waiter, action))
    }

    /// Whether the kernel has to be armed for the waiters.
    fn needs_arming(&self) -> bool {
        let armed = || self.armed.is_some_and(|armed| armed.contains(self.interest()));
        self.token.is_some() && !self.waiters.is_empty() && !armed()
    }
}

/// The action that an event means for a waiter. Bytes come before the end of the stream, and both before an error.
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
    /// Fires every waiter that waits for one of the events. A waiter that is added meanwhile waits for the next event, for
    /// which `add` has armed the kernel.
    fn on_ready(&self, events: Readiness) -> Dispatch {
        if self.made_in.is_inherited() {
            return Dispatch::Idle;
        }
        let mut state = self.state.lock();
        state.armed = None;
        let events = if state.port_failed { Readiness::ERROR } else { events };
        let end = state.next;
        while let Some((waiter, action)) = state.take_due(events, end) {
            let Some(locked) = self.fire(state, waiter, action) else { return Dispatch::Idle };
            state = locked;
        }
        if state.waiters.is_empty() && state.waiters.capacity() > ROOM_KEPT {
            state.waiters = VecDeque::new();
        }
        // Codes_SRS_COMPLETION_PORT_01_121
        if state.needs_arming() { Dispatch::Rearm } else { Dispatch::Idle }
    }

    // Codes_SRS_COMPLETION_PORT_01_121
    fn rearm(&self, port: &Rearm<'_>) {
        let mut state = self.state.lock();
        let interest = state.interest();
        let (Some(token), Some(entry)) = (state.token, state.waiters.front()) else { return };
        let Err(error) = port(entry.waiter.descriptor(), token, interest) else {
            state.armed = Some(interest);
            return;
        };
        let gone = [Errno::NOENT, Errno::BADF].map(|errno| Some(errno.raw_os_error())).contains(&error.raw_os_error());
        let action = if gone { Action::Abandoned } else { Action::Error };
        let mut waiters = mem::take(&mut state.waiters).into_iter();
        for entry in waiters.by_ref() {
            let Some(locked) = self.fire(state, entry.waiter, action) else { return mem::forget(waiters) };
            state = locked;
        }
    }

    fn queued(&self, direction: Direction) -> usize {
        self.state.lock().waiters.iter().filter(|entry| entry.interest.contains(direction.into())).count()
    }

    // Codes_SRS_COMPLETION_PORT_01_091
    fn on_port_failure(&self) {
        self.state.lock().port_failed = true;
    }
}

fn identity(descriptor: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let stat = fstat(descriptor)?;
    Ok((stat.st_dev, stat.st_ino))
}
