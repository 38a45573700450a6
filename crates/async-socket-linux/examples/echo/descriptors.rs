//! Every connection is a descriptor, and the number of descriptors of a process is limited.

use anyhow::ensure;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for the standard streams, the listener and Ctrl-C, and those that the program was started with.
const SPARE: usize = 32;

/// Raises this process's limit of descriptors as far as allowed, and returns the new limit.
pub(crate) fn raise_limit() -> u64 {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // If it is refused, the old limit stands.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Fails if the process cannot have this many sockets and completion ports.
pub(crate) fn ensure(sockets: usize, ports: usize) -> anyhow::Result<()> {
    // A port is an epoll instance and an eventfd.
    let needed = sockets + 2 * ports + SPARE;
    let limit = raise_limit();
    ensure!(needed as u64 <= limit, "{needed} descriptors are needed, but this process may have only {limit}");
    Ok(())
}
