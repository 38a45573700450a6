//! `docs/srs/proven.toml`: the requirements that their own tests prove, as the last `--prove --own-tests` found.
//!
//! There is one line per requirement, in sorted order, so that a lost proof shows in a diff.

use super::documents::Document;
use super::finding::{Finding, Kind, Lines, Location};
use super::toml_file;
use anyhow::{Context as _, anyhow};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use toml::Spanned;

const HEADER: &str = "\
# Which requirements are proven by mutation: whether the tests that are tagged with a requirement notice when the code that is
# tagged with it is broken. Rewritten by `cargo xtask srs-report --prove --own-tests`; `reason` is written by hand.
# docs/srs-report.md explains the words.

";

const REQUIREMENTS: &str = "[requirements]\n";

const COMPLETE: &str = "\
# Everything that was tried is noticed, or a `reason` says why not.
complete = true

";

/// The verdict on the tests of one level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They notice every viable mutant.
    Noticed,
    /// They notice only a part of the viable mutants: the number noticed, and the number viable.
    Partly(usize, usize),
    NotNoticed,
    /// No mutant compiles but one that ends the process, which they notice: they run the code.
    Reached,
    /// There is no mutant that compiles.
    NoViableMutant,
    NotTried,
}

impl Verdict {
    /// The verdict if the tests noticed `noticed` of `viable` mutants.
    pub(super) fn of(noticed: usize, viable: usize) -> Self {
        match (noticed, viable) {
            (_, 0) => Self::NoViableMutant,
            (0, _) => Self::NotNoticed,
            _ if noticed == viable => Self::Noticed,
            _ => Self::Partly(noticed, viable),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if let Some(counts) = text.strip_prefix("partly-noticed ") {
            let (noticed, viable) = counts.split_once('/')?;
            let verdict = Self::of(noticed.parse().ok()?, viable.parse().ok()?);
            return matches!(verdict, Self::Partly(noticed, viable) if noticed < viable).then_some(verdict);
        }
        [Self::Noticed, Self::NotNoticed, Self::Reached, Self::NoViableMutant, Self::NotTried]
            .into_iter()
            .find(|verdict| verdict.to_string() == text)
    }

    /// The strength of the proof.
    fn rank(self) -> u8 {
        match self {
            Self::Noticed => 3,
            Self::Partly(..) => 2,
            Self::Reached => 1,
            Self::NotNoticed | Self::NoViableMutant | Self::NotTried => 0,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Noticed => f.write_str("noticed"),
            Self::Partly(noticed, viable) => write!(f, "partly-noticed {noticed}/{viable}"),
            Self::NotNoticed => f.write_str("not-noticed"),
            Self::Reached => f.write_str("reached"),
            Self::NoViableMutant => f.write_str("no-viable-mutant"),
            Self::NotTried => f.write_str("not-tried"),
        }
    }
}

/// The proof of one requirement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Proof {
    /// `None` if no test of that level has the requirement's tag.
    pub(super) unit: Option<Verdict>,
    pub(super) integration: Option<Verdict>,
    /// The levels that proved more in an earlier run.
    pub(super) lost: BTreeSet<String>,
    /// Tagged tests that no test binary runs.
    pub(super) absent: BTreeSet<String>,
    /// The reason for accepting the proof as it is.
    pub(super) reason: Option<String>,
}

impl Proof {
    fn levels(&self) -> impl Iterator<Item = (&'static str, Verdict)> {
        [("unit", self.unit), ("integration", self.integration)]
            .into_iter()
            .filter_map(|(level, verdict)| Some((level, verdict?)))
    }

    /// The levels at which something was tried and not all of it noticed.
    fn gaps(&self) -> impl Iterator<Item = (&'static str, Verdict)> {
        self.levels().filter(|(_, verdict)| !matches!(verdict, Verdict::Noticed | Verdict::NotTried))
    }
}

/// The file.
#[derive(Debug, Default)]
pub(super) struct Proofs {
    pub(super) all: BTreeMap<String, Proof>,
    /// Whether what is tried and not noticed needs a reason.
    is_complete: bool,
    lines: BTreeMap<String, usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    complete: bool,
    #[serde(default)]
    requirements: BTreeMap<Spanned<String>, Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    unit: Option<String>,
    integration: Option<String>,
    #[serde(default)]
    lost: BTreeSet<String>,
    #[serde(default)]
    absent: BTreeSet<String>,
    reason: Option<String>,
}

