//! `cargo xtask bench`: the cost of the library. Each command has a file; `docs/benchmarks/README.md` explains the
//! figures.

mod allocations;
mod cache;
mod callgrind;
mod compare;
mod heap;
mod instructions;
mod limits;
mod load;
mod machine;
mod memory;
mod outcome;
mod plots;
mod scenarios;
mod servers;
mod syscalls;
mod table;

use anyhow::{Context as _, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::process::{Command, Stdio};

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    measure: Option<Measure>,
    #[command(flatten)]
    compare: compare::Options,
}

#[derive(clap::Subcommand)]
enum Measure {
    /// User-space instructions per echo, under callgrind
    Instructions(Check),
    /// System calls per echo, under strace
    Syscalls(Check),
    /// Heap allocations per echo in the steady state, under valgrind's DHAT
    Allocations(Check),
    /// Memory per idle connection
    Memory(Check),
    /// Misses of the first-level data cache per echo, in callgrind's simulation
    Cache(Check),
}

#[derive(clap::Args)]
struct Check {
    /// Measure only what has limits, and fail if one is not kept
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    raise_descriptor_limit()?;
    match args.measure {
        None => compare::run(&args.compare),
        Some(Measure::Instructions(args)) => instructions::run(args.check),
        Some(Measure::Syscalls(args)) => syscalls::run(args.check),
        Some(Measure::Allocations(args)) => allocations::run(args.check),
        Some(Measure::Memory(args)) => memory::run(args.check),
        Some(Measure::Cache(args)) => cache::run(args.check),
    }
}

/// Raises the limit of descriptors as far as the system allows. The started programs inherit it.
fn raise_descriptor_limit() -> anyhow::Result<()> {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }).context("cannot raise the descriptor limit")
}

/// Fails and names the package to install if a program is missing.
fn require(program: &str, package: &str) -> anyhow::Result<()> {
    let mut command = Command::new(program);
    if command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        bail!("{program} is missing: install the package {package}");
    }
    Ok(())
}

/// The middle one; of two, the lower.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

fn plural(connections: usize) -> String {
    if connections == 1 { "1 connection".to_owned() } else { format!("{connections} connections") }
}
