//! Accepting connections: the type that a program holds.

use crate::accept_error::{AcceptError, ListenError};
use crate::accepted::Accepted;
use crate::acceptor::{Accepting, Acceptor, Paused, Program};
use crate::address::{Address, Family};
use crate::alarm::Alarm;
use crate::caught::run_caught;
use crate::options::{SocketOption, SocketOptions};
use crate::sys::{Errno, Kernel, ListenerKind, NetSyscalls};
use async_socket_linux::ExecutionEngine;
use completion_port::{AddError, CompletionPort, Direction, Port, RegisterError, Registration, log_caught};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How many connections may wait to be accepted, unless the builder says otherwise. The kernel limits it by
/// `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Accepts connections on a completion port and hands each to a callback, on the port's thread.
///
/// The callback gets every connection once, in the order in which the kernel has them, and every [`AcceptError`]. It runs
/// on the port's thread; while it runs, every other socket of that port waits. It may do anything, even drop the listener. If
/// it panics, the panic is logged, the connection is closed, and the next one is accepted.
///
/// Dropping the listener closes its descriptor: clients in its backlog are reset. Accepted connections are not affected.
/// When the drop returns, no callback of the listener runs or will run, except one that it is dropped in. So it waits for a
/// callback on another thread; [`stop`](Self::stop) does not.
///
/// # Without descriptors or memory
/// At `EMFILE`, `ENFILE`, `ENOBUFS` and `ENOMEM` the listener pauses for 10 ms, twice as long each time, at most a second, and
/// reports [`AcceptError::Paused`]. Clients wait in the backlog meanwhile. [`resume`](Self::resume) ends a pause early.
///
/// ```
/// use async_socket_net::Listener;
/// use async_socket_linux::ExecutionEngine;
/// use std::net::{TcpListener, TcpStream};
/// use std::sync::mpsc::channel;
///
/// let engine = ExecutionEngine::builder().build()?;
/// let bound = TcpListener::bind("127.0.0.1:0")?;
/// let address = bound.local_addr()?;
/// let (peers, connected) = channel();
/// let _listener = Listener::new(&engine, bound, move |accepted| {
///     if let Ok(accepted) = accepted {
///         let _ = peers.send(accepted.peer().as_inet());
///     }
/// })?;
/// let client = TcpStream::connect(address)?;
/// assert_eq!(connected.recv()?, Some(client.local_addr()?));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping it closes the listening socket"]
pub struct Listener<P: Port = CompletionPort, N: NetSyscalls = Kernel> {
    registration: Registration<Acceptor<P, N>, P>,
    local_address: Address,
}

/// What a listener has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerMetrics {
    /// Connections that the kernel gave.
    pub accepted: u64,
    /// Connections that broke before they were accepted, or were closed because an option was refused.
    pub failed_clients: u64,
    /// Pauses for want of descriptors or memory.
    pub pauses: u64,
    /// Whether it pauses now.
    pub is_paused: bool,
    /// Whether it accepts connections, now or after the pause.
    pub is_accepting: bool,
    /// The longest time that one call of the callback took: all other sockets of the port waited that long. `None` unless
    /// [`set_metrics`](Listener::set_metrics) is on.
    pub longest_callback: Option<Duration>,
}

impl Listener {
    /// Listens on a bound descriptor: a `TcpListener`, a `UnixListener`, or any listening stream socket. It and its duplicates
    /// become non-blocking. The listener lives on the next port of the engine, and so does each connection.
    ///
    /// # Errors
    /// [`ListenError`]; the descriptor is closed then.
    pub fn new(
        on: &ExecutionEngine,
        listener: impl Into<OwnedFd>,
        accepted: impl FnMut(Result<Accepted, AcceptError>) + Send + 'static,
    ) -> Result<Self, ListenError> {
        Self::builder().listen(on, listener, accepted)
    }

    /// One listener for each port of the engine, all on one address (`SO_REUSEPORT`): the kernel spreads the connections, and
    /// each stays on the port that accepted it. If the address has port 0, the kernel chooses one for all of them.
    ///
    /// # Errors
    /// [`ListenError`]; no listener is left then.
    pub fn per_port(
        on: &ExecutionEngine,
        address: SocketAddr,
        accepted: impl FnMut(Result<Accepted, AcceptError>) + Clone + Send + 'static,
    ) -> Result<Vec<Self>, ListenError> {
        Self::builder().per_port(on, address, accepted)
    }

    /// Sets options before listening.
    pub fn builder() -> ListenerBuilder {
        ListenerBuilder { options: SocketOptions::new(), backlog: BACKLOG, sys: Kernel }
    }
}

impl<P: Port, N: NetSyscalls> Listener<P, N> {
    /// Ends a pause now. For a program that has closed a descriptor. Returns whether the listener had paused.
    // Codes_SRS_ASYNC_SOCKET_NET_01_014
    pub fn resume(&self) -> bool {
        let has_paused = self.registration.handler().counters.is_paused.load(Ordering::Relaxed);
        // In any case, because an attempt that is about to pause has not said so yet.
        self.registration.resumer().resume(Direction::In);
        has_paused
    }

