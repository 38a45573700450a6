//! What a listener's registration does: accepts connections one after the other, and hands them to the program.
//!
//! Invariants:
//! * One operation waits in the registration from the beginning to the end. It is put back before the program's callback
//!   runs, so a callback may drop the listener.
//! * The callback is here or in the hands of the port thread that runs it. Once the listener is over it is here no more.

use crate::accept_error::{AcceptError, Failure};
use crate::accepted::Accepted;
use crate::address::{Address, Family};
use crate::alarm::Alarm;
use crate::backoff::Backoff;
use crate::options::SocketOptions;
use crate::sys::{Errno, NetSyscalls};
use completion_port::memory::{TryArc, try_box};
use completion_port::process::Generation;
use completion_port::sys::retry_interrupted;
use completion_port::{Action, Attempt, Direction, Handler, Port, Resumer, log_caught};
use std::mem;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The first pause after an error that may pass.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The longest pause.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The program's callback.
trait Callback<P: Port, N: NetSyscalls>: Send {
    fn call(&mut self, outcome: Result<Accepted<P, N>, AcceptError>);
}

// An array, because `try_box` makes a box of one.
impl<P: Port, N: NetSyscalls, F: FnMut(Result<Accepted<P, N>, AcceptError>) + Send> Callback<P, N> for [F; 1] {
    fn call(&mut self, outcome: Result<Accepted<P, N>, AcceptError>) {
        let [callback] = self;
        callback(outcome);
    }
}

/// Chooses the port of the next connection.
trait NextPort<P>: Send {
    fn next_port(&self) -> P;
}

impl<P, F: Fn() -> P + Send> NextPort<P> for [F; 1] {
    fn next_port(&self) -> P {
        let [next_port] = self;
        next_port()
    }
}

/// What belongs to the program.
pub(crate) struct Program<P: Port, N: NetSyscalls> {
    callback: Box<dyn Callback<P, N>>,
    next_port: Box<dyn NextPort<P>>,
}

impl<P: Port, N: NetSyscalls> Program<P, N> {
    /// `None` if there is no memory.
    pub(crate) fn try_new(
        callback: impl FnMut(Result<Accepted<P, N>, AcceptError>) + Send + 'static,
        next_port: impl Fn() -> P + Send + 'static,
    ) -> Option<Self> {
        // Codes_SRS_ASYNC_SOCKET_NET_01_052
        Some(Self { callback: try_box(callback).ok()?, next_port: try_box(next_port).ok()? })
    }
}

pub(crate) struct Acceptor<P: Port, N: NetSyscalls> {
    pub(crate) sys: N,
    family: Family,
    options: SocketOptions,
    pub(crate) counters: Counters,
    port_failed: AtomicBool,
    /// The next pause is not the first. Saves a lock for each connection.
    has_backed_off: AtomicBool,
    made_in: Generation,
    parts: Mutex<Parts<P, N>>,
}

/// The way back from a pause, for the alarm. Empty once the listener is over, because it refers to the port, and the port
/// may free the alarm only when it wakes for something else.
pub(crate) struct Paused<P: Port, N: NetSyscalls>(TryArc<Mutex<Option<WayBack<P, N>>>>);

type WayBack<P, N> = Resumer<Acceptor<P, N>, P>;

impl<P: Port, N: NetSyscalls> Paused<P, N> {
    /// `None` if there is no memory.
    pub(crate) fn try_new(resumer: WayBack<P, N>) -> Option<Self> {
        TryArc::try_new(Mutex::new(Some(resumer))).ok().map(Self)
    }

    fn resumer(&self) -> MutexGuard<'_, Option<WayBack<P, N>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the listener go on.
    pub(crate) fn end(&self) {
        // Without the lock, because the resumption may end the listener.
        let resumer = self.resumer().clone();
        if let Some(resumer) = resumer {
            resumer.resume(Direction::In);
        }
    }

    fn empty(&self) {
        let resumer = self.resumer().take();
        drop(resumer);
    }
}

impl<P: Port, N: NetSyscalls> Clone for Paused<P, N> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Parts<P: Port, N: NetSyscalls> {
    /// `None` while the callback runs, and once the listener is over.
    program: Option<Program<P, N>>,
    alarm: Option<(Alarm<P>, Paused<P, N>)>,
    backoff: Backoff,
    is_over: bool,
}

