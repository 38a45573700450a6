//! Hostile peers, in release mode; the tests are in `tests/hostile`.

use super::run::{Run, tests_passed};

pub(super) fn run(run: &Run) -> anyhow::Result<String> {
    // One at a time, because they measure.
    let line = "cargo test --release --package integration-tests --test hostile -- --nocapture --test-threads=1";
    let rounds = if run.long { 20 } else { 1 };
    let (mut passed, mut figures) = (0, String::new());
    for _ in 0..rounds {
        let text = run.succeeds(run.command(line))?;
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
