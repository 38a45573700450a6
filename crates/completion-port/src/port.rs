//! The port itself: the operations on a reference to it.
//!
//! Invariant: a token is an index and a generation. An event with an old generation finds no source, so a late event reaches
//! neither a removed registration nor one that has taken over its index.

use crate::builder::{CompletionPortBuilder, CreatePortError, Settings};
use crate::callback::log_caught;
use crate::dispatch::{EVENTS_PER_WAIT, is_port_thread};
use crate::driver::PortDriver;
use crate::membership::Membership;
use crate::memory::{Room, TryArc};
use crate::metrics::PortMetrics;
use crate::process::{Generation, Inherited, close_inherited};
use crate::readiness::Interest;
use crate::shared::{PortFlags, Shared, WAKE};
use crate::source::{SourceRef, Token};
use crate::sync::thread::JoinHandle;
use crate::sys::{Errno, Event, EventFlags, Kernel, PortSyscalls, retry_interrupted};
use std::fmt;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::OnceLock;
use std::time::Instant;

/// Removals that may accumulate before a sleeping port thread is woken to drop the removed sources.
const NOTIFY_AFTER: usize = 64;

/// The events that every registered descriptor is watched for: both directions, edge-triggered.
const INTEREST: EventFlags =
    EventFlags::IN.union(EventFlags::OUT).union(EventFlags::PRI).union(EventFlags::RDHUP).union(EventFlags::ET);

