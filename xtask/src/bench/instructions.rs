//! `cargo xtask bench instructions`: user-space instructions per 64 B echo.
//!
//! Each server runs twice under callgrind, for few messages and for many; what the second run has executed more is what
//! the messages it had more have cost. Nothing of start, connections and end is in the difference.

use super::limits::{self, Figure};
use super::load::Held;
use super::servers::{EPOLL, Kind, MIO, OURS, OURS_C, OURS_TWO_PORTS, Programs, SMOL, Server, TOKIO};
use super::{plural, require, table};
use anyhow::Context as _;
use std::fs;

/// How many connections, and how many messages on each in the short and in the long run.
const LOADS: [(usize, u64, u64); 3] = [(1, 200, 2_200), (64, 50, 250), (10_000, 5, 25)];

pub(crate) fn run(check: bool) -> anyhow::Result<()> {
    require("valgrind", "valgrind")?;
    let programs = Programs::build(!check)?;
    let gated = [EPOLL, OURS, OURS_C];
    let all = [EPOLL, OURS, OURS_TWO_PORTS, OURS_C, MIO, TOKIO, SMOL];
    let mut figures = Vec::new();
    let mut rows = Vec::new();
    for kind in if check { &gated[..] } else { &all[..] } {
        let mut row = vec![kind.name.to_owned()];
        for (connections, short, long) in LOADS {
            let figure = per_echo(&programs, kind, connections, [short, long])?;
            row.push(format!("{figure:.1}"));
            figures.push(Figure::exact(format!("{}, {}", kind.name, plural(connections)), figure));
        }
        rows.push(row);
    }
    println!("User-space instructions per 64 B echo, by connections:");
    print!("{}", table::format(&["server", "1", "64", "10000"], &rows));
    ratios(&mut figures);
    if check { limits::check("instructions", &figures, false) } else { Ok(()) }
}

/// How the cost grows with connections, and what the C ABI costs against the Rust layer.
fn ratios(figures: &mut Vec<Figure>) {
    let of = |kind: &Kind, connections: usize| {
        let name = format!("{}, {}", kind.name, plural(connections));
        figures.iter().find(|figure| figure.name == name).map_or(f64::NAN, |figure| figure.value)
    };
    let growth = |kind: &Kind| (format!("{}, growth from 64 to 10000", kind.name), of(kind, 10_000) / of(kind, 64));
    let c_abi = |connections| {
        (format!("C ABI / Rust, {}", plural(connections)), of(&OURS_C, connections) / of(&OURS, connections))
    };
    let ratios = [growth(&EPOLL), growth(&OURS), growth(&OURS_C), c_abi(1), c_abi(64), c_abi(10_000)];
    for (name, ratio) in &ratios {
        println!("{name}: {ratio:.3}");
    }
    figures.extend(ratios.map(|(name, ratio)| Figure::exact(name, ratio)));
}

#[allow(clippy::cast_precision_loss, reason = "a figure to be read")]
fn per_echo(programs: &Programs, kind: &Kind, connections: usize, messages: [u64; 2]) -> anyhow::Result<f64> {
    let [short, long] = messages.map(|messages| {
        instructions(programs, kind, connections, messages).with_context(|| format!("{} under callgrind", kind.name))
    });
    let more_messages = connections as u64 * (messages[1] - messages[0]);
    Ok((long? as f64 - short? as f64) / more_messages as f64)
}

fn instructions(programs: &Programs, kind: &Kind, connections: usize, messages: u64) -> anyhow::Result<u64> {
    let scratch = tempfile::tempdir()?;
    let out = scratch.path().join("callgrind.out");
    let wrapper = ["valgrind", "--quiet", "--tool=callgrind", &format!("--callgrind-out-file={}", out.display())];
    let server = Server::start(kind, programs.server(kind, &wrapper.map(str::to_owned), &[]))?;
    let held = Held::connect(programs, &server, connections, messages)?;
    // The clients stay until the server has ended: it must not meet some of their departures.
    server.stop()?;
    drop(held);
    let profile = fs::read_to_string(&out)?;
    let totals = profile.lines().find_map(|line| line.strip_prefix("totals: ")).context("the profile has no totals")?;
    Ok(totals.trim().parse()?)
}
