//! `cargo xtask bench memory`: the memory of an idle connection with one receive pending.
//!
//! The heap figure is the peak of the bytes asked for, without the payload buffer. The resident figures are measured
//! with 64 KiB buffers: fresh, and after one echo on each connection.

use super::limits::{self, Figure};
use super::load::Held;
use super::servers::{
    EPOLL, FUTURES, Kind, MIO, OURS, OURS_C, OURS_IDLE, OURS_IDLE_POOLED, OURS_POOLED, Programs, SMOL, Server, TOKIO,
};
use super::{heap, require, table};
use anyhow::Context as _;
use std::fs;

const CONNECTIONS: usize = 10_000;
/// The buffer of the Rust servers while the heap is counted. Its bytes are subtracted.
const BUFFER: u64 = 4096;
/// The C program's buffers always have this size.
const C_BUFFER: u64 = 64 * 1024;

pub(crate) fn run(check: bool) -> anyhow::Result<()> {
    require("valgrind", "valgrind")?;
    let programs = Programs::build(!check)?;
    let all = [OURS, OURS_POOLED, OURS_IDLE, OURS_IDLE_POOLED, OURS_C, FUTURES, EPOLL, MIO, TOKIO, SMOL];
    let (mut figures, mut rows) = (Vec::new(), Vec::new());
    for kind in if check { &all[..6] } else { &all[..] } {
        let heap = heap_per_connection(&programs, kind)?;
        figures.push(Figure::exact(format!("{}, heap", kind.name), heap));
        let mut row = vec![kind.name.to_owned(), format!("{heap:.0}")];
        for messages in if check { &[][..] } else { &[0, 1][..] } {
            row.push(format!("{:.0}", resident_per_connection(&programs, kind, *messages)?));
        }
        rows.push(row);
    }
    println!("Bytes per idle connection, one receive pending, {CONNECTIONS} connections:");
    print!("{}", table::format(&["server", "heap without buffer", "resident", "resident after an echo"], &rows));
    if check { limits::check("memory", &figures, false) } else { Ok(()) }
}

#[allow(clippy::cast_precision_loss, reason = "a figure to be read")]
fn heap_per_connection(programs: &Programs, kind: &Kind) -> anyhow::Result<f64> {
    let most = |connections| -> anyhow::Result<u64> {
        let heap = heap::of(programs, kind, &["--buffer", &BUFFER.to_string()], |server| {
            let held = Held::connect(programs, server, connections, 0)?;
            heap::wait_until_accepted(server, connections)?;
            Ok(held)
        })?;
        Ok(heap.most_bytes)
    };
    let more = most(CONNECTIONS)? - most(1)?;
    let buffer = match *kind {
        OURS_C => C_BUFFER,
        OURS_POOLED | OURS_IDLE_POOLED => 0,
        _ => BUFFER,
    };
    Ok(more as f64 / (CONNECTIONS - 1) as f64 - buffer as f64)
}

#[allow(clippy::cast_precision_loss, reason = "a figure to be read")]
fn resident_per_connection(programs: &Programs, kind: &Kind, messages: u64) -> anyhow::Result<f64> {
    let resident = |connections| -> anyhow::Result<u64> {
        let server = Server::start(kind, programs.server(kind, &[], &[]))?;
        let held = Held::connect(programs, &server, connections, messages)?;
        heap::wait_until_accepted(&server, connections)?;
        let bytes = resident_bytes(&server)?;
        drop(held);
        server.stop()?;
        Ok(bytes)
    };
    Ok(resident(CONNECTIONS)?.saturating_sub(resident(1)?) as f64 / (CONNECTIONS - 1) as f64)
}

fn resident_bytes(server: &Server) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
