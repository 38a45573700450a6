//! A completion port without epoll and without a thread: the test fires the events.

use crate::no_memory::with_memory;
use completion_port::{Action, Direction, Dispatch, Interest, Port, Readiness, SourceRef, Token};
use parking_lot::Mutex;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A call that a [`MockPort`] got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortCall {
    /// `EPOLL_CTL_ADD`: the descriptor.
    Attach(RawFd),
    /// `EPOLL_CTL_DEL`: the descriptor.
    Detach(RawFd),
    /// `EPOLL_CTL_ADD` for one event: the descriptor, and the event.
    AttachOnce(RawFd, Interest),
    /// `EPOLL_CTL_MOD` for one more event: the descriptor, and the event.
    Rearm(RawFd, Interest),
    /// A request for a turn without an event.
    Schedule,
    /// A source without a descriptor.
    Insert,
    /// `EPOLL_CTL_ADD` for a source that was inserted: the descriptor.
    Watch(RawFd),
    /// The timer of a source was armed, moved or disarmed.
    SetTimer(Option<Instant>),
}

/// A port that records its calls, and whose events the test fires by hand.
///
/// The mock replaces epoll and the thread. The queues behind it are the real ones. While [`fire`](Self::fire) runs, the
/// calling thread counts as the port's thread. The mock gets memory for its own use even when the
/// [allocator](crate::FailingAllocator) fails for others.
#[derive(Clone, Default)]
pub struct MockPort {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    calls: Vec<PortCall>,
    sources: BTreeMap<u64, SourceRef>,
    /// Sources that were inserted, and for which `watch` was not called.
    unwatched: BTreeSet<u64>,
    scheduled: VecDeque<SourceRef>,
    next_token: u64,
    attach_fails: VecDeque<i32>,
    rearm_fails: VecDeque<i32>,
    timers: BTreeMap<u64, Instant>,
    /// The time of the mock. Only the test moves it.
    now: Option<Instant>,
    before_schedule: Option<Hook>,
    before_watch: Option<Hook>,
}

type Hook = Box<dyn FnOnce() + Send>;

thread_local! {
    /// The number of calls of `fire`, on any mock, that this thread is in.
    static FIRING: Cell<usize> = const { Cell::new(0) };
}

impl MockPort {
    /// A port to which nothing is attached.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the next attachment fail with this `errno`.
    pub fn fail_next_attach(&self, errno: i32) {
        self.state.lock().attach_fails.push_back(errno);
    }

    /// Lets the next re-arming fail with this `errno`.
    pub fn fail_next_rearm(&self, errno: i32) {
        self.state.lock().rearm_fails.push_back(errno);
    }

    /// Runs a function inside the next call of `schedule`.
    pub fn before_next_schedule(&self, run: impl FnOnce() + Send + 'static) {
        self.state.lock().before_schedule = Some(Box::new(run));
    }

    /// Runs a function inside the next call of `watch`.
    pub fn before_next_watch(&self, run: impl FnOnce() + Send + 'static) {
        self.state.lock().before_watch = Some(Box::new(run));
    }

    /// The calls so far, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<PortCall> {
        self.state.lock().calls.clone()
    }

    /// The number of references to the port, including this one.
    #[must_use]
    pub fn references(&self) -> usize {
        Arc::strong_count(&self.state)
    }

    /// The number of operations that wait in a direction of the descriptor that was attached last.
    #[must_use]
    pub fn queued(&self, direction: Direction) -> usize {
        self.latest().queued(direction)
    }

    /// Reports an action for the descriptor that was attached last, and runs what follows from it.
    /// [`Action::Abandoned`] comes from removing the registration, and cannot be fired.
    pub fn fire(&self, action: Action) {
        self.deliver(match action {
            Action::RdHup => Readiness::READ_HANG_UP,
            Action::In => Readiness::IN,
            Action::Out => Readiness::OUT,
            Action::Error => Readiness::ERROR,
            Action::Abandoned | Action::Cancelled | Action::TimedOut => {
                panic!("close the socket or cancel the operation")
            }
        });
    }

    /// Reports any events for the descriptor that was attached last, and runs what follows from them.
    pub fn deliver(&self, events: Readiness) {
        let source = self.latest();
        self.turn(source, events);
    }

    /// The port fails, as after other code has closed its epoll instance: every source is told, and then gets a turn.
    pub fn fail(&self) {
        let sources: Vec<_> = self.state.lock().sources.values().cloned().collect();
        for source in &sources {
            source.on_port_failure();
        }
        for source in sources {
            self.turn(source, Readiness::empty());
        }
    }

    /// Gives a turn to every source that asks for one without an event, until none asks. Returns the number of turns.
    pub fn run_scheduled(&self) -> usize {
        let mut turns = 0;
        while let Some(source) = self.next_scheduled() {
            self.turn(source, Readiness::empty());
            turns += 1;
        }
        turns
    }

    /// Moves the time on, in steps from timer to timer, and fires the timers that come. Runs what is scheduled before each
    /// step and at the end.
    pub fn advance(&self, by: Duration) {
        let end = self.now() + by;
        loop {
            self.run_scheduled();
            let next = self.next_timer();
            let Some((token, at)) = next.filter(|(_, at)| *at <= end) else { break };
            let mut state = self.state.lock();
            state.timers.remove(&token.0);
            let now = at.max(state.now.unwrap_or(at));
            state.now = Some(now);
            let source = state.sources.get(&token.0).cloned();
            drop(state);
            if let Some(source) = source {
                self.fire_timer(token, source, now);
            }
        }
        self.state.lock().now = Some(end);
    }

    /// The armed timer that comes first.
    #[must_use]
    pub fn next_timer(&self) -> Option<(Token, Instant)> {
        let state = self.state.lock();
        state.timers.iter().map(|(token, at)| (Token(*token), *at)).min_by_key(|it| it.1)
    }

    fn fire_timer(&self, token: Token, source: SourceRef, now: Instant) {
        FIRING.set(FIRING.get() + 1);
        let (dispatch, again) = source.on_timer(now);
        FIRING.set(FIRING.get() - 1);
        let mut state = self.state.lock();
        if let Some(again) = again
            && state.sources.contains_key(&token.0)
        {
            with_memory(|| {
                let armed = state.timers.entry(token.0).or_insert(again);
                *armed = again.min(*armed);
            });
        }
        if dispatch == Dispatch::Yielded {
            with_memory(|| state.scheduled.push_back(source));
        }
    }

    fn next_scheduled(&self) -> Option<SourceRef> {
        self.state.lock().scheduled.pop_front()
    }

    fn turn(&self, source: SourceRef, events: Readiness) {
        FIRING.set(FIRING.get() + 1);
        let turn = source.on_ready(events);
        FIRING.set(FIRING.get() - 1);
        match turn {
            Dispatch::Idle => {}
            Dispatch::Yielded => with_memory(|| self.state.lock().scheduled.push_back(source)),
            Dispatch::Rearm => source.rearm(&|descriptor, token, interest| self.rearm(descriptor, token, interest)),
        }
    }

    fn insert_as(&self, call: PortCall, source: SourceRef) -> io::Result<Token> {
        let mut state = self.state.lock();
        state.calls.push(call);
        if let Some(errno) = state.attach_fails.pop_front() {
            return Err(io::Error::from_raw_os_error(errno));
        }
        state.next_token += 1;
        let token = state.next_token;
        state.sources.insert(token, source);
        Ok(Token(token))
    }

    fn latest(&self) -> SourceRef {
        let state = self.state.lock();
        let (_, source) = state.sources.last_key_value().expect("a descriptor is attached");
        source.clone()
    }
}

