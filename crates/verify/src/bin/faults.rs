//! Random programs over faulty system calls; see [`verify::faults`].

use anyhow::bail;
use clap::Parser;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use verify::faults::campaign::Wanted;
use verify::faults::{Overrides, Program, Setting, campaign, play};
use verify::memory::Balance;

#[global_allocator]
static ALLOCATOR: Balance = Balance;

/// Plays random programs over faulty system calls and checks every promise of the library
#[derive(Parser)]
struct Cli {
    /// For how long
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    #[command(flatten)]
    wanted: Wanted,
    /// The seed of the programs' seeds; random unless given
    #[arg(long)]
    first_seed: Option<u64>,
    /// Plays only the program of this seed
    #[arg(long)]
    seed: Option<u64>,
    /// How often it is played
    #[arg(long, default_value_t = 1)]
    times: u32,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    setting: Setting,
    /// Does not start a child process, so the first hang ends the run
    #[arg(long)]
    in_this_process: bool,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let start = Instant::now();
    if let Some(seed) = cli.seed {
        let program = Program::of(seed).with(&cli.overrides);
        for _ in 0..cli.times {
            match play(&program, &cli.setting) {
                Ok(totals) => campaign::print(&totals, start.elapsed()),
                Err(violations) => bail!("{program}:\n  {}", violations.join("\n  ")),
            }
        }
        return Ok(());
    }
    let first_seed = cli.first_seed.unwrap_or_else(|| fastrand::u64(..));
    if !cli.in_this_process {
        println!("first seed {first_seed}");
        return campaign::run(cli.seconds, first_seed, &cli.wanted, &cli.setting);
    }
    let totals = campaign::play_many(first_seed, Duration::from_secs(cli.seconds), &cli.wanted, &cli.setting)?;
    campaign::print(&totals, start.elapsed());
    cli.wanted.check(&totals)
}
