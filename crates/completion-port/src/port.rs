//! The port itself: epoll, its thread, the table of what is watched, and wake-ups.
//!
//! Invariants:
//! * A token is an index and a generation; an event with an old generation finds nothing, so a late
//!   event never reaches a removed registration nor one that reuses its place.
//! * The thread does not sleep while [`NOTIFIED`] is set, and looks at `ready` after clearing it. So whoever finds it set
//!   need not wake the thread, nor need the thread itself.
//! * A thread of a child of `fork` never looks into the epoll set that it shares with the parent: [`untouched`] then differs
//!   from every value of `flags`.

use crate::builder::{CompletionPortBuilder, CreatePortError};
use crate::callback::{log_caught, run_caught};
use crate::handler::Direction;
use crate::membership::{Epoll, Membership};
use crate::one_shot::Interest;
use crate::process::{Generation, Inherited, close_inherited, untouched};
use crate::readiness::Readiness;
use crate::sync::thread::JoinHandle;
use crate::sync::{Arc, AtomicU8, Condvar, Mutex, Ordering, per_thread, planted};
use crate::sys::{Errno, Event, EventFlags, Kernel, PortSyscalls, retry_interrupted};
use crate::table::{Change, News, Turns};
use std::cell::Cell;
use std::fmt;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::slice;
use std::time::{Duration, Instant};

/// How many events one `epoll_wait` can return.
const EVENTS_PER_WAIT: usize = 512;

/// How much a thread that sleeps need not hear of: what a removal leaves is freed when it next runs, and it is not woken
/// for less than this.
const LEFT_TO_A_SLEEPER: usize = 64;

/// The token of the eventfd.
pub(crate) const WAKE: u64 = u64::MAX;

/// In `flags`: there is something in `ready`, or else to look round for.
pub(crate) const NOTIFIED: u8 = 1;
/// In `flags`: there is something in `news`.
pub(crate) const CHANGED: u8 = 1 << 1;
/// In `flags`: nobody has a reference any more.
pub(crate) const STOPPING: u8 = 1 << 2;
/// In `flags`, from the beginning: the thread polls before it sleeps.
const POLLS: u8 = 1 << 3;
/// In `flags`: the epoll instance or the eventfd is gone.
pub(crate) const FAILED: u8 = 1 << 4;
/// In `flags`: the thread knows that, and waits without the kernel's objects.
pub(crate) const DETACHED: u8 = 1 << 5;

/// What every descriptor is watched for: both directions, edge-triggered.
const INTEREST: EventFlags =
    EventFlags::IN.union(EventFlags::OUT).union(EventFlags::PRI).union(EventFlags::RDHUP).union(EventFlags::ET);

