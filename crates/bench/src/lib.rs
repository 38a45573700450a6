//! What the echo servers and the load have in common.
//!
//! A server prints its address, echoes until its standard input ends, and prints what it cost. It
//! serves on one thread and accepts on another, which sleeps while a measurement runs.

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// How large a server's buffer is, per connection.
pub const BUFFER_BYTES: usize = 64 * 1024;

/// How many messages a server has echoed.
pub static ECHOED: AtomicU64 = AtomicU64::new(0);

/// Accepts connections for `serve` until the standard input ends, then prints the costs.
///
/// # Errors
/// The first error of the listener.
pub fn run_server(name: &str, serve: impl Fn(TcpStream) -> Result<()> + Send + 'static) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    thread::spawn(move || -> Result<()> {
        for stream in listener.incoming() {
            let stream = stream?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            serve(stream)?;
        }
        Ok(())
    });
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let echoed = ECHOED.load(Ordering::Relaxed).max(1);
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    #[allow(clippy::cast_precision_loss, reason = "a figure to be read")]
    let micros = (cpu.tv_sec as f64 * 1e6 + cpu.tv_nsec as f64 / 1e3) / echoed as f64;
    println!("{name}: {echoed} messages, {micros:.3} us CPU per message");
    Ok(())
}
