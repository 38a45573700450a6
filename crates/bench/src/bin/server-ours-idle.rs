//! `async-socket-linux` with an idle time-out on every connection. A program of its own, because the compiler leaves the
//! timers out of one that uses none.

use anyhow::Result;
use async_socket_linux::BufferPool;
use bench::{Arguments, ours, run_server};
use clap::Parser;
use std::time::Duration;

#[derive(Parser)]
struct Idle {
    #[command(flatten)]
    arguments: Arguments,
    /// Echo through a pool of this many buffers instead of one buffer per connection.
    #[arg(long)]
    pool: Option<usize>,
    /// Seconds of the idle time-out.
    #[arg(long, default_value_t = 60)]
    idle: u64,
}

fn main() -> Result<()> {
    let Idle { arguments, pool, idle } = Idle::parse();
    let pool = pool.map(|limit| BufferPool::new(arguments.buffer, limit)).transpose()?;
    let idle = Duration::from_secs(idle);
    run_server(move |stream| ours::serve_with_idle_timeout(stream.into(), &arguments, pool.as_ref(), idle))
}