impl Proofs {
    /// Reads the file; `None` if the project has none.
    pub(super) fn read(root: &Path, path: &str) -> anyhow::Result<Option<Self>> {
        let Some((file, text)) = toml_file::read::<File>(root, path)? else { return Ok(None) };
        let lines = Lines::of(&text);
        let mut proofs = Self { is_complete: file.complete, ..Self::default() };
        for (id, entry) in file.requirements {
            let line = lines.line(id.span().start);
            let verdict = |text: Option<String>| {
                let parse = |text: String| {
                    Verdict::parse(&text).ok_or_else(|| anyhow!("{path}:{line}: `{text}` is no verdict"))
                };
                text.map(parse).transpose()
            };
            let (unit, integration) = (verdict(entry.unit)?, verdict(entry.integration)?);
            let reason = entry.reason.filter(|reason| !reason.trim().is_empty());
            let proof = Proof { unit, integration, lost: entry.lost, absent: entry.absent, reason };
            let id = id.into_inner();
            proofs.lines.insert(id.clone(), line);
            proofs.all.insert(id, proof);
        }
        Ok(Some(proofs))
    }

    pub(super) fn write(&self, root: &Path, path: &str) -> anyhow::Result<()> {
        let lines = self.all.iter().map(|(id, proof)| format!("{id} = {{ {} }}\n", fields(proof)));
        let head = [HEADER, if self.is_complete { COMPLETE } else { "" }, REQUIREMENTS].map(str::to_owned);
        let text: String = head.into_iter().chain(lines).collect();
        fs::write(root.join(path), text).with_context(|| format!("cannot write {path}"))
    }

    /// Gives every requirement an entry, and drops entries without a requirement.
    pub(super) fn align(&mut self, documents: &[Document]) {
        let ids: BTreeSet<&str> = ids(documents).collect();
        self.all.retain(|id, _| ids.contains(id.as_str()));
        for id in ids {
            let untried =
                || Proof { unit: Some(Verdict::NotTried), integration: Some(Verdict::NotTried), ..Proof::default() };
            self.all.entry(id.to_owned()).or_insert_with(untried);
        }
    }

    /// Takes the result of a run for a requirement. A level that proves less than before counts as lost until it is
    /// proven again. If the run did not try a level, its old verdict stays.
    pub(super) fn update(&mut self, id: &str, mut new: Proof) {
        let old = self.all.remove(id).unwrap_or_default();
        for (before, after) in [(old.unit, &mut new.unit), (old.integration, &mut new.integration)] {
            if *after == Some(Verdict::NotTried) {
                *after = before.or(*after);
            }
        }
        for (level, before, after) in [("unit", old.unit, new.unit), ("integration", old.integration, new.integration)]
        {
            let rank = |verdict: Option<Verdict>| verdict.map_or(0, Verdict::rank);
            let is_less = rank(after) < rank(before);
            // A lost level stays lost until it proves more than before.
            if is_less || (old.lost.contains(level) && rank(after) == rank(before) && rank(after) < 3) {
                new.lost.insert(level.to_owned());
            }
        }
        new.reason = old.reason;
        self.all.insert(id.to_owned(), new);
    }

    /// Adds what is wrong with the file.
    pub(super) fn check(&self, path: &str, documents: &[Document], findings: &mut Vec<Finding>) {
        let path: Arc<str> = path.into();
        let at = |id: &str| Location { path: Arc::clone(&path), line: self.lines.get(id).copied().unwrap_or(1) };
        let known: BTreeSet<&str> = ids(documents).collect();
        for document in documents {
            for requirement in document.requirements.iter().filter(|it| !self.all.contains_key(&it.id)) {
                let message = format!("{} has no entry in {path}", requirement.id);
                findings.push(Finding::new(&requirement.location, Kind::ProofMissing, message));
            }
        }
        for (id, proof) in &self.all {
            if !known.contains(id.as_str()) {
                findings.push(Finding::new(&at(id), Kind::ProofUnknownId, format!("no document has {id}")));
            }
            if !proof.lost.is_empty() && proof.reason.is_none() {
                let levels: Vec<&str> = proof.lost.iter().map(String::as_str).collect();
                let message = format!("{id}: its {} tests noticed more once", levels.join(" and "));
                findings.push(Finding::new(&at(id), Kind::ProofLost, message));
            }
            let gaps = proof.gaps().filter(|_| self.is_complete && proof.reason.is_none());
            for (level, verdict) in gaps {
                let message = format!("{id}: its {level} tests do not notice every change of its code: {verdict}");
                findings.push(Finding::new(&at(id), Kind::ProofGap, message));
            }
            for test in proof.absent.iter().filter(|_| proof.reason.is_none()) {
                let message = format!("{id}: no test binary runs the tagged test `{test}`");
                findings.push(Finding::new(&at(id), Kind::ProofOfNoTest, message));
            }
        }
    }
}

