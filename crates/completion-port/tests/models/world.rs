//! Shared by the models of a registration: a descriptor with a few bytes in it, operations that move them, a port whose
//! thread is the model's, and the results.

use crate::kernel::any_descriptor;
use completion_port::{
    Action, Attempt, Direction, Dispatch, Handler, Interest, OperationId, Port, Readiness, Registration, SourceRef,
    TimerFired, Token,
};
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread::{self, JoinHandle};
use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Instant;

pub type Registered = Registration<Mover, ModelPort>;

/// Why an operation was called back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Done,
    Broken,
    Abandoned,
    Cancelled,
    TimedOut,
}

/// What the threads of a model share.
pub struct World {
    pub registration: Arc<Registered>,
    pub port: ModelPort,
    state: Arc<State>,
}

/// The kernel's side of the descriptor, and the observations. State that only the models read must not be a step of theirs.
/// So it lies in standard mutexes, which loom does not know.
#[derive(Default)]
pub struct State {
    /// How many bytes can be moved.
    room: Mutex<usize>,
    moved: std::sync::Mutex<Vec<char>>,
    ended: std::sync::Mutex<Vec<(char, End)>>,
    credit: Mutex<Credit>,
    /// The timer comes once more.
    armed: Mutex<bool>,
    /// A payload broke off in the middle, so nothing may be sent any more. As in a socket, no lock guards it.
    torn: AtomicBool,
    /// The model has such a payload. The others need no step for it.
    may_tear: std::sync::atomic::AtomicBool,
    /// A removal has returned.
    removed: AtomicBool,
    /// The handler has the descriptor back.
    released: std::sync::Mutex<bool>,
    /// The callback of `remove_async` has run.
    over: std::sync::Mutex<bool>,
}

/// What an operation can need besides room.
#[derive(Default)]
struct Credit {
    given: bool,
    wanted: bool,
}

pub struct Descriptor(Arc<State>);

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        any_descriptor()
    }
}

/// Moves `left` bytes and is called back.
pub struct Operation {
    name: char,
    left: usize,
    needs_credit: bool,
    /// Its deadline is over when the timer comes.
    is_late: bool,
    /// If its deadline is over, it breaks off in the middle.
    tears: bool,
    /// Its last byte was the last one available.
    drained: bool,
    /// What its first attempt does.
    during: Option<Box<dyn FnOnce() + Send>>,
    then: Box<dyn FnOnce() + Send>,
}

pub fn op(name: char, bytes: usize) -> Operation {
    op_then(name, bytes, || {})
}

pub fn op_then(name: char, bytes: usize, then: impl FnOnce() + Send + 'static) -> Operation {
    Operation {
        name,
        left: bytes,
        needs_credit: false,
        is_late: false,
        tears: false,
        drained: false,
        during: None,
        then: Box::new(then),
    }
}

/// An operation whose first attempt does something.
pub fn op_during(name: char, bytes: usize, during: impl FnOnce() + Send + 'static) -> Operation {
    Operation { during: Some(Box::new(during)), ..op(name, bytes) }
}

/// An operation that is suspended until it gets credit.
pub fn op_on_credit(name: char, bytes: usize) -> Operation {
    Operation { needs_credit: true, ..op(name, bytes) }
}

/// An operation with a deadline, which is over.
pub fn op_late(name: char, bytes: usize) -> Operation {
    Operation { is_late: true, ..op(name, bytes) }
}

/// The same, and it breaks off in the middle of its payload then.
pub fn op_that_tears(name: char, bytes: usize) -> Operation {
    Operation { tears: true, ..op_late(name, bytes) }
}

/// [`op_late`] that is suspended until it gets credit.
pub fn op_late_on_credit(name: char, bytes: usize) -> Operation {
    Operation { is_late: true, ..op_on_credit(name, bytes) }
}

pub struct Mover(Arc<State>);

impl Handler for Mover {
    type Descriptor = Descriptor;
    type Operation = Operation;

    fn attempt(&self, mut operation: Operation, action: Action, attempt: Attempt<'_, Self>) {
        let end = match action {
            Action::Abandoned => End::Abandoned,
            Action::Error => End::Broken,
            Action::Cancelled => End::Cancelled,
            Action::TimedOut => End::TimedOut,
            _ => End::Done,
        };
        if end == End::Done {
            operation.during.take().into_iter().for_each(|during| during());
            if operation.needs_credit && !self.0.has_credit() {
                return attempt.suspend(operation);
            }
            attempt.run(|descriptor| descriptor.0.move_bytes(&mut operation)).expect("no panic");
            self.0.must_not_be_removed();
            if operation.left > 0 {
                return attempt.pending(operation);
            }
        }
        attempt.complete(operation.drained, None, || self.0.callback(operation, end));
    }

