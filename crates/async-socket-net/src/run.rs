//! The state of a connect that is not over, and what is due next. No system calls, no lock, no callback.

use crate::address::Address;
use crate::backoff::Backoff;
use crate::connect_error::{AttemptError, Attempts, ConnectError};
use crate::dialer::Dialer;
use crate::order::try_interleaved;
use crate::race::{Outcome, Race};
use crate::resolver::{Lookup, ResolveError};
use crate::sys::{Errno, NetSyscalls};
use completion_port::memory::TryArc;
use completion_port::{Port, Registration, Token};
use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The program's callback.
pub(crate) trait Done<P: Port>: Send {
    fn call(self: Box<Self>, outcome: Outcome<P>);
}

// An array, because `try_box` makes a box of one.
impl<P: Port, F: FnOnce(Outcome<P>) + Send> Done<P> for [F; 1] {
    fn call(self: Box<Self>, outcome: Outcome<P>) {
        let [done] = *self;
        done(outcome);
    }
}

/// A connect that is not over.
pub(crate) struct Run<P: Port, N: NetSyscalls> {
    pub(crate) done: Box<dyn Done<P>>,
    pub(crate) port: P,
    within: Duration,
    deadline: Option<Instant>,
    stagger: Duration,
    pub(crate) token: Option<Token>,
    /// For attempts to hold. It is a cycle until the end.
    pub(crate) race: Option<TryArc<Race<P, N>>>,
    /// Its addresses are known.
    has_begun: bool,
    pub(crate) looking_up: Option<(String, Option<Lookup>)>,
    /// What ends it at the next step.
    pub(crate) error: Option<ConnectError>,
    /// The addresses that were not tried yet.
    waiting: VecDeque<Address>,
    pub(crate) attempts: Vec<OneAttempt<P, N>>,
    /// Of the attempts that have failed. There is room for all.
    pub(crate) errors: Vec<AttemptError>,
    /// When the next address is tried, if an attempt is under way.
    pub(crate) next_at: Option<Instant>,
}

pub(crate) struct OneAttempt<P: Port, N: NetSyscalls> {
    pub(crate) address: Address,
    pub(crate) stage: Stage<P, N>,
}

pub(crate) enum Stage<P: Port, N: NetSyscalls> {
    /// In the hands of the port's thread.
    Trying,
    /// The kernel will report how it went.
    Watched(Registration<Dialer<P, N>, P>),
    /// It is tried again at this time.
    Paused(Instant, Backoff),
    Failed,
}

/// What is due.
pub(crate) enum Step {
    Try(usize, Address),
    End(ConnectError),
    Wait(Option<Instant>),
}

impl<P: Port, N: NetSyscalls> Run<P, N> {
    pub(crate) fn new(port: P, within: Duration, stagger: Duration, done: Box<dyn Done<P>>) -> Self {
        let deadline = port.now().checked_add(within);
        Self {
            done,
            port,
            within,
            deadline,
            stagger,
            token: None,
            race: None,
            has_begun: false,
            looking_up: None,
            error: None,
            waiting: VecDeque::new(),
            attempts: Vec::new(),
            errors: Vec::new(),
            next_at: None,
        }
    }

    /// Takes the addresses, and room for their attempts and errors.
    // Codes_SRS_ASYNC_SOCKET_NET_01_051
    pub(crate) fn begin(&mut self, addresses: Option<VecDeque<Address>>) {
        let mut reserve = |waiting: &VecDeque<Address>| {
            self.attempts.try_reserve_exact(waiting.len()).and_then(|()| self.errors.try_reserve_exact(waiting.len()))
        };
        match addresses.filter(|waiting| reserve(waiting).is_ok()) {
            Some(waiting) => self.waiting = waiting,
            None => self.error = Some(ConnectError::Port(io::ErrorKind::OutOfMemory.into())),
        }
        self.has_begun = true;
    }

    /// The look-up has ended.
    // Codes_SRS_ASYNC_SOCKET_NET_01_032
    pub(crate) fn resolved(&mut self, result: Result<Vec<SocketAddr>, ResolveError>) {
        let Some((host, _)) = self.looking_up.take() else { return };
        match result {
            Ok(addresses) if addresses.is_empty() => {
                self.error = Some(ConnectError::Resolver { host, source: ResolveError::NoAddress });
            }
            Ok(addresses) => self.begin(try_interleaved(&addresses)),
            Err(source) => self.error = Some(ConnectError::Resolver { host, source }),
        }
    }

    // Codes_SRS_ASYNC_SOCKET_NET_01_037, Codes_SRS_ASYNC_SOCKET_NET_01_038
    pub(crate) fn next_step(&mut self, now: Instant) -> Step {
        if let Some(error) = self.error.take() {
            return Step::End(error);
        }
        // Codes_SRS_ASYNC_SOCKET_NET_01_043
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            let attempts = self.take_attempts(Errno::TIMEDOUT);
            return Step::End(ConnectError::TimedOut { within: self.within, attempts });
        }
        if !self.has_begun {
            return Step::Wait(self.deadline);
        }
        if let Some(index) = self.attempts.iter().position(|attempt| attempt.is_due(now)) {
            return Step::Try(index, self.attempts[index].address.clone());
        }
        let under_way = self.attempts.iter().any(OneAttempt::is_under_way);
        if !under_way || self.next_at.is_none_or(|at| at <= now) {
            if let Some(address) = self.waiting.pop_front() {
                self.next_at = now.checked_add(self.stagger);
                self.attempts.push(OneAttempt { address: address.clone(), stage: Stage::Trying });
                return Step::Try(self.attempts.len() - 1, address);
            }
            if !under_way {
                return Step::End(ConnectError::Failed { attempts: self.take_attempts(Errno::CANCELED) });
            }
        }
        Step::Wait(self.wakes_at())
    }

    fn wakes_at(&self) -> Option<Instant> {
        let next = self.next_at.filter(|_| !self.waiting.is_empty());
        let retries = self.attempts.iter().filter_map(OneAttempt::retries_at);
        retries.chain(next).chain(self.deadline).min()
    }

    /// The errors of all attempts. Those under way get `errno`, and stay until the end of the run.
    // Codes_SRS_ASYNC_SOCKET_NET_01_044
    fn take_attempts(&mut self, errno: Errno) -> Attempts {
        let mut errors = mem::take(&mut self.errors);
        let under_way = self.attempts.iter().enumerate().filter(|(_, attempt)| attempt.is_under_way());
        errors.extend(
            under_way.map(|(index, attempt)| AttemptError::new(index, attempt.address.clone(), "connect", errno)),
        );
        errors.sort_unstable_by_key(|error| error.index);
        Attempts(errors)
    }
}

impl<P: Port, N: NetSyscalls> OneAttempt<P, N> {
    fn is_under_way(&self) -> bool {
        !matches!(self.stage, Stage::Failed)
    }

    fn retries_at(&self) -> Option<Instant> {
        match self.stage {
            Stage::Paused(at, _) => Some(at),
            _ => None,
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.retries_at().is_some_and(|at| at <= now)
    }
}
