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
    let passed = tests_passed(&run.succeeds(command)?);
    ensure!(passed > 0, "no test ran");
    Ok(format!("{passed} tests passed"))
}

/// The variable with which cargo starts the tests of this machine's target.
fn runner(run: &Run) -> anyhow::Result<String> {
    let version = run.read("rustc -vV")?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not say its host")?;
    Ok(format!("CARGO_TARGET_{}_RUNNER", host.to_uppercase().replace('-', "_")))
}
