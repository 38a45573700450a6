//! `async-socket-linux` on the process-wide port with default settings, on an engine of several threads, or on one that
//! polls.

use anyhow::Result;
use async_socket_linux::{BufferPool, ExecutionEngine};
use bench::{Arguments, ours, run_server};
use clap::Parser;
use std::time::Duration;

#[derive(Parser)]
struct Ours {
    #[command(flatten)]
    arguments: Arguments,
    /// Echo through a pool of this many buffers instead of one buffer per connection.
    #[arg(long)]
    pool: Option<usize>,
    /// Look for events for this many microseconds before sleeping.
    #[arg(long, default_value_t = 0)]
    busy_poll: u64,
}

fn main() -> Result<()> {
    let Ours { arguments, pool, busy_poll } = Ours::parse();
    let builder = ExecutionEngine::builder().threads(arguments.threads).busy_poll(Duration::from_micros(busy_poll));
    let engine = (arguments.threads > 1 || busy_poll > 0).then(|| builder.build()).transpose()?;
    let pool = pool.map(|limit| BufferPool::new(arguments.buffer, limit)).transpose()?;
    run_server(move |stream| match &pool {
        Some(pool) => ours::serve_pooled(engine.as_ref(), stream.into(), pool),
        None => ours::serve(engine.as_ref(), stream.into(), &arguments),
    })
}
