//! The form of `srs.toml`. Every key is optional; [`super::resolve`] puts the defaults in.

use super::FILE;
use crate::finding::Lines;
use crate::toml_file;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use toml::Spanned;

/// The file as it is written. Paths are relative to the project's root.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    pub(super) documents: Option<Vec<Spanned<String>>>,
    pub(super) notes: Option<Vec<Spanned<String>>>,
    pub(super) exceptions: Option<String>,
    pub(super) snapshot: Option<String>,
    pub(super) proven: Option<String>,
    pub(super) id: Option<Spanned<String>>,
    pub(super) tags: BTreeMap<Spanned<String>, OneOrMany>,
    pub(super) levels: BTreeMap<Spanned<String>, Vec<Spanned<String>>>,
    pub(super) preset: Option<Spanned<String>>,
    pub(super) exclude: Option<Vec<Spanned<String>>>,
    pub(super) required: Option<Vec<Spanned<String>>>,
    pub(super) disabled: Option<Vec<String>>,
    pub(super) family: Vec<FamilyEntry>,
    pub(super) spread: Option<bool>,
    pub(super) untagged_tests: bool,
    pub(super) languages: BTreeMap<String, Spanned<String>>,
    pub(super) tests: Tests,
    pub(super) run: Option<String>,
    pub(super) results: Results,
}

/// `[[family]]`: ids of one form.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FamilyEntry {
    pub(super) id: Spanned<String>,
    #[serde(default)]
    pub(super) tags: BTreeMap<Spanned<String>, OneOrMany>,
    pub(super) disabled: Option<Vec<String>>,
    pub(super) required: Option<Vec<Spanned<String>>>,
}

/// A text, or a list of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(super) fn all(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

/// `[tests]`: what is a test, beside what is known anyway.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Tests {
    pub(super) macros: Vec<String>,
    pub(super) attributes: Vec<String>,
    pub(super) functions: Option<Spanned<String>>,
}

/// `[results]`: how a runner names a test.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Results {
    pub(super) names: Option<Vec<String>>,
}

/// The file and the lines of its bytes; `None` if the project has none.
pub(super) fn read(root: &Path) -> anyhow::Result<Option<(File, Lines)>> {
    let read: Option<(File, String)> = toml_file::read(root, FILE)?;
    Ok(read.map(|(file, text)| (file, Lines::of(&text))))
}
