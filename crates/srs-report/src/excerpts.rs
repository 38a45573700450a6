//! The lines of code below a tag. The report reads them when it shows them.

use super::model::Place;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The lines of a long item that are shown from its tag on.
const LONGEST: usize = 24;
/// The lines of a long item that are shown before its tag.
const BEFORE: usize = 3;

/// Reads each file once.
#[derive(Debug)]
pub(super) struct Excerpts {
    root: PathBuf,
    files: RefCell<HashMap<String, Rc<str>>>,
}

impl Excerpts {
    pub(super) fn of(root: &Path) -> Self {
        Self { root: root.to_owned(), files: RefCell::default() }
    }

    /// The numbered lines of a place, without their common indentation.
    pub(super) fn lines(&self, place: &Place) -> Vec<(usize, String)> {
        let text = self.text(&place.location.path);
        let shown = shown(&place.target.lines, place.location.line);
        let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim_end()));
        let lines: Vec<_> = lines.skip(shown.start() - 1).take(shown.end() + 1 - shown.start()).collect();
        let indent = |line: &str| line.len() - line.trim_start().len();
        let least = lines.iter().filter(|(_, line)| !line.is_empty()).map(|(_, line)| indent(line)).min().unwrap_or(0);
        lines.into_iter().map(|(number, line)| (number, line.get(least..).unwrap_or_default().to_owned())).collect()
    }

    fn text(&self, path: &str) -> Rc<str> {
        let mut files = self.files.borrow_mut();
        let read = || String::from_utf8_lossy(&fs::read(self.root.join(path)).unwrap_or_default()).into();
        Rc::clone(files.entry(path.to_owned()).or_insert_with(read))
    }
}

/// The lines of an item to show.
fn shown(item: &RangeInclusive<usize>, tag: usize) -> RangeInclusive<usize> {
    // The tag may stand above the item.
    let (first, last) = (tag.min(*item.start()), tag.max(*item.end()));
    if last - first < LONGEST {
        return first..=last;
    }
    let first = first.max(tag.saturating_sub(BEFORE));
    first..=last.min(first + LONGEST - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_item_is_shown_whole_and_a_long_one_from_its_tag() {
        assert_eq!(shown(&(10..=20), 9), 9..=20);
        assert_eq!(shown(&(10..=200), 9), 9..=32);
        assert_eq!(shown(&(10..=200), 100), 97..=120);
        assert_eq!(shown(&(10..=101), 100), 97..=101);
    }
}