/// The part of a port that a [`Registration`](crate::Registration) needs. Tests put a mock here.
///
/// Implemented by [`CompletionPort`]. An implementation calls [`Source::on_ready`](crate::Source::on_ready) from one thread
/// at a time, and not from inside another call of it.
pub trait Port: Clone + Send + Sync + 'static {
    /// Starts to report a descriptor's events to `source`.
    ///
    /// # Errors
    /// The kernel's error, or `ENOMEM`. Nothing is attached then.
    fn attach(&self, descriptor: BorrowedFd<'_>, source: SourceRef) -> io::Result<Token>;

    /// Starts to report a descriptor's events to a source that was [inserted](Self::insert) without one. The caller holds a
    /// lock of the source, so this must not call the source and must not log.
    ///
    /// # Errors
    /// The kernel's error, or `ENOMEM`. The source stays inserted. The default is `EOPNOTSUPP`.
    fn watch(&self, descriptor: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        let _ = (descriptor, token);
        Err(Errno::OPNOTSUPP.into())
    }

    /// Whether an error of [`watch`](Self::watch) means that the port has failed. The caller holds no lock.
    fn has_failed(&self, error: Errno) -> bool {
        let _ = error;
        false
    }

    /// Stops the reports. There may have been none, if the source was [inserted](Self::insert) and [`watch`](Self::watch) was
    /// never called. A dispatch that is under way may still call the source, with events or without. The port drops the source
    /// some time later.
    fn detach(&self, descriptor: BorrowedFd<'_>, token: Token);

    /// Like [`detach`](Self::detach), for a descriptor that was closed, so that the kernel has forgotten it already.
    fn forget(&self, token: Token);

    /// Reports one event, the next among `interest`, of a descriptor that stays the caller's. The port reports no further
    /// event before [`rearm`](Self::rearm).
    ///
    /// # Errors
    /// The kernel's error: `EEXIST` if the port reports the descriptor's events to another source. Nothing is attached
    /// then.
    fn attach_once(&self, descriptor: BorrowedFd<'_>, interest: Interest, source: SourceRef) -> io::Result<Token>;

    /// Reports one more event, at once if the descriptor is ready.
    ///
    /// # Errors
    /// The kernel's error: `ENOENT` or `EBADF` if the descriptor was closed in the meantime.
    fn rearm(&self, descriptor: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()>;

    /// Ends a watch that [`attach_once`](Self::attach_once) began. The port may still call the source once more.
    fn detach_once(&self, descriptor: BorrowedFd<'_>, token: Token);

    /// Like [`detach_once`](Self::detach_once), for a descriptor that was closed under this number.
    fn forget_once(&self, number: RawFd, token: Token);

    /// Asks for one call of `on_ready` without an event, soon. Does nothing if the source is no longer attached. Never
    /// needs memory.
    fn schedule(&self, token: Token);

    /// Takes a source that has no descriptor, or whose descriptor is [watched](Self::watch) later. It is called when it is
    /// [scheduled](Self::schedule), and when its [timer](Self::set_timer) comes, until [`forget`](Self::forget) or
    /// [`detach`](Self::detach).
    ///
    /// # Errors
    /// `ENOMEM`, or the reason why the port accepts nothing. The default is `Unsupported`.
    fn insert(&self, source: SourceRef) -> io::Result<Token> {
        drop(source);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Arms the one timer of a source, moves it, or disarms it. [`Source::on_timer`](crate::Source::on_timer) is then
    /// called, not before that time. Moving the timer to a later time costs least. Does nothing if the source is no longer
    /// attached.
    ///
    /// # Errors
    /// `ENOMEM`, only for the first timer of a source. The default is `Unsupported`.
    fn set_timer(&self, token: Token, at: Option<Instant>) -> io::Result<()> {
        let _ = (token, at);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The time by the clock that the timers follow: `CLOCK_MONOTONIC`, which nobody sets, and which stands still while the
    /// system sleeps.
    fn now(&self) -> Instant {
        Instant::now()
    }

    /// Whether the port measures how long callbacks take.
    fn counts_callbacks(&self) -> bool {
        false
    }

    /// A number that names the port in a log, if it has one: that of its epoll instance.
    fn number(&self) -> Option<RawFd> {
        None
    }

    /// Whether the caller is on the thread that calls `on_ready`.
    fn is_current_thread(&self) -> bool;

    /// Whether the caller is on the thread of any port.
    fn is_on_port_thread(&self) -> bool;
}

/// One epoll instance and one thread.
///
/// `clone` adds a reference and `drop` takes one away. Every registration holds one. Dropping the last reference stops the
/// thread at once and joins it. On the thread of this port or another it does not wait: the stopped thread then ends after
/// the callback it is in.
///
/// # Signals
/// The thread blocks every signal except those of a fault of its own (`SIGSEGV`, `SIGBUS`, `SIGFPE`, `SIGILL`, `SIGTRAP`,
/// `SIGSYS`, `SIGABRT`). So a signal that the program's threads block reaches `sigwait` or `signalfd`. Threads and programs
/// that a callback starts inherit the mask; `std::process::Command` empties it.
///
/// # Fork
/// The child of a `fork` has copies of ports and registrations, but not their threads. In the child, calls on an inherited
/// port or registration fail with an error of their own (`Inherited`), and dropping it does nothing to the parent; see
/// [`Generation`]. A port that the child creates works. If a callback on a port's thread forks, the child's copy of that
/// thread ends after the callback. The child ends with it, unless it has other threads.
///
/// # Descriptors closed by other code
/// If other code closes the port's epoll instance or eventfd, with `closefrom` for instance, the port *fails*: every
/// waiting operation gets [`Action::Error`](crate::Action::Error), and every new one is refused. The thread notices at the
/// next event or wake-up; a sleeping thread notices within one second. If the drop of the last reference cannot wake the
/// thread, it does not wait for it. A failed port closes nothing, because the numbers may belong to other code.
pub struct CompletionPort<S: PortSyscalls = Kernel> {
    owner: TryArc<Owner<S>>,
}

/// What the references count.
struct Owner<S: PortSyscalls> {
    shared: TryArc<Shared<S>>,
    /// Empty until it runs.
    thread: OnceLock<JoinHandle>,
    /// The port has no thread, but a driver.
    is_driven: bool,
}

/// A port, and what a thread or a driver serves it with.
type NotServed<S> = (CompletionPort<S>, TryArc<Shared<S>>, Room<Event>);

fn failed(call: &'static str) -> impl Fn(Errno) -> CreatePortError {
    move |errno| CreatePortError { call, source: errno.into() }
}

impl CompletionPort {
    /// Creates a port with its epoll instance and its thread.
    ///
    /// # Errors
    /// [`CreatePortError`], for instance when the process has no descriptor left.
    pub fn create() -> Result<Self, CreatePortError> {
        Self::create_with(Kernel)
    }

    /// Creates a port that differs from the default.
    pub fn builder() -> CompletionPortBuilder {
        CompletionPortBuilder::default()
    }
}

impl<S: PortSyscalls> CompletionPort<S> {
    /// [`create`](CompletionPort::create) with other system calls than the kernel's.
    ///
    /// # Errors
    /// As for `create`.
    pub fn create_with(sys: S) -> Result<Self, CreatePortError> {
        Self::start(sys, CompletionPortBuilder::default())
    }

    pub(crate) fn start(sys: S, builder: CompletionPortBuilder) -> Result<Self, CreatePortError> {
        let settings = builder.settings();
        let thread = builder.thread().map_err(failed("pthread_create"))?;
        let (port, shared, events) = Self::without_thread(sys, settings, false)?;
        let started = thread.start(move || {
            // Codes_SRS_COMPLETION_PORT_01_001
            Shared::run(shared, events);
        });
        let handle = started.map_err(|source| CreatePortError {
            // Codes_SRS_COMPLETION_PORT_01_002
            call: "pthread_create",
            source,
        })?;
        let _first = port.owner.thread.set(handle);
        log_caught(|| tracing::debug!("completion port created"));
        Ok(port)
    }

    pub(crate) fn driven(sys: S, settings: Settings) -> Result<(Self, PortDriver<S>), CreatePortError> {
        let (port, shared, events) = Self::without_thread(sys, settings, true)?;
        log_caught(|| tracing::debug!("completion port without a thread created"));
        Ok((port, PortDriver::new(shared, events)))
    }

    fn without_thread(sys: S, settings: Settings, is_driven: bool) -> Result<NotServed<S>, CreatePortError> {
        let no_memory = || failed("allocating memory")(Errno::NOMEM);
        let made_in = Generation::watched().map_err(|source| CreatePortError { call: "pthread_atfork", source })?;
        let events = Room::try_with_capacity(EVENTS_PER_WAIT).ok_or_else(no_memory)?;
        // Codes_SRS_COMPLETION_PORT_01_001
        let epoll = retry_interrupted(|| sys.epoll_create()).map_err(failed("epoll_create1"))?;
        // Codes_SRS_COMPLETION_PORT_01_001
        let eventfd = retry_interrupted(|| sys.eventfd()).map_err(failed("eventfd"))?;
        let shared = Shared::new(sys, [epoll, eventfd], made_in, Membership::default(), &settings);
        // Codes_SRS_COMPLETION_PORT_01_137
        let shared = TryArc::try_new(shared).map_err(|_| no_memory())?;
        let owner = Owner { shared: shared.clone(), thread: OnceLock::new(), is_driven };
        let owner = TryArc::try_new(owner).map_err(|_| no_memory())?;
        // No thread writes to the eventfd, so this is no event.
        let flags = EventFlags::IN | EventFlags::ET;
        let added = shared.members.lock().add_owned(&shared.epoll(), shared.eventfd.as_fd(), WAKE, flags);
        added.map_err(failed("epoll_ctl"))?;
        Ok((Self { owner }, shared, events))
    }

    /// What the port has done so far. `None` unless it was [created to count](CompletionPortBuilder::metrics).
    // Codes_SRS_COMPLETION_PORT_01_185, Codes_SRS_COMPLETION_PORT_01_186
    #[must_use]
    pub fn metrics(&self) -> Option<PortMetrics> {
        let shared = &self.owner.shared;
        let counters = shared.counters.as_ref()?;
        // In a child of `fork` another thread may have held the lock.
        let armed = if self.is_inherited() { 0 } else { shared.pending.lock().armed_timers() };
        Some(counters.get(armed))
    }

    /// Whether the port was made before a `fork`, in a parent of this process. Such a port refuses everything.
    // Codes_SRS_COMPLETION_PORT_01_082
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        self.owner.shared.made_in.is_inherited()
    }

    fn usable(&self) -> io::Result<&Shared<S>> {
        self.owner.shared.usable()
    }
}

impl<S: PortSyscalls> Port for CompletionPort<S> {
    fn attach(&self, descriptor: BorrowedFd<'_>, source: SourceRef) -> io::Result<Token> {
        let shared = self.usable()?;
        // Before the kernel can report it.
        let token = shared.insert(source)?;
        let added = shared.members.lock().add_owned(&shared.epoll(), descriptor, token, INTEREST);
        self.attached(token, added)
    }

    fn watch(&self, descriptor: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        let shared = self.usable()?;
        let added = shared.members.lock().add_owned(&shared.epoll(), descriptor, token, INTEREST);
        Ok(added?)
    }

    fn has_failed(&self, error: Errno) -> bool {
        let shared = &self.owner.shared;
        shared.look_into(error);
        shared.has_failed()
    }

    fn detach(&self, descriptor: BorrowedFd<'_>, token: Token) {
        // Codes_SRS_COMPLETION_PORT_01_083
        let Ok(shared) = self.usable() else { return self.forget(token) };
        let deleted = shared.members.lock().delete_owned(&shared.epoll(), descriptor);
        self.detached(token, deleted);
    }

    fn forget(&self, token: Token) {
        let shared = &self.owner.shared;
        // Codes_SRS_COMPLETION_PORT_01_057
        if !shared.made_in.is_inherited() && shared.remove(token) >= NOTIFY_AFTER {
            shared.notify_unless(self.is_current_thread());
        }
    }

    fn attach_once(&self, descriptor: BorrowedFd<'_>, interest: Interest, source: SourceRef) -> io::Result<Token> {
        let shared = self.usable()?;
        let token = shared.insert(source)?;
        let added = shared.members.lock().add_lent(&shared.epoll(), descriptor, token, interest.once());
        self.attached(token, added)
    }

    fn rearm(&self, descriptor: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        self.usable()?.rearm(descriptor, token, interest)
    }

    fn detach_once(&self, descriptor: BorrowedFd<'_>, token: Token) {
        let Ok(shared) = self.usable() else { return self.forget_once(descriptor.as_raw_fd(), token) };
        let deleted = shared.members.lock().delete_lent(&shared.epoll(), descriptor, token);
        self.detached(token, deleted);
    }

    fn forget_once(&self, number: RawFd, token: Token) {
        if !self.is_inherited() {
            self.owner.shared.members.lock().forget_lent(number, token);
            self.forget(token);
        }
    }

    // Codes_SRS_COMPLETION_PORT_01_160
    fn insert(&self, source: SourceRef) -> io::Result<Token> {
        self.usable()?.insert(source)
    }

    // Codes_SRS_COMPLETION_PORT_01_165, Codes_SRS_COMPLETION_PORT_01_167
    fn set_timer(&self, token: Token, at: Option<Instant>) -> io::Result<()> {
        let shared = &self.owner.shared;
        if shared.made_in.is_inherited() {
            return Err(Inherited.into());
        }
        let is_earlier = match at {
            Some(at) => shared.pending.lock().arm(token, at, || shared.sys.now()).ok_or(Errno::NOMEM)?,
            None => {
                shared.pending.lock().disarm(token);
                false
            }
        };
        if is_earlier {
            shared.notify_unless(self.is_current_thread());
        }
        Ok(())
    }

    fn now(&self) -> Instant {
        self.owner.shared.sys.now()
    }

    // Codes_SRS_COMPLETION_PORT_01_060
    fn schedule(&self, token: Token) {
        let shared = &self.owner.shared;
        if !shared.made_in.is_inherited() && shared.pending.lock().schedule(token) {
            shared.notify_unless(self.is_current_thread());
        }
    }

    fn number(&self) -> Option<RawFd> {
        Some(self.owner.shared.epoll().instance.as_raw_fd())
    }

    fn counts_callbacks(&self) -> bool {
        self.owner.shared.counters.is_some()
    }

    fn is_current_thread(&self) -> bool {
        self.owner.shared.is_current_thread()
    }

    fn is_on_port_thread(&self) -> bool {
        is_port_thread()
    }
}

impl<S: PortSyscalls> CompletionPort<S> {
    fn attached(&self, token: Token, added: Result<(), Errno>) -> io::Result<Token> {
        match added {
            Ok(()) => Ok(token),
            Err(error) => {
                self.owner.shared.look_into(error);
                self.forget(token);
                Err(error.into())
            }
        }
    }

    fn detached(&self, token: Token, deleted: Result<(), Errno>) {
        if let Err(error) = deleted {
            // The token's generation still keeps late events away.
            log_caught(|| tracing::warn!(%error, "epoll_ctl(EPOLL_CTL_DEL) failed"));
            self.owner.shared.look_into(error);
        }
        self.forget(token);
    }
}

impl<S: PortSyscalls> Clone for CompletionPort<S> {
    fn clone(&self) -> Self {
        // Codes_SRS_COMPLETION_PORT_01_003
        Self { owner: self.owner.clone() }
    }
}

impl<S: PortSyscalls> fmt::Debug for CompletionPort<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompletionPort")
            .field("epoll", &self.owner.shared.epoll)
            .field("references", &TryArc::references(&self.owner))
            .finish_non_exhaustive()
    }
}

impl<S: PortSyscalls> Drop for Owner<S> {
    fn drop(&mut self) {
        let shared = &self.shared;
        // Codes_SRS_COMPLETION_PORT_01_083
        if shared.made_in.is_inherited() {
            return self.drop_inherited();
        }
        let thread = self.thread.take();
        if thread.is_none() && !self.is_driven {
            // It was never complete.
            return;
        }
        // Codes_SRS_COMPLETION_PORT_01_004, Codes_SRS_COMPLETION_PORT_01_005
        let before = shared.set_flags(PortFlags::STOPPING);
        // Codes_SRS_COMPLETION_PORT_01_004
        let woken = if shared.is_current_thread() {
            // Before the two numbers are closed.
            shared.note_failure_unless_intact();
            true
        } else {
            shared.wake_for_the_end(before)
        };
        // Otherwise two ports' threads could wait for each other for ever.
        let on_port_thread = is_port_thread();
        // Codes_SRS_COMPLETION_PORT_01_004
        if !on_port_thread
            && woken
            && let Some(thread) = thread
            && thread.join().is_err()
        {
            log_caught(|| tracing::error!("the port's thread had panicked"));
        }
        log_caught(|| tracing::debug!(on_port_thread, "completion port stopped"));
    }
}

impl<S: PortSyscalls> Owner<S> {
    /// Closes the child's copies of the descriptors, and leaves everything that it shares with the parent alone.
    #[cold]
    fn drop_inherited(&mut self) {
        // The thread does not exist in the child, so it cannot be joined, and the data that it refers to is never dropped.
        mem::forget(self.thread.take());
        mem::forget(self.shared.clone());
        close_inherited(self.shared.epoll.as_raw_fd());
        close_inherited(self.shared.eventfd.as_raw_fd());
    }
}
