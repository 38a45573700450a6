//! Finds the source files of a project and classifies them by their places.

use super::packages::{Home, Packages};
use crate::config::Config;
use crate::finding::relative;
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use walkdir::{DirEntry, WalkDir};

/// The kind of the tests in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// Tests of one crate, in its own folder.
    Unit,
    /// Tests of the whole project, in a folder of their own.
    Integration,
}

impl Level {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Integration => "integration",
        }
    }
}

/// A source file.
pub(super) struct File {
    /// From the project's root.
    pub(super) path: Arc<str>,
    pub(super) level: Level,
    /// The file has no code, only tests and their helpers.
    pub(super) only_tests: bool,
    pub(super) home: Home,
}

/// Every Rust file of the levels' folders, by path.
pub(super) fn find(root: &Path, config: &Config) -> anyhow::Result<Vec<File>> {
    let levels = &config.levels;
    let kinds = [
        (&levels.integration, Level::Integration, true),
        (&levels.unit, Level::Unit, true),
        (&levels.code, Level::Unit, false),
    ];
    let mut packages = Packages::of(root);
    // If two patterns name a file, the first kind wins.
    let mut files = BTreeMap::new();
    for (patterns, level, only_tests) in kinds {
        for place in patterns.iter().map(|pattern| places(root, pattern)) {
            for place in place? {
                for path in rust_files(&place)? {
                    if let Entry::Vacant(entry) = files.entry(path) {
                        let home = packages.home(entry.key())?;
                        let path = relative(root, entry.key());
                        entry.insert(File { path, level, only_tests, home });
                    }
                }
            }
        }
    }
    Ok(files.into_values().collect())
}

/// The files and folders that match a pattern, in which a `*` stands for any one name.
fn places(root: &Path, pattern: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut places = vec![root.to_owned()];
    for part in pattern.split('/') {
        let mut next = Vec::new();
        for place in &places {
            if part != "*" {
                next.push(place.join(part));
            } else if place.is_dir() {
                for entry in fs::read_dir(place).with_context(|| format!("cannot read {}", relative(root, place)))? {
                    next.push(entry?.path());
                }
            }
        }
        places = next;
    }
    places.retain(|place| place.exists());
    Ok(places)
}

fn rust_files(place: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let skipped = |entry: &DirEntry| {
        entry.depth() > 0
            && entry.file_type().is_dir()
            && matches!(entry.file_name().to_str(), Some("target" | "fixtures"))
    };
    let mut paths = Vec::new();
    for entry in WalkDir::new(place).into_iter().filter_entry(|entry| !skipped(entry)) {
        let entry = entry?;
        if entry.file_type().is_file() && entry.path().extension().is_some_and(|extension| extension == "rs") {
            paths.push(entry.into_path());
        }
    }
    Ok(paths)
}
