//! The one model: requirement × code × tests of each level × results × mutants × waivers. Pure; no I/O here.

mod join;

pub(super) use join::Parts;

use super::config::{Level, Need};
use super::date::Date;
use super::documents::Requirement;
use super::finding::{Finding, Kind, Location};
use super::mutants::Verdict;
use super::notes::Note;
use super::proofs::Proof;
use super::results::Ran;
use super::sources::{Target, package_of};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Everything the report knows.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) aspects: Arc<[Aspect]>,
    pub(super) documents: Vec<Traced>,
    /// The number of tags that were read.
    pub(super) tags: usize,
    /// Sorted by place.
    pub(super) findings: Vec<Finding>,
    /// The time of the test run, if results were joined and name it.
    pub(super) began: Option<String>,
}

impl Model {
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.documents.iter().flat_map(|document| &document.rows)
    }

    pub(super) fn row(&self, id: &str) -> Option<&Row> {
        self.rows().find(|row| row.requirement.id == id)
    }
}

/// A document and the evidence for each of its requirements.
#[derive(Debug)]
pub(super) struct Traced {
    pub(super) path: Arc<str>,
    pub(super) aspects: Arc<[Aspect]>,
    pub(super) rows: Vec<Row>,
}

/// A requirement and its evidence.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) requirement: Requirement,
    aspects: Arc<[Aspect]>,
    /// In the order of the aspects.
    evidence: Vec<Evidence>,
    pub(super) notes: Vec<Note>,
    pub(super) mutants: Vec<TriedMutant>,
    /// `None` if the project keeps no proofs.
    pub(super) proof: Option<Proof>,
}

impl Row {
    /// Code, and the levels of tests.
    pub(super) fn aspects(&self) -> &[Aspect] {
        &self.aspects
    }

    pub(super) fn places(&self, aspect: &Aspect) -> &[Place] {
        &self.evidence[aspect.index].places
    }

    pub(super) fn excuse(&self, aspect: &Aspect) -> Option<&Excuse> {
        self.evidence[aspect.index].excuse.as_ref()
    }

    pub(super) fn aspect(&self, aspect: &Aspect) -> AspectStatus {
        let evidence = &self.evidence[aspect.index];
        match (evidence.places.is_empty(), &evidence.excuse) {
            (false, _) => AspectStatus::Present,
            (true, Some(_)) => AspectStatus::Waived,
            (true, None) if self.is_needed(aspect) => AspectStatus::Missing,
            (true, None) => AspectStatus::Optional,
        }
    }

    /// Whether the requirement needs the aspect, or lacks every test and needs one.
    fn is_needed(&self, aspect: &Aspect) -> bool {
        self.requirement.needs.contains(&Need::Aspect(aspect.index)) || (aspect.is_test() && self.lacks_any_test())
    }

    /// Whether a test of any level would do, and there is none.
    fn lacks_any_test(&self) -> bool {
        let has_one = || self.evidence.iter().skip(1).any(|it| !it.places.is_empty() || it.excuse.is_some());
        self.requirement.needs.contains(&Need::AnyTest) && !has_one()
    }

    /// The tests of all levels.
    pub(super) fn tests(&self) -> impl Iterator<Item = &Place> {
        self.evidence.iter().skip(1).flat_map(|evidence| &evidence.places)
    }

    /// The packages that have code or tests of the requirement.
    pub(super) fn packages(&self) -> BTreeSet<&str> {
        let places = self.evidence.iter().flat_map(|evidence| &evidence.places);
        places.filter_map(|place| place.target.test.home.package.as_deref()).map(package_of).collect()
    }
}

/// Something that a requirement has: code, or tests of a level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Aspect {
    /// Its position in the levels of the project.
    index: usize,
    name: Arc<str>,
}

