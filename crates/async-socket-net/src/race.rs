//! One connect: how its addresses are tried, and how it ends. What is due when is in `run`.
//!
//! Invariants:
//! * `Run` holds everything that a connect needs, the program's callback included. The end takes it out of its lock, so a
//!   connect ends once.
//! * Only the port's thread begins attempts, in [`advance`](Race::advance). It looks at the state and the time and does what
//!   is due, so an extra call does no harm. Any thread may end the connect meanwhile.
//! * No lock is held while the program's callback runs or a registration is removed.
//! * Once the addresses are known, nothing here allocates, except attempts that can fail for want of memory.

use crate::address::{Address, Family};
use crate::attempts::{Conditions, Tried, try_to_connect};
use crate::backoff::Backoff;
use crate::caught::run_caught;
use crate::connect_error::{AttemptError, ConnectError};
use crate::dialer::Dialer;
use crate::opening::open_fresh_socket;
use crate::resolver::{Lookup, ResolveError};
use crate::run::{Run, Stage, Step};
use crate::sys::{Errno, NetSyscalls};
use async_socket_linux::AsyncSocketLinux;
use completion_port::memory::TryArc;
use completion_port::process::Generation;
use completion_port::{Direction, Dispatch, Port, Readiness, Source, log_caught};
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The pauses between attempts on a Unix socket whose backlog is full, for which the kernel reports no event.
const FIRST_RETRY: Duration = Duration::from_millis(1);
const LONGEST_RETRY: Duration = Duration::from_millis(64);

pub(crate) type Outcome<P> = Result<AsyncSocketLinux<P>, ConnectError>;

pub(crate) struct Race<P: Port, N: NetSyscalls> {
    conditions: Conditions<N>,
    made_in: Generation,
    /// `None` once it is over.
    run: Mutex<Option<Run<P, N>>>,
}

impl<P: Port, N: NetSyscalls> Race<P, N> {
    pub(crate) fn new(conditions: Conditions<N>, run: Run<P, N>) -> Self {
        Self { conditions, made_in: Generation::current(), run: Mutex::new(Some(run)) }
    }

    fn run(&self) -> MutexGuard<'_, Option<Run<P, N>>> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the race a source of its port, whose thread calls [`advance`](Self::advance) from now on, and `begin` something to
    /// do for it. Nothing is tried inside this call.
    pub(crate) fn attach(this: &TryArc<Self>, begin: impl FnOnce(&mut Run<P, N>)) -> io::Result<()> {
        let mut run = this.run();
        let Some(run) = run.as_mut() else { return Ok(()) };
        let token = run.port.insert(this.clone().into())?;
        begin(run);
        run.token = Some(token);
        run.race = Some(this.clone());
        // Codes_SRS_ASYNC_SOCKET_NET_01_030
        run.port.schedule(token);
        Ok(())
    }

    /// Ends the race at the port thread's next step.
    fn fail(&self, error: ConnectError) {
        self.change(|run| run.error = Some(error));
    }

    /// A name is being looked up, and nothing is tried meanwhile.
    pub(crate) fn wait_for_lookup(&self, host: &str) {
        self.change(|run| run.looking_up = Some((host.to_owned(), None)));
    }

    /// Takes over the look-up, to drop it at the end. The end may have come already, and so may the result.
    pub(crate) fn keep_lookup(&self, lookup: Lookup) {
        let mut run = self.run();
        let mut lookup = Some(lookup);
        if let Some((_, kept)) = run.as_mut().and_then(|run| run.looking_up.as_mut()) {
            *kept = lookup.take();
        }
        drop(run);
        // What is left is dropped without the lock.
        drop(lookup);
    }

    /// The look-up's result, from a thread of the resolver.
    // Codes_SRS_ASYNC_SOCKET_NET_01_032
    pub(crate) fn resolved(&self, result: Result<Vec<SocketAddr>, ResolveError>) {
        self.change(|run| run.resolved(result));
    }

    /// Changes the run, and lets the port's thread look at it.
    fn change(&self, change: impl FnOnce(&mut Run<P, N>)) {
        let mut guard = self.run();
        let Some(run) = guard.as_mut() else { return };
        change(run);
        let scheduled = run.token.map(|token| (run.port.clone(), token));
        drop(guard);
        if let Some((port, token)) = scheduled {
            port.schedule(token);
        }
    }

    /// Does what is due, on the port's thread.
    pub(crate) fn advance(&self) {
        loop {
            let mut guard = self.run();
            let Some(run) = guard.as_mut() else { return };
            let now = run.port.now();
            match run.next_step(now) {
                Step::Wait(at) => {
                    let Some(token) = run.token else { return };
                    let Err(error) = run.port.set_timer(token, at) else { return };
                    drop(guard);
                    return self.end(|_| Err(ConnectError::Port(error)));
                }
                Step::End(error) => {
                    drop(guard);
                    return self.end(|_| Err(error));
                }
                Step::Try(index, address) => {
                    drop(guard);
                    if self.try_address(index, &address) {
                        return;
                    }
                }
            }
        }
    }

    /// Begins an attempt, without a lock. If another thread ends the race meanwhile, the descriptor is closed. Returns whether
    /// the race is over.
    fn try_address(&self, index: usize, address: &Address) -> bool {
        log_caught(|| tracing::trace!(%address, "connecting"));
        match try_to_connect(&self.conditions, address) {
            Tried::Connected(descriptor) => {
                self.win(descriptor, address.family());
                return true;
            }
            Tried::InProgress(descriptor) => self.watch(index, descriptor),
            Tried::BacklogFull => self.pause(index),
            Tried::Failed(call, errno) => self.set_failed(index, call, errno),
        }
        false
    }

