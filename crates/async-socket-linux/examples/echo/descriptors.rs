//! Every connection is a descriptor, and a process may have only so many.

use anyhow::ensure;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Standard streams, listener, Ctrl-C, and what we were started with.
const SPARE: usize = 32;

/// Allows this process as many descriptors as it may allow itself; returns how many that are.
pub(crate) fn raise_limit() -> u64 {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // If it is refused, the old limit stands.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Makes sure that so many sockets and completion ports are possible, or says that they are not.
pub(crate) fn ensure(sockets: usize, ports: usize) -> anyhow::Result<()> {
    // A port is an epoll instance and an eventfd.
    let needed = sockets + 2 * ports + SPARE;
    let limit = raise_limit();
    ensure!(needed as u64 <= limit, "{needed} descriptors are needed, but this process may have only {limit}");
    Ok(())
}
