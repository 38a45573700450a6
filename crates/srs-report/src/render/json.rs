//! The report as JSON. `docs/srs-report.md` names its fields.

use crate::model::{Aspect, Excuse, Model, Place, Row};
use crate::status::status;
use anyhow::Context as _;
use serde_json::{Map, Value, json};

/// The whole report.
pub(super) fn report(model: &Model) -> anyhow::Result<String> {
    let documents: Vec<Value> = model
        .documents
        .iter()
        .map(|document| {
            let requirements: Vec<Value> = document.rows.iter().map(row).collect();
            json!({ "path": &*document.path, "requirements": requirements })
        })
        .collect();
    let findings: Vec<Value> = model
        .findings
        .iter()
        .map(|it| {
            json!({
                "path": &*it.location.path, "line": it.location.line, "kind": it.kind.name(),
                "message": it.message, "hint": it.kind.hint(),
            })
        })
        .collect();
    let report =
        json!({ "version": 1, "ran": model.began, "tags": model.tags, "documents": documents, "findings": findings });
    Ok(format!("{report:#}\n"))
}

/// One requirement.
pub(super) fn requirement(model: &Model, id: &str) -> anyhow::Result<String> {
    let found = model.row(id).with_context(|| format!("no document has {id}"))?;
    Ok(format!("{:#}\n", row(found)))
}

fn row(row: &Row) -> Value {
    let requirement = &row.requirement;
    let mut aspects = Map::new();
    let mut waived = Map::new();
    for aspect in row.aspects() {
        let places: Vec<Value> = row.places(aspect).iter().map(|it| place(it, aspect)).collect();
        aspects.insert(aspect.name().to_owned(), Value::from(places));
        if let Some(it) = row.excuse(aspect) {
            waived.insert(aspect.name().to_owned(), excuse(it));
        }
    }
    let mutants: Vec<Value> = row
        .mutants
        .iter()
        .map(|it| json!({ "name": it.name, "verdict": it.verdict.name(), "by_own_test": it.by_own_test }))
        .collect();
    let notes: Vec<Value> =
        row.notes.iter().map(|it| json!({ "at": it.location.to_string(), "text": &*it.text })).collect();
    let proof = row.proof.as_ref().map(|proof| {
        json!({
            "unit": proof.unit.map(|it| it.to_string()), "integration": proof.integration.map(|it| it.to_string()),
            "lost": proof.lost, "absent": proof.absent, "reason": proof.reason,
        })
    });
    json!({
        "id": requirement.id, "text": requirement.text, "status": status(row).name(),
        "path": &*requirement.location.path, "line": requirement.location.line,
        "packages": row.packages(), "evidence": aspects, "waived": waived, "notes": notes, "mutants": mutants,
        "own_tests": proof,
    })
}

fn place(place: &Place, aspect: &Aspect) -> Value {
    let mut value = json!({
        "path": &*place.location.path, "line": place.location.line,
        "item": place.target.name, "lines": [place.target.lines.start(), place.target.lines.end()],
    });
    if aspect.is_test() {
        value["test"] = place.target.test.to_string().into();
        value["result"] = place.ran.map_or(
            Value::Null,
            |ran| json!({ "outcome": ran.outcome.name(), "seconds": ran.seconds, "cases": ran.cases }),
        );
    }
    value
}

fn excuse(excuse: &Excuse) -> Value {
    json!({
        "reason": excuse.reason, "until": excuse.until.map(|it| it.to_string()), "at": excuse.location.to_string(),
    })
}
