//! The state of a connect that is not over, and what is due next. No system calls, no lock, no callback.

use crate::address::Address;
use crate::backoff::Backoff;
use crate::connect_error::{AttemptError, Attempts, ConnectError};
use crate::dialer::Dialer;
use crate::few::Few;
use crate::order::try_interleaved;
use crate::race::{Outcome, Race};
use crate::resolver::{Lookup, ResolveError};
use crate::sys::{Errno, NetSyscalls, no_memory};
use completion_port::memory::TryArc;
use completion_port::{Port, Registration, Token};
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
    /// In the order in which they are tried.
    addresses: Few<Address>,
    /// How it stands with the first of these addresses, whose attempts have begun. There is room for all.
    pub(crate) attempts: Few<Stage<P, N>>,
    /// When the next address is tried, if an attempt is under way.
    pub(crate) next_at: Option<Instant>,
}

/// How it stands with an attempt.
pub(crate) enum Stage<P: Port, N: NetSyscalls> {
    /// In the hands of the port's thread.
    Trying,
    /// The kernel will report how it went.
    Watched(Registration<Dialer<P, N>, P>),
    /// It is tried again at this time.
    Paused(Instant, Backoff),
    /// This system call failed.
    Failed(&'static str, Errno),
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
            addresses: Few::new(),
            attempts: Few::new(),
            next_at: None,
        }
    }

    /// Takes the addresses to try, and room for their attempts. `None` if there is no memory for the addresses.
    pub(crate) fn begin(&mut self, addresses: Option<Few<Address>>) {
        match addresses.and_then(|addresses| Some((Few::with_room_for(addresses.len())?, addresses))) {
            Some(parts) => (self.attempts, self.addresses) = parts,
            // Codes_SRS_ASYNC_SOCKET_NET_01_051
            None => self.error = Some(ConnectError::Port(no_memory())),
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

    pub(crate) fn next_step(&mut self, now: Instant) -> Step {
        if let Some(error) = self.error.take() {
            return Step::End(error);
        }
        // Codes_SRS_ASYNC_SOCKET_NET_01_043
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            return Step::End(
                self.failed(Errno::TIMEDOUT, |run, attempts| ConnectError::TimedOut { within: run.within, attempts }),
            );
        }
        if !self.has_begun {
            return Step::Wait(self.deadline);
        }
        if let Some(index) = self.attempts.iter().position(|attempt| attempt.is_due(now)) {
            return Step::Try(index, self.addresses[index].clone());
        }
        let under_way = self.attempts.iter().any(Stage::is_under_way);
        // Codes_SRS_ASYNC_SOCKET_NET_01_037
        if !under_way || self.next_at.is_none_or(|at| at <= now) {
            let next = self.attempts.len();
            if let Some(address) = self.addresses.get(next) {
                self.next_at = now.checked_add(self.stagger);
                self.attempts.push(Stage::Trying);
                return Step::Try(next, address.clone());
            }
            // Codes_SRS_ASYNC_SOCKET_NET_01_044
            if !under_way {
                return Step::End(self.failed(Errno::CANCELED, |_, attempts| ConnectError::Failed { attempts }));
            }
        }
        Step::Wait(self.wakes_at())
    }

    fn wakes_at(&self) -> Option<Instant> {
        let next = self.next_at.filter(|_| self.attempts.len() < self.addresses.len());
        let retries = self.attempts.iter().filter_map(Stage::retries_at);
        retries.chain(next).chain(self.deadline).min()
    }

    /// An error with the errors of all attempts. Those under way get `errno`.
    // Codes_SRS_ASYNC_SOCKET_NET_01_044
    fn failed(&self, errno: Errno, error: impl FnOnce(&Self, Attempts) -> ConnectError) -> ConnectError {
        let mut errors = Vec::new();
        // Codes_SRS_ASYNC_SOCKET_NET_01_051
        if errors.try_reserve_exact(self.attempts.len()).is_err() {
            return ConnectError::Port(no_memory());
        }
        errors.extend(self.addresses.iter().zip(self.attempts.iter()).map(|(address, attempt)| match attempt {
            Stage::Failed(call, errno) => AttemptError::new(address.clone(), call, *errno),
            _ => AttemptError::new(address.clone(), "connect", errno),
        }));
        error(self, Attempts(errors))
    }

    /// The address of an attempt.
    pub(crate) fn address(&self, index: usize) -> &Address {
        &self.addresses[index]
    }
}

impl<P: Port, N: NetSyscalls> Stage<P, N> {
    fn is_under_way(&self) -> bool {
        !matches!(self, Self::Failed(..))
    }

    fn retries_at(&self) -> Option<Instant> {
        match self {
            Self::Paused(at, _) => Some(*at),
            _ => None,
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.retries_at().is_some_and(|at| at <= now)
    }
}
