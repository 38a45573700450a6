//! Peers that mean ill, in release mode; the tests are in the top-level `tests/` folder.

use super::run::{Run, tests_passed};

/// The files of tests.
const TESTS: [&str; 3] = ["hostile_peers", "hostile_crowd", "no_descriptors_left"];

pub(super) fn run(run: &Run) -> anyhow::Result<String> {
    let tests = TESTS.map(|test| format!("--test {test}")).join(" ");
    // One at a time, for they measure.
    let line = format!("cargo test --release --package integration-tests {tests} -- --nocapture --test-threads=1");
    let rounds = if run.long { 20 } else { 1 };
    let (mut passed, mut figures) = (0, String::new());
    for _ in 0..rounds {
        let text = run.succeeds(run.command(&line))?;
        passed += tests_passed(&text);
        figures = text
            .lines()
            .filter_map(|line| line.split_once("figure: "))
            .map(|(_, figure)| format!("  {figure}\n"))
            .collect();
    }
    anyhow::ensure!(passed > 0 && !figures.is_empty(), "no test ran");
    print!("{figures}");
    Ok(format!("{passed} tests passed"))
}
