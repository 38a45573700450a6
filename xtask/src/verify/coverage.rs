//! The lines and branches of the library crates that the tests run.
//!
//! `docs/coverage.toml` explains the lines that no test runs. It quotes their text, because a line number would soon be
//! wrong. A text without a word, such as a closing brace, also needs the text of the line before it.

use super::run::Run;
use super::sanitizers::PACKAGES;
use anyhow::{Context as _, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;

const CRATES: [&str; 4] = ["async-socket-api", "completion-port", "async-socket-linux", "async-socket-ffi"];

/// Tests with the smallest stack that a thread can have. The code that counts the lines needs more stack.
const SMALLEST_STACK: &str = "--skip threads_have_the_documented_mask_name_and_stack \
                              --skip the_stack_is_that_of_a_pthread_or_the_one_that_is_asked_for";

/// In percent of each crate's lines.
const AT_LEAST: f64 = 98.0;

#[derive(Deserialize)]
struct Explained {
    #[serde(default)]
    line: Vec<Line>,
}

/// A line that no test runs.
#[derive(Deserialize)]
struct Line {
    file: String,
    text: String,
    /// The text of the line before it.
    after: Option<String>,
    reason: String,
}

impl Line {
    /// Whether this entry explains the line `text` of `file` that comes after the line `before`.
    fn explains(&self, file: &str, text: &str, before: &str) -> bool {
        let follows = self.after.as_deref().is_none_or(|after| after == before);
        self.file == file && self.text == text && follows && !self.reason.is_empty()
    }

    /// Whether the entry identifies a line. A text without a word could be any line of its file.
    fn is_specific(&self) -> bool {
        self.after.is_some() || self.text.contains(char::is_alphanumeric)
    }
}

/// The figures of lcov for one crate.
#[derive(Default)]
struct Coverage {
    lines: usize,
    branches: usize,
    branches_missed: usize,
    /// File and number.
    missed: Vec<(String, usize)>,
}

pub(super) fn run(run: &Run) -> anyhow::Result<String> {
    let lcov = run.target("verify").join("coverage.lcov");
    let line = format!(
        "cargo +nightly llvm-cov test --branch --lcov --output-path {} {PACKAGES} --tests -- {SMALLEST_STACK}",
        lcov.display()
    );
    // Without these settings, the report counts functions of async-socket-api as not run although tests run them.
    let command = run.command(&line).env_remove("CARGO_INCREMENTAL").env("CARGO_PROFILE_DEV_DEBUG", "true");
    // The counters lie in a file that is mapped, so that those of children of `fork` count too, which end without a report.
    let command = command
        .env("RUSTFLAGS", "-Cllvm-args=-runtime-counter-relocation")
        .env("LLVM_PROFILE_FILE_NAME", "async-socket-%p-%2m%c.profraw");
    run.succeeds(command)?;
    let text = fs::read_to_string(&lcov).with_context(|| format!("cannot read {}", lcov.display()))?;
    let crates = read(&text);
    let explained = explained(run)?;
    let (mut figures, mut unexplained) = (Vec::new(), Vec::new());
    for name in CRATES {
        let Some(it) = crates.get(name) else { bail!("nothing of {name} was run") };
        let percent = 100.0 - percent(it.missed.len(), it.lines);
        let branches = 100.0 - self::percent(it.branches_missed, it.branches);
        figures
            .push(format!("{name} {percent:.1} % of {} lines, {branches:.1} % of {} branches", it.lines, it.branches));
        for (file, number) in &it.missed {
            let source = fs::read_to_string(run.root.join(file))?;
            let line = |number: usize| source.lines().nth(number).unwrap_or_default().trim();
            let (text, before) = (line(number - 1), number.checked_sub(2).map_or("", line));
            let known = explained.iter().any(|line| line.explains(file, text, before));
            unexplained.extend((!known).then(|| format!("{file}:{number}: {text} (after: {before})")));
        }
        if percent < AT_LEAST {
            unexplained.push(format!("{name}: {percent:.2} % of its lines, and {AT_LEAST} % are wanted"));
        }
    }
    if !unexplained.is_empty() {
        bail!(
            "{}\nnot run by any test, nor explained in docs/coverage.toml:\n{}",
            figures.join("; "),
            unexplained.join("\n")
        );
    }
    Ok(figures.join("; "))
}

fn explained(run: &Run) -> anyhow::Result<Vec<Line>> {
    let text = fs::read_to_string(run.root.join("docs/coverage.toml")).context("docs/coverage.toml")?;
    let explained: Explained = toml::from_str(&text).context("docs/coverage.toml")?;
    if let Some(line) = explained.line.iter().find(|line| !line.is_specific()) {
        bail!("docs/coverage.toml: {} in {} could be any line: say what it comes after", line.text, line.file);
    }
    Ok(explained.line)
}

#[expect(clippy::cast_precision_loss, reason = "counts of lines are small")]
fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

/// Reads `SF:FILE`, `DA:LINE,COUNT` and `BRDA:LINE,BLOCK,BRANCH,COUNT` of the crates' sources.
fn read(lcov: &str) -> BTreeMap<&str, Coverage> {
    let mut crates: BTreeMap<&str, Coverage> = BTreeMap::new();
    let mut at = None;
    for line in lcov.lines() {
        if let Some(file) = line.strip_prefix("SF:") {
            at = in_crate(file);
        }
        let Some((name, file)) = at else { continue };
        let it = crates.entry(name).or_default();
        if let Some((number, count)) = line.strip_prefix("DA:").and_then(|rest| rest.split_once(',')) {
            it.lines += 1;
            it.missed.extend((count == "0").then(|| (file.to_owned(), number.parse().unwrap_or(1))));
        } else if let Some(rest) = line.strip_prefix("BRDA:") {
            it.branches += 1;
            it.branches_missed += usize::from(rest.ends_with(",0") || rest.ends_with(",-"));
        }
    }
    crates
}

/// The crate of a source, and the source below the root.
fn in_crate(file: &str) -> Option<(&str, &str)> {
    CRATES.iter().find_map(|name| {
        let at = file.find(&format!("crates/{name}/src/"))?;
        Some((*name, &file[at..]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closing_brace_is_explained_by_the_line_before_it() {
        let brace = |after: Option<&str>| Line {
            file: "a.rs".to_owned(),
            text: "}".to_owned(),
            after: after.map(str::to_owned),
            reason: "it is so".to_owned(),
        };
        assert!(!brace(None).is_specific());
        assert!(brace(Some("end();")).is_specific());
        assert!(brace(Some("end();")).explains("a.rs", "}", "end();"));
        assert!(!brace(Some("end();")).explains("a.rs", "}", "other();"));
        assert!(!brace(Some("end();")).explains("b.rs", "}", "end();"));
    }

    #[test]
    fn lines_and_branches_are_counted_by_crate() {
        let lcov = "SF:/a/crates/completion-port/src/port.rs\nDA:1,3\nDA:2,0\nBRDA:1,0,0,-\nBRDA:1,0,1,4\nend_of_record\n\
                    SF:/a/crates/test-doubles/src/lib.rs\nDA:1,0\nend_of_record\n";
        let crates = read(lcov);
        assert_eq!(crates.len(), 1);
        let it = &crates["completion-port"];
        assert_eq!((it.lines, it.branches, it.branches_missed), (2, 2, 1));
        assert_eq!(it.missed, [("crates/completion-port/src/port.rs".to_owned(), 2)]);
    }
}
