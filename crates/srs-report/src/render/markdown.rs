//! The report as Markdown, for a comment on a change or a page of documentation.

use super::{count, mutants_line, proof_line, proofs_line, totals_line};
use crate::model::{Aspect, AspectStatus, Model, Row};
use crate::status::status;

/// The summary, the findings and a table per document.
pub(super) fn report(model: &Model) -> String {
    let mut text = format!("# Requirements\n\n{}.\n\n", totals_line(model));
    text.extend(proofs_line(model).map(|line| format!("{line}.\n\n")));
    let names = model.aspects.iter().map(Aspect::name).collect::<Vec<_>>().join(" | ");
    let rules = model.aspects.iter().map(|_| "--:|").collect::<String>();
    text += &format!("| document | requirements | {names} |\n|---|--:|{rules}\n");
    for document in &model.documents {
        let present = document.aspects.iter().map(|aspect| count(document, aspect, AspectStatus::Present).to_string());
        let present: Vec<String> = present.collect();
        text += &format!("| {} | {} | {} |\n", document.path, document.rows.len(), present.join(" | "));
    }
    text += &findings(model);
    for document in &model.documents {
        text += &format!("\n## {}\n\n", document.path);
        let rules = model.aspects.iter().map(|_| "---|").collect::<String>();
        text += &format!("| requirement | status | {names} | mutants | own tests |\n|---|---|{rules}---|---|\n");
        text.extend(document.rows.iter().map(line));
    }
    text
}

fn findings(model: &Model) -> String {
    if model.findings.is_empty() {
        return "\nNo findings.\n".to_owned();
    }
    let mut text = "\n## Findings\n\n".to_owned();
    for finding in &model.findings {
        let (kind, message) = (finding.kind.name(), escaped(&finding.message));
        text += &format!("- `{}`: **{kind}**: {message} — {}\n", finding.location, escaped(finding.kind.hint()));
    }
    text
}

fn line(row: &Row) -> String {
    let cells = row.aspects().iter().map(|aspect| match row.aspect(aspect) {
        AspectStatus::Present => {
            let places: Vec<String> = row.places(aspect).iter().map(|place| format!("`{}`", place.location)).collect();
            places.join("<br>")
        }
        AspectStatus::Waived => "waived".to_owned(),
        AspectStatus::Missing => "**missing**".to_owned(),
        AspectStatus::Optional => "–".to_owned(),
    });
    let cells: Vec<String> = cells.collect();
    let mutants = mutants_line(row).unwrap_or_default();
    let proof = row.proof.as_ref().map(proof_line).unwrap_or_default();
    format!("| {} | {} | {} | {mutants} | {proof} |\n", row.requirement.id, status(row).name(), cells.join(" | "))
}

/// Escapes text for a table or a list.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('*', "\\*").replace('<', "&lt;")
}
