//! Accept and close, and connect and close: `async-socket-net` against bare edge-triggered loops.
//!
//! Both run in this process, in turns, so that a disturbance of the machine meets both. Each round of accepting empties a backlog
//! that was filled before; each round of connecting makes one connection after the other. What is printed is the median over the
//! rounds: the time for one connection, and how many of ours fit into the time of the bare loop's.

mod accepting;
mod connecting;

use anyhow::Context as _;
use clap::Parser;
use std::time::Duration;

/// Accept and close, and connect and close, against bare loops.
#[derive(Debug, Parser)]
#[command(name = "churn")]
struct Args {
    /// Rounds of each
    #[arg(long, default_value_t = 30)]
    rounds: usize,
    /// Connections in a round; the backlog holds at most `net.core.somaxconn`
    #[arg(long, default_value_t = 1500)]
    connections: usize,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    raise_limit()?;
    compare("accept + close", &args, accepting::ours, accepting::bare)?;
    compare("connect + close", &args, connecting::ours, connecting::bare)
}

type Round = fn(round: usize, connections: usize) -> anyhow::Result<Duration>;

fn compare(what: &str, args: &Args, ours: Round, bare: Round) -> anyhow::Result<()> {
    let (mut times, mut ratios) = ([Vec::new(), Vec::new()], Vec::new());
    for round in 0..args.rounds {
        // The first of a pair is not always the same.
        let order: [(usize, Round); 2] = if round % 2 == 0 { [(0, ours), (1, bare)] } else { [(1, bare), (0, ours)] };
        let mut pair = [Duration::ZERO; 2];
        for (index, run) in order {
            pair[index] = run(round, args.connections)?;
            times[index].push(pair[index]);
        }
        ratios.push(pair[1].as_secs_f64() / pair[0].as_secs_f64());
    }
    let connections = u32::try_from(args.connections).context("too many connections")?;
    let [ours, bare] = times.map(|mut times| median(&mut times) / connections);
    ratios.sort_by(f64::total_cmp);
    println!("{what:<16} ours {ours:>8.2?}   bare {bare:>8.2?}   ratio {:.3}", ratios[ratios.len() / 2]);
    Ok(())
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn raise_limit() -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("no more descriptors")
}
