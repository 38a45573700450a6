//! The port itself: epoll, its thread, the table of what is watched, and wake-ups.
//!
//! Invariants:
//! * A token is an index and a generation; an event with an old generation finds nothing, so a late
//!   event never reaches a removed registration nor one that reuses its place.
//! * The thread does not sleep while [`Shared::notified`] is set, and looks at `ready` after clearing it. So whoever
//!   finds it set need not write to the eventfd, nor need the thread itself.

use crate::callback::run_caught;
use crate::handler::Direction;
use crate::readiness::Readiness;
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, per_thread, planted};
use crate::sys::{Event, EventFlags, Kernel, PAUSE_AFTER_FAILURE, PortSyscalls, retry_interrupted};
use slab::Slab;
use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::slice;
use std::time::{Duration, Instant};
use thiserror::Error;

/// How many events one `epoll_wait` can return.
const EVENTS_PER_WAIT: usize = 512;

/// The token of the eventfd.
const WAKE: u64 = u64::MAX;

/// What every descriptor is watched for: both directions, edge-triggered.
const INTEREST: EventFlags =
    EventFlags::IN.union(EventFlags::OUT).union(EventFlags::PRI).union(EventFlags::RDHUP).union(EventFlags::ET);

/// What a [`Registration`](crate::Registration) needs of a port: the seam where tests put a mock.
///
/// Implemented by [`CompletionPort`]. An implementation calls [`Source::on_ready`] from one thread
/// at a time.
pub trait Port: Clone + Send + Sync + 'static {
    /// Starts to report a descriptor's events to `source`.
    ///
    /// # Errors
    /// What the kernel says; nothing is attached then.
    fn attach(&self, descriptor: BorrowedFd<'_>, source: Arc<dyn Source>) -> io::Result<Token>;

    /// Stops it; events that were under way are dropped.
    fn detach(&self, descriptor: BorrowedFd<'_>, token: Token);

    /// Lets the kernel look at the descriptor anew and report what is ready, as if it had just been attached.
    ///
    /// # Errors
    /// What the kernel says, `ENOENT` if the descriptor was closed in the meantime.
    fn rearm(&self, descriptor: BorrowedFd<'_>, token: Token) -> io::Result<()>;

    /// Like [`detach`](Self::detach), for a descriptor that was closed: the kernel knows already.
    fn forget(&self, token: Token);

    /// Asks for one call of `on_ready` without an event, soon.
    fn schedule(&self, source: Arc<dyn Source>);

    /// Whether the caller is on the thread that calls `on_ready`.
    fn is_current_thread(&self) -> bool;
}

/// Something that a port reports events to.
pub trait Source: Send + Sync {
    /// Takes note of the events and runs the operations whose turn has come.
    fn on_ready(&self, events: Readiness) -> Turn;

    /// How many operations wait in a direction.
    fn queued(&self, direction: Direction) -> usize;
}

/// What a source wants after its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Turn {
    /// Nothing is left to run.
    Over,
    /// Something is left: call again after the others had their turn.
    Again,
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
    sources: Mutex<Sources>,
    /// Sources that asked for a turn without an event.
    ready: Mutex<Vec<Arc<dyn Source>>>,
    /// There is something in `ready` that the thread has not seen yet.
    notified: AtomicBool,
    stopping: AtomicBool,
    /// For how long to ask the kernel again and again before the thread sleeps.
    busy_poll: Duration,
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
        CompletionPort::start(sys, self.busy_poll)
    }
}

