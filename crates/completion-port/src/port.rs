//! The port itself: epoll, its thread, the table of what is watched, and wake-ups.
//!
//! Invariants:
//! * A token is an index and a generation; an event with an old generation finds nothing, so a late
//!   event never reaches a removed registration nor one that reuses its place.
//! * The thread does not sleep while [`NOTIFIED`] is set, and looks at `ready` after clearing it. So whoever finds it set
//!   need not write to the eventfd, nor need the thread itself.

use crate::callback::run_caught;
use crate::handler::Direction;
use crate::membership::{Epoll, Membership};
use crate::one_shot::Interest;
use crate::readiness::Readiness;
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, AtomicU8, Mutex, Ordering, per_thread, planted};
use crate::sys::{Errno, Event, EventFlags, Kernel, PAUSE_AFTER_FAILURE, PortSyscalls, retry_interrupted};
use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::slice;
use std::time::{Duration, Instant};
use thiserror::Error;

/// How many events one `epoll_wait` can return.
const EVENTS_PER_WAIT: usize = 512;

/// How much a thread that sleeps need not hear of: what a removal leaves is freed when it next runs, and it is not woken
/// for less than this.
const LEFT_TO_A_SLEEPER: usize = 64;

/// The token of the eventfd.
const WAKE: u64 = u64::MAX;

/// In `flags`: there is something in `ready`, or else to look round for.
const NOTIFIED: u8 = 1;
/// In `flags`: there is something in `news`.
const CHANGED: u8 = 1 << 1;
/// In `flags`: nobody has a reference any more.
const STOPPING: u8 = 1 << 2;
/// In `flags`, from the beginning: the thread polls before it sleeps.
const POLLS: u8 = 1 << 3;

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

/// Why a port could not be created.
#[derive(Debug, Error)]
#[error("{call} failed")]
pub struct CreatePortError {
    /// The call that failed, for instance `epoll_create1`.
    pub call: &'static str,
    /// What it said: `EMFILE`, for instance.
    pub source: io::Error,
}

/// One epoll instance and one thread.
///
/// `clone` adds a reference, `drop` takes one away; every registration holds one. The last one stops the
/// thread at once and joins it. On a port's thread, its own or another's, it does not wait: the
/// thread then ends after the call-back it is in.
pub struct CompletionPort<S: PortSyscalls = Kernel> {
    owner: Arc<Owner<S>>,
}

/// What the references count.
struct Owner<S: PortSyscalls> {
    shared: Arc<Shared<S>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread and the references share.
struct Shared<S> {
    sys: S,
    epoll: OwnedFd,
    eventfd: OwnedFd,
    news: Mutex<News>,
    members: Mutex<Membership>,
    /// Sources that asked for a turn without an event.
    ready: Mutex<Vec<Arc<dyn Source>>>,
    /// What the thread has not seen yet: `NOTIFIED`, `CHANGED`, `STOPPING`. And `POLLS`, so that one look says whether
    /// there is anything to do but to sleep.
    flags: AtomicU8,
    /// For how long to ask the kernel again and again before the thread sleeps.
    busy_poll: Option<Duration>,
}

/// Says how a port shall be.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct CompletionPortBuilder {
    busy_poll: Duration,
}

impl CompletionPortBuilder {
    /// For how long the thread looks for events again and again before it sleeps: it then serves the next message without
    /// being woken, for the price of a processor that is never idle meanwhile. 0 unless said; a few microseconds to a few
    /// hundred make sense, on a processor that has nothing else to do.
    pub fn busy_poll(mut self, busy_poll: Duration) -> Self {
        self.busy_poll = busy_poll;
        self
    }

    /// Creates the port with its epoll instance and its thread.
    ///
    /// # Errors
    /// [`CreatePortError`], for instance when the process has no descriptor left.
    pub fn create(self) -> Result<CompletionPort, CreatePortError> {
        self.create_with(Kernel)
    }

    /// [`create`](Self::create) with other system calls than the kernel's.
    ///
    /// # Errors
    /// As for `create`.
    // Codes_SRS_COMPLETION_PORT_01_001, Codes_SRS_COMPLETION_PORT_01_002
    pub fn create_with<S: PortSyscalls>(self, sys: S) -> Result<CompletionPort<S>, CreatePortError> {
        CompletionPort::start(sys, (self.busy_poll > Duration::ZERO).then_some(self.busy_poll))
    }
}

/// Which places in the thread's table are free, and what it has not heard of yet.
#[derive(Default)]
struct News {
    changes: Vec<Change>,
    free: Vec<usize>,
    /// How many places there are.
    places: usize,
    generation: u32,
}