/// What a [`Registration`](crate::Registration) needs of a port: the seam where tests put a mock.
///
/// Implemented by [`CompletionPort`]. An implementation calls [`Source::on_ready`] from one thread
/// at a time, and not from inside another call of it.
pub trait Port: Clone + Send + Sync + 'static {
    /// Starts to report a descriptor's events to `source`.
    ///
    /// # Errors
    /// What the kernel says; nothing is attached then.
    fn attach(&self, descriptor: BorrowedFd<'_>, source: Arc<dyn Source>) -> io::Result<Token>;

    /// Stops it. A turn that is under way may still come, with events or without; the source is dropped some time later.
    fn detach(&self, descriptor: BorrowedFd<'_>, token: Token);

    /// Like [`detach`](Self::detach), for a descriptor that was closed: the kernel knows already.
    fn forget(&self, token: Token);

    /// Reports the next event among `interest`, one only, of a descriptor that stays the caller's. The port reports no
    /// further event before [`rearm`](Self::rearm).
    ///
    /// # Errors
    /// What the kernel says, `EEXIST` if the port reports the descriptor's events to another source; nothing is attached
    /// then.
    fn attach_once(&self, descriptor: BorrowedFd<'_>, interest: Interest, source: Arc<dyn Source>)
    -> io::Result<Token>;

    /// Reports one event more: at once if the descriptor is ready.
    ///
    /// # Errors
    /// What the kernel says, `ENOENT` or `EBADF` if the descriptor was closed in the meantime.
    fn rearm(&self, descriptor: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()>;

    /// Ends what [`attach_once`](Self::attach_once) began. A call of the source may still come.
    fn detach_once(&self, descriptor: BorrowedFd<'_>, token: Token);

    /// Like [`detach_once`](Self::detach_once), for a number under which the descriptor was closed.
    fn forget_once(&self, number: RawFd, token: Token);

    /// Asks for one call of `on_ready` without an event, soon.
    fn schedule(&self, source: Arc<dyn Source>);

    /// Whether the caller is on the thread that calls `on_ready`.
    fn is_current_thread(&self) -> bool;

    /// Whether the caller is on the thread of a port, this one's or another's.
    fn is_on_port_thread(&self) -> bool;
}

/// Something that a port reports events to.
pub trait Source: Send + Sync {
    /// Takes note of the events and runs the operations whose turn has come.
    fn on_ready(&self, events: Readiness) -> Turn;

    /// Asks `port` for one event more, after a turn that ended with [`Turn::Rearm`].
    fn rearm(&self, port: &Rearm<'_>) {
        let _ = port;
    }

    /// How many operations wait in a direction.
    fn queued(&self, direction: Direction) -> usize;

    /// The port has lost its epoll instance or its eventfd, which other code has closed: no event will come any more. What
    /// waits is to end with an error in the next turn, and nothing is to be accepted. May be called several times.
    fn on_port_failure(&self) {}
}

/// [`Port::rearm`] of the port that calls a source.
pub type Rearm<'a> = dyn Fn(BorrowedFd<'_>, Token, Interest) -> io::Result<()> + 'a;

/// What a source wants after its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Turn {
    /// Nothing is left to run.
    Over,
    /// Something is left: call again after the others had their turn.
    Again,
    /// Nothing is left to run, but the one event that was reported is not all that is waited for: call
    /// [`Source::rearm`] now.
    Rearm,
}

/// A port's name for an attached source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

/// One epoll instance and one thread.
///
/// `clone` adds a reference, `drop` takes one away; every registration holds one. The last one stops the
/// thread at once and joins it. On a port's thread, its own or another's, it does not wait: the
/// thread then ends after the call-back it is in.
///
/// # Signals
/// The thread blocks every signal but those of a fault of its own (`SIGSEGV`, `SIGBUS`, `SIGFPE`, `SIGILL`, `SIGTRAP`,
/// `SIGSYS`, `SIGABRT`), so a signal that the program's threads block reaches `sigwait` or `signalfd`. Threads and programs
/// that a callback starts inherit the mask; `std::process::Command` empties it.
///
/// # Fork
/// The child of a `fork` has copies of ports and registrations, but not their threads. There everything inherited is refused
/// with an error of its own (`Inherited`), and dropping it does nothing to the parent; see [`Generation`]. A port that the
/// child creates works. If a callback on a port's thread forks, that thread's copy ends after the callback, and with it the
/// child, unless it has other threads.
///
/// # Descriptors closed by other code
/// If the port's epoll instance or eventfd is closed behind its back, by `closefrom` for instance, the port *fails*:
/// everything that waits gets [`Action::Error`](crate::Action::Error), and everything new is refused. The thread notices at
/// the next event or wake-up, or, asleep, within one second. A last reference that cannot wake the thread does not wait for
/// it. A failed port closes nothing: the numbers may belong to other code.
pub struct CompletionPort<S: PortSyscalls = Kernel> {
    owner: Arc<Owner<S>>,
}

/// What the references count.
struct Owner<S: PortSyscalls> {
    shared: Arc<Shared<S>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread and the references share.
pub(crate) struct Shared<S> {
    pub(crate) sys: S,
    pub(crate) epoll: OwnedFd,
    pub(crate) eventfd: OwnedFd,
    made_in: Generation,
    news: Mutex<News>,
    members: Mutex<Membership>,
    /// Sources that asked for a turn without an event.
    pub(crate) ready: Mutex<Vec<Arc<dyn Source>>>,
    /// Signalled instead of the eventfd once the thread is `DETACHED`.
    pub(crate) stirred: Condvar,
    /// What the thread has not seen yet: `NOTIFIED`, `CHANGED`, `STOPPING`. And `POLLS`, `FAILED`, `DETACHED`, so that one
    /// look says whether there is anything to do but to sleep.
    pub(crate) flags: AtomicU8,
    /// For how long to ask the kernel again and again before the thread sleeps.
    busy_poll: Option<Duration>,
}

per_thread! {
    /// The port whose thread this is: the address of its `Shared`.
    static CURRENT: Cell<usize> = const { Cell::new(0) };
    /// When that began to be so: the copy of the thread in a child of `fork` is no port's.
    static CURRENT_SINCE: Cell<Option<Generation>> = const { Cell::new(None) };
}

/// Whether the caller is on the thread of a [`CompletionPort`], any one: in a callback that it runs, for instance. What
/// blocks here holds up every descriptor of that port.
// Codes_SRS_SOCKET_01_001
#[must_use]
pub fn is_port_thread() -> bool {
    CURRENT.get() != 0 && CURRENT_SINCE.get().is_some_and(|generation| !generation.is_inherited())
}

impl CompletionPort {
    /// Creates a port with its epoll instance and its thread.
    ///
    /// # Errors
    /// [`CreatePortError`], for instance when the process has no descriptor left.
    pub fn create() -> Result<Self, CreatePortError> {
        Self::create_with(Kernel)
    }

    /// Says how a port shall be.
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
        let failed = |call| move |errno: rustix::io::Errno| CreatePortError { call, source: errno.into() };
        let made_in = Generation::watched().map_err(|source| CreatePortError { call: "pthread_atfork", source })?;
        let busy_poll = (builder.busy_poll > Duration::ZERO).then_some(builder.busy_poll);
        let epoll = retry_interrupted(|| sys.epoll_create()).map_err(failed("epoll_create1"))?;
        let eventfd = retry_interrupted(|| sys.eventfd()).map_err(failed("eventfd"))?;
        // Nobody writes to it, so this is no event.
        let mut members = Membership::default();
        let own = Epoll { sys: &sys, instance: epoll.as_fd() };
        members
            .add_owned(&own, eventfd.as_fd(), Token(WAKE), EventFlags::IN | EventFlags::ET)
            .map_err(failed("epoll_ctl"))?;
        let shared = Arc::new(Shared {
            sys,
            epoll,
            eventfd,
            made_in,
            news: Mutex::default(),
            members: Mutex::new(members),
            ready: Mutex::default(),
            stirred: Condvar::new(),
            flags: AtomicU8::new(if busy_poll.is_some() { POLLS } else { 0 }),
            busy_poll,
        });
        let run = {
            let shared = Arc::clone(&shared);
            move || shared.run()
        };
        let thread = builder.start_thread(run).map_err(|source| CreatePortError { call: "pthread_create", source })?;
        log_caught(|| tracing::debug!("completion port created"));
        Ok(Self { owner: Arc::new(Owner { shared, thread: Some(thread) }) })
    }

    /// Whether the port was made before a `fork`, in a parent of this process: it then refuses everything.
    // Codes_SRS_COMPLETION_PORT_01_082
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        self.owner.shared.made_in.is_inherited()
    }

    /// The port, if anything can be attached to it.
    // Codes_SRS_COMPLETION_PORT_01_082, Codes_SRS_COMPLETION_PORT_01_093
    fn usable(&self) -> io::Result<&Shared<S>> {
        let shared = &*self.owner.shared;
        if shared.made_in.is_inherited() {
            return Err(Inherited.into());
        }
        if shared.has_failed() {
            return Err(Errno::BADF.into());
        }
        Ok(shared)
    }
}

impl<S: PortSyscalls> Port for CompletionPort<S> {
    fn attach(&self, descriptor: BorrowedFd<'_>, source: Arc<dyn Source>) -> io::Result<Token> {
        let shared = self.usable()?;
        // Before the kernel can report it.
        let token = shared.announce(source);
        let added = shared.members.lock().add_owned(&shared.epoll(), descriptor, token, INTEREST);
        self.attached(token, added)
    }

    // Codes_SRS_COMPLETION_PORT_01_083
    fn detach(&self, descriptor: BorrowedFd<'_>, token: Token) {
        let Ok(shared) = self.usable() else { return self.forget(token) };
        let deleted = shared.members.lock().delete_owned(&shared.epoll(), descriptor);
        self.detached(token, deleted);
    }

    // Codes_SRS_COMPLETION_PORT_01_057, Codes_SRS_COMPLETION_PORT_01_083
    fn forget(&self, token: Token) {
        let shared = &self.owner.shared;
        if !shared.made_in.is_inherited() && shared.forget(token) >= LEFT_TO_A_SLEEPER {
            shared.notify_unless(self.is_current_thread());
        }
    }

    fn attach_once(
        &self,
        descriptor: BorrowedFd<'_>,
        interest: Interest,
        source: Arc<dyn Source>,
    ) -> io::Result<Token> {
        let shared = self.usable()?;
        let token = shared.announce(source);
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

    // Codes_SRS_COMPLETION_PORT_01_060, Codes_SRS_COMPLETION_PORT_01_061
    fn schedule(&self, source: Arc<dyn Source>) {
        let shared = &self.owner.shared;
        if shared.made_in.is_inherited() {
            return mem::forget(source);
        }
        shared.ready.lock().push(source);
        shared.notify_unless(self.is_current_thread());
    }

    fn is_current_thread(&self) -> bool {
        self.owner.is_current_thread()
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
            // The token's generation keeps late events away all the same.
            log_caught(|| tracing::warn!(%error, "epoll_ctl(EPOLL_CTL_DEL) failed"));
            self.owner.shared.look_into(error);
        }
        self.forget(token);
    }
}

impl<S: PortSyscalls> Clone for CompletionPort<S> {
    // Codes_SRS_COMPLETION_PORT_01_003
    fn clone(&self) -> Self {
        Self { owner: Arc::clone(&self.owner) }
    }
}

impl<S: PortSyscalls> fmt::Debug for CompletionPort<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompletionPort")
            .field("epoll", &self.owner.shared.epoll)
            .field("references", &Arc::strong_count(&self.owner))
            .finish_non_exhaustive()
    }
}

