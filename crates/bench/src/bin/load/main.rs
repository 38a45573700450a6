//! The load: clients on bare epoll, one thread, every byte checked. Prints what it measured as JSON.

mod churn;
mod clients;
mod http;
mod window;

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};
use std::io::Read;
use std::time::Duration;
use window::Window;

/// Drives a server and prints the measurements.
#[derive(Parser)]
struct Arguments {
    /// The server's address.
    address: std::net::SocketAddr,
    /// The use of the connections.
    #[arg(long, value_enum, default_value = "echo")]
    mode: Mode,
    /// The number of connections.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Bytes in a message or in a buffer.
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Messages under way per connection.
    #[arg(long, default_value_t = 1)]
    depth: u64,
    /// The number of additional connections that echo messages of 64 KiB, 16 at a time; only their bytes are counted.
    #[arg(long, default_value_t = 0)]
    beside: usize,
    /// The length of the measurement in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// The length of the warm-up in seconds.
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    /// Echo this many messages per connection, however long that takes. Then print, and stay connected until the
    /// standard input ends.
    #[arg(long)]
    messages: Option<u64>,
    /// The server's process, whose CPU time is measured.
    #[arg(long)]
    pid: Option<i32>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Messages that come back: `depth` at a time on each connection.
    Echo,
    /// Sends without end. The server reports how many bytes it got.
    Send,
    /// Sends without end, and receives without end.
    Duplex,
    /// Again and again: connects, has one byte echoed, and waits until the server has closed.
    Churn,
    /// HTTP/1.1 requests, one under way on each connection.
    Http,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.connections == 0 || arguments.size == 0 || arguments.depth == 0 {
        bail!("connections, size and depth are at least 1");
    }
    if arguments.beside > 0 && (arguments.mode != Mode::Echo || arguments.messages.is_some()) {
        bail!("only echoes that go on for some time have others beside them");
    }
    let (warm_up, length) = match arguments.messages {
        Some(_) => (Duration::ZERO, Duration::MAX),
        None => (Duration::from_secs_f64(arguments.warm_up), Duration::from_secs_f64(arguments.seconds)),
    };
    let mut window = Window::new(warm_up, length, arguments.pid)?;
    match arguments.mode {
        Mode::Churn => churn::run(&arguments, &mut window)?,
        Mode::Http => http::run(&arguments, &mut window)?,
        Mode::Echo | Mode::Send | Mode::Duplex => {
            let connected = clients::run(&arguments, &mut window)?;
            if arguments.messages.is_some() {
                println!("{}", serde_json::to_string(&window.measured()?)?);
                std::io::stdin().read_to_end(&mut Vec::new())?;
                drop(connected);
                return Ok(());
            }
        }
    }
    println!("{}", serde_json::to_string(&window.measured()?)?);
    Ok(())
}
