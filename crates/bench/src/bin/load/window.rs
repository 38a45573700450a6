//! The measured time: the messages in it, the latency of each, and the CPU time of each process.

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Begins after the warm-up and ends by itself.
pub(crate) struct Window {
    warm_up: Duration,
    starts: Instant,
    length: Duration,
    server: Option<ClockId>,
    begun: Option<Begun>,
    ended: Option<Measured>,
    latency: Histogram<u64>,
    messages: u64,
    bytes: u64,
}

struct Begun {
    at: Instant,
    cpu: Cpu,
}

/// The printed figures.
#[derive(Clone, Serialize)]
pub(crate) struct Measured {
    messages: u64,
    bytes: u64,
    seconds: f64,
    /// Microseconds from send to the last byte of the echo.
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
    /// CPU seconds of the server, of the load, and of all other processes.
    server_cpu: f64,
    load_cpu: f64,
    other_cpu: f64,
}

impl Window {
    pub(crate) fn new(warm_up: Duration, length: Duration, server: Option<i32>) -> Result<Self> {
        let server = server.map(|pid| clock_getcpuclockid(Pid::from_raw(pid))).transpose()?;
        Ok(Self {
            warm_up,
            starts: Instant::now() + warm_up,
            length,
            server,
            begun: None,
            ended: None,
            latency: Histogram::new(3)?,
            messages: 0,
            bytes: 0,
        })
    }

    /// Starts the warm-up, because all connections are up.
    pub(crate) fn connected(&mut self) {
        self.starts = Instant::now() + self.warm_up;
    }

    /// Whether to go on. The load calls it often.
    pub(crate) fn goes_on(&mut self, now: Instant) -> Result<bool> {
        match &self.begun {
            None if now >= self.starts => {
                self.begun = Some(Begun { at: now, cpu: Cpu::now(self.server)? });
                Ok(true)
            }
            Some(begun) if now - begun.at >= self.length => {
                self.ended = Some(self.measure()?);
                Ok(false)
            }
            _ => Ok(true),
        }
    }

    pub(crate) fn count_bytes(&mut self, bytes: usize) {
        if self.begun.is_some() {
            self.bytes += bytes as u64;
        }
    }

    pub(crate) fn count_message(&mut self, took: Duration) -> Result<()> {
        if self.begun.is_some() {
            self.messages += 1;
            self.latency.record(u64::try_from(took.as_nanos())?)?;
        }
        Ok(())
    }

    /// The measurements up to the end of the window, or up to now if it has not ended.
    pub(crate) fn measured(&self) -> Result<Measured> {
        self.ended.clone().map_or_else(|| self.measure(), Ok)
    }

    #[allow(clippy::cast_precision_loss, reason = "figures to be read")]
    fn measure(&self) -> Result<Measured> {
        let micros = |quantile| self.latency.value_at_quantile(quantile) as f64 / 1e3;
        let begun = self.begun.as_ref().context("nothing was measured")?;
        let cpu = Cpu::now(self.server)?;
        let spent = |which: fn(&Cpu) -> f64| which(&cpu) - which(&begun.cpu);
        let (server_cpu, load_cpu) = (spent(|cpu| cpu.server), spent(|cpu| cpu.load));
        Ok(Measured {
            messages: self.messages,
            bytes: self.bytes,
            seconds: begun.at.elapsed().as_secs_f64(),
            p50: micros(0.5),
            p90: micros(0.9),
            p99: micros(0.99),
            p999: micros(0.999),
            max: self.latency.max() as f64 / 1e3,
            server_cpu,
            load_cpu,
            other_cpu: (spent(|cpu| cpu.all) - server_cpu - load_cpu).max(0.0),
        })
    }
}

/// CPU seconds since some time long ago.
struct Cpu {
    server: f64,
    load: f64,
    all: f64,
}

impl Cpu {
    fn now(server: Option<ClockId>) -> Result<Self> {
        let seconds = |clock: ClockId| -> Result<f64> { Ok(Duration::from(clock.now()?).as_secs_f64()) };
        Ok(Self {
            server: server.map(seconds).transpose()?.unwrap_or_default(),
            load: seconds(ClockId::CLOCK_PROCESS_CPUTIME_ID)?,
            all: bench::all_cpu()?,
        })
    }
}