impl<S: PortSyscalls> Owner<S> {
    fn is_current_thread(&self) -> bool {
        CURRENT.get() == Arc::as_ptr(&self.shared).addr()
    }
}

impl<S: PortSyscalls> Drop for Owner<S> {
    // Codes_SRS_COMPLETION_PORT_01_004, Codes_SRS_COMPLETION_PORT_01_005, Codes_SRS_COMPLETION_PORT_01_083
    // Codes_SRS_COMPLETION_PORT_01_094
    fn drop(&mut self) {
        let shared = &self.shared;
        if shared.made_in.is_inherited() {
            return self.drop_inherited();
        }
        let before = shared.flags.fetch_or(STOPPING, Ordering::AcqRel);
        let woken = if self.is_current_thread() {
            // Before the two numbers are closed.
            shared.note_failure_unless_intact();
            true
        } else {
            planted("the last reference wakes nobody") || shared.wake(before)
        };
        // Two ports' threads that waited for each other would wait for ever.
        let on_port_thread = is_port_thread();
        if let Some(thread) = self.thread.take()
            && !on_port_thread
            && woken
            && thread.join().is_err()
        {
            log_caught(|| tracing::error!("the port's thread had panicked"));
        }
        log_caught(|| tracing::debug!(on_port_thread, "completion port stopped"));
    }
}

