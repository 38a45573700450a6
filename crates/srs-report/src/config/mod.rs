//! Reads `srs.toml`, which says where a project keeps its requirements, its code and its tests. This workspace needs
//! none.

mod file;
mod ids;
mod preset;
mod resolve;

pub(crate) use ids::{Family, Ids, Need, TagWord, Word, is_word};

use regex::Regex;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The file's name, in the project's root.
pub(crate) const FILE: &str = "srs.toml";

/// The form of an id if a project does not choose another.
pub(crate) const ID: &str = "SRS_[A-Z0-9_]+_[0-9]{2}_[0-9]{3}";

/// The settings of a project, with the defaults put in.
#[derive(Debug)]
pub(crate) struct Config {
    /// Markdown files, folders of them, and patterns.
    pub(crate) documents: Vec<Pattern>,
    /// Files and folders that are never read.
    pub(crate) exclude: Vec<Pattern>,
    /// The names of folders that are left out inside the folders of a level.
    pub(crate) skipped: &'static [&'static str],
    /// Markdown files that explain decisions. The report shows each requirement with the notes that mention it.
    pub(crate) notes: Vec<Pattern>,
    pub(crate) exceptions: String,
    pub(crate) snapshot: String,
    /// Whether a project without a snapshot is at fault.
    pub(crate) needs_snapshot: bool,
    /// The results of `--prove --own-tests`.
    pub(crate) proven: String,
    pub(crate) families: Vec<Family>,
    /// The first is code. Of several that name a file, the last wins.
    pub(crate) levels: Vec<Level>,
    pub(crate) style: Style,
    /// Whether a requirement may go on over paragraphs and lists.
    pub(crate) spread: bool,
    /// Whether a test without a tag is a finding.
    pub(crate) untagged_tests: bool,
    /// The language of files by their extension, beside those that are known.
    pub(crate) languages: BTreeMap<String, String>,
    pub(crate) tests: Tests,
    /// The shell command that runs the tests; `{file}` is the JUnit file that it writes.
    pub(crate) run: Option<String>,
    /// How runners name a test: `{name}`, `{class}`, `{file}` (without its extension).
    pub(crate) names: Vec<String>,
    /// Whether the project has an `srs.toml`.
    pub(crate) has_file: bool,
}

/// How documents write requirements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// `**ID: [** text **]**`
    Brackets,
    /// `` `ID` `` in a paragraph of its own, then the text.
    OpenFastTrace,
}

/// A file, a folder, or a glob.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    pub(crate) text: String,
    /// Its line in `srs.toml`; `None` for a default.
    pub(crate) line: Option<usize>,
}

/// Source files and folders, by the kind of the tests in them.
#[derive(Debug)]
pub(crate) struct Level {
    pub(crate) name: Arc<str>,
    pub(crate) patterns: Vec<Pattern>,
}

/// What is a test, beside what is known anyway.
#[derive(Debug)]
pub(crate) struct Tests {
    /// `TEST(name) { … }` in C, `test! { … }` in Rust.
    pub(crate) macros: Vec<String>,
    /// Attributes of Rust functions.
    pub(crate) attributes: Vec<String>,
    /// The names of functions in test files.
    pub(crate) functions: Regex,
}

impl Config {
    /// Reads the file. A project without it has the layout of this workspace.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        resolve::config(root, file::read(root)?)
    }

    /// The form of the ids, for messages.
    pub(crate) fn id_pattern(&self) -> &str {
        self.families.first().map_or("", |family| &family.ids.pattern)
    }

    /// The family of an id.
    pub(crate) fn family_of(&self, id: &str) -> Option<&Family> {
        self.families.iter().find(|family| family.ids.is_id(id))
    }

    /// The ids that a text mentions, of all families.
    pub(crate) fn mentioned<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        self.families.iter().flat_map(move |family| family.ids.mentioned(text))
    }
}
