//! Reads `docs/srs/exceptions.toml`: the aspects that a requirement may lack, why, and until when.

use super::date::Date;
use super::finding::{Lines, Location};
use super::model::Aspect;
use super::toml_file;
use anyhow::anyhow;
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;
use toml::Spanned;

/// One `[[exception]]`.
#[derive(Debug)]
pub(super) struct Waiver {
    pub(super) id: String,
    pub(super) missing: Vec<Aspect>,
    pub(super) reason: String,
    /// The last day it holds.
    pub(super) until: Option<Date>,
    pub(super) location: Location,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    exception: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: Spanned<String>,
    missing: Vec<Aspect>,
    /// Optional here, so that a missing reason is a finding that names the requirement.
    #[serde(default)]
    reason: String,
    until: Option<Spanned<String>>,
}

/// Reads the waivers. A project without the file has none.
pub(super) fn read(root: &Path, path: &str) -> anyhow::Result<Vec<Waiver>> {
    let Some((file, text)) = toml_file::read::<File>(root, path)? else { return Ok(Vec::new()) };
    let lines = Lines::of(&text);
    let path: Arc<str> = path.into();
    let waiver = |entry: Entry| {
        let until = entry.until.map(|it| {
            let line = lines.line(it.span().start);
            let text = it.into_inner();
            Date::parse(&text).ok_or_else(|| anyhow!("{path}:{line}: `{text}` is no date: write YYYY-MM-DD"))
        });
        Ok(Waiver {
            location: Location { path: Arc::clone(&path), line: lines.line(entry.id.span().start) },
            id: entry.id.into_inner(),
            missing: entry.missing,
            reason: entry.reason.trim().to_owned(),
            until: until.transpose()?,
        })
    };
    file.exception.into_iter().map(waiver).collect()
}
