//! Connecting: the calls of a program.

use crate::address::Address;
use crate::attempts::Conditions;
use crate::caught::run_caught;
use crate::connect_error::ConnectError;
use crate::options::SocketOptions;
use crate::order::try_interleaved;
use crate::race::Race;
use crate::resolver::{ResolveError, Resolver};
use crate::run::Run;
use crate::sys::{Kernel, NetSyscalls, no_memory};
use crate::target::{Target, ToTarget};
use async_socket_linux::{AsyncSocketLinux, ExecutionEngine};
use completion_port::memory::{TryArc, try_box};
use completion_port::{CompletionPort, Port};
use std::fmt;
use std::time::Duration;

/// The Connection Attempt Delay that RFC 8305 recommends.
const STAGGER: Duration = Duration::from_millis(250);

/// Connects to a target and hands the open socket to `done`. [`Connector`] has options.
///
/// `done` runs exactly once, on the thread of the next port of `on`, on which the socket lives too. It never runs inside this
/// call, except if the port cannot take the connect at all ([`ConnectError::Port`]). `within` is the time for all of it,
/// the look-up of a name included. Dropping the [`Connecting`] cancels.
///
/// ```
/// use async_socket_linux::ExecutionEngine;
/// use async_socket_net::{ConnectErrorKind, connect};
/// use std::net::TcpListener;
/// use std::sync::mpsc::channel;
/// use std::time::Duration;
///
/// let engine = ExecutionEngine::builder().build()?;
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let (done, connected) = channel();
/// let _connecting = connect(&engine, listener.local_addr()?, Duration::from_secs(5), move |outcome| {
///     let _ = done.send(outcome);
/// });
/// let socket = connected.recv()??; // open: send and receive
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub fn connect(
    on: &ExecutionEngine,
    to: impl ToTarget,
    within: Duration,
    done: impl FnOnce(Result<AsyncSocketLinux, ConnectError>) + Send + 'static,
) -> Connecting {
    Connector::new().connect(on, to, within, done)
}

/// How to connect. The options serve any number of connects.
#[derive(Debug, Clone)]
#[must_use]
pub struct Connector<N: NetSyscalls = Kernel> {
    conditions: Conditions<N>,
    stagger: Duration,
    resolver: Option<Resolver>,
}

impl Connector {
    /// No options, any local address, the process's resolver, and 250 ms between attempts.
    pub fn new() -> Self {
        let conditions = Conditions { sys: Kernel, options: SocketOptions::new(), local: None };
        Self { conditions, stagger: STAGGER, resolver: None }
    }
}

impl Default for Connector {
    fn default() -> Self {
        Self::new()
    }
}

impl<N: NetSyscalls> Connector<N> {
    /// The options of each socket, set before it connects.
    pub fn options(mut self, options: SocketOptions) -> Self {
        self.conditions.options = options;
        self
    }

    /// The local address of each socket (`bind(2)`). Port 0 means any port. Attempts to addresses of another family fail with
    /// the kernel's error.
    pub fn local(mut self, address: impl Into<Address>) -> Self {
        self.conditions.local = Some(address.into());
        self
    }

    /// How long an attempt is given before the next address is tried beside it: the Connection Attempt Delay of RFC 8305.
    pub fn stagger(mut self, delay: Duration) -> Self {
        self.stagger = delay;
        self
    }

    /// The pool that looks names up.
    pub fn resolver(mut self, resolver: &Resolver) -> Self {
        self.resolver = Some(resolver.clone());
        self
    }

    /// Other system calls than the kernel's.
    pub fn syscalls<M: NetSyscalls>(self, sys: M) -> Connector<M> {
        let Conditions { options, local, .. } = self.conditions;
        Connector { conditions: Conditions { sys, options, local }, stagger: self.stagger, resolver: self.resolver }
    }

    /// [`connect`](fn@connect) with these options.
    pub fn connect(
        &self,
        on: &ExecutionEngine,
        to: impl ToTarget,
        within: Duration,
        done: impl FnOnce(Result<AsyncSocketLinux, ConnectError>) + Send + 'static,
    ) -> Connecting<CompletionPort, N> {
        self.connect_on(on.completion_port(), to, within, done)
    }

