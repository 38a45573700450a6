//! Round trips between two sockets in one process: pairs over `AF_UNIX`, each with one message under way and every byte
//! checked. Prints the same JSON as the load.

mod on_epoll;
mod on_ours;
mod on_tokio;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use nix::time::ClockId;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Parser)]
struct Arguments {
    /// The library that does it.
    #[arg(long, value_enum, default_value = "ours")]
    engine: Engine,
    /// The number of pairs.
    #[arg(long, default_value_t = 64)]
    pairs: usize,
    /// Bytes in a message.
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// The number of ports; both ends of a pair are on the same one. Only for `ours`.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// The length of the measurement in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// The length of the warm-up in seconds.
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Engine {
    Ours,
    Epoll,
    EpollHeedingDescriptors,
    Tokio,
}

/// The round trips of one pair, in a cache line of its own to avoid false sharing between threads.
#[derive(Default)]
#[repr(align(128))]
struct Trips(AtomicU64);

impl Trips {
    fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let trips: &[Trips] = (0..arguments.pairs).map(|_| Trips::default()).collect::<Vec<_>>().leak();
    match arguments.engine {
        Engine::Ours => on_ours::start(&arguments, trips)?,
        Engine::Epoll => on_epoll::start(&arguments, trips, on_epoll::believing)?,
        Engine::EpollHeedingDescriptors => on_epoll::start(&arguments, trips, on_epoll::heeding_descriptors)?,
        Engine::Tokio => on_tokio::start(&arguments, trips)?,
    }
    thread::sleep(Duration::from_secs_f64(arguments.warm_up));
    let total = || trips.iter().map(|it| it.0.load(Ordering::Relaxed)).sum::<u64>();
    let cpu = || ClockId::CLOCK_PROCESS_CPUTIME_ID.now().map(|it| Duration::from(it).as_secs_f64());
    let (start, trips_before, cpu_before, all_before) = (Instant::now(), total(), cpu()?, bench::all_cpu()?);
    thread::sleep(Duration::from_secs_f64(arguments.seconds));
    let (messages, spent) = (total() - trips_before, cpu()? - cpu_before);
    let measured = serde_json::json!({
        "messages": messages,
        "bytes": messages * arguments.size as u64 * 2,
        "seconds": start.elapsed().as_secs_f64(),
        "p50": 0.0, "p90": 0.0, "p99": 0.0, "p999": 0.0, "max": 0.0,
        "server_cpu": spent,
        "load_cpu": 0.0,
        "other_cpu": (bench::all_cpu()? - all_before - spent).max(0.0),
    });
    println!("{measured}");
    Ok(())
}