impl<S: PortSyscalls> Owner<S> {
    /// Lets go of the child's copies, and of nothing that is the parent's as well.
    #[cold]
    fn drop_inherited(&mut self) {
        // That thread does not exist here, so there is nothing to join, and what it refers to is never dropped.
        mem::forget(self.thread.take());
        mem::forget(Arc::clone(&self.shared));
        close_inherited(self.shared.epoll.as_raw_fd());
        close_inherited(self.shared.eventfd.as_raw_fd());
    }
}

impl<S: PortSyscalls> Shared<S> {
    fn run(self: Arc<Self>) {
        CURRENT.set(Arc::as_ptr(&self).addr());
        CURRENT_SINCE.set(Some(self.made_in));
        let mut turns = Turns::default();
        self.serve(&mut turns);
        if self.made_in.is_inherited() {
            // A call-back has forked, and this is the child.
            mem::forget(turns);
            return mem::forget(self);
        }
        while let Some(last) = turns.table.pop() {
            run_caught("drop", || drop(last));
        }
        if self.has_failed() {
            // Its descriptors' numbers may be other code's by now, and would be closed.
            mem::forget(self);
        }
    }

    // Codes_SRS_COMPLETION_PORT_01_085
    fn serve(&self, turns: &mut Turns) {
        let mut events = Vec::with_capacity(EVENTS_PER_WAIT);
        loop {
            let flags = self.flags.load(Ordering::Acquire);
            if flags == untouched() && turns.again.is_empty() {
                self.wait(&mut events, true);
            } else if flags & STOPPING != 0 || self.made_in.is_inherited() {
                return;
            } else {
                self.look_before_waiting(turns, &mut events);
            }
            if self.has_news() {
                // What was announced before an event came is known when that is looked at.
                self.hear_news(turns);
            }
            let mut events = events.iter();
            // A panic, for the last reference to a source runs the user's destructors, costs no one else the turn.
            while run_caught("turn", || self.take_turns(turns, &mut events)).is_none() {}
        }
    }

