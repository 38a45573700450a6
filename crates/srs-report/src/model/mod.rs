//! The one model: requirement × code × unit tests × integration tests × results × mutants × waivers.
//! Pure; no I/O here.

mod join;

pub(super) use join::Parts;

use super::date::Date;
use super::documents::Requirement;
use super::finding::{Finding, Kind, Location};
use super::mutants::Verdict;
use super::notes::Note;
use super::proofs::Proof;
use super::results::Ran;
use super::sources::{Target, package_of};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Everything the report knows.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) documents: Vec<Traced>,
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
    pub(super) rows: Vec<Row>,
}

/// A requirement and its evidence.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) requirement: Requirement,
    evidence: [Evidence; Aspect::ALL.len()],
    pub(super) notes: Vec<Note>,
    pub(super) mutants: Vec<TriedMutant>,
    /// `None` if the project keeps no proofs.
    pub(super) proof: Option<Proof>,
}

impl Row {
    pub(super) fn places(&self, aspect: Aspect) -> &[Place] {
        &self.evidence[aspect as usize].places
    }

    pub(super) fn excuse(&self, aspect: Aspect) -> Option<&Excuse> {
        self.evidence[aspect as usize].excuse.as_ref()
    }

    pub(super) fn aspect(&self, aspect: Aspect) -> AspectStatus {
        let evidence = &self.evidence[aspect as usize];
        match (evidence.places.is_empty(), &evidence.excuse) {
            (false, _) => AspectStatus::Present,
            (true, Some(_)) => AspectStatus::Waived,
            (true, None) => AspectStatus::Missing,
        }
    }

    /// The tests of both levels.
    pub(super) fn tests(&self) -> impl Iterator<Item = &Place> {
        [Aspect::Unit, Aspect::Integration].into_iter().flat_map(|aspect| self.places(aspect))
    }

    /// The packages that have code or tests of the requirement.
    pub(super) fn packages(&self) -> BTreeSet<&str> {
        let places = Aspect::ALL.into_iter().flat_map(|aspect| self.places(aspect));
        places.filter_map(|place| place.target.test.home.package.as_deref()).map(package_of).collect()
    }
}

/// An aspect that a requirement must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Aspect {
    Code,
    Unit,
    Integration,
}

impl Aspect {
    pub(super) const ALL: [Self; 3] = [Self::Code, Self::Unit, Self::Integration];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Unit => "unit",
            Self::Integration => "integration",
        }
    }

    fn lack(self) -> (Kind, &'static str) {
        match self {
            Self::Code => (Kind::NotCoded, "no code is tagged with it"),
            Self::Unit => (Kind::NotUnitTested, "no unit test is tagged with it"),
            Self::Integration => (Kind::NotIntegrationTested, "no integration test is tagged with it"),
        }
    }
}

/// The status of a requirement in one aspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AspectStatus {
    Present,
    Waived,
    Missing,
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
    use crate::sources::{Home, TestName};

    fn place() -> Location {
        Location { path: "a.rs".into(), line: 1 }
    }

    /// A requirement with these aspects, whose tests have this outcome.
    pub(crate) fn row(aspects: [AspectStatus; 3], outcome: Option<Outcome>) -> Row {
        let test = TestName { home: Home::default(), names: vec!["a".to_owned()], is_parametrised: false, cases: 1 };
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
            AspectStatus::Missing => Evidence::default(),
        });
        let requirement = Requirement { id: "A".to_owned(), text: "t".to_owned(), location: place() };
        Row { requirement, evidence, notes: Vec::new(), mutants: Vec::new(), proof: None }
    }

    /// The row with mutants that ended so.
    pub(crate) fn with_mutants(mut row: Row, verdicts: &[Verdict]) -> Row {
        let mutant = |&verdict| TriedMutant { name: "m".to_owned(), verdict, by_own_test: false };
        row.mutants = verdicts.iter().map(mutant).collect();
        row
    }
}
