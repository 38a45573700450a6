//! Finds the source files of a project and classifies them by their places.

use super::language::{self, Language};
use super::rust::{Home, Packages};
use crate::config::{Config, Pattern};
use crate::finding::Finding;
use crate::walk;
use std::path::Path;
use std::sync::Arc;

/// A source file.
#[derive(Debug)]
pub(super) struct File {
    /// From the project's root.
    pub(super) path: Arc<str>,
    /// The level of its tests, as an index into the levels of the project.
    pub(super) level: usize,
    /// The file has no code, only tests and their helpers.
    pub(super) only_tests: bool,
    pub(super) home: Home,
    /// `None` if it is not known.
    pub(super) language: Option<Language>,
}

/// Every file of the levels that may be a source, by path. If several levels name a file, the last wins. Tests among
/// code belong to the first level of tests.
pub(super) fn find(
    root: &Path,
    config: &Config,
    packages: &mut Packages,
    findings: &mut Vec<Finding>,
) -> anyhow::Result<Vec<File>> {
    let groups: Vec<&[Pattern]> = config.levels.iter().map(|level| level.patterns.as_slice()).collect();
    let mut walked = walk::walk(root, &groups, &config.exclude, config.skipped, findings);
    walked.files.retain(|found| language::of(&found.path, config).is_some() || language::may_be_source(&found.path));
    for level in &config.levels {
        walked.report_unmatched(&level.patterns, findings);
    }
    let mut files = Vec::new();
    for found in walked.files {
        let language = language::of(&found.path, config);
        let home = match language {
            Some(Language::Rust) => packages.home(&root.join(&found.path))?,
            _ => Home::default(),
        };
        files.push(File {
            path: found.path.into(),
            level: found.group.max(1),
            only_tests: found.group > 0,
            home,
            language,
        });
    }
    Ok(files)
}