#[derive(Default)]
struct Sources {
    table: Slab<(u32, Arc<dyn Source>)>,
    generation: u32,
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
        Self::start(sys, Duration::ZERO)
    }

    fn start(sys: S, busy_poll: Duration) -> Result<Self, CreatePortError> {
        let failed = |call| move |errno: rustix::io::Errno| CreatePortError { call, source: errno.into() };
        let epoll = retry_interrupted(|| sys.epoll_create()).map_err(failed("epoll_create1"))?;
        let eventfd = retry_interrupted(|| sys.eventfd()).map_err(failed("eventfd"))?;
        // Edge-triggered: every write is an event, and the counter need never be read.
        retry_interrupted(|| sys.epoll_add(epoll.as_fd(), eventfd.as_fd(), WAKE, EventFlags::IN | EventFlags::ET))
            .map_err(failed("epoll_ctl"))?;
        let shared = Arc::new(Shared {
            sys,
            epoll,
            eventfd,
            sources: Mutex::default(),
            ready: Mutex::default(),
            notified: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
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
        let token = shared.sources.lock().insert(source);
        match retry_interrupted(|| shared.sys.epoll_add(shared.epoll.as_fd(), descriptor, token.0, INTEREST)) {
            Ok(()) => Ok(token),
            Err(error) => {
                self.forget(token);
                Err(error.into())
            }
        }
    }

    fn detach(&self, descriptor: BorrowedFd<'_>, token: Token) {
        let shared = &self.owner.shared;
        if let Err(error) = retry_interrupted(|| shared.sys.epoll_delete(shared.epoll.as_fd(), descriptor)) {
            // The token's generation keeps late events away all the same.
            tracing::warn!(%error, "epoll_ctl(EPOLL_CTL_DEL) failed");
        }
        self.forget(token);
    }

    fn rearm(&self, descriptor: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        let shared = &self.owner.shared;
        retry_interrupted(|| shared.sys.epoll_modify(shared.epoll.as_fd(), descriptor, token.0, INTEREST))?;
        Ok(())
    }

    fn forget(&self, token: Token) {
        let source = self.owner.shared.sources.lock().remove(token);
        // Perhaps the last reference: dropped without the lock.
        drop(source);
    }

    // Codes_SRS_COMPLETION_PORT_01_060, Codes_SRS_COMPLETION_PORT_01_061
    fn schedule(&self, source: Arc<dyn Source>) {
        let shared = &self.owner.shared;
        shared.ready.lock().push(source);
        if !shared.notified.swap(true, Ordering::AcqRel) && !self.is_current_thread() {
            shared.wake();
        }
    }

    fn is_current_thread(&self) -> bool {
        self.owner.is_current_thread()
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
        self.shared.stopping.store(true, Ordering::Release);
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
        let mut again = VecDeque::new();
        while !self.stopping.load(Ordering::Acquire) {
            let idle =
                again.is_empty() && (!self.notified.load(Ordering::Acquire) || planted("sleeps though notified"));
            if !(idle && self.busy_poll > Duration::ZERO && self.is_busy(&mut events)) {
                self.wait(&mut events, idle);
            }
            let (mut events, mut before) = (events.iter(), again.len());
            // A panic, for the last reference to a source runs the user's destructors, costs no one else the turn.
            while run_caught("turn", || self.take_turns(&mut events, &mut before, &mut again)).is_none() {}
        }
    }

    /// Gives the sources of the events, those that have asked, and those that wanted it `before` a turn each. Who wants
    /// another has it after the next wait.
    fn take_turns(
        &self,
        events: &mut slice::Iter<'_, Event>,
        before: &mut usize,
        again: &mut VecDeque<Arc<dyn Source>>,
    ) {
        for event in events {
            let (token, flags) = (event.data.u64(), event.flags);
            let found = self.sources.lock().get(token);
            if let Some(source) = found
                && source.on_ready(Readiness::from_bits_truncate(flags.bits())) == Turn::Again
            {
                again.push_back(source);
            }
        }
        if self.notified.load(Ordering::Relaxed) && self.notified.swap(false, Ordering::AcqRel) {
            let mut ready = self.ready.lock();
            *before += ready.len();
            ready.drain(..).rev().for_each(|source| again.push_front(source));
            if planted("notified is cleared late") {
                drop(ready);
                self.notified.store(false, Ordering::Release);
            }
        }
        while *before > 0 {
            *before -= 1;
            if let Some(source) = again.pop_front()
                && source.on_ready(Readiness::empty()) == Turn::Again
            {
                again.push_back(source);
            }
        }
    }

    /// Asks for events without sleeping. Whether there is something to do before the time is over.
    // Codes_SRS_COMPLETION_PORT_01_064
    #[cold]
    fn is_busy(&self, events: &mut Vec<Event>) -> bool {
        let start = Instant::now();
        loop {
            self.wait(events, false);
            if !events.is_empty() || self.notified.load(Ordering::Acquire) || self.stopping.load(Ordering::Acquire) {
                return true;
            }
            if start.elapsed() >= self.busy_poll {
                return false;
            }
        }
    }

    // Codes_SRS_COMPLETION_PORT_01_063
    fn wait(&self, events: &mut Vec<Event>, block: bool) {
        events.clear();
        if let Err(error) = retry_interrupted(|| self.sys.epoll_wait(self.epoll.as_fd(), events, block)) {
            tracing::error!(%error, "epoll_wait failed");
            thread::sleep(PAUSE_AFTER_FAILURE);
        }
    }

    fn wake(&self) {
        if let Err(error) = retry_interrupted(|| self.sys.wake(self.eventfd.as_fd())) {
            tracing::error!(%error, "the port could not be woken");
        }
    }
}

impl Sources {
    fn insert(&mut self, source: Arc<dyn Source>) -> Token {
        self.generation = self.generation.wrapping_add(1);
        // The eventfd's token has all bits set.
        let generation = self.generation & (u32::MAX >> 1);
        let index = self.table.insert((generation, source));
        Token(u64::from(generation) << 32 | index as u64)
    }

    // Codes_SRS_COMPLETION_PORT_01_053
    fn get(&self, token: u64) -> Option<Arc<dyn Source>> {
        let (index, generation) = Self::split(token);
        let (current, source) = self.table.get(index)?;
        (*current == generation || planted("no generation")).then(|| Arc::clone(source))
    }

    fn remove(&mut self, token: Token) -> Option<Arc<dyn Source>> {
        let (index, generation) = Self::split(token.0);
        let (current, _) = self.table.get(index)?;
        (*current == generation).then(|| self.table.remove(index).1)
    }

    #[allow(clippy::cast_possible_truncation, reason = "the halves of a token")]
    fn split(token: u64) -> (usize, u32) {
        (token as u32 as usize, (token >> 32) as u32)
    }
}