    /// Accepts no more connections and closes the descriptor, without waiting. `done` runs once, when no callback of the listener
    /// runs or will run, except one that the stop is called in. It runs inside this call, or on the thread of the callback that
    /// was in the way. If the listener was stopped before, it runs inside this call.
    ///
    /// Clients in the backlog are reset; accepted connections go on. A [`Tracker`](crate::Tracker) waits for those.
    // Codes_SRS_ASYNC_SOCKET_NET_01_016
    pub fn stop(&self, done: impl FnOnce() + Send + 'static) {
        let Err(refused) = self.registration.remove_async(done) else { return };
        if refused.error == AddError::OutOfMemory {
            // Needs no memory, but waits.
            self.registration.remove();
        }
        run_caught("callback", refused.returned);
    }

    /// The address that clients connect to.
    // Codes_SRS_ASYNC_SOCKET_NET_01_020
    #[must_use]
    pub fn local_address(&self) -> &Address {
        &self.local_address
    }

    /// The numbers at this moment.
    // Codes_SRS_ASYNC_SOCKET_NET_01_020
    #[must_use]
    pub fn metrics(&self) -> ListenerMetrics {
        let counters = &self.registration.handler().counters;
        let is_lost = counters.is_lost.load(Ordering::Relaxed);
        ListenerMetrics {
            accepted: counters.accepted.load(Ordering::Relaxed),
            failed_clients: counters.failed_clients.load(Ordering::Relaxed),
            pauses: counters.pauses.load(Ordering::Relaxed),
            is_paused: counters.is_paused.load(Ordering::Relaxed),
            is_accepting: !is_lost && self.registration.phase() == completion_port::Phase::Registered,
            longest_callback: counters.callbacks.longest(),
        }
    }

    /// Switches the measuring of the [longest callback](ListenerMetrics::longest_callback) on or off. The default is off. On,
    /// each connection costs two readings of the clock. The other numbers are always counted.
    ///
    /// It can be called at any time, from any thread, also in the callback: then from the next call on.
    /// Measuring that is switched on again goes on from what it had found.
    // Codes_SRS_ASYNC_SOCKET_NET_01_055
    pub fn set_metrics(&self, on: bool) {
        self.registration.handler().counters.callbacks.switch(on);
    }
}

impl<P: Port, N: NetSyscalls> Drop for Listener<P, N> {
    // Codes_SRS_ASYNC_SOCKET_NET_01_013
    fn drop(&mut self) {
        self.registration.remove_and_wait();
    }
}

impl<P: Port, N: NetSyscalls> fmt::Debug for Listener<P, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("local_address", &self.local_address)
            .field("metrics", &self.metrics())
            .finish_non_exhaustive()
    }
}

/// Makes a [`Listener`] with options.
#[derive(Debug, Clone)]
#[must_use]
pub struct ListenerBuilder<N: NetSyscalls = Kernel> {
    options: SocketOptions,
    backlog: i32,
    sys: N,
}

impl<N: NetSyscalls> ListenerBuilder<N> {
    /// The options of each accepted socket.
    pub fn options(mut self, options: SocketOptions) -> Self {
        self.options = options;
        self
    }