    /// Gives the sources of the events, those that have asked, and those that are due a turn each.
    fn take_turns(&self, turns: &mut Turns, events: &mut slice::Iter<'_, Event>) {
        for event in events {
            let (token, flags) = (event.data.u64(), event.flags);
            if let Some(source) = turns.watched(token) {
                match source.on_ready(Readiness::from_bits_retain(flags.bits())) {
                    Turn::Over => {}
                    Turn::Again => turns.again.push_back(Arc::clone(source)),
                    Turn::Rearm => self.rearm_source(&**source),
                }
            }
        }
        if turns.due > 0 || self.is_notified() {
            self.take_turns_without_events(turns);
        }
    }

    #[inline]
    fn has_news(&self) -> bool {
        self.flags.load(Ordering::Acquire) & CHANGED != 0
    }

    #[inline]
    fn is_notified(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & NOTIFIED != 0
    }

    #[cold]
    #[inline(never)]
    fn take_turns_without_events(&self, turns: &mut Turns) {
        if self.made_in.is_inherited() {
            return;
        }
        if self.is_notified() {
            self.look_round(turns);
        }
        while let Some(left) = turns.due.checked_sub(1) {
            turns.due = left;
            if let Some(source) = turns.again.pop_front() {
                match source.on_ready(Readiness::empty()) {
                    Turn::Over => {}
                    Turn::Again => turns.again.push_back(source),
                    Turn::Rearm => self.rearm_source(&*source),
                }
            }
        }
    }

    #[cold]
    fn rearm_source(&self, source: &dyn Source) {
        source.rearm(&|descriptor, token, interest| match self.rearm(descriptor, token, interest) {
            // What waits is told next that the port has failed.
            Err(_) if self.has_failed() => Ok(()),
            rearmed => rearmed,
        });
    }

    fn rearm(&self, descriptor: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        let modified = self.members.lock().modify_lent(&self.epoll(), descriptor, token, interest.once());
        modified.map_err(|error| {
            self.look_into(error);
            // `ENOENT` would mean another descriptor.
            if self.has_failed() { Errno::BADF.into() } else { error.into() }
        })
    }

