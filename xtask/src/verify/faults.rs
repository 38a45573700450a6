//! Random programs over faulty system calls; the source is `crates/verify/src/bin/faults.rs`.

use super::run::Run;
use anyhow::Context as _;

/// A run with fewer faults per minute would prove little.
const FAULTS_PER_MINUTE: u64 = 1_000_000;
/// Not optimised, with all assertions.
const FAULTS_PER_SHORT_MINUTE: u64 = 200_000;

pub(super) fn run(run: &Run) -> anyhow::Result<String> {
    let optimised = run.long || run.minutes.is_some();
    let usual = if run.long { 20 } else { 1 };
    let minutes = run.minutes.map_or(usual, |asked| asked.as_secs() / 60).max(1);
    let per_minute = if optimised { FAULTS_PER_MINUTE } else { FAULTS_PER_SHORT_MINUTE };
    let (seconds, at_least) = (minutes * 60, minutes * per_minute);
    let program = if optimised {
        "cargo run --quiet --release --package verify --bin faults --".to_owned()
    } else {
        // Builds only what `cargo test` has built for the tests of the simulation.
        run.succeeds(run.command("cargo test --quiet --workspace --no-run --test faults"))?;
        run.target("debug/faults").display().to_string()
    };
    let text =
        run.succeeds(run.command(&format!("{program} --seconds {seconds} --at-least {at_least} --every-act")))?;
    print!("{text}");
    let line = |end: &str| text.lines().find(|line| line.contains(end)).map(str::trim).context("it printed no figures");
    Ok(format!("{}, {}; {}", line("faults injected")?, line("acts that users rarely do")?, line("programs,")?))
}
