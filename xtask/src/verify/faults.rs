//! Random programs over faulty system calls; the program is `crates/verify/src/bin/faults.rs`.

use super::run::Run;
use anyhow::Context as _;

/// Fewer faults in a minute than this would be too few to mean much.
const FAULTS_PER_MINUTE: u64 = 1_000_000;

pub(super) fn run(run: &Run) -> anyhow::Result<String> {
    let usual = if run.long { 20 } else { 1 };
    let minutes = run.minutes.map_or(usual, |asked| asked.as_secs() / 60).max(1);
    let (seconds, at_least) = (minutes * 60, minutes * FAULTS_PER_MINUTE);
    let line = format!(
        "cargo run --quiet --release --package verify --bin faults -- --seconds {seconds} --at-least {at_least}"
    );
    let text = run.succeeds(run.command(&line))?;
    print!("{text}");
    let line = |end: &str| text.lines().find(|line| line.contains(end)).map(str::trim).context("it printed no figures");
    Ok(format!("{}; {}", line("faults injected")?, line("programs,")?))
}
