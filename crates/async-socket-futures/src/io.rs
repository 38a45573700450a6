//! A descriptor on a port, for futures: what is known of its readiness, and the wakers of the tasks that wait for it.
//!
//! Invariants:
//! * A system call is made only inside a poll that returns its result. So a future that is dropped loses no byte.
//! * A direction that is not ready has got `EAGAIN`, or was drained, and no event came since. So a later event reports it.
//! * In each direction one task waits, the one that polled last. It stores its waker and looks at the readiness once more;
//!   the port's thread notes the event and then takes the waker. So one of the two sees the other.

use crate::budget;
use crate::worker::{Worker, wake_in_dispatch};
use completion_port::memory::TryArc;
use completion_port::process::{Generation, Inherited};
use completion_port::{CompletionPort, Direction, Dispatch, Port, Readiness, Source, Token, is_port_thread};
use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_linger, socket_linger};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker, ready};

/// A descriptor that tasks can wait for.
pub(crate) struct Io<P: Port = CompletionPort> {
    ready: TryArc<Ready>,
    port: P,
    token: Token,
    descriptor: Open,
}

/// The outcome of one try of an operation.
pub(crate) struct Tried<T> {
    pub(crate) value: T,
    /// The kernel has no more for now.
    pub(crate) drained: bool,
}

impl<P: Port> Io<P> {
    /// Puts a descriptor on a port. Sets it to non-blocking mode.
    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_032
    pub(crate) fn on(port: P, descriptor: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&descriptor, true)?;
        let ready = TryArc::try_new(Ready::new()).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let token = port.attach(descriptor.as_fd(), ready.clone().into())?;
        Ok(Self { ready, port, token, descriptor: Open(Some(descriptor)) })
    }

    /// Makes an attempt as soon as the direction is ready. `attempt` must not block.
    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_030, Codes_SRS_ASYNC_SOCKET_FUTURES_01_031
    #[inline]
    pub(crate) fn poll<T>(
        &self,
        context: &Context<'_>,
        direction: Direction,
        mut attempt: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<Tried<T>>,
    ) -> Poll<io::Result<T>> {
        ready!(budget::poll_proceed(context));
        let mut waits = false;
        loop {
            let before = self.ready.get();
            if before.is(direction) {
                match attempt(self.descriptor.as_fd()) {
                    Ok(tried) => {
                        if tried.drained && !before.lasts() {
                            self.ready.clear(direction, before);
                        }
                        return Poll::Ready(Ok(tried.value));
                    }
                    Err(Errno::AGAIN) => self.ready.clear(direction, before),
                    Err(Errno::INTR) => {}
                    Err(error) => return Poll::Ready(Err(error.into())),
                }
            } else if waits {
                return Poll::Pending;
            } else if self.ready.made_in.is_inherited() {
                return Poll::Ready(Err(Inherited.into()));
            } else {
                waits = true;
                self.ready.store(direction, context.waker());
            }
        }
    }

    /// Takes the descriptor off the port. A task that waits is woken.
    pub(crate) fn into_descriptor(self) -> OwnedFd {
        let mut this = self;
        let descriptor = this.descriptor.0.take().expect("it is there until it is taken back");
        this.port.detach(descriptor.as_fd(), this.token);
        this.ready.wake_all();
        descriptor
    }

    /// The port.
    pub(crate) fn port(&self) -> &P {
        &self.port
    }
}

/// The port of the current task, or the one that the process uses outside of tasks.
pub(crate) fn current_port() -> io::Result<CompletionPort> {
    match Worker::current() {
        Some(worker) => Ok(worker.port().clone()),
        None => async_socket_linux::platform::get_completion_port().map_err(io::Error::from),
    }
}

impl<P: Port> AsFd for Io<P> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl<P: Port> Drop for Io<P> {
    fn drop(&mut self) {
        // Before the descriptor is closed, so that no late event arrives.
        if let Some(descriptor) = &self.descriptor.0 {
            self.port.detach(descriptor.as_fd(), self.token);
        }
    }
}

impl<P: Port> fmt::Debug for Io<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").field("descriptor", &self.descriptor).finish_non_exhaustive()
    }
}

/// A descriptor until it is closed or taken back.
#[derive(Debug)]
struct Open(Option<OwnedFd>);

impl AsFd for Open {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_ref().expect("it is there until it is taken back").as_fd()
    }
}

