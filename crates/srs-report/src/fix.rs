//! `--fix`: writes the documents' texts into the tags that quote them.

use super::documents::{Document, Requirement, normal};
use super::sources::Tag;
use anyhow::Context as _;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::Path;

/// What was written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fixed {
    texts: usize,
    files: usize,
    /// Texts that a comment of their language cannot hold.
    left: usize,
}

impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { texts, files, left } = self;
        write!(f, "{texts} texts written in {files} files")?;
        if *left > 0 {
            write!(f, ", {left} left to you: a comment cannot hold them, or the file is not UTF-8")?;
        }
        Ok(())
    }
}

/// Rewrites each text that differs. The last of a file comes first, so that offsets stay true.
pub(super) fn fix(root: &Path, documents: &[Document], tags: &[Tag]) -> anyhow::Result<Fixed> {
    let all = documents.iter().flat_map(|document| &document.requirements);
    let texts: HashMap<&str, &Requirement> = all.map(|it| (it.id.as_str(), it)).collect();
    let mut fixed = Fixed::default();
    let mut changes: BTreeMap<&str, Vec<(Range<usize>, &str)>> = BTreeMap::new();
    for tag in tags {
        let (Some(quote), Some(requirement)) = (&tag.quote, texts.get(tag.id.as_str())) else { continue };
        if normal(&quote.text) == normal(&requirement.plain) {
            continue;
        }
        match &quote.range {
            Some(range) if !requirement.plain.contains("*/") => {
                changes.entry(&tag.location.path).or_default().push((range.clone(), &requirement.plain));
            }
            _ => fixed.left += 1,
        }
    }
    for (path, mut ranges) in changes {
        let file = root.join(path);
        let mut text = fs::read_to_string(&file).with_context(|| format!("cannot read {path}"))?;
        // Tags were read from a text whose byte order mark is three blanks, which is as long.
        ranges.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
        for (range, plain) in ranges {
            let is_closed = text.get(range.end..).is_some_and(|rest| rest.starts_with(']'));
            let close = if is_closed { "" } else { "]" };
            text.replace_range(range, &format!(" {plain} {close}"));
            fixed.texts += 1;
        }
        fs::write(&file, text).with_context(|| format!("cannot write {path}"))?;
        fixed.files += 1;
    }
    Ok(fixed)
}
