//! The common part of the servers and the load.
//!
//! A server prints its address and serves until its standard input ends. It serves on its own threads and accepts on
//! one more, which sleeps during a measurement. A server measures nothing: the load and `cargo xtask bench` observe it
//! from outside.

pub mod by_hand;
#[cfg(feature = "peers")]
pub mod hello;
pub mod ours;
pub mod pattern;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// The arguments of a server.
#[derive(Debug, Clone, Parser)]
pub struct Arguments {
    /// The server's use of a connection.
    #[arg(long, value_enum, default_value = "echo")]
    pub role: Role,
    /// Bytes of a connection's buffer.
    #[arg(long, default_value_t = 64 * 1024)]
    pub buffer: usize,
    /// The number of serving threads, where the server can have several.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
}

/// The use of a connection by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Sends back the received bytes, then receives again.
    Echo,
    /// Receives until the end, then sends the number of bytes as eight little-endian bytes.
    Sink,
    /// Receives, and sends the [pattern] without end, both at the same time.
    Duplex,
}

/// Accepts connections for `serve` until the standard input ends.
///
/// # Errors
/// The first error of the listener.
pub fn run_server(mut serve: impl FnMut(TcpStream) -> Result<()> + Send + 'static) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    // A longer backlog than std's, because thousands of clients connect at once.
    rustix::net::listen(&listener, 4096)?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    thread::spawn(move || {
        for stream in listener.incoming() {
            let served = stream.map_err(Into::into).and_then(|stream| {
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                serve(stream)
            });
            if let Err(error) = served {
                eprintln!("server: {error:#}");
                std::process::exit(1);
            }
        }
    });
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// The seconds that all CPUs have worked: the first line of `/proc/stat` without idle and I/O wait. It also omits
/// guests, because user time includes them.
///
/// # Errors
/// If the file cannot be read or parsed.
#[allow(clippy::cast_precision_loss, reason = "a figure to be read")]
pub fn all_cpu() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let ticks: Vec<u64> = line.split_ascii_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>()?;
    let work = ticks.iter().enumerate().filter(|(index, _)| ![3, 4, 8, 9].contains(index));
    Ok(work.map(|(_, ticks)| ticks).sum::<u64>() as f64 / 100.0)
}
