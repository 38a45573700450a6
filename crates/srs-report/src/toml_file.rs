//! Reads a TOML file of a project. Reports any fault of the file in one line.

use super::finding::Lines;
use anyhow::{Context as _, anyhow};
use serde::de::DeserializeOwned;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// The file's content and text; `None` if there is no such file. `path` is relative to `root`.
pub(super) fn read<T: DeserializeOwned>(root: &Path, path: &str) -> anyhow::Result<Option<(T, String)>> {
    let text = match fs::read_to_string(root.join(path)) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {path}")),
    };
    let value = toml::from_str(&text).map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| Lines::of(&text).line(span.start));
        // The error's own `Display` draws the excerpt over several lines.
        anyhow!("{path}:{line}: {}", error.message().replace('\n', ", "))
    })?;
    Ok(Some((value, text)))
}
