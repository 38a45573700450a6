//! Finds the files that patterns name.
//!
//! A folder that no pattern can match in is not entered. Links are followed, and no file is read twice because of them.
//! What cannot be read is a finding.

use crate::config::{FILE, Pattern};
use crate::finding::{Finding, Kind, Location};
use fast_glob::glob_match;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A file and the group of patterns that names it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// From the root, with `/`.
    pub(super) path: String,
    /// The position of the group; the last of several.
    pub(super) group: usize,
}

/// The files that match.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// Sorted by path.
    pub(super) files: Vec<Found>,
}

impl Walked {
    /// Adds the patterns of `srs.toml` that name no file, of those that are left.
    pub(super) fn report_unmatched(&self, patterns: &[Pattern], findings: &mut Vec<Finding>) {
        for pattern in patterns {
            let Some(line) = pattern.line else { continue };
            if is_root(pattern) || self.files.iter().any(|file| with_parents(&file.path).any(|it| names(pattern, it))) {
                continue;
            }
            let location = Location { path: FILE.into(), line };
            let message = format!("`{}` names no file that is read", pattern.text);
            findings.push(Finding::new(&location, Kind::MatchesNothing, message));
        }
    }
}

fn names(pattern: &Pattern, path: &str) -> bool {
    glob_match(&pattern.text, path)
}

/// Whether the pattern names the whole project.
fn is_root(pattern: &Pattern) -> bool {
    matches!(pattern.text.as_str(), "" | "." | "**")
}

/// The folders that a path lies in, from the outermost, and the path itself.
fn with_parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(end, _)| &path[..end]).chain([path])
}

/// Every file that a pattern of a group names, or that lies in a folder that one names. In such a folder, subfolders
/// named in `skipped` are left out. `exclude` wins over all.
pub(super) fn walk(
    root: &Path,
    groups: &[&[Pattern]],
    exclude: &[Pattern],
    skipped: &[&str],
    findings: &mut Vec<Finding>,
) -> Walked {
    let mut walker =
        Walker { root, groups, exclude, skipped, walked: Walked::default(), links: HashSet::new(), findings };
    let whole = groups.iter().rposition(|patterns| patterns.iter().any(is_root));
    walker.folder("", whole, false);
    let Walker { mut walked, .. } = walker;
    walked.files.sort_by(|a, b| a.path.cmp(&b.path));
    walked
}

struct Walker<'w> {
    root: &'w Path,
    groups: &'w [&'w [Pattern]],
    exclude: &'w [Pattern],
    skipped: &'w [&'w str],
    walked: Walked,
    /// The true paths of what was reached by a link.
    links: HashSet<PathBuf>,
    findings: &'w mut Vec<Finding>,
}

impl Walker<'_> {
    fn folder(&mut self, folder: &str, group: Option<usize>, by_link: bool) {
        let entries = match fs::read_dir(self.root.join(folder)) {
            Ok(entries) => entries,
            Err(error) => return self.unreadable(folder, &error),
        };
        let mut sorted: Vec<(String, fs::DirEntry)> = Vec::new();
        for entry in entries {
            match entry {
                Ok(entry) => sorted.push((entry.file_name().to_string_lossy().into_owned(), entry)),
                Err(error) => self.unreadable(folder, &error),
            }
        }
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, entry) in sorted {
            let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            if self.exclude.iter().any(|pattern| names(pattern, &path)) {
                continue;
            }
            let own = self.group_of(&path);
            let group_here = own.max(group);
            let may_hold = || self.groups.iter().copied().flatten().any(|pattern| may_match_in(&pattern.text, &path));
            if group_here.is_none() && !may_hold() {
                continue;
            }
            let Ok(kind) = entry.file_type() else { continue };
            let is_link = kind.is_symlink();
            let kind = if is_link { fs::metadata(entry.path()).map(|target| target.file_type()) } else { Ok(kind) };
            let is_folder = match kind {
                Ok(kind) if kind.is_dir() || kind.is_file() => kind.is_dir(),
                // Reading a pipe or a device may never end.
                Ok(_) => continue,
                Err(error) => {
                    self.unreadable(&path, &error);
                    continue;
                }
            };
            let by_link = by_link || is_link;
            if by_link && self.is_known(&entry.path(), is_link && is_folder) {
                continue;
            }
            if is_folder {
                let is_skipped = group.is_some() && self.skipped.contains(&name.as_str());
                let is_hidden = name.starts_with('.') && own.is_none_or(|own| !self.is_named(own, &name));
                if !is_skipped && !is_hidden {
                    self.folder(&path, group_here, by_link);
                }
            } else if let Some(group) = group_here {
                self.walked.files.push(Found { path, group });
            }
        }
    }

    /// Whether what a link leads to is read anyway: it lies in a place that is read without the link, or another link
    /// has led there. A folder that contains the link would never end.
    fn is_known(&mut self, path: &Path, is_folder_link: bool) -> bool {
        let Ok(real) = path.canonicalize() else { return false };
        if is_folder_link && path.parent().and_then(|it| it.canonicalize().ok()).is_some_and(|it| it.starts_with(&real))
        {
            return true;
        }
        let root = self.root.canonicalize().unwrap_or_default();
        if let Ok(direct) = real.strip_prefix(root) {
            let direct = direct.to_string_lossy();
            let is_read = with_parents(&direct).any(|it| self.group_of(it).is_some());
            let is_excluded = with_parents(&direct).any(|it| self.exclude.iter().any(|pattern| names(pattern, it)));
            if is_read && !is_excluded {
                return true;
            }
        }
        !self.links.insert(real)
    }

    /// The last group that names a path itself.
    fn group_of(&self, path: &str) -> Option<usize> {
        self.groups.iter().rposition(|patterns| patterns.iter().any(|pattern| names(pattern, path)))
    }

    /// Whether a pattern of the group names a hidden folder in full.
    fn is_named(&self, group: usize, name: &str) -> bool {
        self.groups[group].iter().any(|pattern| pattern.text.rsplit('/').next() == Some(name))
    }

    fn unreadable(&mut self, path: &str, error: &std::io::Error) {
        let path = if path.is_empty() { "." } else { path };
        let location = Location { path: path.into(), line: 1 };
        self.findings.push(Finding::new(&location, Kind::UnreadableFile, format!("it cannot be read: {error}")));
    }
}