    /// How many connections may wait to be accepted on the sockets that [`per_port`](ListenerBuilder::per_port) makes. The
    /// default is 4096; the kernel limits it by `net.core.somaxconn`.
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = i32::try_from(connections).unwrap_or(i32::MAX);
        self
    }

    /// Other system calls than the kernel's.
    pub fn syscalls<M: NetSyscalls>(self, sys: M) -> ListenerBuilder<M> {
        ListenerBuilder { options: self.options, backlog: self.backlog, sys }
    }

    /// [`Listener::new`] with these options.
    ///
    /// # Errors
    /// As for `Listener::new`.
    pub fn listen(
        &self,
        on: &ExecutionEngine,
        listener: impl Into<OwnedFd>,
        accepted: impl FnMut(Result<Accepted<CompletionPort, N>, AcceptError>) + Send + 'static,
    ) -> Result<Listener<CompletionPort, N>, ListenError> {
        let engine = on.clone();
        // Codes_SRS_ASYNC_SOCKET_NET_01_004
        let program = Program::try_new(accepted, move || engine.completion_port());
        self.start(on.completion_port(), listener.into(), program)
    }

    /// Listens on a port, on which the connections stay.
    ///
    /// # Errors
    /// As for `Listener::new`.
    pub fn listen_on<P: Port>(
        &self,
        port: P,
        listener: impl Into<OwnedFd>,
        accepted: impl FnMut(Result<Accepted<P, N>, AcceptError>) + Send + 'static,
    ) -> Result<Listener<P, N>, ListenError> {
        let next = port.clone();
        // Codes_SRS_ASYNC_SOCKET_NET_01_005
        let program = Program::try_new(accepted, move || next.clone());
        self.start(port, listener.into(), program)
    }

    /// [`Listener::per_port`] with these options.
    ///
    /// # Errors
    /// As for `Listener::per_port`.
    // Codes_SRS_ASYNC_SOCKET_NET_01_005, Codes_SRS_ASYNC_SOCKET_NET_01_020
    pub fn per_port(
        &self,
        on: &ExecutionEngine,
        mut address: SocketAddr,
        accepted: impl FnMut(Result<Accepted<CompletionPort, N>, AcceptError>) + Clone + Send + 'static,
    ) -> Result<Vec<Listener<CompletionPort, N>>, ListenError> {
        let mut listeners = Vec::new();
        for port in (0..on.threads()).filter_map(|index| on.port(index)) {
            let (descriptor, bound) = self.bind(address)?;
            // The kernel has chosen the port of the first.
            address = bound;
            listeners.try_reserve(1).map_err(|_| no_memory())?;
            listeners.push(self.listen_on(port, descriptor, accepted.clone())?);
        }
        Ok(listeners)
    }

    /// A socket that listens, and its address.
    fn bind(&self, address: SocketAddr) -> Result<(OwnedFd, SocketAddr), ListenError> {
        let wanted = Address::from(address);
        let failed = |(call, errno): (_, Errno)| ListenError::Kernel { call, address, source: errno.into() };
        let descriptor = self.sys.socket(wanted.family()).map_err(|errno| failed(("socket", errno)))?;
        match self.bind_and_listen(&descriptor, &wanted) {
            Ok(bound) => Ok((descriptor, bound.as_inet().unwrap_or(address))),
            Err(error) => {
                self.sys.close(descriptor);
                Err(failed(error))
            }
        }
    }

    fn bind_and_listen(&self, descriptor: &OwnedFd, wanted: &Address) -> Result<Address, (&'static str, Errno)> {
        let (sys, fd) = (&self.sys, descriptor.as_fd());
        for option in [SocketOption::ReuseAddress(true), SocketOption::ReusePort(true)] {
            sys.set_option(fd, option).map_err(|errno| ("setsockopt", errno))?;
        }
        sys.bind(fd, wanted).map_err(|errno| ("bind", errno))?;
        sys.listen(fd, self.backlog).map_err(|errno| ("listen", errno))?;
        sys.local_address(fd).map_err(|errno| ("getsockname", errno))
    }

    fn start<P: Port>(
        &self,
        port: P,
        descriptor: OwnedFd,
        program: Option<Program<P, N>>,
    ) -> Result<Listener<P, N>, ListenError> {
        let program = program.ok_or_else(no_memory)?;
        let (family, local_address) = self.check(&descriptor)?;
        let acceptor = Acceptor::new(self.sys.clone(), family, self.options.clone(), program);
        let registration = Registration::try_new(port.clone(), acceptor, descriptor).map_err(|_| no_memory())?;
        // A cycle until the registration ends, which empties it.
        let paused = Paused::try_new(registration.resumer()).ok_or_else(no_memory)?;
        let of_alarm = paused.clone();
        let alarm = Alarm::try_new(port, move || of_alarm.end()).map_err(|source| ListenError::Port { source })?;
        registration.handler().set_alarm(alarm, paused);
        // Codes_SRS_ASYNC_SOCKET_NET_01_001, Codes_SRS_ASYNC_SOCKET_NET_01_052
        registration.register(|| ()).map_err(|error| ListenError::Port { source: register_error(error) })?;
        // Codes_SRS_ASYNC_SOCKET_NET_01_001
        registration
            .add(Direction::In, Accepting)
            .map_err(|refused| ListenError::Port { source: io::Error::other(refused.error) })?;
        log_caught(|| tracing::debug!(%local_address, "listener started"));
        Ok(Listener { registration, local_address })
    }

    fn check(&self, descriptor: &OwnedFd) -> Result<(Family, Address), ListenError> {
        let not_a_socket = |errno: Errno| ListenError::NotASocket { source: errno.into() };
        let family = match self.sys.listener_kind(descriptor.as_fd()).map_err(not_a_socket)? {
            ListenerKind::Listening(family) => family,
            // Codes_SRS_ASYNC_SOCKET_NET_01_001
            ListenerKind::NotListening => return Err(ListenError::NotListening),
            ListenerKind::OtherFamily => return Err(ListenError::UnsupportedFamily),
            ListenerKind::Unsupported(kind) => return Err(ListenError::UnsupportedKind(kind)),
        };
        // Codes_SRS_ASYNC_SOCKET_NET_01_001
        self.sys.set_nonblocking(descriptor.as_fd()).map_err(not_a_socket)?;
        Ok((family, self.sys.local_address(descriptor.as_fd()).map_err(not_a_socket)?))
    }
}

fn no_memory() -> ListenError {
    ListenError::Port { source: io::ErrorKind::OutOfMemory.into() }
}

fn register_error(error: RegisterError) -> io::Error {
    match error {
        RegisterError::Kernel(source) | RegisterError::Unusable(source) => source,
        RegisterError::Inherited(inherited) => inherited.into(),
        other => io::Error::other(other),
    }
}