    fn epoll(&self) -> Epoll<'_, S> {
        Epoll { sys: &self.sys, instance: self.epoll.as_fd() }
    }

    /// Waits, but not for long if there is something to do.
    #[cold]
    #[inline(never)]
    fn look_before_waiting(&self, turns: &mut Turns, events: &mut Vec<Event>) {
        if self.has_news() {
            // Who was removed in the last turns does not wait for the next event to be let go.
            self.hear_news(turns);
        }
        // After that: a handler that was dropped there may have scheduled something, or had the last reference to the port,
        // which on this thread wakes nobody.
        let flags = self.flags.load(Ordering::Acquire);
        turns.due = turns.again.len();
        let notified = flags & (NOTIFIED | STOPPING) != 0 && !planted("sleeps though notified");
        let idle = turns.due == 0 && !notified;
        if flags & FAILED != 0 {
            events.clear();
            self.wait_detached(turns, flags & DETACHED == 0, idle);
        } else if !(idle && flags & POLLS != 0 && self.is_busy(events)) {
            self.wait(events, idle);
        }
    }

    /// Sources that have asked come before those that wanted another turn.
    fn look_round(&self, turns: &mut Turns) {
        self.flags.fetch_and(!NOTIFIED, Ordering::AcqRel);
        let mut ready = self.ready.lock();
        turns.due += ready.len();
        ready.drain(..).rev().for_each(|source| turns.again.push_front(source));
        if planted("notified is cleared late") {
            drop(ready);
            self.flags.fetch_and(!NOTIFIED, Ordering::Release);
        }
    }

    /// Hears of who is watched and who is not any more.
    // Codes_SRS_COMPLETION_PORT_01_057
    #[cold]
    fn hear_news(&self, turns: &mut Turns) {
        self.flags.fetch_and(!CHANGED, Ordering::AcqRel);
        let changes = mem::take(&mut self.news.lock().changes);
        for change in changes {
            let (place, removed) = (change.token.place(), change.source.is_none());
            if removed && !turns.table.get(place).is_some_and(|watched| watched.is_source_of(change.token)) {
                continue;
            }
            if let Some(source) = change.source.as_ref().filter(|_| self.has_failed()) {
                turns.fail(source);
            }
            let before = turns.enter(place, change);
            if removed {
                self.news.lock().free.push(place);
            }
            // Perhaps the last reference to somebody's handler.
            run_caught("drop", || drop(before));
        }
    }

    fn announce(&self, source: Arc<dyn Source>) -> Token {
        let mut news = self.news.lock();
        let token = news.new_token();
        news.changes.push(Change { token, source: Some(source) });
        self.flags.fetch_or(CHANGED, Ordering::Release);
        token
    }

    /// Returns how much the thread has not heard of.
    fn forget(&self, token: Token) -> usize {
        let mut news = self.news.lock();
        news.changes.push(Change { token, source: None });
        self.flags.fetch_or(CHANGED, Ordering::Release);
        news.changes.len()
    }

    /// Has the thread look round, which needs no waking if it is the caller.
    fn notify_unless(&self, is_current_thread: bool) {
        let before = self.flags.fetch_or(NOTIFIED, Ordering::AcqRel);
        if before & NOTIFIED == 0 && !is_current_thread {
            self.wake(before);
        }
    }

    /// Asks for events without sleeping. Whether there is something to do before the time is over.
    // Codes_SRS_COMPLETION_PORT_01_064
    #[cold]
    fn is_busy(&self, events: &mut Vec<Event>) -> bool {
        let start = Instant::now();
        loop {
            self.wait(events, false);
            if !events.is_empty() || self.flags.load(Ordering::Acquire) & (NOTIFIED | STOPPING) != 0 {
                return true;
            }
            if self.busy_poll.is_none_or(|limit| start.elapsed() >= limit) {
                return false;
            }
        }
    }

    // Codes_SRS_COMPLETION_PORT_01_063
    #[inline(always)]
    fn wait(&self, events: &mut Vec<Event>, block: bool) {
        events.clear();
        if let Err(error) = retry_interrupted(|| self.sys.epoll_wait(self.epoll.as_fd(), events, block)) {
            self.wait_failed(error);
        }
    }
}

impl Token {
    #[allow(clippy::cast_possible_truncation, reason = "the half of a token that is the place")]
    pub(crate) fn place(self) -> usize {
        self.0 as u32 as usize
    }
}
