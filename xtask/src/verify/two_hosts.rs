//! Two hosts in network namespaces; the tests are in `tests/net/two_hosts.rs`.

use super::run::{Run, tests_passed};
use super::tools::is_root;
use anyhow::{Context as _, ensure};

pub(super) fn run(run: &Run) -> anyhow::Result<String> {
    // One at a time, because each makes both hosts anew.
    let line = "cargo test --package integration-tests --test net -- --ignored --nocapture --test-threads=1 two_hosts";
    let mut command = run.command(line);
    if !is_root() {
        // Only the tests run as root, not the build.
        command = command.env(runner(run)?, "sudo --non-interactive --preserve-env");
    }
    let text = run.succeeds(command)?;
    let (passed, skipped) = (tests_passed(&text), text.lines().filter_map(|line| line.split_once("skipped: ")));
    let skipped: Vec<&str> = skipped.map(|(_, why)| why).collect();
    ensure!(passed > skipped.len() as u64, "no test ran");
    let told = if skipped.is_empty() { String::new() } else { format!("; not shown: {}", skipped.join("; ")) };
    Ok(format!("{} tests passed{told}", passed - skipped.len() as u64))
}

/// The variable with which cargo starts the tests of this machine's target.
fn runner(run: &Run) -> anyhow::Result<String> {
    let version = run.read("rustc -vV")?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not say its host")?;
    Ok(format!("CARGO_TARGET_{}_RUNNER", host.to_uppercase().replace('-', "_")))
}
