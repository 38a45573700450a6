//! Real programs over `async-socket-futures`: what their tests share.
//!
//! `cargo xtask interop` installs the programs and runs the tests, one file of `tests/` each. Everything here is bounded in
//! time, listens on free ports of the loopback interface, and ends its processes when it is dropped.

pub mod http;
pub mod pattern;
pub mod process;

use std::env;
use std::future::Future;
use std::time::Duration;

/// How long a test waits for what must happen, also on a machine with other work.
pub const LIMIT: Duration = Duration::from_secs(300);

/// A gigabyte, for the long transfers.
pub const GIB: u64 = 1 << 30;

/// How many seconds a load lasts: `--seconds` of `cargo xtask interop`.
///
/// # Panics
/// If the variable is no number.
#[must_use]
pub fn seconds() -> u64 {
    env::var("INTEROP_SECONDS").map_or(2, |text| text.parse().expect("INTEROP_SECONDS is a number"))
}

/// Prints what a test saw, in a line that `cargo xtask interop` shows.
pub fn saw(what: impl AsRef<str>) {
    println!("\nsaw: {}", what.as_ref());
}

/// Runs a future on the calling thread, on a port that it drives. Fails when the time is over.
///
/// # Panics
/// If the future does not end in time.
pub fn run<F: Future>(future: F) -> F::Output {
    let limited = async_socket_futures::timeout(LIMIT, future);
    async_socket_futures::block_on(limited).expect("a port").expect("it ends in time")
}
