//! What the examples share: the command line, one line for each complaint, and Ctrl-C.
//!
//! Exit status of each: 0 if all went well, 1 if something failed on the way, 2 if the program could not start.

#![allow(dead_code, reason = "not every example needs all of it")]

use anyhow::Context as _;
use clap::Parser;
use std::fmt;
use std::io::{self, Write as _};
use std::process::{self, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// Something failed on the way.
pub(crate) const FAILED: u8 = 1;

/// The program could not start. The reason is on stderr.
const NOT_STARTED: u8 = 2;

/// Reads the command line and runs the program. Set `RUST_LOG=async_socket_net=debug` to see the library's log.
pub(crate) fn run<A: Parser>(name: &str, program: impl FnOnce(&A) -> anyhow::Result<ExitCode>) -> ExitCode {
    let args = match A::try_parse() {
        Ok(args) => args,
        Err(error) if !error.use_stderr() => {
            // `--help` and `--version`. A closed output is no failure.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            let rendered = error.to_string();
            // What follows the first paragraph is advice.
            let reason = rendered.split("\n\n").next().unwrap_or_default().replace('\n', " ");
            let reason = reason.strip_prefix("error: ").unwrap_or(&reason).trim_end();
            complain(format_args!("{name}: {reason} (--help says more)"));
            return ExitCode::from(NOT_STARTED);
        }
    };
    tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).with_writer(io::stderr).init();
    program(&args).unwrap_or_else(|error| {
        complain(format_args!("{name}: {error:#}"));
        ExitCode::from(NOT_STARTED)
    })
}

/// Writes a line to stdout. If the reader is gone, the work goes on.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Writes a line to stderr.
pub(crate) fn complain(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Gets a message at the first Ctrl-C. The second ends the program at once.
pub(crate) fn ctrl_c() -> anyhow::Result<Receiver<()>> {
    let (pressed, receiver) = channel();
    let is_second = AtomicBool::new(false);
    ctrlc::set_handler(move || {
        if is_second.swap(true, Ordering::Relaxed) {
            process::exit(130);
        }
        let _ = pressed.send(());
    })
    .context("no handler for Ctrl-C")?;
    Ok(receiver)
}

/// A number of seconds above 0, whole or not.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    const MAX: Duration = Duration::from_secs(1_000_000);
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| (Duration::from_nanos(1)..=MAX).contains(duration))
        .ok_or_else(|| format!("it takes a number above 0, up to {}", MAX.as_secs()))
}

/// A whole number between two others.
pub(crate) fn number<const MIN: usize, const MAX: usize>(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (MIN..=MAX).contains(&number) => Ok(number),
        _ => Err(format!("it takes a whole number from {MIN} to {MAX}")),
    }
}
