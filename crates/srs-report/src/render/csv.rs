//! The report as comma-separated values, RFC 4180: a line per requirement, with all places of an aspect in one field.

use crate::model::{Aspect, Model, Row};
use crate::status::status;

/// The header and a line per requirement.
pub(super) fn report(model: &Model) -> String {
    let names = model.aspects.iter().map(Aspect::name);
    let header = ["id", "status", "document", "line", "text"].into_iter().chain(names).chain(["findings"]);
    let mut text = line(header.map(str::to_owned));
    for row in model.rows() {
        text += &line(fields(model, row));
    }
    text
}

fn fields(model: &Model, row: &Row) -> impl Iterator<Item = String> {
    let requirement = &row.requirement;
    let place = &requirement.location;
    let own = [&requirement.id, status(row).name(), &*place.path, &place.line.to_string(), &requirement.text];
    let mut fields: Vec<String> = own.map(str::to_owned).to_vec();
    for aspect in row.aspects() {
        let places: Vec<String> = row.places(aspect).iter().map(|place| place.location.to_string()).collect();
        let is_waived = row.excuse(aspect).is_some() && places.is_empty();
        fields.push(if is_waived { "waived".to_owned() } else { places.join(" ") });
    }
    let about = model.findings.iter().filter(|finding| finding.message.contains(&requirement.id));
    let kinds: Vec<&str> = about.map(|finding| finding.kind.name()).collect();
    fields.push(kinds.join(" "));
    fields.into_iter()
}

fn line(fields: impl Iterator<Item = String>) -> String {
    let quoted = |field: String| {
        if field.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field }
    };
    fields.map(quoted).collect::<Vec<_>>().join(",") + "\r\n"
}
