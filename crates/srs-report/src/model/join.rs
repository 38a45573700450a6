//! Joins the results of the reading stages, and adds the faults of the joined model to their findings.

use super::{Aspect, AspectStatus, Excuse, Model, Place, Row, Traced, TriedMutant};
use crate::date::Date;
use crate::documents::{Document, Requirement};
use crate::exceptions::Waiver;
use crate::finding::{Finding, Kind, Location};
use crate::mutants::{Mutant, Mutants};
use crate::notes::Notes;
use crate::proofs::Proofs;
use crate::results::{Outcome, Results};
use crate::sources::{Level, Tag, Word};
use std::collections::HashMap;
use std::sync::Arc;

/// The results of the reading stages.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) documents: Vec<Document>,
    pub(crate) tags: Vec<Tag>,
    pub(crate) waivers: Vec<Waiver>,
    pub(crate) notes: Notes,
    /// `None` if the tests were not run.
    pub(crate) results: Option<Results>,
    pub(crate) mutants: Option<Mutants>,
    pub(crate) proofs: Option<Proofs>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) today: Date,
}

impl Model {
    /// Makes the model from the results of the stages.
    pub(crate) fn join(parts: Parts) -> Self {
        let Parts { documents, tags, waivers, mut notes, results, mutants, proofs, findings, today } = parts;
        let mut join = Join { documents: Vec::new(), places: HashMap::new(), findings };
        for document in documents {
            join.document(document, &mut notes);
        }
        for tag in &tags {
            join.tag(tag, results.as_ref());
        }
        for waiver in waivers {
            join.waiver(waiver, today);
        }
        if let Some(mutants) = &mutants {
            join.mutants(mutants);
        }
        for (id, proof) in proofs.into_iter().flat_map(|proofs| proofs.all) {
            if let Some(row) = join.row(&id) {
                row.proof = Some(proof);
            }
        }
        join.finish(results)
    }
}

struct Join {
    documents: Vec<Traced>,
    /// An id's document and row.
    places: HashMap<String, (usize, usize)>,
    findings: Vec<Finding>,
}

impl Join {
    fn document(&mut self, document: Document, notes: &mut Notes) {
        let index = self.documents.len();
        self.documents.push(Traced { path: document.path, rows: Vec::new() });
        for requirement in document.requirements {
            if let Some(first) = self.row(&requirement.id) {
                let message = format!("{} is already at {}", requirement.id, first.requirement.location);
                self.find(&requirement.location, Kind::DuplicateId, message);
                continue;
            }
            let notes = notes.remove(&requirement.id).unwrap_or_default();
            let rows = &mut self.documents[index].rows;
            self.places.insert(requirement.id.clone(), (index, rows.len()));
            rows.push(Row { requirement, evidence: Default::default(), notes, mutants: Vec::new(), proof: None });
        }
    }

