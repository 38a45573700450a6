//! cargo-mutants over the library crates: every change that compiles makes a test fail.
//!
//! `.cargo/mutants.toml` says which code is not changed, and why, and how a mutant is built and tested. Each mutant is
//! tried against the tests of its own package, which takes seconds. A survivor is tried against the tests of all
//! packages. The outcomes stay for `cargo xtask srs-report --mutants target/verify/mutants`, which joins them to the
//! requirements as `--prove` joins its own.

use super::run::Run;
use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

const PACKAGES: [&str; 4] = ["async-socket-ffi", "async-socket-api", "async-socket-linux", "completion-port"];
/// The package and the file that the short form mutates. The file checks every payload.
const SHORT: [&str; 2] = ["async-socket-api", "crates/async-socket-api/src/payload.rs"];

#[derive(Default, Deserialize, Serialize)]
struct Outcomes {
    outcomes: Vec<Outcome>,
}

#[derive(Deserialize, Serialize)]
struct Outcome {
    scenario: Value,
    summary: String,
    log_path: Option<PathBuf>,
}

pub(super) fn run(run: &Run) -> anyhow::Result<String> {
    let folder = run.target("verify").join("mutants");
    // The outcomes of an earlier run would pass for those of this run.
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot clear {}", folder.display()))?;
    }
    let packages = if run.long { &PACKAGES[..] } else { &SHORT[..1] };
    let mut all = Outcomes::default();
    for package in packages {
        let of_package = tried(run, package, &folder)?;
        if run.long {
            println!("verify: mutants: {package}: {}", of_package.figure());
        }
        all.outcomes.extend(of_package.outcomes);
    }
    let joined = folder.join("mutants.out");
    fs::create_dir_all(&joined).with_context(|| format!("cannot make {}", joined.display()))?;
    fs::write(joined.join("outcomes.json"), serde_json::to_vec(&all)?)?;
    let survivors = all.named("MissedMutant");
    if !survivors.is_empty() {
        bail!("{}:\n{}", all.figure(), survivors.join("\n"));
    }
    run.succeeds(run.command(&format!("cargo xtask srs-report --check --mutants {}", folder.display())))?;
    Ok(all.figure())
}

/// The final outcome of each mutant of a package.
fn tried(run: &Run, package: &str, folder: &Path) -> anyhow::Result<Outcomes> {
    let file = if run.long { String::new() } else { format!("--file {}", SHORT[1]) };
    let line = format!("--package {package} {file}");
    let output = folder.join(package);
    let mut own = mutants(run, &format!("{line} --test-package {package}"), &[], &output.join("own"))?;
    let survivors = own.named("MissedMutant");
    if survivors.is_empty() {
        return Ok(own);
    }
    // These packages together have all tests of the workspace's libraries.
    let tests = format!("--test-package {},integration-tests", PACKAGES.join(","));
    let all = mutants(run, &format!("{line} {tests}"), &survivors, &output.join("all"))?;
    own.outcomes.retain(|outcome| outcome.summary != "MissedMutant");
    own.outcomes.extend(all.outcomes);
    Ok(own)
}

fn mutants(run: &Run, line: &str, only: &[String], output: &Path) -> anyhow::Result<Outcomes> {
    fs::create_dir_all(output).with_context(|| format!("cannot make {}", output.display()))?;
    let line = format!("cargo mutants {line} --no-shuffle --output {}", output.display());
    let only = only.iter().flat_map(|name| ["--re".to_owned(), format!("^{}$", regex_lite::escape(name))]);
    // Cargo builds our dependencies once. For each mutant it builds only what the mutant changes.
    let command = run.command(&line).args(only).args(["--", "--profile=mutants"]);
    let command = command.env("CARGO_TARGET_DIR", run.target("verify/mutants/build")).env("CARGO_INCREMENTAL", "1");
    // Exit code 2 means that some mutants were missed, and 3 that some timed out. The outcomes say which.
    run.printed(command)?;
    let output = output.join("mutants.out");
    let text = fs::read_to_string(output.join("outcomes.json"))
        .with_context(|| format!("no mutants; see {}", run.log().display()))?;
    let mut read: Outcomes = serde_json::from_str(&text).context("cannot read the outcomes of cargo-mutants")?;
    read.outcomes.retain(|outcome| outcome.name().is_some());
    ensure!(!read.outcomes.is_empty(), "do the tests pass without mutants? See {}", run.log().display());
    for outcome in &mut read.outcomes {
        outcome.log_path = outcome.log_path.take().map(|log| output.join(log));
    }
    Ok(read)
}

impl Outcomes {
    fn named(&self, summary: &str) -> Vec<String> {
        let chosen = self.outcomes.iter().filter(|outcome| outcome.summary == summary);
        chosen.filter_map(Outcome::name).map(str::to_owned).collect()
    }

    fn figure(&self) -> String {
        let count = |summary| self.named(summary).len();
        let by_time = count("Timeout") + self.outcomes.iter().filter(|outcome| outcome.hung()).count();
        format!(
            "{} mutants, {} caught, {by_time} by time, {} do not compile, {} survive",
            self.outcomes.len(),
            count("CaughtMutant") + count("Timeout"),
            count("Unviable"),
            count("MissedMutant")
        )
    }
}

impl Outcome {
    /// `None` of the tree without a mutant.
    fn name(&self) -> Option<&str> {
        self.scenario["Mutant"]["name"].as_str()
    }

    /// Whether the mutant was caught only because a test did not end.
    fn hung(&self) -> bool {
        let log = self.log_path.as_deref().filter(|_| self.summary == "CaughtMutant");
        let log = log.and_then(|log| fs::read(log).ok()).unwrap_or_default();
        String::from_utf8_lossy(&log).lines().any(|line| line.trim_start().starts_with("TIMEOUT ["))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutant_that_makes_a_test_hang_is_caught_by_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let of = |name: &str, summary: &str, log: &str| {
            let path = folder.path().join(name);
            fs::write(&path, log).expect("a log");
            let scenario = serde_json::json!({ "Mutant": { "name": name } });
            Outcome { scenario, summary: summary.to_owned(), log_path: Some(path) }
        };
        let outcomes = vec![
            of("fails", "CaughtMutant", "        FAIL [   0.127s] (1/2) p::t adds\n"),
            of("hangs", "CaughtMutant", "     TIMEOUT [  10.003s] (1/2) p::t adds\n"),
            of("hangs outside of tests", "Timeout", ""),
            of("does not compile", "Unviable", ""),
            of("survives", "MissedMutant", ""),
        ];

        let all = Outcomes { outcomes };

        assert_eq!(all.figure(), "5 mutants, 3 caught, 2 by time, 1 do not compile, 1 survive");
        assert_eq!(all.named("MissedMutant"), ["survives"]);
    }
}
