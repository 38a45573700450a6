//! Lets thousands of connections come and go for a given time, and checks that the process's resources stay flat.

mod clients;
mod picture;
mod plain;
mod samples;
mod server;
mod signals;

use crate::memory::allocated;
use anyhow::{Context, ensure};
use async_socket_linux::ExecutionEngine;
use clients::Clients;
use integration_tests::process::{descriptors, threads};
use integration_tests::wait::comes_true;
use integration_tests::wire::pattern;
use samples::{Counters, Sample};
use server::Server;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The threads that serve both ends, each with a completion port.
const PORTS: usize = 2;

/// The time limit for closing everything at the end.
const PATIENCE: Duration = Duration::from_secs(20);

/// The most memory that may be left, because locks keep some.
const MEMORY_LEFT: usize = 1 << 20;

/// Runs for `time` and draws into `folder`.
///
/// # Errors
/// The quantities that were not flat, and the resources left behind.
pub fn run(time: Duration, connections: usize, folder: &Path) -> anyhow::Result<()> {
    // Made once and kept.
    let _ = pattern(0, 1);
    let before = (descriptors(), threads(), allocated());
    let stop = Arc::new(AtomicBool::new(false));
    let counters = Arc::new(Counters::default());
    let engine = ExecutionEngine::builder().threads(PORTS).build()?;
    let server = Server::start(&engine, &stop)?;
    let clients = Clients::new(&engine, server.addresses(), connections, &counters);
    let mut workers = clients.start(&stop);
    workers.extend(plain::start(server.addresses(), &stop, &counters));
    workers.push(signals::start(&stop)?);

    let samples = watch(time, &clients, &counters);
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
    }
    let totals = counters.totals();
    clients.close_all();
    server.stop();
    drop((clients, engine));

    std::fs::create_dir_all(folder)?;
    let path = folder.join("soak.svg");
    picture::draw(&path, &samples).context("the picture")?;
    println!("{totals}");
    println!("drawn to {}", path.display());
    let verdicts = samples::verdicts(&samples);
    verdicts.iter().for_each(|verdict| println!("{verdict}"));
    ensure!(verdicts.iter().all(|verdict| verdict.is_flat), "not flat");
    ensure!(counters.wrong() == 0, "{} echoes were wrong", counters.wrong());
    nothing_left(before)
}

/// Takes a sample each second.
fn watch(time: Duration, clients: &Clients, counters: &Counters) -> Vec<Sample> {
    let start = Instant::now();
    let mut samples = Vec::new();
    while start.elapsed() < time {
        thread::sleep(Duration::from_secs(1));
        samples.push(Sample::take(start.elapsed(), clients.alive(), counters));
    }
    samples
}

fn nothing_left((open, running, memory): (usize, usize, usize)) -> anyhow::Result<()> {
    let gone = comes_true(PATIENCE, || descriptors() <= open && threads() <= running);
    ensure!(gone, "left behind: {} descriptors of {open}, {} threads of {running}", descriptors(), threads());
    let left = allocated().saturating_sub(memory);
    ensure!(left <= MEMORY_LEFT, "left behind: {left} bytes");
    println!("nothing left behind: {} descriptors, {} threads, {left} bytes", descriptors(), threads());
    Ok(())
}
