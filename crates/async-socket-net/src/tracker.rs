//! What is still open, so that a program can end in order.
//!
//! Invariant: a connection's cut-off is in the table or in the hands of the thread that took it out. So it runs at most once,
//! and never after its [`Tracked`] was dropped, unless it has begun before.

use crate::alarm::Alarm;
use crate::caught::run_caught;
use crate::sys::no_memory;
use completion_port::Port;
use completion_port::memory::try_box;
use completion_port::process::Generation;
use std::alloc::{Layout, handle_alloc_error};
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
#[derive(Clone)]
pub struct Tracker {
    shared: Arc<Shared>,
}

/// A connection that counts as open until this is dropped.
#[must_use = "dropping it says that the connection is over"]
pub struct Tracked {
    shared: Arc<Shared>,
    number: u64,
}

/// How a [`finish`](Tracker::finish) went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finished {
    /// How many connections were still open at the deadline, and were cut off.
    pub cut_off: usize,
}

struct Shared {
    made_in: Generation,
    state: Mutex<State>,
}

struct State {
    open: HashMap<u64, Box<dyn CutOff>>,
    next: u64,
    finishing: Vec<Finishing>,
}

/// What ends a connection.
trait CutOff: Send {
    fn cut_off(self: Box<Self>);
}

// Arrays, because `try_box` makes a box of one.
impl<F: FnOnce() + Send> CutOff for [F; 1] {
    fn cut_off(self: Box<Self>) {
        let [cut_off] = *self;
        cut_off();
    }
}

/// The callback of a finish.
trait Done: Send {
    fn call(self: Box<Self>, finished: Finished);
}

impl<F: FnOnce(Finished) + Send> Done for [F; 1] {
    fn call(self: Box<Self>, finished: Finished) {
        let [done] = *self;
        done(finished);
    }
}

struct Finishing {
    alarm: Box<dyn RingSoon>,
    done: Box<dyn Done>,
}

/// An alarm on any port.
trait RingSoon: Send {
    fn ring_soon(&self);
}

impl<P: Port> RingSoon for [Alarm<P>; 1] {
    fn ring_soon(&self) {
        let [alarm] = self;
        // If it cannot be set, the deadline stays.
        let _ = alarm.set(Duration::ZERO);
    }
}

impl Tracker {
    /// Nothing is open.
    #[must_use]
    pub fn new() -> Self {
        let state = State { open: HashMap::new(), next: 0, finishing: Vec::new() };
        Self { shared: Arc::new(Shared { made_in: Generation::current(), state: Mutex::new(state) }) }
    }

    /// Counts a connection as open. `cut_off` shall end it soon, for instance by closing its socket. It runs at most once, on
    /// the port's thread. Let it hold a `Weak` of the socket, so that the tracker does not keep the socket open.
    ///
    /// Ends the process if there is no memory; [`try_track`](Self::try_track) does not.
    pub fn track<F: FnOnce() + Send + 'static>(&self, cut_off: F) -> Tracked {
        self.try_track(cut_off).unwrap_or_else(|_| handle_alloc_error(Layout::new::<F>()))
    }

    /// [`track`](Self::track) for a program that goes on without memory.
    ///
    /// # Errors
    /// `cut_off`, if there is no memory. The connection is not counted then.
    pub fn try_track<F: FnOnce() + Send + 'static>(&self, cut_off: F) -> Result<Tracked, F> {
        let cut_off = try_box(cut_off)?;
        let mut state = self.shared.state();
        // Codes_SRS_ASYNC_SOCKET_NET_01_053
        if state.open.try_reserve(1).is_err() {
            let [cut_off] = *cut_off;
            return Err(cut_off);
        }
        let number = state.next;
        // Codes_SRS_ASYNC_SOCKET_NET_01_017
        state.next += 1;
        // Codes_SRS_ASYNC_SOCKET_NET_01_017
        state.open.insert(number, cut_off);
        Ok(Tracked { shared: Arc::clone(&self.shared), number })
    }

    /// How many connections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.state().open.len()
    }

    /// Waits until no connection is open, or until `within` is over or the port fails, and then cuts off those that are. Calls `done` once, on the
    /// port's thread. Stop the listener first: new connections count as well. If several calls wait, the earliest deadline ends
    /// all of them.
    ///
    /// # Errors
    /// The port has no room for the timer, or was made before a `fork`, or there is no memory. Nothing has happened then.
    // Codes_SRS_ASYNC_SOCKET_NET_01_018, Codes_SRS_ASYNC_SOCKET_NET_01_019
    pub fn finish(
        &self,
        port: &impl Port,
        within: Duration,
        done: impl FnOnce(Finished) + Send + 'static,
    ) -> io::Result<()> {
        // A cycle until the end, so that `done` runs even if the program drops everything else.
        let shared = Arc::clone(&self.shared);
        let alarm = try_box(Alarm::try_new(port.clone(), move || shared.end())?).map_err(|_| no_memory())?;
        let done = try_box(done).map_err(|_| no_memory())?;
        let mut state = self.shared.state();
        // Codes_SRS_ASYNC_SOCKET_NET_01_053
        state.finishing.try_reserve(1).map_err(|_| no_memory())?;
        alarm[0].set(if state.open.is_empty() { Duration::ZERO } else { within })?;
        state.finishing.push(Finishing { alarm, done });
        Ok(())
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
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
            run_caught("cut-off", || cut_off.cut_off());
        }
        for Finishing { alarm, done } in finishing {
            drop(alarm);
            run_caught("callback", || done.call(finished));
        }
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        // Codes_SRS_ASYNC_SOCKET_NET_01_081
        if self.shared.made_in.is_inherited() {
            // A thread of the parent may have held the lock at the fork.
            return;
        }
        let mut state = self.shared.state();
        let cut_off = state.open.remove(&self.number);
        // Codes_SRS_ASYNC_SOCKET_NET_01_018
        if cut_off.is_some() && state.open.is_empty() {
            // On the port's thread, because the program may hold a lock here.
            state.finishing.first().into_iter().for_each(|finishing| finishing.alarm.ring_soon());
        }
        drop(state);
        drop(cut_off);
    }
}

impl Default for Tracker {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Tracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracker").field("open", &self.open()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Tracked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracked").field("number", &self.number).finish_non_exhaustive()
    }
}
