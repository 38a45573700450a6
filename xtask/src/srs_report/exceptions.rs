//! Reads `docs/srs/exceptions.toml`: what a requirement may lack, and why.

use super::documents::FOLDER;
use super::finding::{Lines, Location, relative};
use super::model::Aspect;
use anyhow::{Context as _, anyhow};
use serde::Deserialize;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::rc::Rc;
use toml::Spanned;

/// One `[[exception]]`.
#[derive(Debug)]
pub(super) struct Waiver {
    pub(super) id: String,
    pub(super) missing: Vec<Aspect>,
    pub(super) reason: String,
    pub(super) location: Location,
}

/// Reads the waivers; a project without the file has none.
pub(super) fn read(root: &Path) -> anyhow::Result<Vec<Waiver>> {
    let path = root.join(FOLDER).join("exceptions.toml");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    parse(&relative(root, &path), &text)
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
    /// Optional here, so that its lack is a finding that names the requirement.
    #[serde(default)]
    reason: String,
}

fn parse(path: &Rc<str>, text: &str) -> anyhow::Result<Vec<Waiver>> {
    let lines = Lines::of(text);
    let file: File = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| lines.line(span.start));
        // The error's own `Display` draws the excerpt over several lines.
        anyhow!("{path}:{line}: {}", error.message().replace('\n', ", "))
    })?;
    let waiver = |entry: Entry| Waiver {
        location: Location { path: Rc::clone(path), line: lines.line(entry.id.span().start) },
        id: entry.id.into_inner(),
        missing: entry.missing,
        reason: entry.reason.trim().to_owned(),
    };
    Ok(file.exception.into_iter().map(waiver).collect())
}
