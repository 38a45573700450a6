//! `cargo xtask bench allocations`: heap allocations per 64 B echo in the steady state. The figure is the difference of
//! two runs.

use super::limits::{self, Figure};
use super::load::Held;
use super::servers::{EPOLL, FUTURES, Kind, MIO, OURS, OURS_C, Programs, SMOL, TOKIO};
use super::{heap, plural, require, table};

const LOADS: [(usize, u64, u64); 2] = [(1, 1_000, 5_000), (64, 50, 150)];

pub(crate) fn run(check: bool) -> anyhow::Result<()> {
    require("valgrind", "valgrind")?;
    let programs = Programs::build(!check)?;
    let all = [OURS, OURS_C, FUTURES, EPOLL, MIO, TOKIO, SMOL];
    let (mut figures, mut rows) = (Vec::new(), Vec::new());
    for kind in if check { &all[..3] } else { &all[..] } {
        let mut row = vec![kind.name.to_owned()];
        for load in LOADS {
            let figure = per_echo(&programs, kind, load)?;
            row.push(format!("{figure:.4}"));
            figures.push(Figure::exact(format!("{}, {}", kind.name, plural(load.0)), figure));
        }
        rows.push(row);
    }
    println!("Heap allocations per 64 B echo, by connections:");
    print!("{}", table::format(&["server", "1", "64"], &rows));
    if check { limits::check("allocations", &figures, false) } else { Ok(()) }
}

#[allow(clippy::cast_precision_loss, reason = "a figure to be read")]
fn per_echo(programs: &Programs, kind: &Kind, (connections, short, long): (usize, u64, u64)) -> anyhow::Result<f64> {
    let allocations = |messages| -> anyhow::Result<f64> {
        let heap = heap::of(programs, kind, &[], |server| Held::connect(programs, server, connections, messages))?;
        Ok(heap.allocations as f64)
    };
    Ok((allocations(long)? - allocations(short)?) / (connections as f64 * (long - short) as f64))
}