    /// Connects on a port, on which the socket lives.
    pub fn connect_on<P: Port>(
        &self,
        port: P,
        to: impl ToTarget,
        within: Duration,
        done: impl FnOnce(Result<AsyncSocketLinux<P>, ConnectError>) + Send + 'static,
    ) -> Connecting<P, N> {
        match try_box(done) {
            Ok(done) => self.start(Run::new(port, within, self.stagger, done), to),
            Err(done) => {
                // Codes_SRS_ASYNC_SOCKET_NET_01_051
                run_caught("callback", || done(Err(ConnectError::Port(no_memory()))));
                Connecting { race: None }
            }
        }
    }

    fn start<P: Port>(&self, run: Run<P, N>, to: impl ToTarget) -> Connecting<P, N> {
        let target = to.to_target();
        let race = match TryArc::try_new(Race::new(self.conditions.clone(), run)) {
            Ok(race) => race,
            Err(race) => {
                // Codes_SRS_ASYNC_SOCKET_NET_01_051
                race.refuse(no_memory());
                return Connecting { race: None };
            }
        };
        let mut name = None;
        let attached = Race::attach(&race, |run| match target {
            Err(error) => run.error = Some(error.into()),
            Ok(Target::Address(address)) => run.begin(Some(Address::from(address).into())),
            Ok(Target::Addresses(addresses)) => run.begin(try_interleaved(&addresses)),
            Ok(Target::Unix(address)) => run.begin(Some(Address::from(address).into())),
            Ok(Target::Name { host, port }) => name = Some((host, port)),
        });
        if let Err(error) = attached {
            // Codes_SRS_ASYNC_SOCKET_NET_01_048
            race.refuse(error);
        } else if let Some((host, port)) = name {
            self.look_up(&race, host, port);
        }
        Connecting { race: Some(race) }
    }

    fn look_up<P: Port>(&self, race: &TryArc<Race<P, N>>, host: String, port: u16) {
        race.wait_for_lookup(&host);
        let resolver = self.resolver.clone().map_or_else(Resolver::of_process, Ok).map_err(ResolveError::NoThread);
        let waiting = race.clone();
        let started = resolver.and_then(|resolver| {
            resolver.look_up(host, port, move |result| waiting.resolved(result.map_err(ResolveError::Failed)))
        });
        match started {
            Ok(lookup) => race.keep_lookup(lookup),
            Err(error) => race.resolved(Err(error)),
        }
    }
}

/// A connect that is under way. Dropping it cancels, see [`cancel`](Self::cancel).
#[must_use = "dropping it cancels the connect"]
pub struct Connecting<P: Port = CompletionPort, N: NetSyscalls = Kernel> {
    /// `None` once it is detached, or if it never began.
    race: Option<TryArc<Race<P, N>>>,
}

impl<P: Port, N: NetSyscalls> Connecting<P, N> {
    /// Ends the connect at once: closes its descriptors, and calls `done` with [`ConnectError::Cancelled`], inside this call and
    /// on this thread. A look-up that runs goes on without effect. If the connect is over, nothing happens; `done` may then
    /// still run on the port's thread.
    pub fn cancel(self) {
        drop(self);
    }

    /// Lets the connect go on without this value. It ends with success, an error, or its time.
    // Codes_SRS_ASYNC_SOCKET_NET_01_049
    pub fn detach(mut self) {
        self.race = None;
    }

    /// Whether `done` runs or has run.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.race.as_ref().is_none_or(|race| race.is_over())
    }
}

impl<P: Port, N: NetSyscalls> Drop for Connecting<P, N> {
    fn drop(&mut self) {
        // Codes_SRS_ASYNC_SOCKET_NET_01_047
        if let Some(race) = &self.race {
            race.cancel();
        }
    }
}

impl<P: Port, N: NetSyscalls> fmt::Debug for Connecting<P, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connecting").field("is_over", &self.is_over()).finish_non_exhaustive()
    }
}
