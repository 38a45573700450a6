//! Writes the report as text for a terminal.

use super::finding::Location;
use super::model::{Aspect, Model, Row, Status, Traced};
use std::iter;

/// The table, the findings and the summary.
pub(super) fn report(model: &Model) -> String {
    let mut lines = table(model);
    lines.push(String::new());
    lines.push(check(model));
    lines.join("\n")
}

/// The findings and the summary.
pub(super) fn check(model: &Model) -> String {
    let mut text = String::new();
    for finding in &model.findings {
        text += &format!("{finding}\n");
    }
    for document in &model.documents {
        text += &summary(document);
        text.push('\n');
    }
    text + &match model.findings.len() {
        0 => "no findings\n".to_owned(),
        1 => "1 finding\n".to_owned(),
        count => format!("{count} findings\n"),
    }
}

/// One column for the id and one for each aspect; a requirement takes as many lines as its longest list.
fn table(model: &Model) -> Vec<String> {
    let title = iter::once("requirement").chain(Aspect::ALL.map(Aspect::name)).map(str::to_owned).collect();
    let mut cells: Vec<Vec<String>> = vec![title];
    for row in model.documents.iter().flat_map(|document| &document.rows) {
        cells.extend(lines_of(row));
    }
    let columns = 1 + Aspect::ALL.len();
    let width = |column: usize| cells.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    cells.iter().map(|line| padded(line, &widths)).collect()
}

fn lines_of(row: &Row) -> Vec<Vec<String>> {
    let lists = Aspect::ALL.map(|aspect| match row.status(aspect) {
        Status::Present => row.locations(aspect).iter().map(Location::to_string).collect(),
        Status::Waived => vec!["waived".to_owned()],
        Status::Missing => vec!["MISSING".to_owned()],
    });
    let height = lists.iter().map(Vec::len).max().unwrap_or(0);
    let line = |index: usize| {
        let id = if index == 0 { row.requirement.id.clone() } else { String::new() };
        iter::once(id).chain(lists.iter().map(|list| list.get(index).cloned().unwrap_or_default())).collect()
    };
    (0..height).map(line).collect()
}

fn padded(line: &[String], widths: &[usize]) -> String {
    let mut text = String::new();
    for (cell, width) in line.iter().zip(widths) {
        text += &format!("{cell:width$}  ");
    }
    text.trim_end().to_owned()
}

/// `docs/srs/a.md: 84 requirements: code 84, unit 80 (4 waived), integration 70 (10 waived, 4 missing)`
fn summary(document: &Traced) -> String {
    let mut text = format!("{}: {} requirements:", document.path, document.rows.len());
    for (index, aspect) in Aspect::ALL.into_iter().enumerate() {
        let count = |status| document.rows.iter().filter(|row| row.status(aspect) == status).count();
        let comma = if index == 0 { "" } else { "," };
        text += &format!("{comma} {} {}", aspect.name(), count(Status::Present));
        text += &match (count(Status::Waived), count(Status::Missing)) {
            (0, 0) => String::new(),
            (waived, 0) => format!(" ({waived} waived)"),
            (0, missing) => format!(" ({missing} missing)"),
            (waived, missing) => format!(" ({waived} waived, {missing} missing)"),
        };
    }
    text
}
