//! The results of cargo-mutants: whether a test notices when the code of a requirement is broken.
//!
//! This file reads a `mutants.out` folder. [`logs`] reads the failed tests, and [`mod@prove`] makes such a folder.

mod logs;
mod prove;

pub(super) use prove::{Choice, list, prove};

use anyhow::{Context as _, anyhow, bail};
use logs::FailedTest;
use serde::Deserialize;
use std::fs;
use std::path::Path;

/// Every mutant that was tried.
#[derive(Debug, Default)]
pub(super) struct Mutants {
    pub(super) all: Vec<Mutant>,
}

/// One change to the code and its outcome.
#[derive(Debug)]
pub(super) struct Mutant {
    pub(super) file: String,
    pub(super) line: usize,
    /// The name that cargo-mutants shows: place and change.
    pub(super) name: String,
    pub(super) verdict: Verdict,
    pub(super) failed: Vec<FailedTest>,
}

/// The outcome of a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Caught,
    Missed,
    TimedOut,
    /// The mutant does not compile, so it says nothing.
    Unviable,
}

impl Verdict {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Caught => "caught",
            Self::Missed => "missed",
            Self::TimedOut => "timed out",
            Self::Unviable => "unviable",
        }
    }
}

#[derive(Deserialize)]
struct Outcomes {
    outcomes: Vec<Outcome>,
}

#[derive(Deserialize)]
struct Outcome {
    scenario: Scenario,
    summary: String,
    log_path: Option<String>,
}

#[derive(Deserialize)]
enum Scenario {
    Baseline,
    Mutant(Change),
}

/// A mutant as cargo-mutants lists it.
#[derive(Debug, Deserialize)]
pub(super) struct Change {
    pub(super) name: String,
    pub(super) file: String,
    pub(super) span: Span,
    #[serde(default)]
    pub(super) replacement: String,
}

/// The text that the replacement replaces.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Span {
    pub(super) start: Point,
    pub(super) end: Point,
}

/// Lines and columns are counted from 1.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Point {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Mutants {
    /// Reads `DIR/outcomes.json`, or that of the `mutants.out` in `DIR`, and the logs beside it.
    pub(super) fn read(dir: &Path, root: &Path) -> anyhow::Result<Self> {
        let nested = dir.join("mutants.out");
        let dir = if nested.is_dir() { &nested } else { dir };
        let path = dir.join("outcomes.json");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let outcomes: Outcomes = serde_json::from_str(&text)
            .map_err(|error| anyhow!("{} is none of cargo-mutants: {error}", path.display()))?;
        let mut all = Vec::new();
        for outcome in outcomes.outcomes {
            let Scenario::Mutant(change) = outcome.scenario else { continue };
            let verdict = match outcome.summary.as_str() {
                "CaughtMutant" => Verdict::Caught,
                "MissedMutant" => Verdict::Missed,
                "Timeout" => Verdict::TimedOut,
                "Unviable" => Verdict::Unviable,
                // `cargo mutants` itself failed, which is no evidence either way.
                _ => continue,
            };
            let log = outcome.log_path.map(|log| dir.join(log)).filter(|_| verdict == Verdict::Caught);
            let failed = match log {
                // Output of tests need not be UTF-8.
                Some(log) => logs::failed_tests(&String::from_utf8_lossy(
                    &fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?,
                )),
                None => Vec::new(),
            };
            all.push(Mutant { line: change.span.start.line, file: change.file, name: change.name, verdict, failed });
        }
        if !all.is_empty() && !all.iter().any(|mutant| root.join(&mutant.file).is_file()) {
            bail!("{} is of another project: it has none of its files", path.display());
        }
        Ok(Self { all })
    }
}
