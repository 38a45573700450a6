//! Options that a listener sets on every accepted socket, and a connector before it connects.

use crate::address::Family;
use crate::sys::{Errno, NetSyscalls};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;
use thiserror::Error;

/// Options of a socket. What is not set stays as the kernel has it. Those of TCP do nothing to a Unix socket.
///
/// ```
/// use async_socket_net::{KeepAlive, SocketOptions};
/// use std::time::Duration;
///
/// let options = SocketOptions::new().no_delay(true).keep_alive(KeepAlive::after(Duration::from_secs(60)));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct SocketOptions {
    no_delay: Option<bool>,
    keep_alive: Option<KeepAlive>,
    user_timeout: Option<Duration>,
    send_buffer: Option<usize>,
    receive_buffer: Option<usize>,
}

/// When TCP asks a silent peer whether it is still there: `SO_KEEPALIVE`, see `tcp(7)`. Times are rounded up to seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct KeepAlive {
    idle: Duration,
    interval: Option<Duration>,
    probes: Option<u32>,
}

impl KeepAlive {
    /// The first probe after this time without a byte from the peer (`TCP_KEEPIDLE`).
    pub fn after(idle: Duration) -> Self {
        Self { idle, interval: None, probes: None }
    }

    /// The time between two probes (`TCP_KEEPINTVL`).
    pub fn every(mut self, interval: Duration) -> Self {
        self.interval = Some(interval);
        self
    }

    /// After this many probes without an answer the connection is broken (`TCP_KEEPCNT`).
    pub fn probes(mut self, probes: u32) -> Self {
        self.probes = Some(probes);
        self
    }
}

/// One option with its value, as `setsockopt(2)` gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketOption {
    /// `TCP_NODELAY`
    NoDelay(bool),
    /// `SO_KEEPALIVE`
    KeepAlive(bool),
    /// `TCP_KEEPIDLE`, in seconds.
    KeepAliveIdle(Duration),
    /// `TCP_KEEPINTVL`, in seconds.
    KeepAliveInterval(Duration),
    /// `TCP_KEEPCNT`
    KeepAliveProbes(u32),
    /// `TCP_USER_TIMEOUT`, in milliseconds.
    UserTimeout(Duration),
    /// `SO_SNDBUF`
    SendBuffer(usize),
    /// `SO_RCVBUF`
    ReceiveBuffer(usize),
    /// `SO_REUSEADDR`
    ReuseAddress(bool),
    /// `SO_REUSEPORT`
    ReusePort(bool),
    /// `IPV6_V6ONLY`
    V6Only(bool),
}

/// An option that the kernel refused.
#[derive(Debug, Error)]
#[error("the kernel refused the option {option:?}")]
pub struct OptionError {
    /// Which.
    pub option: SocketOption,
    /// What the kernel said.
    pub source: io::Error,
}

impl SocketOptions {
    /// Nothing is set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether small segments go out at once (`TCP_NODELAY`).
    pub fn no_delay(mut self, on: bool) -> Self {
        self.no_delay = Some(on);
        self
    }

    /// Asks silent peers whether they are still there.
    pub fn keep_alive(mut self, keep_alive: KeepAlive) -> Self {
        self.keep_alive = Some(keep_alive);
        self
    }

    /// How long sent bytes may stay unacknowledged before the connection is broken (`TCP_USER_TIMEOUT`), in milliseconds.
    pub fn user_timeout(mut self, timeout: Duration) -> Self {
        self.user_timeout = Some(timeout);
        self
    }

    /// The bytes of the kernel's buffer for sends (`SO_SNDBUF`). The kernel doubles the value and limits it by
    /// `net.core.wmem_max`, see `socket(7)`.
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.send_buffer = Some(bytes);
        self
    }

    /// The bytes of the kernel's buffer for receives (`SO_RCVBUF`), see [`send_buffer`](Self::send_buffer). On an accepted
    /// TCP socket the window's scale is fixed already.
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    // Codes_SRS_ASYNC_SOCKET_NET_01_006
    pub(crate) fn apply<N: NetSyscalls>(&self, sys: &N, fd: BorrowedFd<'_>, family: Family) -> Result<(), OptionError> {
        if self.are_none() {
            return Ok(());
        }
        for option in self.list(family).into_iter().flatten() {
            sys.set_option(fd, option).map_err(|errno: Errno| OptionError { option, source: errno.into() })?;
        }
        Ok(())
    }

    /// Whether none is set, which is usual.
    fn are_none(&self) -> bool {
        let Self { no_delay, keep_alive, user_timeout, send_buffer, receive_buffer } = self;
        let buffers = send_buffer.is_none() && receive_buffer.is_none();
        buffers && no_delay.is_none() && keep_alive.is_none() && user_timeout.is_none()
    }

    fn list(&self, family: Family) -> [Option<SocketOption>; 8] {
        let tcp = family != Family::Unix;
        let keep_alive = self.keep_alive.filter(|_| tcp);
        [
            self.send_buffer.map(SocketOption::SendBuffer),
            self.receive_buffer.map(SocketOption::ReceiveBuffer),
            self.no_delay.filter(|_| tcp).map(SocketOption::NoDelay),
            self.user_timeout.filter(|_| tcp).map(SocketOption::UserTimeout),
            keep_alive.map(|it| SocketOption::KeepAliveIdle(whole_seconds(it.idle))),
            keep_alive.and_then(|it| it.interval).map(|it| SocketOption::KeepAliveInterval(whole_seconds(it))),
            keep_alive.and_then(|it| it.probes).map(SocketOption::KeepAliveProbes),
            keep_alive.map(|_| SocketOption::KeepAlive(true)),
        ]
    }
}

/// The kernel counts whole seconds, and refuses 0.
fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0)).max(1))
}
