//! Accept and close, and connect and close: `async-socket-net` against bare edge-triggered loops.
//!
//! Both run in this process, in turns, so that a disturbance of the machine meets both. Each round of accepting empties a backlog
//! that was filled before; each round of connecting makes one connection after the other. What is printed is the median over the
//! rounds: the time for one connection, and how many of ours fit into the time of the bare loop's. The same follows for the
//! processor time of the whole process, which other work on the machine disturbs less.

mod accepting;
mod connecting;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use nix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

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
    /// One round of one loop, and no figures: for `strace` and `valgrind`, which count
    #[arg(long, value_enum)]
    only: Option<Only>,
}

/// A loop that is counted.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Only {
    Accept,
    BareAccept,
    Connect,
    BareConnect,
}

impl Only {
    fn run(self, connections: usize) -> anyhow::Result<Times> {
        match self {
            Self::Accept => accepting::ours(0, connections),
            Self::BareAccept => accepting::bare(0, connections),
            Self::Connect => connecting::ours(0, connections),
            Self::BareConnect => connecting::bare(0, connections),
        }
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    raise_limit()?;
    if let Some(only) = args.only {
        return only.run(args.connections).map(drop);
    }
    compare("accept + close", &args, accepting::ours, accepting::bare)?;
    compare("connect + close", &args, connecting::ours, connecting::bare)
}

type Round = fn(round: usize, connections: usize) -> anyhow::Result<Times>;

/// How long something took, on the clock and on the processors.
#[derive(Debug, Clone, Copy)]
struct Times {
    clock: Duration,
    processor: Duration,
}

/// A moment, on the clock and on the processors.
#[derive(Debug, Clone, Copy)]
struct Moment(Instant, Duration);

impl Moment {
    fn now() -> Self {
        // Every Linux has this clock.
        let used = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from);
        Self(Instant::now(), used)
    }

    fn since(self, began: Self) -> Times {
        Times { clock: self.0 - began.0, processor: self.1.saturating_sub(began.1) }
    }
}

fn compare(what: &str, args: &Args, ours: Round, bare: Round) -> anyhow::Result<()> {
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..args.rounds {
        // The first of a pair is not always the same.
        let order: [(usize, Round); 2] = if round % 2 == 0 { [(0, ours), (1, bare)] } else { [(1, bare), (0, ours)] };
        for (index, run) in order {
            times[index].push(run(round, args.connections)?);
        }
    }
    let connections = u32::try_from(args.connections).context("too many connections")?;
    for (unit, of) in [("clock", (|it| it.clock) as fn(&Times) -> Duration), ("processor", |it| it.processor)] {
        let [ours, bare] = times.each_ref().map(|times| times.iter().map(of).collect::<Vec<_>>());
        let mut ratios: Vec<_> = ours.iter().zip(&bare).map(|(ours, bare)| bare.div_duration_f64(*ours)).collect();
        ratios.sort_by(f64::total_cmp);
        let [ours, bare] = [ours, bare].map(|times| median(times) / connections);
        println!("{what:<16} {unit:<9} ours {ours:>8.2?}   bare {bare:>8.2?}   ratio {:.3}", ratios[ratios.len() / 2]);
    }
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn raise_limit() -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("no more descriptors")
}
