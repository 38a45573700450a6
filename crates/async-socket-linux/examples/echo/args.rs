//! The command line, and one clear line for each mistake in it.

use crate::NOT_STARTED;
use crate::client::Plan;
use crate::report;
use anyhow::{Context as _, ensure};
use clap::Parser;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::process::ExitCode;
use std::time::Duration;

/// An echo server on asynchronous sockets, and a load generator that verifies every byte.
#[derive(Debug, Parser)]
#[command(name = "echo", version, after_help = "Without --listen or --connect it serves and drives itself.")]
pub(crate) struct Args {
    /// Serve on this address until Ctrl-C; port 0 takes a free one
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["connect", "connections", "size", "seconds"])]
    listen: Option<String>,
    /// Drive the echo server at this address, for instance localhost:7000
    #[arg(long, value_name = "ADDR")]
    connect: Option<String>,
    /// Threads of the server, and of the client
    #[arg(long, value_name = "N", default_value = "1", allow_negative_numbers = true, value_parser = number::<1, 256>)]
    pub(crate) threads: usize,
    /// How many connections
    #[arg(long, value_name = "N", default_value = "100", allow_negative_numbers = true, value_parser = number::<1, 1_000_000>)]
    pub(crate) connections: usize,
    /// How long a message is, up to 1 GiB
    #[arg(long, value_name = "BYTES", default_value = "64", allow_negative_numbers = true, value_parser = number::<1, { 1 << 30 }>)]
    size: usize,
    /// For how long, whole or fractional
    #[arg(long, value_name = "S", default_value = "5", allow_negative_numbers = true, value_parser = seconds)]
    seconds: Duration,
}

/// What to be.
#[derive(Debug)]
pub(crate) enum Mode {
    Listen(Vec<SocketAddr>),
    Connect(Vec<SocketAddr>),
    SelfDriving,
}

/// Reads the command line. On `Err` the message has been printed.
pub(crate) fn parse() -> Result<Args, ExitCode> {
    Args::try_parse().map_err(|error| {
        if !error.use_stderr() {
            // `--help` and `--version`. A closed output is no failure.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        let rendered = error.to_string();
        // What follows the first paragraph is advice.
        let reason = rendered.split("\n\n").next().unwrap_or_default().replace('\n', " ");
        let reason = reason.strip_prefix("error: ").unwrap_or(&reason).trim_end();
        report::complain(format_args!("{reason} (--help says more)"));
        ExitCode::from(NOT_STARTED)
    })
}

impl Args {
    pub(crate) fn mode(&self) -> anyhow::Result<Mode> {
        Ok(match (&self.listen, &self.connect) {
            (Some(address), _) => Mode::Listen(resolve(address)?),
            (None, Some(address)) => Mode::Connect(resolve(address)?),
            (None, None) => Mode::SelfDriving,
        })
    }
}

impl From<&Args> for Plan {
    fn from(args: &Args) -> Self {
        Self { connections: args.connections, size: args.size, duration: args.seconds, threads: args.threads }
    }
}

/// A name can stand for several addresses: `localhost` often is `::1` and `127.0.0.1`.
fn resolve(address: &str) -> anyhow::Result<Vec<SocketAddr>> {
    let expected = || format!("'{}' is not an address like 127.0.0.1:7000 or localhost:7000", address.escape_debug());
    let resolved: Vec<_> = address.to_socket_addrs().with_context(expected)?.collect();
    ensure!(!resolved.is_empty(), "{}", expected());
    Ok(resolved)
}

fn number<const MIN: usize, const MAX: usize>(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (MIN..=MAX).contains(&number) => Ok(number),
        _ => Err(format!("it takes a whole number from {MIN} to {MAX}")),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    const MAX: Duration = Duration::from_secs(1_000_000);
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| (Duration::from_nanos(1)..=MAX).contains(duration))
        .ok_or_else(|| format!("it takes a number above 0, up to {}", MAX.as_secs()))
}
