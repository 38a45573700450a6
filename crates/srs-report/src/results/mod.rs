//! The results of the tests, from JUnit files or from a run that [`mod@run`] starts.

mod run;

pub(super) use run::{folder, is_installed, last, run};

use super::sources::{Tag, TestName, package_of};
use anyhow::{Context as _, anyhow, bail};
use quick_junit::{Report, TestCaseStatus};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The executed tests.
#[derive(Debug, Default)]
pub(super) struct Results {
    /// By name, because several binaries may have tests of the same name.
    cases: BTreeMap<String, Vec<Case>>,
    /// The start of the earliest run, if its file names it.
    pub(super) began: Option<String>,
}

#[derive(Debug)]
struct Case {
    /// `package::target`, as nextest names it.
    binary: String,
    outcome: Outcome,
    seconds: f64,
}

/// The outcome of a test. Of several outcomes, the worst counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Passed,
    /// Ignored, filtered out, or not there at all.
    NotRun,
    Failed,
}

impl Outcome {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::NotRun => "not run",
            Self::Failed => "failed",
        }
    }
}

/// The result of a tagged test, over all its cases.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ran {
    pub(super) outcome: Outcome,
    pub(super) seconds: f64,
    pub(super) cases: usize,
}

impl Results {
    /// Reads JUnit files. Fails if a file has no test of the project with these tags.
    pub(super) fn read<P: AsRef<Path>>(files: &[P], tags: &[Tag]) -> anyhow::Result<Self> {
        let mut results = Self::default();
        for file in files.iter().map(AsRef::as_ref) {
            let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            let report = Report::deserialize_from_str(&text)
                .map_err(|error| anyhow!("{} is no JUnit file: {}", file.display(), one_line(&error)))?;
            results.add(&report);
            if !is_of_project(&report, tags) {
                bail!("{} is of another project: none of its tests is in this one", file.display());
            }
        }
        Ok(results)
    }

    fn add(&mut self, report: &Report) {
        let began = report.timestamp.map(|it| it.to_rfc3339());
        self.began = self.began.take().into_iter().chain(began).min();
        for (binary, name, case) in cases(report) {
            let outcome = match case.status {
                TestCaseStatus::Success { .. } => Outcome::Passed,
                TestCaseStatus::Skipped { .. } => Outcome::NotRun,
                TestCaseStatus::NonSuccess { .. } => Outcome::Failed,
            };
            let seconds = case.time.unwrap_or_default().as_secs_f64();
            let case = Case { binary: binary.to_owned(), outcome, seconds };
            self.cases.entry(name.to_owned()).or_default().push(case);
        }
    }

    /// The result of a tagged test.
    pub(super) fn of(&self, test: &TestName) -> Ran {
        let mut ran = Ran { outcome: Outcome::Passed, seconds: 0.0, cases: 0 };
        for name in &test.names {
            let below = format!("{name}::");
            let others = self.cases.range(below.clone()..).take_while(|(it, _)| it.starts_with(&below));
            let exact = self.cases.get_key_value(name);
            let mut found = false;
            for (name, cases) in exact.into_iter().chain(others) {
                for case in cases.iter().filter(|case| test.is(&case.binary, name)) {
                    found = true;
                    ran.outcome = ran.outcome.max(case.outcome);
                    ran.seconds += case.seconds;
                    ran.cases += usize::from(case.outcome != Outcome::NotRun);
                }
            }
            if !found {
                ran.outcome = ran.outcome.max(Outcome::NotRun);
            }
        }
        if test.names.is_empty() || (test.names.len() == 1 && ran.cases < test.cases) {
            ran.outcome = ran.outcome.max(Outcome::NotRun);
        }
        ran
    }
}

/// Whether one of the tests belongs to a package of the project or to a tag.
fn is_of_project(report: &Report, tags: &[Tag]) -> bool {
    let tests: Vec<&TestName> = tags.iter().filter_map(|tag| tag.target.as_ref()).map(|target| &target.test).collect();
    cases(report).any(|(binary, name, _)| {
        let of_package = |test: &&TestName| test.home.package.as_deref() == Some(package_of(binary));
        tests.iter().any(|test| of_package(test) || test.is(binary, name))
    })
}

/// Every test with its binary and its name.
fn cases(report: &Report) -> impl Iterator<Item = (&str, &str, &quick_junit::TestCase)> {
    report
        .test_suites
        .iter()
        .flat_map(|suite| suite.test_cases.iter().map(|case| (suite.name.as_str(), case.name.as_str(), case)))
}

/// An error and its causes, in one line.
fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text.replace('\n', " ")
}