/// What has happened so far. Only the port thread writes, so no addition is lost.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) accepted: AtomicU64,
    pub(crate) failed_clients: AtomicU64,
    pub(crate) pauses: AtomicU64,
    pub(crate) is_paused: AtomicBool,
    pub(crate) is_lost: AtomicBool,
    pub(crate) callbacks: Callbacks,
}

/// How long the calls of the callback take, if the program asks for it.
#[derive(Debug, Default)]
pub(crate) struct Callbacks {
    is_on: AtomicBool,
    /// In nanoseconds.
    longest: AtomicU64,
}

impl Callbacks {
    pub(crate) fn switch(&self, on: bool) {
        self.is_on.store(on, Ordering::Relaxed);
    }

    pub(crate) fn longest(&self) -> Option<Duration> {
        let longest = || Duration::from_nanos(self.longest.load(Ordering::Relaxed));
        self.is_on.load(Ordering::Relaxed).then(longest)
    }

    /// Measures until it is dropped, also if the callback panics.
    fn timed(&self) -> Option<Timed<'_>> {
        self.is_on.load(Ordering::Relaxed).then(|| Timed { callbacks: self, since: Instant::now() })
    }
}

struct Timed<'a> {
    callbacks: &'a Callbacks,
    since: Instant,
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        let took = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.callbacks.longest.fetch_max(took, Ordering::Relaxed);
    }
}

/// The operation that waits.
#[derive(Debug)]
pub(crate) struct Accepting;

impl<P: Port, N: NetSyscalls> Acceptor<P, N> {
    pub(crate) fn new(sys: N, family: Family, options: SocketOptions, program: Program<P, N>) -> Self {
        let backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let parts = Parts { program: Some(program), alarm: None, backoff, is_over: false };
        Self {
            sys,
            family,
            options,
            counters: Counters::default(),
            port_failed: AtomicBool::new(false),
            has_backed_off: AtomicBool::new(false),
            made_in: Generation::current(),
            parts: Mutex::new(parts),
        }
    }

    pub(crate) fn set_alarm(&self, alarm: Alarm<P>, paused: Paused<P, N>) {
        self.parts().alarm = Some((alarm, paused));
    }

    fn parts(&self) -> MutexGuard<'_, Parts<P, N>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_over(&self, descriptor: OwnedFd, peer: Address) {
        if self.has_backed_off.load(Ordering::Relaxed) {
            self.has_backed_off.store(false, Ordering::Relaxed);
            self.parts().backoff.reset();
        }
        count(&self.counters.accepted);
        log_caught(|| tracing::trace!(%peer, "connection accepted"));
        match self.options.apply(&self.sys, descriptor.as_fd(), self.family) {
            // Codes_SRS_ASYNC_SOCKET_NET_01_002
            Ok(()) => self
                .call(|program| Ok(Accepted::new(descriptor, peer, program.next_port.next_port(), self.sys.clone()))),
            // Codes_SRS_ASYNC_SOCKET_NET_01_006
            Err(source) => {
                self.sys.close(descriptor);
                count(&self.counters.failed_clients);
                self.report(AcceptError::Options { peer: peer.as_inet(), source });
            }
        }
    }

    fn report(&self, error: AcceptError) {
        log_caught(|| tracing::debug!(%error, "not accepted"));
        self.call(|_| Err(error));
    }

    /// Runs the callback without a lock. A panic leaves through here; the port catches it.
    // Codes_SRS_ASYNC_SOCKET_NET_01_012, Codes_SRS_ASYNC_SOCKET_NET_01_055
    fn call(&self, outcome: impl FnOnce(&Program<P, N>) -> Result<Accepted<P, N>, AcceptError>) {
        let Some(program) = self.parts().program.take() else { return };
        let mut lent = Lent { acceptor: self, program: Some(program) };
        if let Some(program) = &mut lent.program {
            let outcome = outcome(program);
            let _timed = self.counters.callbacks.timed();
            program.callback.call(outcome);
        }
    }

    /// Suspends the operation until the alarm rings or the program resumes it.
    // Codes_SRS_ASYNC_SOCKET_NET_01_010
    fn pause(&self, attempt: Attempt<'_, Self>, operation: Accepting, errno: Errno) {
        let mut parts = self.parts();
        // Codes_SRS_ASYNC_SOCKET_NET_01_011
        let pause = parts.backoff.next_pause();
        let set = parts.alarm.as_ref().map_or(Ok(()), |(alarm, _)| alarm.set(pause));
        drop(parts);
        self.has_backed_off.store(true, Ordering::Relaxed);
        self.counters.is_paused.store(true, Ordering::Relaxed);
        count(&self.counters.pauses);
        match set {
            Ok(()) => attempt.suspend(operation),
            // Without the timer it must try again at once, or it would never.
            Err(_) => attempt.partial(operation),
        }
        log_caught(|| tracing::warn!(error = %errno, ?pause, "listener pauses"));
        self.report(AcceptError::Paused { source: errno.into(), pause });
    }

    // Codes_SRS_ASYNC_SOCKET_NET_01_015
    fn lose(&self, attempt: Attempt<'_, Self>, errno: Errno) {
        attempt.complete(false, None, || {
            self.counters.is_lost.store(true, Ordering::Relaxed);
            log_caught(|| tracing::error!(error = %errno, "listener lost"));
            self.report(AcceptError::Lost { source: errno.into() });
        });
    }
}

