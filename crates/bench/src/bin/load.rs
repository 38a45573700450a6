//! The load: closed-loop echo clients on bare epoll, one thread, every byte checked.

use anyhow::{Result, bail};
use clap::Parser;
use hdrhistogram::Histogram;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Drives an echo server.
#[derive(Parser)]
struct Arguments {
    /// The server's address.
    address: String,
    /// Connections, each with one message under way.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Bytes in a message.
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Stop after so many seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Stop after so many messages instead.
    #[arg(long)]
    messages: Option<u64>,
}

struct Connection {
    stream: TcpStream,
    message: Vec<u8>,
    sent: usize,
    received: usize,
    since: Instant,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut connections = Vec::new();
    for index in 0..arguments.connections {
        let stream = TcpStream::connect(&arguments.address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        epoll::add(&epoll, &stream, EventData::new_u64(index as u64), interest)?;
        #[allow(clippy::cast_possible_truncation, reason = "a pattern")]
        let message = (0..arguments.size).map(|byte| (byte * 31 + index) as u8).collect();
        connections.push(Connection { stream, message, sent: 0, received: 0, since: Instant::now() });
    }
    let mut scratch = vec![0; 1 << 20];
    let mut latency = Histogram::<u64>::new(3)?;
    let mut done = 0;
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(arguments.seconds);
    let limit = arguments.messages.unwrap_or(u64::MAX);
    for connection in &mut connections {
        connection.since = Instant::now();
        connection.send()?;
    }
    let mut events: Vec<Event> = Vec::with_capacity(512);
    'run: loop {
        events.clear();
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let connection = &mut connections[usize::try_from(event.data.u64())?];
            if connection.receive(&mut scratch)? {
                done += 1;
                let now = Instant::now();
                latency.record(u64::try_from((now - connection.since).as_nanos())?)?;
                if done >= limit || (arguments.messages.is_none() && now >= end) {
                    break 'run;
                }
                (connection.sent, connection.received, connection.since) = (0, 0, now);
            }
            connection.send()?;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "figures to be read")]
    let (rate, micros) = (done as f64 / seconds, |quantile| latency.value_at_quantile(quantile) as f64 / 1e3);
    println!(
        "{done} messages, {rate:.0} per second, p50 {:.1} us, p99 {:.1} us, p99.9 {:.1} us",
        micros(0.5),
        micros(0.99),
        micros(0.999)
    );
    Ok(())
}

impl Connection {
    fn send(&mut self) -> Result<()> {
        while self.sent < self.message.len() {
            match send(&self.stream, &self.message[self.sent..], SendFlags::NOSIGNAL) {
                Ok(bytes) => self.sent += bytes,
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether the whole message came back.
    fn receive(&mut self, scratch: &mut [u8]) -> Result<bool> {
        while self.received < self.message.len() {
            match recv(&self.stream, &mut *scratch, RecvFlags::empty()) {
                Ok((_, 0)) => bail!("the server closed the connection"),
                Ok((_, bytes)) => {
                    if self.message.get(self.received..self.received + bytes) != Some(&scratch[..bytes]) {
                        bail!("wrong bytes came back");
                    }
                    self.received += bytes;
                }
                Err(Errno::AGAIN) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}
