//! The report for a terminal.

use super::{count, findings_line, mutants_line, proofs_line, totals_line};
use crate::model::{Aspect, AspectStatus, Model, Row, Traced};
use crate::status::status;
use std::iter;

/// The table, the findings and the summary.
pub(super) fn report(model: &Model) -> String {
    let mut lines = table(model);
    lines.push(String::new());
    lines.push(check(model));
    lines.join("\n")
}

/// The findings and the summary.
pub(crate) fn check(model: &Model) -> String {
    let mut text = String::new();
    for finding in &model.findings {
        text += &format!("{finding}\n");
    }
    for document in &model.documents {
        text += &summary(document);
        text.push('\n');
    }
    text += &format!("requirements: {}\n", totals_line(model));
    text.extend(proofs_line(model).map(|line| line + "\n"));
    text + &format!("{}\n", findings_line(model))
}

/// The columns are the id, the status, each aspect, and mutants if there are any. A requirement takes as many lines as
/// its longest list.
fn table(model: &Model) -> Vec<String> {
    let with_mutants = model.rows().any(|row| !row.mutants.is_empty());
    let aspects = model.aspects.iter().map(Aspect::name);
    let title = ["requirement", "status"].into_iter().chain(aspects).chain(with_mutants.then_some("mutants"));
    let mut cells: Vec<Vec<String>> = vec![title.map(str::to_owned).collect()];
    for row in model.rows() {
        cells.extend(lines_of(row, with_mutants));
    }
    let width = |column: usize| cells.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..cells[0].len()).map(width).collect();
    cells.iter().map(|line| padded(line, &widths)).collect()
}

fn lines_of(row: &Row, with_mutants: bool) -> Vec<Vec<String>> {
    let lists = row.aspects().iter().map(|aspect| match row.aspect(aspect) {
        AspectStatus::Present => row.places(aspect).iter().map(|place| place.location.to_string()).collect(),
        AspectStatus::Waived => vec!["waived".to_owned()],
        AspectStatus::Missing => vec!["MISSING".to_owned()],
        AspectStatus::Optional => vec!["-".to_owned()],
    });
    let mutants = with_mutants.then(|| mutants_line(row).into_iter().collect::<Vec<_>>());
    let columns: Vec<Vec<String>> = [vec![row.requirement.id.clone()], vec![status(row).name().to_owned()]]
        .into_iter()
        .chain(lists)
        .chain(mutants)
        .collect();
    let height = columns.iter().map(Vec::len).max().unwrap_or(0);
    let line = |index: usize| columns.iter().map(|list| list.get(index).cloned().unwrap_or_default()).collect();
    (0..height).map(line).collect()
}

fn padded(line: &[String], widths: &[usize]) -> String {
    let mut text = String::new();
    for (cell, width) in iter::zip(line, widths) {
        text += &format!("{cell:width$}  ");
    }
    text.trim_end().to_owned()
}

/// `docs/srs/a.md: 84 requirements: code 84, unit 80 (4 waived), integration 70 (10 waived, 4 missing)`
fn summary(document: &Traced) -> String {
    let mut text = format!("{}: {} requirements:", document.path, document.rows.len());
    for (index, aspect) in document.aspects.iter().enumerate() {
        let count = |wanted| count(document, aspect, wanted);
        let comma = if index == 0 { "" } else { "," };
        text += &format!("{comma} {} {}", aspect.name(), count(AspectStatus::Present));
        text += &match (count(AspectStatus::Waived), count(AspectStatus::Missing)) {
            (0, 0) => String::new(),
            (waived, 0) => format!(" ({waived} waived)"),
            (0, missing) => format!(" ({missing} missing)"),
            (waived, missing) => format!(" ({waived} waived, {missing} missing)"),
        };
    }
    text
}
