//! The system calls that begin an attempt.

use crate::address::Address;
use crate::options::SocketOptions;
use crate::sys::{Errno, NetSyscalls};
use std::os::fd::{AsFd as _, OwnedFd};

/// The same for all attempts of a connect.
#[derive(Debug, Clone)]
pub(crate) struct Conditions<N> {
    pub(crate) sys: N,
    pub(crate) options: SocketOptions,
    pub(crate) local: Option<Address>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Tried {
    Connected(OwnedFd),
    /// The kernel reports later how it went.
    InProgress(OwnedFd),
    /// The backlog of a Unix listener is full. The kernel reports nothing when there is room again.
    BacklogFull,
    Failed(&'static str, Errno),
}

/// Makes a socket, sets it up and connects it, without waiting.
pub(crate) fn try_to_connect<N: NetSyscalls>(conditions: &Conditions<N>, address: &Address) -> Tried {
    let sys = &conditions.sys;
    let descriptor = match sys.socket(address.family()) {
        Ok(descriptor) => descriptor,
        Err(errno) => return Tried::Failed("socket", errno),
    };
    // Codes_SRS_ASYNC_SOCKET_NET_01_039
    if let Err((call, errno)) = set_up(conditions, &descriptor, address) {
        sys.close(descriptor);
        return Tried::Failed(call, errno);
    }
    match connect(sys, &descriptor, address) {
        Ok(()) => Tried::Connected(descriptor),
        Err(Errno::ALREADY) => Tried::InProgress(descriptor),
        Err(errno) => {
            sys.close(descriptor);
            match (errno, address) {
                // Codes_SRS_ASYNC_SOCKET_NET_01_042
                (Errno::AGAIN, Address::Unix(_)) => Tried::BacklogFull,
                _ => Tried::Failed("connect", errno),
            }
        }
    }
}

/// Connects. `EALREADY` if that is in progress.
///
/// Linux says `EINPROGRESS` even if the peer is on the same machine, although its answer is there when the call returns. Asking
/// once more saves four system calls then, and costs one otherwise.
// Codes_SRS_ASYNC_SOCKET_NET_01_050
fn connect<N: NetSyscalls>(sys: &N, descriptor: &OwnedFd, address: &Address) -> Result<(), Errno> {
    match sys.connect(descriptor.as_fd(), address) {
        Err(Errno::INPROGRESS) => match sys.connect_again(descriptor.as_fd(), address) {
            Err(Errno::ISCONN) => Ok(()),
            Err(Errno::INPROGRESS | Errno::INTR) => Err(Errno::ALREADY),
            answer => answer,
        },
        // A connect that a signal interrupts goes on, see connect(2).
        Err(Errno::INTR) => Err(Errno::ALREADY),
        answer => answer,
    }
}

fn set_up<N: NetSyscalls>(
    conditions: &Conditions<N>,
    descriptor: &OwnedFd,
    address: &Address,
) -> Result<(), (&'static str, Errno)> {
    let (sys, fd) = (&conditions.sys, descriptor.as_fd());
    conditions.options.apply(sys, fd, address.family()).map_err(|error| {
        let errno = Errno::from_io_error(&error.source).unwrap_or(Errno::IO);
        ("setsockopt", errno)
    })?;
    match &conditions.local {
        Some(local) => sys.bind(fd, local).map_err(|errno| ("bind", errno)),
        None => Ok(()),
    }
}
