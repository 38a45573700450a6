//! A storm of signals whose handler only interrupts system calls.
#![allow(unsafe_code, reason = "a signal handler is installed")]

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::unistd::getpid;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

extern "C" fn nothing(_: i32) {}

/// Sends `SIGUSR1` to this process, a few hundred times a second.
pub(super) fn start(stop: &Arc<AtomicBool>) -> anyhow::Result<JoinHandle<()>> {
    // Without SA_RESTART, so that system calls return EINTR.
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing, which is async-signal-safe.
    unsafe { sigaction(Signal::SIGUSR1, &action) }?;
    let stop = Arc::clone(stop);
    Ok(thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            let _ = kill(getpid(), Signal::SIGUSR1);
            thread::sleep(Duration::from_millis(2));
        }
    }))
}
