//! Runs each target of `fuzz/` for some time. The inputs are the checked-in corpus and the findings of earlier runs.

use super::run::Run;
use anyhow::{Context as _, bail};
use std::fs;
use std::time::Duration;

/// Each target with libFuzzer's `close_fd_mask`. 3 closes standard output and error, because the report writes to both
/// in every run.
const TARGETS: [(&str, u8); 3] = [("c_abi", 0), ("event_callback", 0), ("srs_report", 3)];

const FUZZ: &str = "--fuzz-dir fuzz --target-dir target/fuzz";

pub(super) fn run(run: &Run) -> anyhow::Result<String> {
    run.succeeds(run.command(&format!("cargo +nightly fuzz build {FUZZ}")))?;
    let each = Duration::from_secs(if run.long { 600 } else { 10 });
    let seconds = run.minutes.map_or(each, |all| all / 3).as_secs();
    let mut figures = Vec::new();
    for (target, closed) in TARGETS {
        let grown = run.target("fuzz").join("corpus").join(target);
        fs::create_dir_all(&grown).with_context(|| format!("cannot make {}", grown.display()))?;
        let (grown, seeds) = (grown.display(), format!("fuzz/corpus/{target}"));
        let limits = "-timeout=20 -max_len=4096 -artifact_prefix=target/fuzz/";
        let line = format!(
            "cargo +nightly fuzz run {FUZZ} {target} {grown} {seeds} -- {limits} -max_total_time={seconds} \
             -close_fd_mask={closed}"
        );
        let text = run.succeeds(run.command(&line))?;
        let Some(runs) = runs(&text) else { bail!("{target}: libFuzzer does not say how many runs it did") };
        figures.push(format!("{target} {runs} runs"));
    }
    Ok(format!("{} in {seconds} s each, 0 findings", figures.join(", ")))
}

/// `Done 62326 runs in 16 second(s)`
fn runs(text: &str) -> Option<&str> {
    text.lines().rev().find_map(|line| line.strip_prefix("Done ")?.split(' ').next())
}

#[cfg(test)]
mod tests {
    #[test]
    fn libfuzzer_says_how_many_runs_it_did() {
        assert_eq!(super::runs("#1\tDONE\nDone 62326 runs in 16 second(s)\n"), Some("62326"));
        assert_eq!(super::runs("ERROR: libFuzzer: deadly signal\n"), None);
    }
}