impl<P: Port, N: NetSyscalls> Handler for Acceptor<P, N> {
    type Descriptor = OwnedFd;
    type Operation = Accepting;

    /// Accepts one connection. The port repeats it until nothing is there or other descriptors must have their turn.
    fn attempt(&self, operation: Accepting, action: Action, attempt: Attempt<'_, Self>) {
        if matches!(action, Action::Abandoned | Action::Cancelled) {
            return attempt.complete(false, None, || ());
        }
        self.counters.is_paused.store(false, Ordering::Relaxed);
        let accept = |descriptor: &OwnedFd| retry_interrupted(|| self.sys.accept(descriptor.as_fd()));
        let port_failed = || self.port_failed.load(Ordering::Relaxed);
        match attempt.run(accept).unwrap_or(Err(Errno::IO)) {
            Ok((descriptor, peer)) => {
                // The port counts the attempts, and lets others have their turn.
                // Codes_SRS_ASYNC_SOCKET_NET_01_002, Codes_SRS_ASYNC_SOCKET_NET_01_008
                attempt.partial(operation);
                // Codes_SRS_ASYNC_SOCKET_NET_01_002
                self.hand_over(descriptor, peer);
            }
            Err(errno) => match Failure::of(errno) {
                // Codes_SRS_ASYNC_SOCKET_NET_01_021
                Failure::NothingThere if port_failed() => self.lose(attempt, Errno::BADF),
                // Codes_SRS_ASYNC_SOCKET_NET_01_015
                Failure::NothingThere => attempt.pending(operation),
                // Codes_SRS_ASYNC_SOCKET_NET_01_009
                Failure::OfOneClient => {
                    attempt.partial(operation);
                    count(&self.counters.failed_clients);
                    self.report(AcceptError::Client { source: errno.into() });
                }
                // Without a port there is no timer.
                // Codes_SRS_ASYNC_SOCKET_NET_01_021
                Failure::OfTheMoment if port_failed() => self.lose(attempt, errno),
                // Codes_SRS_ASYNC_SOCKET_NET_01_010
                Failure::OfTheMoment => self.pause(attempt, operation, errno),
                // Codes_SRS_ASYNC_SOCKET_NET_01_015
                Failure::OfTheListener => self.lose(attempt, errno),
            },
        }
    }

    /// The next attempt, which the port makes with an error, finds nothing and loses the listener.
    // Codes_SRS_ASYNC_SOCKET_NET_01_021
    fn port_failed(&self) {
        self.port_failed.store(true, Ordering::Relaxed);
    }

    /// Closes the descriptor, so that the address is free, and gives up what belongs to the program.
    // Codes_SRS_ASYNC_SOCKET_NET_01_013
    fn release(&self, descriptor: OwnedFd) {
        self.sys.close(descriptor);
        let mut parts = self.parts();
        parts.is_over = true;
        let (alarm, program) = (parts.alarm.take(), parts.program.take());
        drop(parts);
        if let Some((alarm, paused)) = alarm {
            drop(alarm);
            paused.empty();
        }
        drop(program);
    }
}

/// The program's part while its callback runs.
struct Lent<'a, P: Port, N: NetSyscalls> {
    acceptor: &'a Acceptor<P, N>,
    program: Option<Program<P, N>>,
}

impl<P: Port, N: NetSyscalls> Drop for Lent<'_, P, N> {
    // Codes_SRS_ASYNC_SOCKET_NET_01_012
    fn drop(&mut self) {
        if self.acceptor.made_in.is_inherited() {
            // The callback has forked, and this is the child.
            return mem::forget(self.program.take());
        }
        let mut parts = self.acceptor.parts();
        if !parts.is_over {
            parts.program = self.program.take();
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
