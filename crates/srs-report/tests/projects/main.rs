//! `srs-report` on whole projects: the samples, other languages, other layouts, other runners, and the commands beside
//! the report.
#![allow(clippy::unwrap_used, reason = "clippy's allow-unwrap-in-tests does not see the helpers of tests")]

#[path = "../common/mod.rs"]
mod common;

mod c_project;
mod commands;
mod documents;
mod languages;
mod layouts;
mod runners;
mod rust_files;
mod samples;
mod sources;

use common::{Project, Report};
use serde_json::Value;
use std::path::Path;

/// The report as JSON.
fn json(root: &Path, args: &[&str]) -> Value {
    let report = Report::of(root, &[&["--format", "json"], args].concat());
    assert_eq!(report.stderr, "");
    serde_json::from_str(&report.stdout).unwrap()
}

/// The findings of a project as `path:line kind`.
fn kinds(root: &Path) -> Vec<String> {
    let report = json(root, &[]);
    let text = |it: &Value, key: &str| it[key].as_str().unwrap().to_owned();
    let findings = report["findings"].as_array().unwrap().iter();
    findings.map(|it| format!("{}:{} {}", text(it, "path"), it["line"], text(it, "kind"))).collect()
}

/// The requirements with the items that each aspect is on: `SRS_A_01_001 code: f, g; unit: h`.
fn evidence(root: &Path) -> Vec<String> {
    let report = json(root, &[]);
    let items = |places: &Value| {
        let all = places.as_array().unwrap().iter().map(|place| place["item"].as_str().unwrap());
        all.collect::<Vec<_>>().join(", ")
    };
    let row = |row: &Value| {
        let aspects =
            row["evidence"].as_object().unwrap().iter().filter(|(_, places)| **places != Value::Array(vec![]));
        let aspects: Vec<String> = aspects.map(|(name, places)| format!("{name}: {}", items(places))).collect();
        format!("{} {}", row["id"].as_str().unwrap(), aspects.join("; ")).trim_end().to_owned()
    };
    let documents = report["documents"].as_array().unwrap().iter();
    documents.flat_map(|document| document["requirements"].as_array().unwrap()).map(row).collect()
}

/// A project in which only code is required, with one requirement.
fn only_code(settings: &str) -> Project {
    Project::empty()
        .file("srs.toml", &format!("required = [\"code\"]\n{settings}"))
        .file("docs/srs/a.md", "**SRS_A_01_001: [** One. **]**\n")
}
