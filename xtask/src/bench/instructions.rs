//! `cargo xtask bench instructions`: user-space instructions per 64 B echo.
//!
//! Each server runs twice under callgrind; see `callgrind.rs`.

use super::callgrind::{self, Load};
use super::limits::{self, Figure};
use super::servers::{
    EPOLL, FUTURES, Kind, MIO, OURS, OURS_C, OURS_COUNTING, OURS_IDLE, OURS_TWO_PORTS, Programs, SMOL, TOKIO,
};
use super::{plural, require, table};

const LOADS: [Load; 3] = [(1, 200, 2_200), (64, 50, 250), (10_000, 5, 25)];

pub(crate) fn run(check: bool) -> anyhow::Result<()> {
    require("valgrind", "valgrind")?;
    let programs = Programs::build(!check)?;
    let gated = [EPOLL, OURS, OURS_IDLE, OURS_C, FUTURES];
    let all = [EPOLL, OURS, OURS_IDLE, OURS_COUNTING, OURS_TWO_PORTS, OURS_C, FUTURES, MIO, TOKIO, SMOL];
    let mut figures = Vec::new();
    let mut rows = Vec::new();
    for kind in if check { &gated[..] } else { &all[..] } {
        let mut row = vec![kind.name.to_owned()];
        for load in LOADS {
            let figure = callgrind::per_echo(&programs, kind, load, &[], &["Ir"])?;
            row.push(format!("{figure:.1}"));
            figures.push(Figure::exact(format!("{}, {}", kind.name, plural(load.0)), figure));
        }
        rows.push(row);
    }
    println!("User-space instructions per 64 B echo, by connections:");
    print!("{}", table::format(&["server", "1", "64", "10000"], &rows));
    ratios(&mut figures);
    if check { limits::check("instructions", &figures, false) } else { Ok(()) }
}

/// The growth of the cost with connections, the cost of the C ABI against that of the Rust layer, and what an idle time-out
/// adds to an echo.
fn ratios(figures: &mut Vec<Figure>) {
    let of = |kind: &Kind, connections: usize| {
        let name = format!("{}, {}", kind.name, plural(connections));
        figures.iter().find(|figure| figure.name == name).map_or(f64::NAN, |figure| figure.value)
    };
    let growth = |kind: &Kind| (format!("{}, growth from 64 to 10000", kind.name), of(kind, 10_000) / of(kind, 64));
    let c_abi = |connections| {
        (format!("C ABI / Rust, {}", plural(connections)), of(&OURS_C, connections) / of(&OURS, connections))
    };
    let ratios = [growth(&EPOLL), growth(&OURS), growth(&OURS_C), growth(&FUTURES), c_abi(1), c_abi(64), c_abi(10_000)];
    for (name, ratio) in &ratios {
        println!("{name}: {ratio:.3}");
    }
    let added = [1, 64, 10_000].map(|connections| {
        let added = of(&OURS_IDLE, connections) - of(&OURS, connections);
        (format!("an idle time-out, {}", plural(connections)), added)
    });
    for (name, added) in &added {
        println!("{name}: {added:.1} more");
    }
    figures.extend(ratios.into_iter().chain(added).map(|(name, value)| Figure::exact(name, value)));
}
