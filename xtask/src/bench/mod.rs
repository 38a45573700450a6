//! `cargo xtask bench`: what the library costs. A file per command; `docs/benchmarks/README.md` says how to read them.

mod instructions;
mod limits;
mod load;
mod servers;
mod table;

use anyhow::{Context as _, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::process::{Command, Stdio};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    measure: Measure,
}

#[derive(clap::Subcommand)]
enum Measure {
    /// User-space instructions per echo, under callgrind
    Instructions(Check),
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
        Measure::Instructions(args) => instructions::run(args.check),
    }
}

/// As many descriptors as the system lets us have; what we start inherits that.
fn raise_descriptor_limit() -> anyhow::Result<()> {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }).context("cannot raise the descriptor limit")
}

/// Fails, and says what to install, if a program is not there.
fn require(program: &str, package: &str) -> anyhow::Result<()> {
    let mut command = Command::new(program);
    if command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        bail!("{program} is missing: install the package {package}");
    }
    Ok(())
}