fn ids(documents: &[Document]) -> impl Iterator<Item = &str> {
    documents.iter().flat_map(|document| &document.requirements).map(|requirement| requirement.id.as_str())
}

fn fields(proof: &Proof) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let list = |all: &BTreeSet<String>| format!("[{}]", all.iter().map(|it| quoted(it)).collect::<Vec<_>>().join(", "));
    let mut fields = Vec::new();
    fields.extend(proof.levels().map(|(level, verdict)| format!("{level} = \"{verdict}\"")));
    for (name, all) in [("lost", &proof.lost), ("absent", &proof.absent)] {
        if !all.is_empty() {
            fields.push(format!("{name} = {}", list(all)));
        }
    }
    fields.extend(proof.reason.as_ref().map(|reason| format!("reason = {}", quoted(reason))));
    fields.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(unit: Verdict) -> Proof {
        Proof { unit: Some(unit), ..Proof::default() }
    }

    fn updated(before: Proof, after: Verdict) -> Proof {
        let mut proofs = Proofs::default();
        proofs.all.insert("A".to_owned(), before);
        proofs.update("A", proof(after));
        proofs.all.remove("A").expect("an entry")
    }

    #[test]
    fn a_verdict_is_what_its_counts_say() {
        for (noticed, viable, text) in
            [(0, 0, "no-viable-mutant"), (0, 3, "not-noticed"), (2, 3, "partly-noticed 2/3"), (3, 3, "noticed")]
        {
            let verdict = Verdict::of(noticed, viable);
            assert_eq!(verdict.to_string(), text);
            assert_eq!(Verdict::parse(text), Some(verdict));
        }
        for wrong in ["", "proven", "partly-noticed", "partly-noticed 3/3", "partly-noticed 0/3", "partly-noticed 4/3"]
        {
            assert_eq!(Verdict::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_proof_that_became_less_is_lost_until_it_is_proven_again() {
        let lost = BTreeSet::from(["unit".to_owned()]);
        for less in [Verdict::Partly(1, 2), Verdict::NotNoticed, Verdict::NoViableMutant] {
            let once = updated(proof(Verdict::Noticed), less);
            assert_eq!(once.lost, lost, "{less}");
            assert_eq!(updated(once.clone(), less).lost, lost, "{less}");
            assert!(updated(once, Verdict::Noticed).lost.is_empty());
        }
        for same in [Verdict::Noticed, Verdict::Partly(1, 2), Verdict::Reached, Verdict::NotNoticed] {
            assert!(updated(proof(same), same).lost.is_empty(), "{same}");
        }
        assert!(updated(proof(Verdict::Partly(9, 10)), Verdict::Partly(1, 10)).lost.is_empty());
    }

    #[test]
    fn a_level_that_was_not_tried_is_as_before() {
        for before in [Verdict::Noticed, Verdict::Partly(1, 2), Verdict::NotNoticed] {
            assert_eq!(updated(proof(before), Verdict::NotTried), proof(before));
        }
        assert_eq!(updated(Proof::default(), Verdict::NotTried), proof(Verdict::NotTried));
    }

    #[test]
    fn a_reason_outlives_the_run() {
        let accepted = Proof { reason: Some("r".to_owned()), ..proof(Verdict::Noticed) };
        assert_eq!(updated(accepted, Verdict::NotNoticed).reason.as_deref(), Some("r"));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut proofs = Proofs { is_complete: true, ..Proofs::default() };
        let full = Proof {
            unit: Some(Verdict::Partly(2, 3)),
            integration: Some(Verdict::NotTried),
            lost: BTreeSet::from(["unit".to_owned()]),
            absent: BTreeSet::from(["p::unit \"a\"".to_owned()]),
            reason: Some("Because of \"x\".".to_owned()),
        };
        proofs.all.insert("SRS_A_01_001".to_owned(), full);
        proofs.all.insert("SRS_A_01_002".to_owned(), Proof::default());
        proofs.write(folder.path(), "proven.toml").expect("written");
        let read = Proofs::read(folder.path(), "proven.toml").expect("read").expect("a file");
        assert_eq!((read.all, read.is_complete), (proofs.all, true));
    }
}
