//! Reads `docs/srs/exceptions.toml`: the aspects that a requirement may lack, why, and until when.

use super::config::Level;
use super::date::Date;
use super::finding::{Lines, Location};
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
    pub(super) missing: Vec<Missing>,
    pub(super) reason: String,
    /// The last day it holds.
    pub(super) until: Option<Date>,
    pub(super) location: Location,
}

/// What a requirement may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// The level of this index; 0 is code.
    Aspect(usize),
    /// A test of any level.
    AnyTest,
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
    missing: Vec<Spanned<String>>,
    /// Optional here, so that a missing reason is a finding that names the requirement.
    #[serde(default)]
    reason: String,
    until: Option<Spanned<String>>,
}

/// Reads the waivers. A project without the file has none.
pub(super) fn read(root: &Path, path: &str, levels: &[Level]) -> anyhow::Result<Vec<Waiver>> {
    let Some((file, text)) = toml_file::read::<File>(root, path)? else { return Ok(Vec::new()) };
    let lines = Lines::of(&text);
    let path: Arc<str> = path.into();
    let waiver = |entry: Entry| {
        let until = entry.until.map(|it| {
            let line = lines.line(it.span().start);
            let text = it.into_inner();
            Date::parse(&text).ok_or_else(|| anyhow!("{path}:{line}: `{text}` is no date: write YYYY-MM-DD"))
        });
        let missing = |it: &Spanned<String>| {
            let line = lines.line(it.span().start);
            let aspect = levels.iter().position(|level| *level.name == **it.as_ref()).map(Missing::Aspect);
            let any = (it.as_ref() == "test").then_some(Missing::AnyTest);
            aspect.or(any).ok_or_else(|| {
                let names: Vec<String> = levels.iter().map(|level| format!("`{}`", level.name)).collect();
                let (wrong, names) = (it.as_ref(), names.join(", "));
                anyhow!("{path}:{line}: unknown variant `{wrong}`, expected one of {names}")
            })
        };
        Ok(Waiver {
            location: Location { path: Arc::clone(&path), line: lines.line(entry.id.span().start) },
            id: entry.id.into_inner(),
            missing: entry.missing.iter().map(missing).collect::<anyhow::Result<_>>()?,
            reason: entry.reason.trim().to_owned(),
            until: until.transpose()?,
        })
    };
    file.exception.into_iter().map(waiver).collect()
}