/// Somebody is watched from now on, or nobody any more, by a name.
struct Change {
    token: Token,
    source: Option<Arc<dyn Source>>,
}

/// What the thread alone has: its table, and how far it is with its turns.
#[derive(Default)]
struct Turns {
    /// Who is watched, by place.
    table: Vec<Change>,
    /// Who wanted another turn, or asked for one.
    again: VecDeque<Arc<dyn Source>>,
    /// How many of them have it now; who wants another has it after the next wait.
    due: usize,
}

per_thread! {
    /// The port whose thread this is: the address of its `Shared`.
    static CURRENT: Cell<usize> = const { Cell::new(0) };
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
        Self::start(sys, None)
    }

    fn start(sys: S, busy_poll: Option<Duration>) -> Result<Self, CreatePortError> {
        let failed = |call| move |errno: rustix::io::Errno| CreatePortError { call, source: errno.into() };
        let epoll = retry_interrupted(|| sys.epoll_create()).map_err(failed("epoll_create1"))?;
        let eventfd = retry_interrupted(|| sys.eventfd()).map_err(failed("eventfd"))?;
        // Edge-triggered: every write is an event, and the counter need never be read.
        let mut members = Membership::default();
        let own = Epoll { sys: &sys, instance: epoll.as_fd() };
        members
            .add_owned(&own, eventfd.as_fd(), Token(WAKE), EventFlags::IN | EventFlags::ET)
            .map_err(failed("epoll_ctl"))?;
        let shared = Arc::new(Shared {
            sys,
            epoll,
            eventfd,
            news: Mutex::default(),
            members: Mutex::new(members),
            ready: Mutex::default(),
            flags: AtomicU8::new(if busy_poll.is_some() { POLLS } else { 0 }),
            busy_poll,
        });
        let thread = thread::Builder::new()
            .name("completion-port".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.run()
            })
            .map_err(|source| CreatePortError { call: "pthread_create", source })?;
        tracing::debug!("completion port created");
        Ok(Self { owner: Arc::new(Owner { shared, thread: Some(thread) }) })
    }
}

impl<S: PortSyscalls> Port for CompletionPort<S> {
    fn attach(&self, descriptor: BorrowedFd<'_>, source: Arc<dyn Source>) -> io::Result<Token> {
        let shared = &self.owner.shared;
        // Before the kernel can report it.
        let token = shared.announce(source);
        let added = shared.members.lock().add_owned(&shared.epoll(), descriptor, token, INTEREST);
        self.attached(token, added)
    }

    fn detach(&self, descriptor: BorrowedFd<'_>, token: Token) {
        let shared = &self.owner.shared;
        let deleted = shared.members.lock().delete_owned(&shared.epoll(), descriptor);
        self.detached(token, deleted);
    }

    // Codes_SRS_COMPLETION_PORT_01_057
    fn forget(&self, token: Token) {
        let shared = &self.owner.shared;
        if shared.forget(token) >= LEFT_TO_A_SLEEPER {
            shared.notify_unless(self.is_current_thread());
        }
    }

    fn attach_once(
        &self,
        descriptor: BorrowedFd<'_>,
        interest: Interest,
        source: Arc<dyn Source>,
    ) -> io::Result<Token> {
        let shared = &self.owner.shared;
        let token = shared.announce(source);
        let added = shared.members.lock().add_lent(&shared.epoll(), descriptor, token, interest.once());
        self.attached(token, added)
    }

    fn rearm(&self, descriptor: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        self.owner.shared.rearm(descriptor, token, interest)
    }

    fn detach_once(&self, descriptor: BorrowedFd<'_>, token: Token) {
        let shared = &self.owner.shared;
        let deleted = shared.members.lock().delete_lent(&shared.epoll(), descriptor, token);
        self.detached(token, deleted);
    }

    fn forget_once(&self, number: RawFd, token: Token) {
        self.owner.shared.members.lock().forget_lent(number, token);
        self.forget(token);
    }

    // Codes_SRS_COMPLETION_PORT_01_060, Codes_SRS_COMPLETION_PORT_01_061
    fn schedule(&self, source: Arc<dyn Source>) {
        let shared = &self.owner.shared;
        shared.ready.lock().push(source);
        shared.notify_unless(self.is_current_thread());
    }

    fn is_current_thread(&self) -> bool {
        self.owner.is_current_thread()
    }

    fn is_on_port_thread(&self) -> bool {
        CURRENT.get() != 0
    }
}

