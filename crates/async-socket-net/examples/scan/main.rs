//! Finds the open TCP ports of this machine.
//!
//! ```text
//! scan                            the ports 1 to 65535 of 127.0.0.1
//! scan ::1 --ports 8000-9000      some ports of another loopback address
//! ```
//!
//! Read `scanner` first: the callback of each connect starts the next one, so the number of connects at a time stays the same.
//!
//! Exit status: 0 if a port is open, 1 if none is or a connect failed for want of resources, 2 if the program could not start.

mod scanner;
#[path = "../shared/mod.rs"]
mod shared;

use anyhow::{Context as _, bail};
use async_socket_linux::ExecutionEngine;
use clap::Parser;
use scanner::{Plan, Scan};
use shared::{FAILED, complain, number, say, seconds};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Finds the open TCP ports of this machine.
#[derive(Debug, Parser)]
#[command(name = "scan", version)]
struct Args {
    /// A loopback address
    #[arg(value_name = "ADDRESS", default_value = "127.0.0.1")]
    address: IpAddr,
    /// One port, or the first and the last
    #[arg(long, value_name = "FROM-TO", default_value = "1-65535", value_parser = ports)]
    ports: RangeInclusive<u16>,
    /// How many connects at a time
    #[arg(long, value_name = "N", default_value = "200", value_parser = number::<1, 10_000>)]
    at_once: usize,
    /// How long each may take
    #[arg(long, value_name = "S", default_value = "1", value_parser = seconds)]
    within: Duration,
}

fn main() -> ExitCode {
    shared::run("scan", run)
}

fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if !args.address.is_loopback() {
        bail!("{} is no loopback address: this example scans only the machine it runs on", args.address);
    }
    let engine = ExecutionEngine::builder().build().context("no completion port")?;
    let began = Instant::now();
    let plan = Plan { address: args.address, ports: args.ports.clone(), at_once: args.at_once, within: args.within };
    let scanned = Scan::start(&engine, plan).wait();
    for port in &scanned.open {
        say(format_args!("{port}"));
    }
    for (port, error) in scanned.failed.iter().take(5) {
        complain(format_args!("scan: port {port}: {error}"));
    }
    let (tried, open, failed) = (scanned.tried, scanned.open.len(), scanned.failed.len());
    say(format_args!("{open} of {tried} ports open, {failed} failed, {:.1?}", began.elapsed()));
    Ok(if open > 0 && failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    match (from.parse(), to.parse()) {
        (Ok(from), Ok(to)) if 0 < from && from <= to => Ok(from..=to),
        _ => Err("it takes a port like 80, or two like 1-1024".to_owned()),
    }
}
