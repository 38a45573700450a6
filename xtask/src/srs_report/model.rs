//! The one model: requirement × code × unit tests × integration tests × waivers. Pure; no I/O here.

use super::documents::{Document, Requirement};
use super::exceptions::Waiver;
use super::finding::{Finding, Kind, Location};
use super::sources::{Level, Tag, Word};
use serde::Deserialize;
use std::collections::HashMap;
use std::rc::Rc;

/// Everything the report knows.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) documents: Vec<Traced>,
    /// Sorted by place.
    pub(super) findings: Vec<Finding>,
}

/// A document and what stands behind each of its requirements.
#[derive(Debug)]
pub(super) struct Traced {
    pub(super) path: Rc<str>,
    pub(super) rows: Vec<Row>,
}

/// A requirement and what stands behind it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) requirement: Requirement,
    evidence: [Evidence; Aspect::ALL.len()],
}

impl Row {
    pub(super) fn locations(&self, aspect: Aspect) -> &[Location] {
        &self.evidence[aspect as usize].locations
    }

    pub(super) fn status(&self, aspect: Aspect) -> Status {
        let evidence = &self.evidence[aspect as usize];
        match (evidence.locations.is_empty(), &evidence.waiver) {
            (false, _) => Status::Present,
            (true, Some(_)) => Status::Waived,
            (true, None) => Status::Missing,
        }
    }
}

/// What a requirement must have.
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
            Self::Code => (Kind::NotCoded, "no code has its `Codes_` tag"),
            Self::Unit => (Kind::NotUnitTested, "no unit test has its `Tests_` tag"),
            Self::Integration => (Kind::NotIntegrationTested, "no integration test has its `Tests_` tag"),
        }
    }
}

/// How a requirement stands in one aspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Present,
    Waived,
    Missing,
}

#[derive(Debug, Default)]
struct Evidence {
    locations: Vec<Location>,
    waiver: Option<Location>,
}

impl Model {
    /// Joins what the stages read, and adds what is wrong to what they found.
    pub(super) fn join(documents: Vec<Document>, tags: &[Tag], waivers: &[Waiver], findings: Vec<Finding>) -> Self {
        let mut join = Join { documents: Vec::new(), places: HashMap::new(), findings };
        for document in documents {
            join.document(document);
        }
        for tag in tags {
            join.tag(tag);
        }
        for waiver in waivers {
            join.waiver(waiver);
        }
        join.finish()
    }
}

struct Join {
    documents: Vec<Traced>,
    /// An id's document and row.
    places: HashMap<String, (usize, usize)>,
    findings: Vec<Finding>,
}

impl Join {
    fn document(&mut self, document: Document) {
        let index = self.documents.len();
        self.documents.push(Traced { path: document.path, rows: Vec::new() });
        for requirement in document.requirements {
            if let Some(first) = self.row(&requirement.id) {
                let message = format!("{} is already at {}", requirement.id, first.requirement.location);
                self.find(&requirement.location, Kind::DuplicateId, message);
                continue;
            }
            let rows = &mut self.documents[index].rows;
            self.places.insert(requirement.id.clone(), (index, rows.len()));
            rows.push(Row { requirement, evidence: Default::default() });
        }
    }

    fn tag(&mut self, tag: &Tag) {
        let Tag { word, id, level, location, target } = tag;
        let known = self.row(id).is_some();
        if !known {
            self.find(location, Kind::UnknownId, format!("no document has {id}"));
        }
        let Some(target) = target else {
            let message = format!("the tag of {id} stands neither directly above an item nor inside one");
            return self.find(location, Kind::OrphanTag, message);
        };
        let aspect = match (word, target.is_test, level) {
            (Word::Codes, _, _) if target.is_test_code => {
                let message = format!("`Codes_{id}` is on `{}`, which is test code", target.name);
                return self.find(location, Kind::CodeTagOnTest, message);
            }
            (Word::Tests, false, _) => {
                let message = format!("`Tests_{id}` is on `{}`, which is no test", target.name);
                return self.find(location, Kind::TestTagOnCode, message);
            }
            (Word::Codes, _, _) => Aspect::Code,
            (Word::Tests, true, Level::Unit) => Aspect::Unit,
            (Word::Tests, true, Level::Integration) => Aspect::Integration,
        };
        if let Some(row) = self.row(id) {
            let locations = &mut row.evidence[aspect as usize].locations;
            if !locations.contains(location) {
                locations.push(location.clone());
            }
        }
    }

    /// Comes after all tags: whether a waiver is needed depends on them.
    fn waiver(&mut self, waiver: &Waiver) {
        let Waiver { id, missing, reason, location } = waiver;
        if reason.is_empty() {
            self.find(location, Kind::WaiverWithoutReason, format!("the waiver of {id} gives no reason"));
        }
        if missing.is_empty() {
            self.find(location, Kind::WaiverNotNeeded, format!("the waiver of {id} waives nothing"));
        }
        if self.row(id).is_none() {
            return self.find(location, Kind::WaiverUnknownId, format!("no document has {id}"));
        }
        for &aspect in missing {
            let Some(evidence) = self.row(id).map(|row| &mut row.evidence[aspect as usize]) else { return };
            let needless = match (evidence.locations.first(), &evidence.waiver) {
                (Some(present), _) => format!("it is at {present}"),
                (None, Some(earlier)) => format!("it is waived at {earlier}"),
                (None, None) => {
                    evidence.waiver = Some(location.clone());
                    continue;
                }
            };
            let message = format!("{id} needs no waiver for {}: {needless}", aspect.name());
            self.find(location, Kind::WaiverNotNeeded, message);
        }
    }

    fn finish(mut self) -> Model {
        for row in self.documents.iter().flat_map(|document| &document.rows) {
            for aspect in Aspect::ALL {
                if row.status(aspect) == Status::Missing {
                    let Requirement { id, location, .. } = &row.requirement;
                    let (kind, lack) = aspect.lack();
                    self.findings.push(Finding::new(location, kind, format!("{id}: {lack}")));
                }
            }
        }
        self.findings.sort();
        Model { documents: self.documents, findings: self.findings }
    }

    fn row(&mut self, id: &str) -> Option<&mut Row> {
        let &(document, row) = self.places.get(id)?;
        Some(&mut self.documents[document].rows[row])
    }

    fn find(&mut self, location: &Location, kind: Kind, message: String) {
        self.findings.push(Finding::new(location, kind, message));
    }
}
