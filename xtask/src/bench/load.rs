//! Runs the load generator and reads its measurements.

use super::servers::{Programs, Server};
use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

/// The output of the load: times in microseconds, CPU in seconds. `crates/bench/src/bin/load/window.rs` explains it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Measured {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
    pub(crate) server_cpu: f64,
    pub(crate) load_cpu: f64,
    pub(crate) other_cpu: f64,
}

/// Drives a server with the arguments of the load, on CPU `cpu`. Measures the server's CPU time too.
pub(crate) fn measure(programs: &Programs, server: &Server, cpu: usize, load: &[String]) -> anyhow::Result<Measured> {
    let mut command = programs.other("load", &on_cpus(&cpu.to_string()));
    command.arg(&server.address).args(load).args(["--pid", &server.pid().to_string()]);
    let output = command.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the load failed: {command:?}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The wrapper that keeps a program on these CPUs.
pub(crate) fn on_cpus(cpus: &str) -> Vec<String> {
    ["taskset", "--cpu-list", cpus].map(str::to_owned).to_vec()
}

/// Clients that have had their messages and are still connected. They disconnect when dropped.
pub(crate) struct Held {
    child: Child,
}

impl Held {
    /// Connects this many clients of 64 B messages, each of which has this many echoed.
    pub(crate) fn connect(
        programs: &Programs,
        server: &Server,
        connections: usize,
        messages: u64,
    ) -> anyhow::Result<Self> {
        let mut command = programs.other("load", &[]);
        command.arg(&server.address).args(["--connections", &connections.to_string()]);
        command.args(["--messages", &messages.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("it was piped")?;
        let held = Self { child };
        let mut line = String::new();
        ensure!(BufReader::new(output).read_line(&mut line)? > 0, "the load failed");
        Ok(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
