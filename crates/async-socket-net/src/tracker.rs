//! What is still open, so that a program can end in order.
//!
//! Invariant: a connection's cut-off is in the table or in the hands of the thread that took it out. So it runs at most once,
//! and never after its [`Tracked`] was dropped, unless it has begun before.

use crate::alarm::Alarm;
use crate::caught::run_caught;
use completion_port::{CompletionPort, Port};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Counts the connections of a server, and ends them with a deadline.
///
/// A clone counts the same connections. Each connection holds a [`Tracked`] for as long as it is open.
///
/// ```
/// use async_socket_net::Tracker;
/// use completion_port::CompletionPort;
/// use std::sync::mpsc::channel;
/// use std::time::Duration;
///
/// let tracker = Tracker::new();
/// let connection = tracker.track(|| println!("cut off"));
/// let (done, finished) = channel();
/// tracker.finish(&CompletionPort::create()?, Duration::from_secs(5), move |how| drop(done.send(how)))?;
/// drop(connection);
/// assert_eq!(finished.recv()?.cut_off, 0);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct Tracker<P: Port = CompletionPort> {
    shared: Arc<Shared<P>>,
}

/// A connection that counts as open until this is dropped.
#[must_use = "dropping it says that the connection is over"]
pub struct Tracked<P: Port = CompletionPort> {
    shared: Arc<Shared<P>>,
    number: u64,
}

/// How a [`finish`](Tracker::finish) went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finished {
    /// How many connections were still open at the deadline, and were cut off.
    pub cut_off: usize,
}

struct Shared<P: Port> {
    state: Mutex<State<P>>,
}

struct State<P: Port> {
    open: HashMap<u64, Box<CutOff>>,
    next: u64,
    finishing: Vec<Finishing<P>>,
}

type CutOff = dyn FnOnce() + Send;

struct Finishing<P: Port> {
    alarm: Alarm<P>,
    done: Box<dyn FnOnce(Finished) + Send>,
}

impl<P: Port> Tracker<P> {
    /// Nothing is open.
    #[must_use]
    pub fn new() -> Self {
        let state = State { open: HashMap::new(), next: 0, finishing: Vec::new() };
        Self { shared: Arc::new(Shared { state: Mutex::new(state) }) }
    }

    /// Counts a connection as open. `cut_off` shall end it soon, for instance by closing its socket. It runs at most once, on
    /// the port's thread. Let it hold a `Weak` of the socket, so that the tracker does not keep the socket open.
    // Codes_SRS_ASYNC_SOCKET_NET_01_017
    pub fn track(&self, cut_off: impl FnOnce() + Send + 'static) -> Tracked<P> {
        let mut state = self.shared.state();
        let number = state.next;
        state.next += 1;
        state.open.insert(number, Box::new(cut_off));
        Tracked { shared: Arc::clone(&self.shared), number }
    }

    /// How many connections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.state().open.len()
    }

    /// Waits until no connection is open, or until `within` is over, and then cuts off those that are. Calls `done` once, on the
    /// port's thread. Stop the listener first: new connections count as well. If several calls wait, the earliest deadline ends
    /// all of them.
    ///
    /// # Errors
    /// The port has no room for the timer, or was made before a `fork`. Nothing has happened then.
    // Codes_SRS_ASYNC_SOCKET_NET_01_018, Codes_SRS_ASYNC_SOCKET_NET_01_019
    pub fn finish(&self, port: &P, within: Duration, done: impl FnOnce(Finished) + Send + 'static) -> io::Result<()> {
        // A cycle until the end, so that `done` runs even if the program drops everything else.
        let shared = Arc::clone(&self.shared);
        let alarm = Alarm::try_new(port.clone(), move || shared.end())?;
        let mut state = self.shared.state();
        alarm.set(if state.open.is_empty() { Duration::ZERO } else { within })?;
        state.finishing.push(Finishing { alarm, done: Box::new(done) });
        Ok(())
    }
}

impl<P: Port> Shared<P> {
    fn state(&self) -> MutexGuard<'_, State<P>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends every finish, on the port's thread: all connections are over, or the time is.
    fn end(&self) {
        let mut state = self.state();
        let finishing = mem::take(&mut state.finishing);
        if finishing.is_empty() {
            return;
        }
        let open = mem::take(&mut state.open);
        drop(state);
        let finished = Finished { cut_off: open.len() };
        for cut_off in open.into_values() {
            run_caught("cut-off", cut_off);
        }
        for Finishing { alarm, done } in finishing {
            drop(alarm);
            run_caught("callback", || done(finished));
        }
    }
}

impl<P: Port> Drop for Tracked<P> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        let cut_off = state.open.remove(&self.number);
        if cut_off.is_some() && state.open.is_empty() {
            // On the port's thread, because the program may hold a lock here. If the alarm cannot be set, the deadline stays.
            let _ = state.finishing.first().map(|finishing| finishing.alarm.set(Duration::ZERO));
        }
        drop(state);
        drop(cut_off);
    }
}

impl<P: Port> Clone for Tracker<P> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<P: Port> Default for Tracker<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Port> fmt::Debug for Tracker<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracker").field("open", &self.open()).finish_non_exhaustive()
    }
}

impl<P: Port> fmt::Debug for Tracked<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracked").field("number", &self.number).finish_non_exhaustive()
    }
}