/// Whether a folder may hold something that the pattern matches.
fn may_match_in(pattern: &str, folder: &str) -> bool {
    if pattern.contains('{') {
        return true;
    }
    let mut parts = pattern.split('/');
    for name in folder.split('/') {
        match parts.next() {
            Some("**") => return true,
            Some(part) if glob_match(part, name) => {}
            _ => return false,
        }
    }
    parts.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(places: &[&str], patterns: &[&[&str]], exclude: &[&str]) -> Vec<(String, usize)> {
        let folder = tempfile::tempdir().expect("a folder");
        for place in places {
            let path = folder.path().join(place);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, "").expect("a file");
        }
        let pattern = |text: &&str| Pattern { text: (*text).to_owned(), line: None };
        let groups: Vec<Vec<Pattern>> = patterns.iter().map(|group| group.iter().map(pattern).collect()).collect();
        let groups: Vec<&[Pattern]> = groups.iter().map(Vec::as_slice).collect();
        let exclude: Vec<Pattern> = exclude.iter().map(pattern).collect();
        let mut findings = Vec::new();
        let walked = walk(folder.path(), &groups, &exclude, &["target"], &mut findings);
        assert_eq!(findings, []);
        walked.files.into_iter().map(|found| (found.path, found.group)).collect()
    }

    fn expected(all: &[(&str, usize)]) -> Vec<(String, usize)> {
        all.iter().map(|(path, group)| ((*path).to_owned(), *group)).collect()
    }

    #[test]
    fn a_pattern_names_files_and_whole_folders() {
        let places = ["crates/a/src/b/c.rs", "crates/a/Cargo.toml", "d.rs", "crates/a/src/target/e.rs"];
        assert_eq!(
            files(&places, &[&["crates/*/src", "d.rs"]], &[]),
            expected(&[("crates/a/src/b/c.rs", 0), ("d.rs", 0)])
        );
    }

    #[test]
    fn the_last_group_wins_and_what_is_excluded_is_not_there() {
        let places = ["src/a.c", "tests/a_ut/a.c", "deps/x/tests/x_ut/x.c", "x/deps/y.c", ".git/z.c"];
        let found = files(&places, &[&["**"], &["**/*_ut"]], &["**/deps"]);
        assert_eq!(found, expected(&[("src/a.c", 0), ("tests/a_ut/a.c", 1)]));
    }

    #[test]
    fn a_folder_is_entered_if_a_pattern_may_match_in_it() {
        assert!(may_match_in("crates/*/src", "crates/a"));
        assert!(!may_match_in("crates/*/src", "docs"));
        assert!(!may_match_in("crates/*/src", "crates/a/src"));
        assert!(may_match_in("**/devdoc", "a/b"));
        assert!(!may_match_in("a.rs", "a.rs"));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |path: &str| folder.path().join(path);
        fs::create_dir_all(at("src")).expect("a folder");
        fs::create_dir_all(at("elsewhere")).expect("a folder");
        fs::write(at("src/a.rs"), "").expect("a file");
        fs::write(at("elsewhere/b.rs"), "").expect("a file");
        for (target, link) in
            [("../elsewhere", "src/all"), ("a.rs", "src/same.rs"), ("..", "src/up"), ("no", "src/broken.rs")]
        {
            std::os::unix::fs::symlink(target, at(link)).expect("a link");
        }
        let pattern = [Pattern { text: "src".to_owned(), line: None }];
        let mut findings = Vec::new();
        let walked = walk(folder.path(), &[&pattern], &[], &[], &mut findings);
        let paths: Vec<&str> = walked.files.iter().map(|found| found.path.as_str()).collect();
        assert_eq!(paths, ["src/a.rs", "src/all/b.rs"]);
        let places: Vec<&str> = findings.iter().map(|finding| &*finding.location.path).collect();
        assert_eq!(places, ["src/broken.rs"]);
    }
}