    fn times_out(&self, operation: &Operation) {
        if operation.tears {
            self.0.torn.store(true, Ordering::Relaxed);
        }
    }

    /// As a socket does it: first it notes that it looks, so that deadlines from now on are armed anew. If the stream has broken, it
    /// ends all that waits to be sent, and comes once more for what was added meanwhile.
    fn timer_fired(&self, timer: &TimerFired<'_, Self>) -> Option<Instant> {
        let was_torn = self.0.is_torn();
        *self.0.armed.lock().expect("no panic") = false;
        for direction in [Direction::In, Direction::Out] {
            timer.end_waiting(direction, |operation| operation.is_late);
        }
        if self.0.is_torn() {
            timer.end_waiting(Direction::Out, |_| true);
            if !was_torn {
                *self.0.armed.lock().expect("no panic") = true;
            }
        }
        None
    }

    fn release(&self, _: Descriptor) {
        *self.0.released.lock().expect("no panic") = true;
    }
}

impl State {
    fn move_bytes(&self, operation: &mut Operation) {
        while operation.left > 0
            && let Some(left_in_kernel) = self.move_byte(operation.name)
        {
            operation.left -= 1;
            operation.drained = left_in_kernel == 0;
        }
    }

    pub fn make_room(&self, bytes: usize) {
        *self.room.lock().expect("no panic") += bytes;
    }

    /// A system call. Returns how many bytes can still be moved, or `None` for `EAGAIN`.
    fn move_byte(&self, name: char) -> Option<usize> {
        let mut room = self.room.lock().expect("no panic");
        *room = room.checked_sub(1)?;
        self.moved.lock().expect("no panic").push(name);
        Some(*room)
    }

    fn is_torn(&self) -> bool {
        self.may_tear.load(Ordering::Relaxed) && self.torn.load(Ordering::Relaxed)
    }

    fn has_credit(&self) -> bool {
        let mut credit = self.credit.lock().expect("no panic");
        credit.wanted = !credit.given;
        credit.given
    }

    fn callback(&self, operation: Operation, end: End) {
        self.ended.lock().expect("no panic").push((operation.name, end));
        (operation.then)();
        self.must_not_be_removed();
    }

    fn note_done_once(&self) {
        let before = mem::replace(&mut *self.over.lock().expect("no panic"), true);
        assert!(!before, "the callback runs twice");
    }

    fn must_not_be_removed(&self) {
        assert!(!self.removed.load(Ordering::Relaxed), "runs although the registration was removed");
    }
}

/// A registration of the model's descriptor on any port.
pub fn unregistered_on<P: Port>(port: P, state: &Arc<State>) -> Registration<Mover, P> {
    Registration::new(port, Mover(Arc::clone(state)), Descriptor(Arc::clone(state)))
}

/// Runs a part of a model on a thread of its own.
pub fn start<T: 'static>(world: &Arc<World>, part: impl FnOnce(&Arc<World>) -> T + 'static) -> JoinHandle<T> {
    let world = Arc::clone(world);
    thread::spawn(move || part(&world))
}

pub fn join<T>(thread: JoinHandle<T>) -> T {
    thread.join().expect("no panic")
}

impl World {
    /// A registration that is not registered.
    pub fn unregistered() -> Arc<Self> {
        let (port, state) = (ModelPort::default(), Arc::<State>::default());
        let registration = Arc::new(unregistered_on(port.clone(), &state));
        Arc::new(Self { registration, port, state })
    }

    /// A registration on which nothing has happened yet.
    pub fn new() -> Arc<Self> {
        let world = Self::unregistered();
        world.registration.register(|| ()).expect("the model's port attaches everything");
        world
    }

    /// A registration whose first operation watches the descriptor.
    pub fn lazy() -> Arc<Self> {
        let world = Self::unregistered();
        world.registration.register_lazily(|| ()).expect("the model's port takes everything");
        world
    }

    /// [`new`](Self::new) after an event, with nothing to move: as after a spurious event, or when another process was
    /// faster.
    pub fn with_false_hope(events: Readiness) -> Arc<Self> {
        let world = Self::new();
        world.port.report(events);
        world.port.turn();
        world
    }

    /// The kernel gets room for `bytes` bytes and reports it.
    pub fn arrive(&self, bytes: usize, events: Readiness) {
        self.state.make_room(bytes);
        self.port.report(events);
    }

