//! Runs cargo-mutants on the items that are tagged as code of requirements.

use super::Change;
use crate::config::Word;
use crate::results;
use crate::sources::Tag;
use anyhow::{Context as _, bail};
use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The choice of tagged items to mutate.
#[derive(Debug, Default)]
pub(crate) struct Choice<'c> {
    /// The items of these requirements; of all requirements if the list is empty.
    pub(crate) only: &'c [String],
    /// Those of one package.
    pub(crate) package: Option<&'c str>,
}

impl Choice<'_> {
    /// Whether cargo-mutants is to mutate this code.
    pub(crate) fn takes(&self, tag: &Tag) -> bool {
        let package = tag.target.as_ref().and_then(|target| target.test.home.package.as_deref());
        tag.word == Word::Code && self.names(tag) && self.package.is_none_or(|wanted| package == Some(wanted))
    }

    /// Whether the tag belongs to a requirement to prove. If a package was chosen, a requirement needs code in it.
    pub(crate) fn takes_id(&self, tag: &Tag) -> bool {
        if self.package.is_some() { self.takes(tag) } else { self.names(tag) }
    }

    fn names(&self, tag: &Tag) -> bool {
        self.only.is_empty() || self.only.contains(&tag.id)
    }
}

/// Mutates the chosen items and runs every test on each mutant. Returns the folder with the outcomes.
pub(crate) fn prove(root: &Path, tags: &[Tag], choice: &Choice<'_>) -> anyhow::Result<PathBuf> {
    for (tool, command) in [("mutants", "cargo-mutants"), ("nextest", "cargo-nextest")] {
        if !results::is_installed(tool) {
            bail!("--prove needs {command}: cargo install --locked {command}");
        }
    }
    let mut tagged: BTreeMap<&str, Vec<RangeInclusive<usize>>> = BTreeMap::new();
    for tag in tags.iter().filter(|tag| choice.takes(tag)) {
        let Some(target) = &tag.target else { continue };
        tagged.entry(&tag.location.path).or_default().push(target.lines.clone());
    }
    if tagged.is_empty() {
        bail!("--prove: no code is tagged with what --only and --crate choose");
    }
    let chosen: Vec<Change> = list(root, &tagged)?
        .into_iter()
        .filter(|change| {
            let lines = tagged.get(change.file.as_str());
            lines.is_some_and(|lines| lines.iter().any(|range| range.contains(&change.span.start.line)))
        })
        .collect();
    if chosen.is_empty() {
        bail!("--prove: cargo-mutants finds nothing to change in the tagged items");
    }
    eprintln!("srs-report: {} mutants in {} files", chosen.len(), tagged.len());
    let output = results::folder(root)?;
    fs::create_dir_all(&output).with_context(|| format!("cannot make {}", output.display()))?;
    let mut command = mutants(root, &tagged);
    command.args(["--test-tool", "nextest", "--test-workspace", "true", "--no-shuffle", "--output"]).arg(&output);
    // A single argument has a size limit, and a command line of many arguments has a higher one.
    for change in &chosen {
        command.args(["--re", &format!("^{}$", regex::escape(&change.name))]);
    }
    // Every test runs on every mutant. Otherwise one failing test would hide the others.
    let status = command.args(["--", "--no-fail-fast"]).stdout(Stdio::from(std::io::stderr())).status();
    let status = status.context("cannot start cargo mutants")?;
    // Exit code 2 means that some mutants were missed, and 3 that some timed out. The report shows both.
    if !matches!(status.code(), Some(0 | 2 | 3)) {
        bail!("cargo mutants did not get to the end ({status}): do the tests pass without mutants?");
    }
    Ok(output)
}

/// All changes to the files that cargo-mutants proposes.
pub(crate) fn list(root: &Path, tagged: &BTreeMap<&str, Vec<RangeInclusive<usize>>>) -> anyhow::Result<Vec<Change>> {
    let output = mutants(root, tagged).args(["--list", "--json"]).output().context("cannot start cargo mutants")?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        bail!("cargo mutants cannot read the project: {}", message.lines().next().unwrap_or_default());
    }
    serde_json::from_slice(&output.stdout).context("cannot read what cargo mutants lists")
}

fn mutants(root: &Path, tagged: &BTreeMap<&str, Vec<RangeInclusive<usize>>>) -> Command {
    let mut command = Command::new("cargo");
    command.arg("mutants").arg("--dir").arg(root).arg("--workspace");
    for file in tagged.keys() {
        command.args(["--file", file]);
    }
    command
}
