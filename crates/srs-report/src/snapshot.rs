//! `docs/srs/snapshot.txt`: each requirement's id and a hash of the text against which its tags were last reviewed.
//!
//! There is one line per requirement, in sorted order, so that a diff names exactly the requirements whose text
//! changed.

use super::documents::{Document, Requirement};
use super::finding::{Finding, Kind, Location};
use super::hash;
use anyhow::{Context as _, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

const HEADER: &str = "# The text each requirement had when its code and tests were last reviewed, as a hash.\n\
                      # Rewritten by `cargo xtask srs-report --bless`, after a review.\n";

/// Adds a finding for every requirement whose text differs from the snapshot.
pub(super) fn compare(
    root: &Path,
    path: &str,
    is_needed: bool,
    documents: &[Document],
    findings: &mut Vec<Finding>,
) -> anyhow::Result<()> {
    let file: Arc<str> = path.into();
    let at = |line| Location { path: Arc::clone(&file), line };
    let text = match fs::read_to_string(root.join(path)) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if is_needed {
                findings.push(Finding::new(&at(1), Kind::NoSnapshot, "there is no such file".to_owned()));
            }
            return Ok(());
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {path}")),
    };
    let mut reviewed = parse(path, &text)?;
    let mut seen = BTreeSet::new();
    // A duplicate id is a finding of its own.
    for requirement in requirements(documents).filter(|it| seen.insert(&it.id)) {
        let Requirement { id, location, .. } = requirement;
        match reviewed.remove(id.as_str()) {
            Some((hash, _)) if hash == hash_of(requirement) => {}
            Some(_) => {
                let message = format!("{id} reads otherwise than when its tags were last reviewed");
                findings.push(Finding::new(location, Kind::TextChanged, message));
            }
            None => {
                findings.push(Finding::new(location, Kind::NotReviewed, format!("{id} is not in {path}")));
            }
        }
    }
    for (id, (_, line)) in reviewed {
        findings.push(Finding::new(&at(line), Kind::SnapshotUnknownId, format!("no document has {id}")));
    }
    Ok(())
}

/// Writes the snapshot of the current documents. Returns the number of changed lines.
pub(super) fn bless(root: &Path, path: &str, documents: &[Document]) -> anyhow::Result<usize> {
    let lines: BTreeMap<&str, String> = requirements(documents).map(|it| (it.id.as_str(), hash_of(it))).collect();
    let body: String = lines.iter().map(|(id, hash)| format!("{id} {hash}\n")).collect();
    let file = root.join(path);
    let before = fs::read_to_string(&file).unwrap_or_default();
    let text = format!("{HEADER}{body}");
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot write {path}"))?;
    }
    fs::write(&file, &text).with_context(|| format!("cannot write {path}"))?;
    let entries = |text: &'_ str| -> BTreeSet<String> {
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    let (before, after) = (entries(&before), entries(&body));
    let (gone, new) = (before.difference(&after).count(), after.difference(&before).count());
    Ok(gone.max(new))
}

/// Each id's hash and line.
fn parse<'t>(path: &str, text: &'t str) -> anyhow::Result<BTreeMap<&'t str, (&'t str, usize)>> {
    let mut reviewed = BTreeMap::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let number = index + 1;
        let Some((id, hash)) = line.split_once(' ').filter(|(_, hash)| is_hash(hash)) else {
            bail!("{path}:{number}: not an id and a hash; rewrite the file with --bless");
        };
        if reviewed.insert(id, (hash, number)).is_some() {
            bail!("{path}:{number}: {id} stands there twice; rewrite the file with --bless");
        }
    }
    Ok(reviewed)
}

fn is_hash(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn requirements(documents: &[Document]) -> impl Iterator<Item = &Requirement> {
    documents.iter().flat_map(|document| &document.requirements)
}

/// The hash of the text. Line breaks and runs of blanks do not change it.
fn hash_of(requirement: &Requirement) -> String {
    let text = requirement.text.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("{:016x}", hash::of(text.as_bytes()))
}
