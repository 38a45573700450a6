//! `cargo xtask bench cache`: misses of the first-level data cache per 64 B echo.
//!
//! With 64 connections everything stays in the cache. With 2,000, each message finds its connection cold, so each miss
//! is a line of 64 bytes that the message touches. Callgrind simulates caches of fixed sizes, so the figures do not
//! depend on the machine.

use super::callgrind::{self, Load};
use super::limits::{self, Figure};
use super::servers::{EPOLL, FUTURES, MIO, OURS, OURS_C, Programs, SMOL, TOKIO};
use super::{plural, require, table};

const LOADS: [Load; 2] = [(64, 50, 450), (2_000, 10, 110)];
/// Sizes, ways and lines of the caches.
const CACHES: [&str; 3] = ["--cache-sim=yes", "--D1=32768,8,64", "--LL=1048576,16,64"];
/// Events of callgrind: reads and writes of data that missed the first level.
const MISSES: [&str; 2] = ["D1mr", "D1mw"];

pub(crate) fn run(check: bool) -> anyhow::Result<()> {
    require("valgrind", "valgrind")?;
    let programs = Programs::build(!check)?;
    let all = [EPOLL, OURS, OURS_C, FUTURES, MIO, TOKIO, SMOL];
    let mut figures = Vec::new();
    let mut rows = Vec::new();
    for kind in if check { &all[1..4] } else { &all[..] } {
        let mut row = vec![kind.name.to_owned()];
        for load in LOADS {
            let figure = callgrind::per_echo(&programs, kind, load, &CACHES, &MISSES)?;
            row.push(format!("{figure:.2}"));
            figures.push(Figure::exact(format!("{}, {}", kind.name, plural(load.0)), figure));
        }
        rows.push(row);
    }
    println!("First-level data cache misses per 64 B echo, by connections:");
    print!("{}", table::format(&["server", "64", "2000"], &rows));
    if check { limits::check("cache", &figures, false) } else { Ok(()) }
}
