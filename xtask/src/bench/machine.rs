//! The description of the machine that stands beside the figures.

use serde::Serialize;
use std::fs;
use std::thread::available_parallelism;
use xshell::{Shell, cmd};

#[derive(Serialize)]
pub(crate) struct Machine {
    cpu: String,
    pub(crate) cores: usize,
    kernel: String,
    rustc: String,
}

impl Machine {
    pub(crate) fn this() -> anyhow::Result<Self> {
        let cpus = fs::read_to_string("/proc/cpuinfo")?;
        let shell = Shell::new()?;
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
        Ok(Self {
            cpu: model.trim_start_matches([' ', '\t', ':']).to_owned(),
            cores: available_parallelism()?.get(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            rustc: cmd!(shell, "rustc --version").quiet().read()?,
        })
    }

    pub(crate) fn line(&self) -> String {
        format!("{}, {} cores, Linux {}, {}", self.cpu, self.cores, self.kernel, self.rustc)
    }
}