    /// Gives the credit that an operation of a direction waits for or is about to need.
    pub fn give_credit(&self, direction: Direction) {
        let mut credit = self.state.credit.lock().expect("no panic");
        credit.given = true;
        let wanted = credit.wanted;
        drop(credit);
        if wanted {
            self.registration.resumer().resume(direction);
        }
    }

    /// Sends like a socket: at once if possible, otherwise behind the others. Returns whether the operation was accepted.
    pub fn try_send(&self, direction: Direction, mut operation: Operation) -> bool {
        let Ok(claim) = self.registration.try_claim(direction) else {
            return self.registration.add(direction, operation).is_ok();
        };
        claim.descriptor().0.move_bytes(&mut operation);
        self.state.must_not_be_removed();
        if operation.left == 0 {
            claim.complete(|| self.state.callback(operation, End::Done));
        } else {
            claim.queue(operation).expect("there is memory");
        }
        true
    }

    /// The same for what must be accepted.
    pub fn send(&self, direction: Direction, operation: Operation) {
        assert!(self.try_send(direction, operation), "it is registered");
    }

    /// Sends unless a payload has broken off, as a socket does. Returns whether the operation was accepted.
    pub fn send_unless_torn(&self, mut operation: Operation) -> bool {
        let Ok(claim) = self.registration.try_claim(Direction::Out) else {
            return !self.state.is_torn() && self.add_unless_torn(operation);
        };
        if self.state.is_torn() {
            return false;
        }
        claim.descriptor().0.move_bytes(&mut operation);
        assert_eq!(operation.left, 0, "there is room");
        claim.complete(|| self.state.callback(operation, End::Done));
        true
    }

    /// If the payload breaks off meanwhile, the timer has to end the operation.
    fn add_unless_torn(&self, operation: Operation) -> bool {
        self.add(Direction::Out, operation);
        if self.state.is_torn() {
            self.arm();
        }
        true
    }

    /// A send of which one byte has gone out, and for whose second there is no room before its deadline is over.
    pub fn begin_to_tear(&self, name: char) {
        self.state.may_tear.store(true, Ordering::Relaxed);
        self.arrive(1, Readiness::OUT);
        self.add(Direction::Out, op_that_tears(name, 2));
        while self.port.turn() {}
        assert_eq!(self.moved(), name.to_string());
        self.arm();
    }

    /// The kernel gets room, and has not reported it yet.
    pub fn make_room(&self, bytes: usize) {
        self.state.make_room(bytes);
    }

    /// Adds an operation that must be accepted.
    pub fn add(&self, direction: Direction, operation: Operation) -> OperationId {
        self.registration.add(direction, operation).expect("it is registered")
    }

    /// Makes the timer come.
    pub fn arm(&self) {
        *self.state.armed.lock().expect("no panic") = true;
    }

    /// Lets the port's thread call the timer, as long as it is armed.
    pub fn tick_while_armed(&self) {
        while *self.state.armed.lock().expect("no panic") {
            self.port.tick();
        }
    }

    /// Removes the registration without waiting. Nothing of it may run after the callback.
    pub fn remove_async(&self) -> bool {
        let state = Arc::clone(&self.state);
        self.remove_async_then(move || state.removed.store(true, Ordering::Relaxed))
    }

    /// The same inside a callback, which goes on running.
    pub fn remove_async_in_callback(&self) -> bool {
        self.remove_async_then(|| ())
    }

    fn remove_async_then(&self, then: impl FnOnce() + Send + 'static) -> bool {
        let state = Arc::clone(&self.state);
        let done = move || {
            assert!(*state.released.lock().expect("no panic"), "the handler has not got the descriptor");
            state.note_done_once();
            then();
        };
        self.registration.remove_async(done).is_ok()
    }

    /// Whether the callback of `remove_async` has run.
    pub fn is_over(&self) -> bool {
        *self.state.over.lock().expect("no panic")
    }

    /// Removes the registration. Returns whether this call removed it.
    pub fn remove(&self) -> bool {
        let removed = self.registration.remove();
        if removed {
            self.state.removed.store(true, Ordering::Relaxed);
        }
        removed
    }

    /// Removes the registration, whoever begins, and waits.
    pub fn remove_and_wait(&self) {
        self.registration.remove_and_wait();
        self.state.removed.store(true, Ordering::Relaxed);
    }

    pub fn released(&self) -> bool {
        *self.state.released.lock().expect("no panic")
    }

