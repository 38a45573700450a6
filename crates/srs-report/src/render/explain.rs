//! One requirement whole.

use super::{mutants_line, proof_line};
use crate::excerpts::Excerpts;
use crate::finding::Kind;
use crate::model::{Aspect, AspectStatus, Model, Place, Row};
use crate::status::status;
use anyhow::Context as _;

/// The requirement's text, notes, code, tests with their results, mutants and findings.
pub(crate) fn explain(model: &Model, id: &str, excerpts: &Excerpts) -> anyhow::Result<String> {
    let row = model.row(id).with_context(|| format!("no document has {id}"))?;
    let requirement = &row.requirement;
    let mut text = format!("{id}: {}\n{}\n\n  {}\n", status(row).name(), requirement.location, requirement.text);
    for note in &row.notes {
        text += &format!("\nnote {}\n  {}\n", note.location, note.text);
    }
    for aspect in row.aspects() {
        text += &evidence(row, aspect, excerpts);
    }
    if let Some(at) = model.began.as_ref().filter(|_| row.tests().count() > 0) {
        text += &format!("\nresults of the run of {at}\n");
    }
    if let Some(line) = mutants_line(row) {
        text += &format!("\nmutants: {line}\n");
    }
    for mutant in &row.mutants {
        let by = if mutant.by_own_test { ", by its own test" } else { "" };
        text += &format!("  {}{by}: {}\n", mutant.verdict.name(), mutant.name);
    }
    if let Some(proof) = &row.proof {
        let reason = proof.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
        text += &format!("\nits own tests: {}{reason}\n", proof_line(proof));
    }
    let about: Vec<_> = model.findings.iter().filter(|finding| finding.message.contains(id)).collect();
    for finding in about {
        text += &format!("\n{finding}\n");
    }
    Ok(text)
}

/// What a kind of finding means and how to mend it.
pub(crate) fn explain_kind(kind: Kind) -> String {
    format!("{}\n  {}\n  To mend it: {}.\n", kind.name(), kind.about(), kind.hint())
}

fn evidence(row: &Row, aspect: &Aspect, excerpts: &Excerpts) -> String {
    let mut text = format!("\n{}\n", aspect.name());
    if let Some(excuse) = row.excuse(aspect) {
        let until = excuse.until.map_or_else(String::new, |date| format!(" until {date}"));
        text += &format!("  waived{until} at {}: {}\n", excuse.location, excuse.reason);
    } else if row.places(aspect).is_empty() {
        text += if row.aspect(aspect) == AspectStatus::Missing { "  MISSING\n" } else { "  not required\n" };
    }
    for place in row.places(aspect) {
        text += &if aspect.is_test() { test(place) } else { code(place, excerpts) };
    }
    text
}

fn code(place: &Place, excerpts: &Excerpts) -> String {
    let mut text = format!("  {} in {}\n", place.location, place.target.name);
    for (number, line) in excerpts.lines(place) {
        text += format!("    {number:>5} | {line}").trim_end();
        text.push('\n');
    }
    text
}

fn test(place: &Place) -> String {
    let result = place.ran.map_or_else(String::new, |ran| {
        let cases = if ran.cases > 1 { format!(", {} cases", ran.cases) } else { String::new() };
        format!(": {} in {:.3} s{cases}", ran.outcome.name(), ran.seconds)
    });
    format!("  {} {}{result}\n", place.location, place.target.test)
}
