//! Joins the results of the reading stages, and adds the faults of the joined model to their findings.

use super::{Aspect, AspectStatus, Evidence, Excuse, Model, Place, Row, Traced, TriedMutant};
use crate::config::{Need, Word};
use crate::date::Date;
use crate::documents::{Document, Requirement, normal};
use crate::exceptions::{Missing, Waiver};
use crate::finding::{Finding, Kind, Location};
use crate::mutants::{Mutant, Mutants};
use crate::notes::Notes;
use crate::proofs::Proofs;
use crate::results::{Outcome, Results};
use crate::sources::Tag;
use std::collections::HashMap;
use std::sync::Arc;

/// The results of the reading stages.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) aspects: Arc<[Aspect]>,
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
        let Parts { aspects, documents, tags, waivers, mut notes, results, mutants, proofs, findings, today } = parts;
        let count = tags.len();
        let mut join = Join { aspects, documents: Vec::new(), places: HashMap::new(), findings };
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
        join.finish(results, count)
    }
}

struct Join {
    aspects: Arc<[Aspect]>,
    documents: Vec<Traced>,
    /// An id's document and row.
    places: HashMap<String, (usize, usize)>,
    findings: Vec<Finding>,
}

impl Join {
    fn document(&mut self, document: Document, notes: &mut Notes) {
        let index = self.documents.len();
        self.documents.push(Traced { path: document.path, aspects: Arc::clone(&self.aspects), rows: Vec::new() });
        for requirement in document.requirements {
            if let Some(first) = self.row(&requirement.id) {
                let message = format!("{} is already at {}", requirement.id, first.requirement.location);
                self.find(&requirement.location, Kind::DuplicateId, message);
                continue;
            }
            let notes = notes.remove(&requirement.id).unwrap_or_default();
            let rows = &mut self.documents[index].rows;
            self.places.insert(requirement.id.clone(), (index, rows.len()));
            let evidence = self.aspects.iter().map(|_| Evidence::default()).collect();
            let aspects = Arc::clone(&self.aspects);
            rows.push(Row { requirement, aspects, evidence, notes, mutants: Vec::new(), proof: None });
        }
    }

    fn tag(&mut self, tag: &Tag, results: Option<&Results>) {
        let Tag { word, id, level, location, target, .. } = tag;
        if self.row(id).is_none() {
            self.find(location, Kind::UnknownId, format!("no document has {id}"));
        }
        self.compare_quote(tag);
        let Some(target) = target else {
            let message = format!("the tag of {id} stands neither directly above an item nor inside one");
            return self.find(location, Kind::OrphanTag, message);
        };
        let aspect = match (word, target.is_test) {
            (Word::Code, _) if target.is_test_code => {
                let message = format!("{id} is tagged as coded on `{}`, which is test code", target.name);
                return self.find(location, Kind::CodeTagOnTest, message);
            }
            (Word::Test, false) => {
                let message = format!("{id} is tagged as tested on `{}`, which is no test", target.name);
                return self.find(location, Kind::TestTagOnCode, message);
            }
            (Word::Code, _) => 0,
            (Word::Test, true) => (*level).min(self.aspects.len() - 1),
        };
        let ran = results.filter(|_| aspect > 0).map(|results| results.of(&target.test));
        let Some(row) = self.row(id) else { return };
        let places = &mut row.evidence[aspect].places;
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

    /// A tag that quotes the requirement has the words of the document.
    fn compare_quote(&mut self, tag: &Tag) {
        let Some(quote) = &tag.quote else { return };
        let Some(row) = self.row(&tag.id) else { return };
        let Requirement { id, plain, location, .. } = &row.requirement;
        if normal(&quote.text) != normal(plain) {
            let message = format!("{id} reads otherwise in {location}: {plain}");
            self.find(&tag.location, Kind::TextDiffers, message);
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
        for aspect in self.waived_aspects(&id, &missing) {
            let Some(row) = self.row(&id) else { return };
            let is_needed = row.is_needed(&aspect);
            let evidence = &mut row.evidence[aspect.index];
            let needless = match (evidence.places.first(), &evidence.excuse) {
                (Some(present), _) => format!("it is at {}", present.location),
                (None, Some(earlier)) => format!("it is waived at {}", earlier.location),
                (None, None) if !is_needed => "it is not required".to_owned(),
                (None, None) => {
                    evidence.excuse = Some(Excuse { location: location.clone(), reason: reason.clone(), until });
                    continue;
                }
            };
            let message = format!("{id} needs no waiver for {}: {needless}", aspect.name());
            self.find(&location, Kind::WaiverNotNeeded, message);
        }
    }

    /// What a waiver is about. If a test of any level would do, `test` is about the first level that has one, or the
    /// first of all.
    fn waived_aspects(&mut self, id: &str, missing: &[Missing]) -> Vec<Aspect> {
        let aspects = Arc::clone(&self.aspects);
        let has_tests = |row: &mut Row, aspect: &Aspect| !row.evidence[aspect.index].places.is_empty();
        let mut waived = Vec::new();
        for missing in missing {
            match missing {
                Missing::Aspect(index) => waived.extend(aspects.get(*index).cloned()),
                Missing::AnyTest => {
                    let levels = || aspects.iter().filter(|aspect| aspect.is_test());
                    let with_tests = levels().find(|aspect| self.row(id).is_some_and(|row| has_tests(row, aspect)));
                    waived.extend(with_tests.or_else(|| levels().next()).cloned());
                }
            }
        }
        waived
    }

    /// Also comes after all tags, because it follows them to code and tests.
    fn mutants(&mut self, mutants: &Mutants) {
        let mut of_file: HashMap<&str, Vec<&Mutant>> = HashMap::new();
        for mutant in &mutants.all {
            of_file.entry(&mutant.file).or_default().push(mutant);
        }
        for row in self.documents.iter_mut().flat_map(|document| &mut document.rows) {
            let mut tried: Vec<&Mutant> = Vec::new();
            for place in row.evidence.first().into_iter().flat_map(|code| &code.places) {
                let candidates = of_file.get(&*place.location.path).into_iter().flatten();
                tried.extend(candidates.filter(|mutant| place.target.lines.contains(&mutant.line)));
            }
            // Two tags of the requirement may be on the same item.
            tried.sort_by(|a, b| (&a.file, a.line, &a.name).cmp(&(&b.file, b.line, &b.name)));
            tried.dedup_by(|a, b| a.name == b.name);
            row.mutants = tried.into_iter().map(|mutant| judged(mutant, row)).collect();
        }
    }

    fn finish(mut self, results: Option<Results>, tags: usize) -> Model {
        for row in self.documents.iter().flat_map(|document| &document.rows) {
            let Requirement { id, location, needs, .. } = &row.requirement;
            let is_lacking = |aspect: &&Aspect| {
                needs.contains(&Need::Aspect(aspect.index)) && row.aspect(aspect) == AspectStatus::Missing
            };
            for (kind, lack) in row.aspects().iter().filter(is_lacking).map(Aspect::lack) {
                self.findings.push(Finding::new(location, kind, format!("{id}: {lack}")));
            }
            if row.lacks_any_test() {
                let message = format!("{id}: no test is tagged with it");
                self.findings.push(Finding::new(location, Kind::NotTested, message));
            }
        }
        self.findings.sort();
        Model {
            aspects: self.aspects,
            documents: self.documents,
            tags,
            findings: self.findings,
            began: results.and_then(|results| results.began),
        }
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
