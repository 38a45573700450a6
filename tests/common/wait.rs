//! Waiting, but never for ever.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Nothing in these tests takes longer, unless it hangs.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Ends the process if no test has called this for a long time. Tests call it when they begin. Otherwise a test that fails
/// while a thread of the library is stuck would wait for that thread in its destructors.
pub fn watch_over_this_process() {
    const LONG: Duration = Duration::from_secs(100);
    static BEGAN: Mutex<Option<Instant>> = Mutex::new(None);
    let earlier = BEGAN.lock().unwrap_or_else(PoisonError::into_inner).replace(Instant::now());
    if earlier.is_some() {
        return;
    }
    let left = || {
        let began = *BEGAN.lock().unwrap_or_else(PoisonError::into_inner);
        began.and_then(|began| LONG.checked_sub(began.elapsed()))
    };
    thread::spawn(move || {
        while let Some(left) = left() {
            thread::sleep(left);
        }
        // Not `eprintln!`, because libtest captures that.
        let _ = writeln!(io::stderr(), "no test of this binary has begun for {LONG:?}: a thread hangs");
        std::process::exit(101);
    });
}

/// A thread whose end can be waited for.
#[derive(Debug)]
#[must_use = "join it, or nobody learns of its panic"]
pub struct Task<T> {
    what: &'static str,
    outcome: Receiver<thread::Result<T>>,
}

/// Runs `work` on a thread of its own.
pub fn spawn<T: Send + 'static>(what: &'static str, work: impl FnOnce() -> T + Send + 'static) -> Task<T> {
    let (done, outcome) = channel();
    thread::Builder::new()
        .name(what.chars().take(15).collect())
        .spawn(move || {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // If the test has failed already, the receiver is gone.
            let _ = done.send(result);
        })
        .expect("a thread starts");
    Task { what, outcome }
}

impl<T> Task<T> {
    /// Waits for the thread's result; its panic becomes the caller's.
    pub fn join(self) -> T {
        self.join_within(LIMIT)
    }

    /// The same with another limit.
    pub fn join_within(self, limit: Duration) -> T {
        match self.outcome.recv_timeout(limit) {
            Ok(Ok(value)) => value,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => panic!("{}: not done within {limit:?}", self.what),
        }
    }

    /// Whether the thread still runs after `time`. For calls that must wait.
    #[must_use]
    pub fn still_runs_after(&self, time: Duration) -> bool {
        thread::sleep(time);
        matches!(self.outcome.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty))
    }
}

/// Runs `work` on another thread and panics if it takes longer than [`LIMIT`].
pub fn within<T: Send + 'static>(what: &'static str, work: impl FnOnce() -> T + Send + 'static) -> T {
    spawn(what, work).join()
}

/// Waits until `condition` holds. For conditions that no channel can report.
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(comes_true(LIMIT, condition), "{what}: not within {LIMIT:?}");
}

/// Whether `condition` comes true within `limit`.
#[must_use]
pub fn comes_true(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if start.elapsed() > limit {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// A gate that holds up one thread until the test opens it.
#[must_use]
pub fn gate() -> (Gate, Barrier) {
    let ((arrive, arrived), (open, opened)) = (channel(), channel());
    (Gate { arrived, open }, Barrier { arrive, opened })
}

/// The test's end of a [`gate`]. Dropping it opens the gate.
#[derive(Debug)]
pub struct Gate {
    arrived: Receiver<()>,
    open: Sender<()>,
}

/// The end of a [`gate`] at which a thread waits.
#[derive(Debug)]
pub struct Barrier {
    arrive: Sender<()>,
    opened: Receiver<()>,
}

impl Gate {
    /// Waits until a thread waits at the barrier.
    pub fn wait_for_arrival(&self) {
        self.arrived.recv_timeout(LIMIT).expect("a thread arrives at the barrier");
    }

    /// Lets that thread go on.
    pub fn open(self) {
        let _ = self.open.send(());
    }
}

impl Barrier {
    /// Tells the gate of its arrival, and waits until the gate opens.
    pub fn wait(self) {
        let _ = self.arrive.send(());
        if let Err(RecvTimeoutError::Timeout) = self.opened.recv_timeout(LIMIT) {
            panic!("the gate was not opened within {LIMIT:?}");
        }
    }
}
