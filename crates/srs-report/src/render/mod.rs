//! Writes the report: a file per format.

mod csv;
mod explain;
mod html;
mod json;
mod junit;
mod markdown;
mod sarif;
mod text;

pub(super) use explain::{explain, explain_kind};
pub(super) use text::check;

use super::excerpts::Excerpts;
use super::model::{Aspect, AspectStatus, Model, Traced};
use super::mutants::Verdict;
use super::proofs::{self, Proof};
use super::status::{Status, status};

/// The format of the report.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    #[default]
    Text,
    Markdown,
    Json,
    Html,
    Junit,
    Sarif,
    Csv,
}

impl Format {
    /// The name on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Markdown => "markdown",
            Self::Json => "json",
            Self::Html => "html",
            Self::Junit => "junit",
            Self::Sarif => "sarif",
            Self::Csv => "csv",
        }
    }
}

/// The whole report.
pub(super) fn report(format: Format, model: &Model, excerpts: &Excerpts) -> anyhow::Result<String> {
    Ok(match format {
        Format::Text => text::report(model),
        Format::Markdown => markdown::report(model),
        Format::Json => json::report(model)?,
        Format::Html => html::report(model, excerpts),
        Format::Junit => junit::report(model)?,
        Format::Sarif => sarif::report(model)?,
        Format::Csv => csv::report(model),
    })
}

/// The requirement as JSON, with the fields that it has in the whole report.
pub(super) fn explain_json(model: &Model, id: &str) -> anyhow::Result<String> {
    json::requirement(model, id)
}

/// The number of a document's requirements with this status in an aspect.
fn count(document: &Traced, aspect: &Aspect, wanted: AspectStatus) -> usize {
    document.rows.iter().filter(|row| row.aspect(aspect) == wanted).count()
}

/// Each status that occurs in these documents, with its count.
fn totals<'m>(documents: impl Iterator<Item = &'m Traced>) -> Vec<(Status, usize)> {
    let all: Vec<Status> = documents.flat_map(|document| &document.rows).map(status).collect();
    let count = |wanted| all.iter().filter(|status| **status == wanted).count();
    Status::ALL.into_iter().map(|status| (status, count(status))).filter(|(_, count)| *count > 0).collect()
}

/// `no findings`, `1 finding`, `2 findings`
fn findings_line(model: &Model) -> String {
    match model.findings.len() {
        0 => "no findings".to_owned(),
        1 => "1 finding".to_owned(),
        count => format!("{count} findings"),
    }
}

/// `3 traced, 1 waived`
fn totals_line(model: &Model) -> String {
    let parts = totals(model.documents.iter()).into_iter().map(|(status, count)| format!("{count} {}", status.name()));
    parts.collect::<Vec<_>>().join(", ")
}

/// The number of requirements proven by mutation: `2 of 3 requirements are proven by mutation at unit level, 1 at …`.
fn proofs_line(model: &Model) -> Option<String> {
    let proofs: Vec<&Proof> = model.rows().filter_map(|row| row.proof.as_ref()).collect();
    if proofs.is_empty() {
        return None;
    }
    let count = |is: fn(proofs::Verdict) -> bool| {
        let at = |level: fn(&Proof) -> Option<proofs::Verdict>| {
            proofs.iter().filter(|proof| level(proof).is_some_and(is)).count()
        };
        (at(|proof| proof.unit), at(|proof| proof.integration))
    };
    let (unit, integration) = count(|verdict| verdict == proofs::Verdict::Noticed);
    let (unit_partly, integration_partly) = count(|verdict| matches!(verdict, proofs::Verdict::Partly(..)));
    Some(format!(
        "{unit} of {} requirements are proven by mutation at unit level, {integration} at integration level; in part \
         {unit_partly} and {integration_partly} more",
        model.rows().count()
    ))
}

/// The proof of a requirement in a few words: `unit noticed, integration partly-noticed 3/5`.
fn proof_line(proof: &Proof) -> String {
    let levels = [("unit", proof.unit), ("integration", proof.integration)];
    let words: Vec<String> = levels
        .into_iter()
        .map(|(level, verdict)| match verdict {
            Some(verdict) => format!("{level} {verdict}"),
            None => format!("{level} has no test"),
        })
        .collect();
    words.join(", ")
}

/// The mutants of a requirement in a few words: `5 of 6 mutants caught (4 by its own tests), 1 missed`.
fn mutants_line(row: &super::model::Row) -> Option<String> {
    let count = |wanted| row.mutants.iter().filter(|mutant| mutant.verdict == wanted).count();
    let viable = row.mutants.len() - count(Verdict::Unviable);
    if row.mutants.is_empty() {
        return None;
    }
    let own = row.mutants.iter().filter(|mutant| mutant.by_own_test).count();
    let mut line = format!("{} of {viable} mutants caught ({own} by its own tests)", count(Verdict::Caught));
    for verdict in [Verdict::Missed, Verdict::TimedOut, Verdict::Unviable] {
        if count(verdict) > 0 {
            line += &format!(", {} {}", count(verdict), verdict.name());
        }
    }
    Some(line)
}