impl Port for MockPort {
    fn attach(&self, descriptor: BorrowedFd<'_>, source: SourceRef) -> io::Result<Token> {
        with_memory(|| self.insert_as(PortCall::Attach(descriptor.as_raw_fd()), source))
    }

    fn watch(&self, descriptor: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        let hook = self.state.lock().before_watch.take();
        hook.into_iter().for_each(|hook| hook());
        let mut state = self.state.lock();
        with_memory(|| state.calls.push(PortCall::Watch(descriptor.as_raw_fd())));
        if let Some(errno) = state.attach_fails.pop_front() {
            return Err(io::Error::from_raw_os_error(errno));
        }
        assert!(state.unwatched.remove(&token.0), "watched for once, while it is inserted");
        Ok(())
    }

    fn detach(&self, descriptor: BorrowedFd<'_>, token: Token) {
        let mut state = self.state.lock();
        if !state.unwatched.contains(&token.0) {
            with_memory(|| state.calls.push(PortCall::Detach(descriptor.as_raw_fd())));
        }
        drop(state);
        self.forget(token);
    }

    fn forget(&self, token: Token) {
        let mut state = self.state.lock();
        let source = state.sources.remove(&token.0);
        state.unwatched.remove(&token.0);
        state.timers.remove(&token.0);
        drop(state);
        drop(source);
    }

    fn attach_once(&self, descriptor: BorrowedFd<'_>, interest: Interest, source: SourceRef) -> io::Result<Token> {
        self.insert_as(PortCall::AttachOnce(descriptor.as_raw_fd(), interest), source)
    }

    fn rearm(&self, descriptor: BorrowedFd<'_>, _: Token, interest: Interest) -> io::Result<()> {
        let mut state = self.state.lock();
        state.calls.push(PortCall::Rearm(descriptor.as_raw_fd(), interest));
        state.rearm_fails.pop_front().map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
    }

    fn detach_once(&self, descriptor: BorrowedFd<'_>, token: Token) {
        self.detach(descriptor, token);
    }

    fn forget_once(&self, _: RawFd, token: Token) {
        self.forget(token);
    }

    fn schedule(&self, token: Token) {
        let hook = self.state.lock().before_schedule.take();
        hook.into_iter().for_each(|hook| hook());
        let mut state = self.state.lock();
        with_memory(|| {
            state.calls.push(PortCall::Schedule);
            let source = state.sources.get(&token.0).cloned();
            state.scheduled.extend(source);
        });
    }

    fn insert(&self, source: SourceRef) -> io::Result<Token> {
        with_memory(|| {
            let token = self.insert_as(PortCall::Insert, source)?;
            self.state.lock().unwatched.insert(token.0);
            Ok(token)
        })
    }

    fn set_timer(&self, token: Token, at: Option<Instant>) -> io::Result<()> {
        let mut state = self.state.lock();
        with_memory(|| {
            state.calls.push(PortCall::SetTimer(at));
            if !state.sources.contains_key(&token.0) {
                return;
            }
            match at {
                Some(at) => _ = state.timers.insert(token.0, at),
                None => _ = state.timers.remove(&token.0),
            }
        });
        Ok(())
    }

    fn now(&self) -> Instant {
        *self.state.lock().now.get_or_insert_with(Instant::now)
    }

    fn is_current_thread(&self) -> bool {
        FIRING.get() > 0
    }

    fn is_on_port_thread(&self) -> bool {
        self.is_current_thread()
    }
}

impl fmt::Debug for MockPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("MockPort")
            .field("calls", &state.calls)
            .field("attached", &state.sources.len())
            .field("scheduled", &state.scheduled.len())
            .finish_non_exhaustive()
    }
}
