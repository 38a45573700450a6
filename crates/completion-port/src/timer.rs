//! Closures that a port runs: at once, or at a time.
//!
//! Invariant: each closure lies in a source of its own, from which it is taken once: to run it, or to drop it.

use crate::action::Direction;
use crate::callback::{run_caught, timed};
use crate::memory::{TryArc, try_box};
use crate::port::{CompletionPort, Port};
use crate::readiness::Readiness;
use crate::refusal::Declined;
use crate::source::{Dispatch, Source, Token};
use crate::sync::Mutex;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

/// Posted work and timers, for every port.
pub trait PortExt: Port {
    /// Runs `work` on the port's thread soon, exactly once. Work that one thread posts runs in the order of the calls. A
    /// panic is caught and logged.
    ///
    /// The work holds a reference to the port until it has run. So it runs even if the caller drops the last other
    /// reference. That drop then does not wait for it.
    ///
    /// # Errors
    /// `ENOMEM`; [`Inherited`](crate::process::Inherited) in a child of `fork`; `EBADF` if the port has failed. The work
    /// comes back.
    ///
    /// ```
    /// use completion_port::{CompletionPort, PortExt};
    /// use std::sync::mpsc::channel;
    ///
    /// let port = CompletionPort::create()?;
    /// let (tell, told) = channel();
    /// port.post(move || tell.send(completion_port::is_port_thread()).unwrap_or_default())?;
    /// assert!(told.recv()?);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    // Codes_SRS_COMPLETION_PORT_01_160, Codes_SRS_COMPLETION_PORT_01_161, Codes_SRS_COMPLETION_PORT_01_162
    fn post<F: FnOnce() + Send + 'static>(&self, work: F) -> Result<(), Declined<F, io::Error>> {
        let posted = Posted(Mutex::new(Waiting { work: Some((work, self.clone())), token: None }));
        let posted = TryArc::try_new(posted).map_err(|it| it.refused(no_memory()))?;
        match self.insert(posted.clone().into()) {
            Ok(token) => {
                let mut waiting = posted.0.lock();
                waiting.token = Some(token);
                let has_run = waiting.work.is_none();
                drop(waiting);
                if has_run {
                    // A port that fails calls its sources without being asked.
                    self.forget(token);
                } else {
                    self.schedule(token);
                }
                Ok(())
            }
            Err(error) => Err(posted.refused(error)),
        }
    }

    /// Runs `fire` on the port's thread after a time: never earlier, and usually less than two milliseconds later. Time
    /// during which the system sleeps does not count.
    ///
    /// # Errors
    /// As for [`post`](Self::post). The closure comes back.
    ///
    /// ```
    /// use completion_port::{CompletionPort, PortExt};
    /// use std::sync::mpsc::channel;
    /// use std::time::{Duration, Instant};
    ///
    /// let port = CompletionPort::create()?;
    /// let (tell, told) = channel();
    /// let begin = Instant::now();
    /// let _timer = port.after(Duration::from_millis(20), move || tell.send(()).unwrap_or_default())?;
    /// told.recv()?;
    /// assert!(begin.elapsed() >= Duration::from_millis(20));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    fn after<F: FnOnce() + Send + 'static>(
        &self,
        delay: Duration,
        fire: F,
    ) -> Result<Timer<Self>, Declined<F, io::Error>> {
        let now = self.now();
        // A time that no clock reaches.
        let never = || now + Duration::from_secs(100 * 365 * 24 * 3600);
        self.at(now.checked_add(delay).unwrap_or_else(never), fire)
    }

    /// [`after`](Self::after) with a point in time, by the clock of [`Port::now`].
    ///
    /// # Errors
    /// As for `after`.
    // Codes_SRS_COMPLETION_PORT_01_165
    fn at<F: FnOnce() + Send + 'static>(&self, at: Instant, fire: F) -> Result<Timer<Self>, Declined<F, io::Error>> {
        let boxed = try_box(fire).map_err(|fire| Declined { error: no_memory(), returned: fire })?;
        let Ok(source) = TryArc::try_new(Alarm(Mutex::new(Armed { at, fire: None }))) else {
            let [fire] = *boxed;
            return Err(Declined { error: no_memory(), returned: fire });
        };
        // If the timer comes at once, it waits for this lock.
        let mut armed = source.0.lock();
        match self.insert(source.clone().into()).and_then(|token| arm(self, token, at)) {
            Ok(token) => {
                armed.fire = Some(boxed);
                drop(armed);
                Ok(Timer { source, port: self.clone(), token })
            }
            Err(error) => {
                drop(armed);
                let [fire] = *boxed;
                Err(Declined { error, returned: fire })
            }
        }
    }
}