impl<S: PortSyscalls> CompletionPort<S> {
    fn attached(&self, token: Token, added: Result<(), Errno>) -> io::Result<Token> {
        match added {
            Ok(()) => Ok(token),
            Err(error) => {
                self.forget(token);
                Err(error.into())
            }
        }
    }

    fn detached(&self, token: Token, deleted: Result<(), Errno>) {
        if let Err(error) = deleted {
            // The token's generation keeps late events away all the same.
            tracing::warn!(%error, "epoll_ctl(EPOLL_CTL_DEL) failed");
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
    // Codes_SRS_COMPLETION_PORT_01_004, Codes_SRS_COMPLETION_PORT_01_005
    fn drop(&mut self) {
        self.shared.flags.fetch_or(STOPPING, Ordering::Release);
        if !self.is_current_thread() && !planted("the last reference wakes nobody") {
            self.shared.wake();
        }
        // Two ports' threads that waited for each other would wait for ever.
        let on_port_thread = CURRENT.get() != 0;
        if let Some(thread) = self.thread.take()
            && !on_port_thread
            && thread.join().is_err()
        {
            tracing::error!("the port's thread had panicked");
        }
        tracing::debug!(on_port_thread, "completion port stopped");
    }
}

impl<S: PortSyscalls> Shared<S> {
    fn run(self: Arc<Self>) {
        CURRENT.set(Arc::as_ptr(&self).addr());
        let mut events = Vec::with_capacity(EVENTS_PER_WAIT);
        let mut turns = Turns::default();
        loop {
            let flags = self.flags.load(Ordering::Acquire);
            if flags == 0 && turns.again.is_empty() {
                self.wait(&mut events, true);
            } else if flags & STOPPING == 0 {
                self.look_before_waiting(&mut turns, &mut events);
            } else {
                break;
            }
            if self.has_news() {
                // What was announced before an event came is known when that is looked at.
                self.hear_news(&mut turns);
            }
            let mut events = events.iter();
            // A panic, for the last reference to a source runs the user's destructors, costs no one else the turn.
            while run_caught("turn", || self.take_turns(&mut turns, &mut events)).is_none() {}
        }
        while let Some(last) = turns.table.pop() {
            run_caught("drop", || drop(last));
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
        source.rearm(&|descriptor, token, interest| self.rearm(descriptor, token, interest));
    }

    fn rearm(&self, descriptor: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        self.members.lock().modify_lent(&self.epoll(), descriptor, token, interest.once())?;
        Ok(())
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
        if !(idle && flags & POLLS != 0 && self.is_busy(events)) {
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
        if self.flags.fetch_or(NOTIFIED, Ordering::AcqRel) & NOTIFIED == 0 && !is_current_thread {
            self.wake();
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
            wait_failed(error);
        }
    }

    fn wake(&self) {
        if let Err(error) = retry_interrupted(|| self.sys.wake(self.eventfd.as_fd())) {
            tracing::error!(%error, "the port could not be woken");
        }
    }
}

#[cold]
#[inline(never)]
fn wait_failed(error: Errno) {
    tracing::error!(%error, "epoll_wait failed");
    thread::sleep(PAUSE_AFTER_FAILURE);
}

impl News {
    fn new_token(&mut self) -> Token {
        self.generation = self.generation.wrapping_add(1);
        // The eventfd's token has all bits set.
        let generation = self.generation & (u32::MAX >> 1);
        let place = self.free.pop().unwrap_or_else(|| {
            self.places += 1;
            self.places - 1
        });
        Token(u64::from(generation) << 32 | place as u64)
    }
}

impl Turns {
    // Codes_SRS_COMPLETION_PORT_01_053
    #[inline]
    fn watched(&self, token: u64) -> Option<&Arc<dyn Source>> {
        let watched = self.table.get(Token(token).place())?;
        if watched.token.0 == token || planted("no generation") { watched.source.as_ref() } else { None }
    }

    /// Returns who was there before.
    fn enter(&mut self, place: usize, change: Change) -> Option<Change> {
        if let Some(watched) = self.table.get_mut(place) {
            return Some(mem::replace(watched, change));
        }
        if self.table.len() == self.table.capacity() {
            // A quarter more, not twice as much: with many thousands this is most of the memory that is not used.
            self.table.reserve_exact(self.table.len() / 4 + 16);
        }
        // Places are given one after the other, and heard of in the same order.
        self.table.push(change);
        None
    }
}

impl Change {
    fn is_source_of(&self, token: Token) -> bool {
        self.token == token && self.source.is_some()
    }
}

impl Token {
    #[allow(clippy::cast_possible_truncation, reason = "the half of a token that is the place")]
    fn place(self) -> usize {
        self.0 as u32 as usize
    }
}