    fn tag(&mut self, tag: &Tag, results: Option<&Results>) {
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
            (Word::Code, _, _) if target.is_test_code => {
                let message = format!("{id} is tagged as coded on `{}`, which is test code", target.name);
                return self.find(location, Kind::CodeTagOnTest, message);
            }
            (Word::Test, false, _) => {
                let message = format!("{id} is tagged as tested on `{}`, which is no test", target.name);
                return self.find(location, Kind::TestTagOnCode, message);
            }
            (Word::Code, _, _) => Aspect::Code,
            (Word::Test, true, Level::Unit) => Aspect::Unit,
            (Word::Test, true, Level::Integration) => Aspect::Integration,
        };
        let ran = results.filter(|_| aspect != Aspect::Code).map(|results| results.of(&target.test));
        let Some(row) = self.row(id) else { return };
        let places = &mut row.evidence[aspect as usize].places;
        if places.iter().any(|place| place.location == *location) {
            return;
        }
        let is_new = places
            .iter()
            .all(|place| place.location.path != location.path || place.target.test.names != target.test.names);
        places.push(Place { location: location.clone(), target: Arc::clone(target), ran });
        match ran.map(|ran| ran.outcome).filter(|_| is_new) {
            Some(Outcome::Failed) => {
                let message = format!("{id}: the test `{}` failed", target.test);
                self.find(location, Kind::TestFailed, message);
            }
            Some(Outcome::NotRun) => {
                let message = format!("{id}: the test `{}` did not run, or not all of its cases did", target.test);
                self.find(location, Kind::TestNotRun, message);
            }
            Some(Outcome::Passed) | None => {}
        }
    }

    /// Comes after all tags, because they decide whether a waiver is needed.
    fn waiver(&mut self, waiver: Waiver, today: Date) {
        let Waiver { id, missing, reason, until, location } = waiver;
        if reason.is_empty() {
            self.find(&location, Kind::WaiverWithoutReason, format!("the waiver of {id} gives no reason"));
        }
        if missing.is_empty() {
            self.find(&location, Kind::WaiverNotNeeded, format!("the waiver of {id} waives nothing"));
        }
        if let Some(until) = until.filter(|until| *until < today) {
            self.find(&location, Kind::WaiverExpired, format!("the waiver of {id} ended on {until}"));
        }
        if self.row(&id).is_none() {
            return self.find(&location, Kind::WaiverUnknownId, format!("no document has {id}"));
        }
        for aspect in missing {
            let Some(evidence) = self.row(&id).map(|row| &mut row.evidence[aspect as usize]) else { return };
            let needless = match (evidence.places.first(), &evidence.excuse) {
                (Some(present), _) => format!("it is at {}", present.location),
                (None, Some(earlier)) => format!("it is waived at {}", earlier.location),
                (None, None) => {
                    evidence.excuse = Some(Excuse { location: location.clone(), reason: reason.clone(), until });
                    continue;
                }
            };
            let message = format!("{id} needs no waiver for {}: {needless}", aspect.name());
            self.find(&location, Kind::WaiverNotNeeded, message);
        }
    }

    /// Also comes after all tags, because it follows them to code and tests.
    fn mutants(&mut self, mutants: &Mutants) {
        let mut of_file: HashMap<&str, Vec<&Mutant>> = HashMap::new();
        for mutant in &mutants.all {
            of_file.entry(&mutant.file).or_default().push(mutant);
        }
        for row in self.documents.iter_mut().flat_map(|document| &mut document.rows) {
            let mut tried: Vec<&Mutant> = Vec::new();
            for place in row.places(Aspect::Code) {
                let candidates = of_file.get(&*place.location.path).into_iter().flatten();
                tried.extend(candidates.filter(|mutant| place.target.lines.contains(&mutant.line)));
            }
            // Two tags of the requirement may be on the same item.
            tried.sort_by(|a, b| (&a.file, a.line, &a.name).cmp(&(&b.file, b.line, &b.name)));
            tried.dedup_by(|a, b| a.name == b.name);
            row.mutants = tried.into_iter().map(|mutant| judged(mutant, row)).collect();
        }
    }

    fn finish(mut self, results: Option<Results>) -> Model {
        for row in self.documents.iter().flat_map(|document| &document.rows) {
            for aspect in Aspect::ALL {
                if row.aspect(aspect) == AspectStatus::Missing {
                    let Requirement { id, location, .. } = &row.requirement;
                    let (kind, lack) = aspect.lack();
                    self.findings.push(Finding::new(location, kind, format!("{id}: {lack}")));
                }
            }
        }
        self.findings.sort();
        Model { documents: self.documents, findings: self.findings, began: results.and_then(|results| results.began) }
    }

    fn row(&mut self, id: &str) -> Option<&mut Row> {
        let &(document, row) = self.places.get(id)?;
        Some(&mut self.documents[document].rows[row])
    }

    fn find(&mut self, location: &Location, kind: Kind, message: String) {
        self.findings.push(Finding::new(location, kind, message));
    }
}

fn judged(mutant: &Mutant, row: &Row) -> TriedMutant {
    let is_own = |binary: &str, name: &str| row.tests().any(|place| place.target.test.is(binary, name));
    let by_own_test = mutant.failed.iter().any(|test| is_own(&test.binary, &test.name));
    TriedMutant { name: mutant.name.clone(), verdict: mutant.verdict, by_own_test }
}
