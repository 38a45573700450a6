//! A set of completion ports, over which sockets are spread.

use crate::sys::Errno;
use completion_port::memory::TryArc;
use completion_port::{CompletionPort, CompletionPortBuilder, CreatePortError};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A set of completion ports. Each new socket takes the next port. So a process uses as many cores as it asks for,
/// while every single socket stays on one thread.
///
/// A clone is another handle to the same set. The threads end when the last handle and the last socket are gone.
/// [`CompletionPort`] says what its threads do about signals, `fork`, and descriptors that other code closes.
///
/// ```
/// use async_socket_linux::{AsyncSocketLinux, ExecutionEngine};
/// use std::os::unix::net::UnixStream;
///
/// let engine = ExecutionEngine::builder().threads(2).build()?;
/// let (one, two) = UnixStream::pair()?;
/// let one = AsyncSocketLinux::create(Some(&engine), one.into())?; // on the first thread
/// let two = AsyncSocketLinux::create(Some(&engine), two.into())?; // on the second
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ExecutionEngine {
    set: TryArc<Set>,
}

struct Set {
    ports: Vec<CompletionPort>,
    next: AtomicUsize,
}

impl ExecutionEngine {
    /// Gives a builder for an engine with one thread.
    pub fn builder() -> ExecutionEngineBuilder {
        ExecutionEngineBuilder { threads: 1, thread_name: None, port: CompletionPort::builder() }
    }

    /// A new reference to the next port of the set.
    #[must_use]
    pub fn completion_port(&self) -> CompletionPort {
        let index = self.set.next.fetch_add(1, Ordering::Relaxed) % self.set.ports.len();
        self.set.ports[index].clone()
    }

    /// The port with this index, for a program that spreads sockets itself. `None` from [`threads`](Self::threads) on.
    // Codes_SRS_SOCKET_01_067
    #[must_use]
    pub fn port(&self, index: usize) -> Option<CompletionPort> {
        self.set.ports.get(index).cloned()
    }

    /// Whether the engine was made in a parent of this process, before a `fork`. No socket can be created on such an
    /// engine.
    // Codes_SRS_PLATFORM_01_006
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        self.set.ports.iter().any(CompletionPort::is_inherited)
    }

    /// The number of ports. Each has one thread.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.set.ports.len()
    }
}

impl fmt::Debug for ExecutionEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecutionEngine").field("ports", &self.set.ports).finish_non_exhaustive()
    }
}

/// Builds an [`ExecutionEngine`].
#[derive(Debug, Clone)]
#[must_use]
pub struct ExecutionEngineBuilder {
    threads: usize,
    /// Not in `port`, because copying a builder with a name ends the process when memory runs out.
    thread_name: Option<String>,
    port: CompletionPortBuilder,
}

impl ExecutionEngineBuilder {
    /// Sets the number of ports, each with one thread. The default is 1, and 0 counts as 1.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Sets how long each thread polls for events before it sleeps. The default is 0. See
    /// [`CompletionPortBuilder::busy_poll`].
    pub fn busy_poll(mut self, busy_poll: Duration) -> Self {
        self.port = self.port.busy_poll(busy_poll);
        self
    }

    /// The name of each thread, see [`CompletionPortBuilder::thread_name`].
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.thread_name = Some(name.into());
        self
    }

    /// Sets the bytes of stack of each thread. Callbacks run on these stacks. See
    /// [`CompletionPortBuilder::thread_stack_size`].
    pub fn thread_stack_size(mut self, bytes: usize) -> Self {
        // Codes_SRS_PLATFORM_01_005
        self.port = self.port.thread_stack_size(bytes);
        self
    }

    /// Whether each port counts what it does, for [`CompletionPort::metrics`]. The default is no. See
    /// [`CompletionPortBuilder::metrics`].
    pub fn metrics(mut self, counts: bool) -> Self {
        self.port = self.port.metrics(counts);
        self
    }

    /// Creates the ports and their threads.
    ///
    /// # Errors
    /// [`CreatePortError`] of the first port that could not be created, or because there was no memory. No port is left
    /// then.
    // Codes_SRS_SOCKET_01_050
    pub fn build(self) -> Result<ExecutionEngine, CreatePortError> {
        let threads = self.threads.max(1);
        let mut ports = Vec::new();
        ports.try_reserve_exact(threads).map_err(|_| no_memory())?;
        for _ in 0..threads {
            let port = match &self.thread_name {
                None => self.port.clone(),
                Some(name) => self.port.clone().thread_name(try_copied(name)?),
            };
            ports.push(port.create()?);
        }
        let set = TryArc::try_new(Set { ports, next: AtomicUsize::new(0) }).map_err(|_| no_memory())?;
        Ok(ExecutionEngine { set })
    }
}

fn try_copied(name: &str) -> Result<String, CreatePortError> {
    let mut copy = String::new();
    copy.try_reserve_exact(name.len()).map_err(|_| no_memory())?;
    copy.push_str(name);
    Ok(copy)
}

fn no_memory() -> CreatePortError {
    CreatePortError { call: "malloc", source: Errno::NOMEM.into() }
}
