//! Thousands of connections that come and go; the source is `crates/verify/src/bin/soak.rs`.

use super::run::Run;
use anyhow::Context as _;

pub(super) fn run(run: &Run) -> anyhow::Result<String> {
    let usual = if run.long { 120 } else { 20 };
    let seconds = run.minutes.map_or(usual, |asked| asked.as_secs());
    let folder = run.target("verify").display().to_string();
    let line = format!("cargo run --quiet --release --package verify --bin soak -- --seconds {seconds} --folder");
    let text = run.succeeds(run.command(&line).arg(folder))?;
    print!("{text}");
    Ok(format!("flat over {seconds} s: {}", text.lines().next().context("it printed no figures")?))
}
