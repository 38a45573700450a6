//! `cargo xtask srs-report-bench`: measures the released program on this workspace and on large generated projects, and
//! compares its counts with what was generated.

pub(crate) mod c_project;
mod rust_project;

use crate::workspace;
use anyhow::{Context as _, ensure};
use c_project::Size;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use xshell::{Shell, cmd};

const HERE_AT_MOST: Duration = Duration::from_millis(300);
const RUST_AT_MOST: Duration = Duration::from_secs(5);
const C_AT_MOST: Duration = Duration::from_secs(1);
/// The memory of a run, in MiB.
const MEMORY_AT_MOST: usize = 200;

/// A large C repository.
pub(crate) const LARGE: Size = Size { requirements: 2_000, tags: 5_000, lines: 300_000 };
/// The size of c-pal.
const C_PAL: Size = Size { requirements: 1_857, tags: 4_816, lines: 150_000 };

/// Fails if a report takes longer than it may, needs more memory, or counts otherwise.
pub(crate) fn run() -> anyhow::Result<()> {
    let program = released()?;
    let here = measure(&program, "this workspace", &workspace::root()?, HERE_AT_MOST);
    let folder = TempDir::new()?;
    let lines = rust_project::generate(folder.path())?;
    ensure!(
        Command::new(&program)
            .arg("--bless")
            .arg("--root")
            .arg(folder.path())
            .stdout(Stdio::null())
            .status()?
            .success()
    );
    let name = format!("Rust, {} requirements, {lines} lines", rust_project::REQUIREMENTS);
    measure(&program, &name, folder.path(), RUST_AT_MOST)?;
    for size in [LARGE, C_PAL] {
        let folder = TempDir::new()?;
        let lines = c_project::generate(folder.path(), size)?;
        measure(&program, &format!("C, {} requirements, {lines} lines", size.requirements), folder.path(), C_AT_MOST)?;
        count(&program, folder.path(), size)?;
    }
    here
}

/// Builds the program as users do.
fn released() -> anyhow::Result<PathBuf> {
    let shell = Shell::new()?;
    shell.change_dir(workspace::root()?);
    cmd!(shell, "cargo build --release --package srs-report").quiet().run()?;
    Ok(workspace::target_dir()?.join("release/srs-report"))
}

/// Takes the best of three runs, because other work on the machine only slows a run down.
fn measure(program: &Path, name: &str, root: &Path, at_most: Duration) -> anyhow::Result<()> {
    let (mut best, mut memory) = (Duration::MAX, 0);
    for _ in 0..3 {
        let (time, peak) = report(program, root)?;
        (best, memory) = (best.min(time), memory.max(peak));
    }
    let (time, limit) = (best.as_secs_f64(), at_most.as_secs_f64());
    println!("srs-report-bench: {name}: {time:.2} s, at most {limit:.2} s; {memory} MiB, at most {MEMORY_AT_MOST} MiB");
    ensure!(best <= at_most, "the report on {name} is too slow");
    ensure!(memory <= MEMORY_AT_MOST, "the report on {name} takes too much memory");
    Ok(())
}

/// The time of a report, and its peak memory in MiB.
fn report(program: &Path, root: &Path) -> anyhow::Result<(Duration, usize)> {
    let started = Instant::now();
    let mut child = Command::new(program).arg("--root").arg(root).stdout(Stdio::null()).spawn()?;
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut peak = 0;
    let ended = loop {
        // The kernel keeps the peak, so the last look before the end is enough.
        peak = peak.max(fs::read_to_string(&status).ok().as_deref().and_then(peak_of).unwrap_or(0));
        match child.try_wait()? {
            Some(ended) => break ended,
            None => thread::sleep(Duration::from_millis(1)),
        }
    };
    ensure!(matches!(ended.code(), Some(0 | 1)), "{} made no report", program.display());
    Ok((started.elapsed(), peak.div_ceil(1024)))
}

/// The kilobytes of the line `VmHWM:    1234 kB`.
fn peak_of(status: &str) -> Option<usize> {
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()
}

/// Compares the counts with those of the generator.
fn count(program: &Path, root: &Path, size: Size) -> anyhow::Result<()> {
    let output = Command::new(program).args(["--format", "json", "--root"]).arg(root).output()?;
    let report: Value = serde_json::from_slice(&output.stdout).context("the report is no JSON")?;
    let documents = report["documents"].as_array().context("there are no documents")?;
    let requirements: usize = documents.iter().filter_map(|it| it["requirements"].as_array()).map(Vec::len).sum();
    let (tags, findings) = (report["tags"].as_u64(), report["findings"].as_array().map(Vec::len));
    println!(
        "srs-report-bench: {requirements} requirements, {} tags, {} findings",
        tags.unwrap_or(0),
        findings.unwrap_or(0)
    );
    ensure!(requirements == size.requirements, "{} requirements were generated", size.requirements);
    ensure!(tags == Some(size.tags as u64), "{} tags were generated", size.tags);
    ensure!(findings == Some(0), "the project was generated without a fault");
    Ok(())
}

/// Writes a file. Returns its number of lines.
fn save(path: &Path, text: &str) -> anyhow::Result<usize> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)?;
    Ok(text.lines().count())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernel_says_how_much_memory_a_program_had() {
        assert_eq!(super::peak_of("Name:\tx\nVmHWM:\t   21284 kB\nVmRSS:\t 1 kB\n"), Some(21_284));
        assert_eq!(super::peak_of("Name:\tx\n"), None);
    }
}