impl Aspect {
    /// The aspects of a project with these levels.
    pub(super) fn all(levels: &[Level]) -> Arc<[Self]> {
        levels.iter().enumerate().map(|(index, level)| Self { index, name: Arc::clone(&level.name) }).collect()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_test(&self) -> bool {
        self.index > 0
    }

    /// The heading of its evidence: `Unit tests`.
    pub(super) fn title(&self) -> String {
        let (first, rest) = self.name.split_at(self.name.chars().next().map_or(0, char::len_utf8));
        let tests = if self.is_test() { " tests" } else { "" };
        format!("{}{rest}{tests}", first.to_uppercase())
    }

    fn lack(&self) -> (Kind, String) {
        match (self.index, &*self.name) {
            (0, _) => (Kind::NotCoded, "no code is tagged with it".to_owned()),
            (_, "unit") => (Kind::NotUnitTested, "no unit test is tagged with it".to_owned()),
            (_, "integration") => (Kind::NotIntegrationTested, "no integration test is tagged with it".to_owned()),
            (_, name) => (Kind::NotTested, format!("no test of the level `{name}` is tagged with it")),
        }
    }
}

/// The status of a requirement in one aspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AspectStatus {
    Present,
    Waived,
    Missing,
    /// Not there and not needed.
    Optional,
}

/// The place of a tag of the requirement, and its item.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) location: Location,
    pub(super) target: Arc<Target>,
    /// The result of a test, if results were joined.
    pub(super) ran: Option<Ran>,
}

/// Why something may be missing.
#[derive(Debug)]
pub(super) struct Excuse {
    pub(super) location: Location,
    pub(super) reason: String,
    pub(super) until: Option<Date>,
}

/// A mutant of the requirement's code.
#[derive(Debug)]
pub(super) struct TriedMutant {
    pub(super) name: String,
    pub(super) verdict: Verdict,
    /// Whether a test with the requirement's tag was among those that failed.
    pub(super) by_own_test: bool,
}

#[derive(Debug, Default)]
struct Evidence {
    places: Vec<Place>,
    excuse: Option<Excuse>,
}

/// Makes rows for the tests of other modules.
#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::results::Outcome;
    use crate::sources::TestName;

    fn place() -> Location {
        Location { path: "a.rs".into(), line: 1 }
    }

    /// A requirement with these aspects, whose tests have this outcome.
    pub(crate) fn row(aspects: [AspectStatus; 3], outcome: Option<Outcome>) -> Row {
        let test = TestName { names: vec!["a".to_owned()], cases: 1, ..TestName::default() };
        let target = Arc::new(Target { name: "a".to_owned(), is_test: true, is_test_code: true, lines: 1..=1, test });
        let evidence = aspects.map(|aspect| match aspect {
            AspectStatus::Present => {
                let ran = outcome.map(|outcome| Ran { outcome, seconds: 0.0, cases: 1 });
                Evidence { places: vec![Place { location: place(), target: Arc::clone(&target), ran }], excuse: None }
            }
            AspectStatus::Waived => {
                let excuse = Excuse { location: place(), reason: "r".to_owned(), until: None };
                Evidence { places: Vec::new(), excuse: Some(excuse) }
            }
            AspectStatus::Missing | AspectStatus::Optional => Evidence::default(),
        });
        let names = ["code", "unit", "integration"];
        let all = names.into_iter().enumerate().map(|(index, name)| Aspect { index, name: name.into() }).collect();
        let needs = (0..3).filter(|index| aspects[*index] != AspectStatus::Optional).map(Need::Aspect).collect();
        let requirement = Requirement { id: "A".to_owned(), needs, location: place(), ..Requirement::default() };
        let (evidence, notes) = (evidence.into_iter().collect(), Vec::new());
        Row { requirement, aspects: all, evidence, notes, mutants: Vec::new(), proof: None }
    }

    /// The row with mutants that ended so.
    pub(crate) fn with_mutants(mut row: Row, verdicts: &[Verdict]) -> Row {
        let mutant = |&verdict| TriedMutant { name: "m".to_owned(), verdict, by_own_test: false };
        row.mutants = verdicts.iter().map(mutant).collect();
        row
    }
}