impl Drop for Open {
    /// On a port thread `close` must not wait for a peer, because all other tasks of the port would wait too. Without
    /// lingering it returns at once, and the kernel goes on sending.
    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_034
    fn drop(&mut self) {
        if let Some(descriptor) = &self.0
            && is_port_thread()
            && matches!(socket_linger(descriptor), Ok(Some(time)) if !time.is_zero())
        {
            let _ = set_socket_linger(descriptor, None);
        }
    }
}

/// What is known of a descriptor. The port tells it about events.
struct Ready {
    state: AtomicU32,
    made_in: Generation,
    /// By direction.
    waiters: Mutex<[Option<Waker>; 2]>,
}

/// A value of `Ready::state`: flags, and above them a count of events.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State(u32);

impl State {
    const READABLE: u32 = 1;
    const WRITABLE: u32 = 1 << 1;
    /// After a short read more may come: an error, the end of the stream, or bytes behind an urgent one.
    const LASTS: u32 = 1 << 2;
    const EVENT: u32 = 1 << 3;

    const fn flag(direction: Direction) -> u32 {
        match direction {
            Direction::In => Self::READABLE,
            Direction::Out => Self::WRITABLE,
        }
    }

    #[inline]
    const fn is(self, direction: Direction) -> bool {
        self.0 & Self::flag(direction) != 0
    }

    #[inline]
    const fn lasts(self) -> bool {
        self.0 & Self::LASTS != 0
    }

    /// After an event.
    fn merged(self, events: Readiness) -> Self {
        let broken = events.intersects(Readiness::ERROR | Readiness::HANG_UP);
        let mut flags = self.0;
        if broken || events.intersects(Readiness::IN | Readiness::READ_HANG_UP) {
            flags |= Self::READABLE;
        }
        if broken || events.contains(Readiness::OUT) {
            flags |= Self::WRITABLE;
        }
        if broken || events.intersects(Readiness::READ_HANG_UP | Readiness::URGENT) {
            flags |= Self::LASTS;
        }
        Self(flags.wrapping_add(Self::EVENT))
    }
}

impl Ready {
    fn new() -> Self {
        // A send nearly always works. If not, its `EAGAIN` says so.
        Self { state: AtomicU32::new(State::WRITABLE), made_in: Generation::current(), waiters: Mutex::default() }
    }

    #[inline]
    fn get(&self) -> State {
        State(self.state.load(Ordering::Acquire))
    }

    /// Notes that a direction is not ready, unless an event came since `before`.
    #[inline]
    fn clear(&self, direction: Direction, before: State) {
        let is_old = |now: u32| now / State::EVENT == before.0 / State::EVENT;
        let clear = |now: u32| is_old(now).then_some(now & !State::flag(direction));
        // An event that came since is what this leaves alone.
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, clear);
    }

    #[inline]
    fn store(&self, direction: Direction, waker: &Waker) {
        let mut waiters = self.waiters.lock();
        let stored = &mut waiters[direction as usize];
        if !stored.as_ref().is_some_and(|stored| stored.will_wake(waker)) {
            let old = stored.replace(waker.clone());
            drop(waiters);
            // Dropped without the lock, because it may be foreign code.
            drop(old);
        }
    }

    fn wake_all(&self) {
        let wakers = std::mem::take(&mut *self.waiters.lock());
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

impl Source for Ready {
    #[inline]
    fn on_ready(&self, events: Readiness) -> Dispatch {
        // Only the port's thread notes events, so the count is exact.
        let merge = |now| Some(State(now).merged(events).0);
        let (Ok(before) | Err(before)) = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, merge);
        let now = State(before).merged(events);
        let mut waiters = self.waiters.lock();
        let [reader, writer] = [Direction::In, Direction::Out]
            .map(|direction| if now.is(direction) { waiters[direction as usize].take() } else { None });
        drop(waiters);
        if let Some(reader) = reader {
            wake_in_dispatch(reader);
        }
        if let Some(writer) = writer {
            wake_in_dispatch(writer);
        }
        Dispatch::Idle
    }

    fn queued(&self, direction: Direction) -> usize {
        usize::from(self.waiters.lock()[direction as usize].is_some())
    }

    /// Reads and writes go on, but nothing reports readiness any more.
    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_036
    fn on_port_failure(&self) {
        let _ = self.on_ready(Readiness::ERROR);
    }
}
