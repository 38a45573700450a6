//! Says on a terminal how far the reading is, if it takes longer than a second.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(200);

/// A count of files. Its line is gone when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Progress {
    done: Arc<AtomicUsize>,
    /// Dropping it ends the thread.
    ticker: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Begins to count to `total`. Where standard error is no terminal, nothing is ever shown.
    pub(super) fn of(total: usize) -> Self {
        if !stderr().is_terminal() {
            return Self::default();
        }
        let done = Arc::new(AtomicUsize::new(0));
        let (end, ended) = channel();
        let counter = Arc::clone(&done);
        let show = move || {
            let mut pause = PATIENCE;
            let mut is_shown = false;
            while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                let done = counter.load(Ordering::Relaxed);
                // A terminal that is gone needs no progress.
                let _ = write!(stderr(), "\rsrs-report: {done} of {total} files");
                (pause, is_shown) = (PAUSE, true);
            }
            if is_shown {
                let _ = write!(stderr(), "\r{:60}\r", "");
            }
        };
        let ticker = thread::Builder::new().spawn(show).ok().map(|thread| (end, thread));
        Self { done, ticker }
    }

    pub(super) fn step(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.ticker.take() {
            drop(end);
            // It shows a line and nothing else.
            let _ = thread.join();
        }
    }
}
