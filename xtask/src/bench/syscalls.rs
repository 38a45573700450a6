//! `cargo xtask bench syscalls`: system calls per 64 B echo, by name. As for instructions, the figure is the difference
//! of a long run and a short one, divided by the messages.

use super::limits::{self, Figure};
use super::load::Held;
use super::servers::{EPOLL, FUTURES, Kind, MIO, OURS, OURS_C, OURS_TWO_PORTS, Programs, SMOL, Server, TOKIO};
use super::{plural, require, table};
use anyhow::{Context as _, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

const LOADS: [(usize, u64, u64); 2] = [(1, 500, 2_500), (64, 20, 220)];

/// The number of calls, by the name of the system call.
type Calls = BTreeMap<String, f64>;

pub(crate) fn run(check: bool) -> anyhow::Result<()> {
    require("strace", "strace")?;
    let programs = Programs::build(!check)?;
    let all = [EPOLL, OURS, OURS_C, FUTURES, OURS_TWO_PORTS, MIO, TOKIO, SMOL];
    let (mut figures, mut rows) = (Vec::new(), Vec::new());
    for kind in if check { &all[..4] } else { &all[..] } {
        for (connections, short, long) in LOADS {
            let calls = per_echo(&programs, kind, connections, short, long)?;
            let total: f64 = calls.values().sum();
            let named = calls.iter().filter(|(_, count)| **count >= 0.005);
            let named: Vec<String> = named.map(|(name, count)| format!("{name} {count:.2}")).collect();
            rows.push(vec![kind.name.to_owned(), connections.to_string(), format!("{total:.3}"), named.join(", ")]);
            figures.push(Figure::exact(format!("{}, {}", kind.name, plural(connections)), total));
        }
    }
    println!("System calls per 64 B echo:");
    print!("{}", table::format(&["server", "connections", "calls", "which"], &rows));
    if check { limits::check("syscalls", &figures, false) } else { Ok(()) }
}

#[allow(clippy::cast_precision_loss, reason = "a figure to be read")]
fn per_echo(programs: &Programs, kind: &Kind, connections: usize, short: u64, long: u64) -> anyhow::Result<Calls> {
    let [before, mut calls] = [calls(programs, kind, connections, short)?, calls(programs, kind, connections, long)?];
    let messages = connections as f64 * (long - short) as f64;
    for (name, count) in &mut calls {
        *count = (*count - before.get(name).copied().unwrap_or_default()) / messages;
    }
    Ok(calls)
}

fn calls(programs: &Programs, kind: &Kind, connections: usize, messages: u64) -> anyhow::Result<Calls> {
    let scratch = tempfile::tempdir()?;
    let out = scratch.path().join("strace.out");
    // `-D` detaches the tracer, so that the started process is the server itself.
    let wrapper = ["strace", "-D", "-f", "-qq", "-c", "-U", "calls,name", "-o", &out.display().to_string()];
    let server = Server::start(kind, programs.server(kind, &wrapper.map(str::to_owned), &[]))?;
    let held = Held::connect(programs, &server, connections, messages)?;
    server.stop()?;
    drop(held);
    read(&out)
}

/// The tracer writes its table when the server has ended.
fn read(out: &Path) -> anyhow::Result<Calls> {
    let patience = Instant::now() + Duration::from_secs(10);
    while Instant::now() < patience {
        let text = fs::read_to_string(out).unwrap_or_default();
        if !text.lines().any(|line| line.ends_with(" total")) {
            thread::sleep(Duration::from_millis(5));
            continue;
        }
        let mut calls = Calls::new();
        for line in text.lines() {
            if let [count, name] = line.split_ascii_whitespace().collect::<Vec<_>>()[..]
                && count.starts_with(|first: char| first.is_ascii_digit())
                && name != "total"
            {
                calls.insert(name.to_owned(), count.parse().context("strace's table")?);
            }
        }
        return Ok(calls);
    }
    bail!("strace wrote no table")
}