    fn watch(&self, index: usize, descriptor: OwnedFd) {
        let parts = self.run().as_ref().and_then(|run| Some((run.race.clone()?, run.port.clone())));
        let Some((race, port)) = parts else { return self.conditions.sys.close(descriptor) };
        match Dialer::start(race, index, self.conditions.sys.clone(), port, descriptor) {
            Ok(registration) => self.set_stage(index, Stage::Watched(registration)),
            Err(errno) => self.set_failed(index, "epoll_ctl", errno),
        }
    }

    // Codes_SRS_ASYNC_SOCKET_NET_01_042
    fn pause(&self, index: usize) {
        let mut guard = self.run();
        let Some(run) = guard.as_mut() else { return };
        let now = run.port.now();
        let attempt = &mut run.attempts[index];
        let mut backoff = match mem::replace(attempt, Stage::Trying) {
            Stage::Paused(_, backoff) => backoff,
            _ => Backoff::new(FIRST_RETRY, LONGEST_RETRY),
        };
        *attempt = Stage::Paused(now + backoff.next_pause(), backoff);
    }

    fn set_failed(&self, index: usize, call: &'static str, errno: Errno) {
        let mut guard = self.run();
        let Some(run) = guard.as_mut() else { return };
        // The next address is tried at once.
        // Codes_SRS_ASYNC_SOCKET_NET_01_038
        run.next_at = None;
        let before = mem::replace(&mut run.attempts[index], Stage::Failed(call, errno));
        let address = run.address(index).clone();
        drop(guard);
        drop(before);
        log_caught(|| tracing::debug!(error = %AttemptError::new(address, call, errno), "attempt failed"));
    }

    /// What was there before is dropped without the lock, because that removes a registration.
    fn set_stage(&self, index: usize, stage: Stage<P, N>) {
        let mut stage = stage;
        let mut guard = self.run();
        if let Some(run) = guard.as_mut() {
            mem::swap(&mut run.attempts[index], &mut stage);
        }
        drop(guard);
        drop(stage);
    }

    /// How an attempt went that was under way. On the port's thread, in a callback of the attempt's registration.
    pub(crate) fn settle(&self, index: usize, outcome: Result<(), Errno>) {
        let mut guard = self.run();
        let Some(run) = guard.as_mut() else { return };
        let Stage::Watched(registration) = mem::replace(&mut run.attempts[index], Stage::Trying) else { return };
        let family = run.address(index).family();
        drop(guard);
        match outcome {
            Ok(()) => {
                if let Some(descriptor) = Dialer::finish(&registration) {
                    drop(registration);
                    self.win(descriptor, family);
                }
            }
            Err(errno) => {
                drop(registration);
                self.set_failed(index, "connect", errno);
                self.advance();
            }
        }
    }

    // Codes_SRS_ASYNC_SOCKET_NET_01_041
    fn win(&self, descriptor: OwnedFd, family: Family) {
        let mut descriptor = Some(descriptor);
        self.end(|port| {
            let Some(descriptor) = descriptor.take() else { return Err(ConnectError::Cancelled) };
            open_fresh_socket(port, descriptor, family).map_err(ConnectError::Open)
        });
        // Another thread has ended the race before.
        if let Some(descriptor) = descriptor {
            self.conditions.sys.close(descriptor);
        }
    }

    /// Ends the race, unless it is over. The losers are closed before the callback runs.
    // Codes_SRS_ASYNC_SOCKET_NET_01_041, Codes_SRS_ASYNC_SOCKET_NET_01_046
    fn end(&self, outcome: impl FnOnce(P) -> Outcome<P>) {
        let Some(run) = self.run().take() else { return };
        let Run { done, port, token, race, looking_up, attempts, .. } = run;
        if let Some(token) = token {
            port.forget(token);
        }
        drop(looking_up);
        drop(attempts);
        let outcome = outcome(port);
        if let Err(error) = &outcome {
            log_caught(|| tracing::debug!(%error, "not connected"));
        }
        run_caught("callback", || done.call(outcome));
        drop(race);
    }

    /// Ends the race as cancelled, on any thread.
    pub(crate) fn cancel(&self) {
        // Codes_SRS_ASYNC_SOCKET_NET_01_081
        if self.made_in.is_inherited() {
            // A thread of the parent may have held the lock at the fork.
            return;
        }
        // Codes_SRS_ASYNC_SOCKET_NET_01_047
        self.end(|_| Err(ConnectError::Cancelled));
    }

    /// Ends the race before it has begun, because the port refused it.
    pub(crate) fn refuse(&self, error: io::Error) {
        self.end(|_| Err(ConnectError::Port(error)));
    }

    pub(crate) fn is_over(&self) -> bool {
        self.made_in.is_inherited() || self.run().is_none()
    }
}

impl<P: Port, N: NetSyscalls> Source for Race<P, N> {
    fn on_ready(&self, _: Readiness) -> Dispatch {
        if !self.made_in.is_inherited() {
            self.advance();
        }
        Dispatch::Idle
    }

    fn on_timer(&self, _: Instant) -> (Dispatch, Option<Instant>) {
        // Sets the next timer itself, if there is one.
        (self.on_ready(Readiness::empty()), None)
    }

    fn queued(&self, _: Direction) -> usize {
        0
    }

    // Codes_SRS_ASYNC_SOCKET_NET_01_048
    fn on_port_failure(&self) {
        if !self.made_in.is_inherited() {
            self.fail(ConnectError::Port(Errno::BADF.into()));
        }
    }
}
