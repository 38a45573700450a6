//! The results of the tests, from JUnit files or from a run that [`mod@run`] starts.

mod junit;
mod run;

pub(super) use run::{folder, is_installed, last, run};

use super::sources::{Tag, TestName, package_of};
use anyhow::{Context as _, anyhow, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The executed tests.
#[derive(Debug, Default)]
pub(super) struct Results {
    /// By name. The project's rules can give a test several names, and several binaries can have a test of the same name.
    cases: BTreeMap<String, Vec<Case>>,
    /// The start of the earliest run, if its file names it.
    pub(super) began: Option<String>,
    /// How runners name a test.
    rules: Vec<String>,
}

#[derive(Debug, Clone)]
struct Case {
    /// `package::target`, as nextest names it; empty if the runner names no binaries.
    binary: String,
    /// The name without what a runner adds for a case.
    is_case: bool,
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

/// The rule by which a runner calls all tests of a file by the file's name or its folder's.
const FILE_RULE: &str = "{file}";

impl Results {
    /// Reads JUnit files. Fails if a file has no test of the project with these tags.
    pub(super) fn read<P: AsRef<Path>>(files: &[P], tags: &[Tag], rules: &[String]) -> anyhow::Result<Self> {
        let tests: Vec<&TestName> =
            tags.iter().filter_map(|tag| tag.target.as_ref()).map(|target| &target.test).collect();
        let packages: BTreeSet<&str> = tests.iter().filter_map(|test| test.home.package.as_deref()).collect();
        let mut results = Self { rules: rules.to_vec(), ..Self::default() };
        for path in files.iter().map(AsRef::as_ref) {
            let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let file = junit::parse(&String::from_utf8_lossy(&bytes))
                .map_err(|error| anyhow!("{} is no JUnit file: {error}", path.display()))?;
            if file.cases.is_empty() {
                bail!("{} has no test", path.display());
            }
            let own = Self::of_file(&file, &packages, rules);
            let is_of_package = |test: &junit::Test| packages.contains(package_of(&test.suite));
            let is_ours = file.cases.iter().any(is_of_package) || tests.iter().any(|test| own.knows(test));
            if !is_ours {
                bail!("{} is of another project: none of its tests is in this one", path.display());
            }
            results.began = results.began.take().into_iter().chain(own.began).min();
            for (name, cases) in own.cases {
                results.cases.entry(name).or_default().extend(cases);
            }
        }
        Ok(results)
    }

    fn of_file(file: &junit::File, packages: &BTreeSet<&str>, rules: &[String]) -> Self {
        let mut results = Self { began: file.began.clone(), rules: rules.to_vec(), ..Self::default() };
        for test in &file.cases {
            // Only nextest names its suites after binaries.
            let is_binary = file.name.starts_with("nextest") || packages.contains(package_of(&test.suite));
            let binary = if is_binary { test.suite.clone() } else { String::new() };
            for (name, is_case) in names(test, packages, rules) {
                let case = Case { binary: binary.clone(), is_case, outcome: test.outcome, seconds: test.seconds };
                results.cases.entry(name).or_default().push(case);
            }
        }
        results
    }

    fn knows(&self, test: &TestName) -> bool {
        let ran = self.of(test);
        ran.cases > 0 || ran.outcome == Outcome::Failed || self.places_of(test).next().is_some()
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
                    ran.add(case);
                }
            }
            if !found {
                ran.outcome = ran.outcome.max(Outcome::NotRun);
            }
        }
        if test.names.is_empty() || (test.names.len() == 1 && ran.cases < test.cases) {
            ran.outcome = ran.outcome.max(Outcome::NotRun);
        }
        if ran.cases == 0 && ran.outcome == Outcome::NotRun {
            let whole = self.places_of(test).fold(None, |ran: Option<Ran>, case| {
                let mut ran = ran.unwrap_or(Ran { outcome: Outcome::Passed, seconds: 0.0, cases: 0 });
                ran.add(case);
                Some(ran)
            });
            return whole.unwrap_or(ran);
        }
        ran
    }

    /// The results of the whole file of a test, if the project's runner names files and not tests.
    fn places_of<'r>(&'r self, test: &'r TestName) -> impl Iterator<Item = &'r Case> {
        let has_rule = self.rules.iter().any(|rule| rule == FILE_RULE);
        let places = test.places.iter().filter(move |_| has_rule);
        places.filter_map(|place| self.cases.get(place)).flatten().filter(|case| !case.is_case)
    }
}

impl Ran {
    fn add(&mut self, case: &Case) {
        self.outcome = self.outcome.max(case.outcome);
        self.seconds += case.seconds;
        self.cases += usize::from(case.outcome != Outcome::NotRun);
    }
}

/// The names of a test by the project's rules, and whether each is shortened from the name of a case.
fn names(test: &junit::Test, packages: &BTreeSet<&str>, rules: &[String]) -> BTreeSet<(String, bool)> {
    let mut names = BTreeSet::new();
    for rule in rules.iter().filter(|rule| *rule != FILE_RULE) {
        if rule.contains("{class}") && test.class.is_empty() {
            continue;
        }
        let name = rule.replace("{class}", &test.class).replace("{suite}", &test.suite).replace("{name}", &test.name);
        // libtest begins a class with the crate.
        let behind_crate = name
            .split_once("::")
            .filter(|(first, _)| packages.iter().any(|package| package.replace('-', "_") == *first));
        let all = [Some(name.as_str()), behind_crate.map(|(_, rest)| rest)];
        for name in all.into_iter().flatten() {
            names.insert((name.to_owned(), false));
            names.extend(without_case(name).map(|name| (name.to_owned(), true)));
        }
    }
    names
}

/// `name` of pytest's `name[1-2]`, and `Suite.name` of gtest's `All/Suite.name/3`.
fn without_case(name: &str) -> Option<&str> {
    if let Some((name, _)) = name.strip_suffix(']').and_then(|name| name.split_once('[')) {
        return Some(name);
    }
    let mut parts = name.split('/');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(_), Some(name), Some(_), None) => Some(name),
        (Some(name), Some(_), None, None) => Some(name),
        _ => None,
    }
}