impl<P: Port> PortExt for P {}

/// Arms the timer of a new source, or removes the source.
fn arm(port: &impl Port, token: Token, at: Instant) -> io::Result<Token> {
    port.set_timer(token, Some(at)).inspect_err(|_| port.forget(token))?;
    Ok(token)
}

fn no_memory() -> io::Error {
    io::ErrorKind::OutOfMemory.into()
}

/// Work that was posted.
struct Posted<P, F>(Mutex<Waiting<P, F>>);

struct Waiting<P, F> {
    work: Option<(F, P)>,
    token: Option<Token>,
}

impl<P: Port, F: FnOnce() + Send> Posted<P, F> {
    fn refused(&self, error: io::Error) -> Declined<F, io::Error> {
        let work = self.0.lock().work.take();
        let (returned, _port) = work.expect("a port that refuses a source does not call it");
        Declined { error, returned }
    }
}

impl<P: Port, F: FnOnce() + Send> Source for Posted<P, F> {
    fn on_ready(&self, _: Readiness) -> Dispatch {
        let mut waiting = self.0.lock();
        let (work, token) = (waiting.work.take(), waiting.token);
        drop(waiting);
        if let Some((work, port)) = work {
            if let Some(token) = token {
                port.forget(token);
            }
            timed(|| run_caught("posted work", work));
            drop(port);
        }
        Dispatch::Idle
    }

    fn queued(&self, _: Direction) -> usize {
        0
    }
}

/// An armed timer of [`PortExt::after`] or [`PortExt::at`]. It holds a reference to the port.
///
/// Dropping it cancels the timer: if the closure has not begun to run, it is dropped on the dropping thread. Nothing here
/// waits for a closure that runs.
#[must_use = "dropping it cancels the timer"]
pub struct Timer<P: Port = CompletionPort> {
    source: TryArc<Alarm>,
    port: P,
    token: Token,
}

impl<P: Port> Timer<P> {
    /// Cancels the timer. Returns whether that was in time: `true` means that the closure has not run and never will.
    // Codes_SRS_COMPLETION_PORT_01_168
    pub fn cancel(self) -> bool {
        self.source.take().is_some()
    }

    /// Moves the timer to another time. Moving it to a later time costs a store under a lock, however many timers there
    /// are. Returns whether that was in time: `false` means that the closure has run or runs.
    // Codes_SRS_COMPLETION_PORT_01_169
    pub fn reset(&self, at: Instant) -> bool {
        let mut armed = self.source.0.lock();
        if armed.fire.is_none() {
            return false;
        }
        armed.at = at;
        // The timer's entry is there already, so this needs no memory.
        let _ = self.port.set_timer(self.token, Some(at));
        true
    }
}

impl<P: Port> Drop for Timer<P> {
    fn drop(&mut self) {
        let fire = self.source.take();
        self.port.forget(self.token);
        drop(fire);
    }
}

impl<P: Port> fmt::Debug for Timer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("is_armed", &self.source.0.lock().fire.is_some()).finish_non_exhaustive()
    }
}

/// The source of a timer.
struct Alarm(Mutex<Armed>);

struct Armed {
    at: Instant,
    fire: Option<Box<dyn Fire>>,
}

trait Fire: Send {
    fn fire(self: Box<Self>);
}

// An array, because `try_box` makes a box of one.
impl<F: FnOnce() + Send> Fire for [F; 1] {
    fn fire(self: Box<Self>) {
        let [fire] = *self;
        fire();
    }
}

impl Alarm {
    fn take(&self) -> Option<Box<dyn Fire>> {
        self.0.lock().fire.take()
    }
}

impl Source for Alarm {
    fn on_ready(&self, _: Readiness) -> Dispatch {
        Dispatch::Idle
    }

    fn on_timer(&self, now: Instant) -> (Dispatch, Option<Instant>) {
        let mut armed = self.0.lock();
        // It was moved meanwhile, and is armed for the later time.
        let fire = if armed.at > now { None } else { armed.fire.take() };
        drop(armed);
        // Codes_SRS_COMPLETION_PORT_01_166
        if let Some(fire) = fire {
            run_caught("timer", || fire.fire());
        }
        (Dispatch::Idle, None)
    }

    fn queued(&self, _: Direction) -> usize {
        0
    }
}
