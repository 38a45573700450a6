//! What a port is created with.

use crate::driver::PortDriver;
use crate::port::CompletionPort;
use crate::port_thread::default_stack_size;
use crate::sync::thread::{self, JoinHandle};
use crate::sys::{Errno, Kernel, PortSyscalls};
use std::io;
use std::time::Duration;
use thiserror::Error;

/// The default name of the thread. Linux shows 15 bytes.
const THREAD_NAME: &str = "completion-port";

/// The largest stack, whose size can still be rounded up.
const LARGEST_STACK: usize = isize::MAX as usize - (1 << 20);

/// Why a port could not be created.
#[derive(Debug, Error)]
#[error("{call} failed")]
pub struct CreatePortError {
    /// The call that failed, for instance `epoll_create1`.
    pub call: &'static str,
    /// Its error: `EMFILE`, for instance.
    pub source: io::Error,
}

/// What the port's thread has to know.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Settings {
    pub(crate) busy_poll: Duration,
    /// The port counts what it does.
    pub(crate) counts: bool,
}

/// Creates a port that differs from the default.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct CompletionPortBuilder {
    settings: Settings,
    thread_name: Option<String>,
    thread_stack_size: Option<usize>,
}

impl CompletionPortBuilder {
    /// The time for which the thread polls for events before it sleeps. During that time it serves the next message without
    /// being woken, but its processor is never idle. The default is 0. A few to a few hundred microseconds make sense on a
    /// processor that has nothing else to do.
    pub fn busy_poll(mut self, busy_poll: Duration) -> Self {
        self.settings.busy_poll = busy_poll;
        self
    }

    /// Whether the port counts what it does, for [`CompletionPort::metrics`]. The default is no. Counting reads the clock
    /// twice in each round of the thread and twice for each callback. The rounds cost about a third of an echo on a single
    /// busy connection and next to nothing on many.
    // Codes_SRS_COMPLETION_PORT_01_185
    pub fn metrics(mut self, counts: bool) -> Self {
        self.settings.counts = counts;
        self
    }

    /// The thread's name. Linux keeps 15 bytes of it. The default is `completion-port`. Only the kernel knows it:
    /// `std::thread::current().name()` in a callback is `None`.
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        // Codes_SRS_COMPLETION_PORT_01_088
        self.thread_name = Some(name.into());
        self
    }

    /// The size in bytes of the thread's stack, on which callbacks run. It is rounded up to whole pages and to the system's
    /// minimum. The default is that of a pthread of this process (on Linux with glibc the limit `ulimit -s` at the
    /// program's start, usually 8 MiB), but at least 2 MiB. Only the part that is touched takes memory.
    pub fn thread_stack_size(mut self, bytes: usize) -> Self {
        // Codes_SRS_COMPLETION_PORT_01_089
        self.thread_stack_size = Some(bytes);
        self
    }

    /// Creates the port with its epoll instance and its thread.
    ///
    /// # Errors
    /// [`CreatePortError`], for instance when the process has no descriptor left.
    pub fn create(self) -> Result<CompletionPort, CreatePortError> {
        self.create_with(Kernel)
    }

    /// [`create`](Self::create) with other system calls than the kernel's.
    ///
    /// # Errors
    /// As for `create`.
    pub fn create_with<S: PortSyscalls>(self, sys: S) -> Result<CompletionPort<S>, CreatePortError> {
        CompletionPort::start(sys, self)
    }

    /// Creates a port without a thread, and its driver. The settings of the thread do not matter then.
    ///
    /// # Errors
    /// As for [`create`](Self::create).
    pub fn create_driven(self) -> Result<(CompletionPort, PortDriver), CreatePortError> {
        self.create_driven_with(Kernel)
    }

    /// [`create_driven`](Self::create_driven) with other system calls than the kernel's.
    ///
    /// # Errors
    /// As for `create`.
    // Codes_SRS_COMPLETION_PORT_01_175
    pub fn create_driven_with<S: PortSyscalls>(
        self,
        sys: S,
    ) -> Result<(CompletionPort<S>, PortDriver<S>), CreatePortError> {
        CompletionPort::driven(sys, self.settings)
    }

    pub(crate) fn settings(&self) -> Settings {
        self.settings
    }

    /// The settings that the port thread is started with. An error if no thread can have them.
    pub(crate) fn thread(self) -> Result<ThreadSettings, Errno> {
        let stack_size = self.thread_stack_size.unwrap_or_else(default_stack_size);
        let name = self.thread_name;
        let is_possible = stack_size <= LARGEST_STACK && name.as_ref().is_none_or(|name| !name.contains('\0'));
        // Codes_SRS_COMPLETION_PORT_01_089
        if is_possible { Ok(ThreadSettings { name, stack_size }) } else { Err(Errno::INVAL) }
    }
}

/// What a port's thread is started with.
pub(crate) struct ThreadSettings {
    name: Option<String>,
    stack_size: usize,
}

impl ThreadSettings {
    pub(crate) fn start(self, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle> {
        thread::spawn(self.name.as_deref().unwrap_or(THREAD_NAME), self.stack_size, run)
    }
}
