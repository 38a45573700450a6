//! What the servers and the load have in common.
//!
//! A server prints its address and serves until its standard input ends. It serves on the threads that
//! it makes itself, and accepts on one more, which sleeps while a measurement runs. It measures
//! nothing: the load and `cargo xtask bench` look at it from outside.

pub mod by_hand;
pub mod ours;
pub mod pattern;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// What a server is asked for.
#[derive(Debug, Clone, Parser)]
pub struct Arguments {
    /// What it does with a connection.
    #[arg(long, value_enum, default_value = "echo")]
    pub role: Role,
    /// Bytes of a connection's buffer.
    #[arg(long, default_value_t = 64 * 1024)]
    pub buffer: usize,
    /// How many threads serve, where the server can have several.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
}

/// What a server does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Sends back what it received, and receives again when that is sent.
    Echo,
    /// Receives until the end, and then says how many bytes there were, as eight bytes, least first.
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
    // Longer than std makes it: thousands connect at once.
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