    /// How the operations have ended until now, in order.
    pub fn ended_so_far(&self) -> Vec<(char, End)> {
        self.state.ended.lock().expect("no panic").clone()
    }

    /// The work of a callback that belongs to no operation.
    pub fn note(&self, name: char) {
        self.state.callback(op(name, 0), End::Done);
    }

    /// How the operations ended, in order, once the port's thread has nothing left to do.
    pub fn ended(&self) -> Vec<(char, End)> {
        while self.port.turn() {}
        self.state.ended.lock().expect("no panic").clone()
    }

    /// The bytes that were moved, as the names of the operations that moved them.
    pub fn moved(&self) -> String {
        self.state.moved.lock().expect("no panic").iter().collect()
    }
}

/// A port for one descriptor. Any thread of the model that calls [`turn`](Self::turn) is its thread, one at a time.
#[derive(Clone, Default)]
pub struct ModelPort(Arc<Mutex<Work>>);

#[derive(Default)]
struct Work {
    attached: Option<SourceRef>,
    /// Edges that were not delivered yet.
    events: Option<Readiness>,
    scheduled: Vec<SourceRef>,
    /// The next attachment fails.
    fails: bool,
    /// The source was inserted, and `watch` was not called.
    is_unwatched: bool,
}

impl ModelPort {
    pub fn fail_once(&self) {
        self.work().fails = true;
    }

    fn work(&self) -> loom::sync::MutexGuard<'_, Work> {
        self.0.lock().expect("no panic")
    }

    /// An edge, which the next turn delivers.
    pub fn report(&self, events: Readiness) {
        let mut work = self.work();
        work.events = Some(work.events.unwrap_or(Readiness::empty()) | events);
    }

    /// The registration's timer comes, on the port's thread.
    pub fn tick(&self) {
        let source = self.work().attached.clone();
        if let Some(source) = source
            && source.on_timer(Instant::now()).0 == Dispatch::Yielded
        {
            self.work().scheduled.push(source);
        }
    }

    /// The work of the port's thread between two sleeps. Returns whether there was anything to do.
    pub fn turn(&self) -> bool {
        let mut work = self.work();
        let source = work.attached.clone();
        let is_watched = !work.is_unwatched;
        let event = source.filter(|_| is_watched).and_then(|source| Some((work.events.take()?, source)));
        let mut scheduled = mem::take(&mut work.scheduled);
        drop(work);
        let busy = event.is_some() || !scheduled.is_empty();
        if let Some((events, source)) = event
            && source.on_ready(events) == Dispatch::Yielded
        {
            scheduled.push(source);
        }
        for source in scheduled {
            if source.on_ready(Readiness::empty()) == Dispatch::Yielded {
                self.work().scheduled.push(source);
            }
        }
        busy
    }
}

impl Port for ModelPort {
    fn attach(&self, _: BorrowedFd<'_>, source: SourceRef) -> io::Result<Token> {
        let mut work = self.work();
        if mem::take(&mut work.fails) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        work.attached = Some(source);
        Ok(Token(0))
    }

    fn insert(&self, source: SourceRef) -> io::Result<Token> {
        let mut work = self.work();
        (work.attached, work.is_unwatched) = (Some(source), true);
        Ok(Token(0))
    }

    fn watch(&self, _: BorrowedFd<'_>, _: Token) -> io::Result<()> {
        let mut work = self.work();
        assert!(work.attached.is_some(), "watches for what was removed");
        assert!(mem::take(&mut work.is_unwatched), "watches twice");
        Ok(())
    }

    fn detach(&self, _: BorrowedFd<'_>, token: Token) {
        self.forget(token);
    }

    fn attach_once(&self, descriptor: BorrowedFd<'_>, _: Interest, source: SourceRef) -> io::Result<Token> {
        self.attach(descriptor, source)
    }

    fn rearm(&self, _: BorrowedFd<'_>, _: Token, _: Interest) -> io::Result<()> {
        Ok(())
    }

    fn detach_once(&self, _: BorrowedFd<'_>, token: Token) {
        self.forget(token);
    }

    fn forget_once(&self, _: RawFd, token: Token) {
        self.forget(token);
    }

    fn is_on_port_thread(&self) -> bool {
        false
    }

    fn forget(&self, _: Token) {
        let mut work = self.work();
        let (source, _) = (work.attached.take(), work.events.take());
        drop(work);
        drop(source);
    }

    fn schedule(&self, _: Token) {
        let mut work = self.work();
        let source = work.attached.clone();
        work.scheduled.extend(source);
    }

    fn is_current_thread(&self) -> bool {
        false
    }
}
