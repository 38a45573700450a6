//! cargo-mutants over the library crates: every change that compiles makes a test fail.
//!
//! `.cargo/mutants.toml` says what is not changed, and why. What came of each mutant is left for
//! `cargo xtask srs-report --mutants target/verify/mutants`, which joins it to the requirements as `--prove` joins its own.

use super::run::Run;
use anyhow::{Context as _, bail};
use serde::Deserialize;
use std::fs;

/// The one file that the short form breaks, where every payload is checked.
const SHORT: &str = "--package async-socket-api --file crates/async-socket-api/src/payload.rs";
/// The tests of the workspace's libraries are those of all of them.
const LONG: &str = "--package async-socket-api --package completion-port --package async-socket-linux \
                    --package async-socket-ffi --test-package async-socket-api,completion-port,async-socket-linux,\
                    async-socket-ffi,integration-tests";

#[derive(Deserialize)]
struct Outcomes {
    total_mutants: usize,
    caught: usize,
    missed: usize,
    timeout: usize,
    unviable: usize,
}

pub(super) fn run(run: &Run) -> anyhow::Result<String> {
    let output = run.target("verify").join("mutants");
    fs::create_dir_all(&output).with_context(|| format!("cannot make {}", output.display()))?;
    let folder = output.display();
    let chosen = if run.long { LONG } else { SHORT };
    // A mutant that hangs is caught by time: the tests themselves give up after 20 s.
    let line =
        format!("cargo mutants {chosen} --test-tool nextest --no-shuffle --minimum-test-timeout 60 --output {folder}");
    // 2: some were missed; 3: some timed out. What they were is in the outcomes.
    let printed = run.printed(run.command(&line))?;
    let outcomes = output.join("mutants.out/outcomes.json");
    let text = fs::read_to_string(&outcomes).with_context(|| format!("no mutants; see {}", run.log().display()))?;
    let it: Outcomes = serde_json::from_str(&text).context("cannot read the outcomes of cargo-mutants")?;
    if it.missed > 0 || it.total_mutants == 0 {
        let missed = printed.text.lines().filter(|line| line.starts_with("MISSED"));
        bail!("{} of {} survive:\n{}", it.missed, it.total_mutants, missed.collect::<Vec<_>>().join("\n"));
    }
    run.succeeds(run.command(&format!("cargo xtask srs-report --check --mutants {folder}")))?;
    let Outcomes { total_mutants, caught, timeout, unviable, .. } = it;
    Ok(format!("{total_mutants} mutants, {caught} caught, {timeout} by time, {unviable} do not compile, 0 survive"))
}
