//! Finds the item of a comment among the items of a file.

use super::pieces::{Comment, Kind};
use std::ops::Range;

/// An item, as byte offsets into its file.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) name: String,
    /// Its name with only the modules around it, as the test harness prints it. A macro has the names of all its tests.
    pub(super) test_names: Vec<String>,
    pub(super) is_test: bool,
    /// Whether it becomes several tests below its name, as an `#[rstest]` does.
    pub(super) is_parametrised: bool,
    /// The least number of tests that its attributes make of it.
    pub(super) cases: usize,
    /// Whether it is a test or compiled only for tests.
    pub(super) is_test_code: bool,
    /// The start of its first attribute.
    pub(super) start: usize,
    /// Its start after the attributes.
    pub(super) head: usize,
    pub(super) end: usize,
    /// Whether a tag inside it that stands above no other item belongs to it. A `mod` or an `impl` only gathers items.
    pub(super) owns_body: bool,
}

/// A parsed file, with its pieces as byte ranges of the text.
#[derive(Debug)]
pub(super) struct Source<'t> {
    pub(super) text: &'t str,
    /// The code without comments, cut at blanks.
    pub(super) code: Vec<Range<usize>>,
    pub(super) items: Vec<Item>,
    /// What the file is made of, for comments at something that the parser does not understand.
    pub(super) outermost: Vec<Item>,
    /// Whether blank lines may stand between a comment and its item.
    pub(super) is_lenient: bool,
}

impl Item {
    /// An item that has nothing but a name and a place.
    pub(super) fn plain(name: String, range: Range<usize>) -> Self {
        Self {
            test_names: vec![name.clone()],
            name,
            is_test: false,
            is_parametrised: false,
            cases: 1,
            is_test_code: false,
            start: range.start,
            head: range.start,
            end: range.end,
            owns_body: true,
        }
    }
}

impl Source<'_> {
    pub(super) fn item_of(&self, comment: &Comment) -> Option<&Item> {
        if comment.kind == Kind::Doc {
            // It is a part of its item.
            return self
                .items
                .iter()
                .find(|item| item.start == comment.range.start)
                .or_else(|| self.documented(comment));
        }
        let next = self.code.partition_point(|piece| piece.start < comment.range.start);
        let before = self.code[..next].last();
        match before.filter(|piece| !self.text[piece.end..comment.range.start].contains('\n')) {
            // A tag after code on the same line belongs to that code.
            Some(code) => self.around(code.end - 1),
            None => {
                let below = self.code.get(next);
                let known = self.below(comment, below).or_else(|| self.around(comment.range.start));
                known.or_else(|| self.outermost_at(below.map_or(comment.range.start, |next| next.start)))
            }
        }
    }

    fn outermost_at(&self, offset: usize) -> Option<&Item> {
        self.outermost.iter().find(|item| (item.start..item.end).contains(&offset))
    }

    /// The innermost item in whose attributes the doc comment stands, or the one that its `//!` is inside.
    fn documented(&self, comment: &Comment) -> Option<&Item> {
        let offset = comment.range.start;
        let has = |item: &&Item| (item.start..item.head).contains(&offset);
        self.items.iter().filter(has).max_by_key(|item| item.start).or_else(|| self.around(offset))
    }

    /// The item that begins with `next`, if only comments and no blank line lie between.
    fn below(&self, comment: &Comment, next: Option<&Range<usize>>) -> Option<&Item> {
        let is_near =
            |next: &&Range<usize>| self.is_lenient || !has_blank_line(&self.text[comment.range.end..next.start]);
        let next = next.filter(is_near)?;
        let starts = || self.items.iter().find(|item| item.start == next.start);
        // A parser that lost its way may begin an item a little earlier.
        let begins_around = || {
            let item = self.around(next.start).filter(|_| self.is_lenient)?;
            (item.start >= comment.range.end).then_some(item)
        };
        starts().or_else(begins_around)
    }

    /// The innermost item that contains the offset.
    fn around(&self, offset: usize) -> Option<&Item> {
        let holds = |item: &&Item| {
            let end = if item.owns_body { item.end } else { item.head };
            (item.start..end).contains(&offset)
        };
        self.items.iter().filter(holds).max_by_key(|item| item.start)
    }
}

fn has_blank_line(gap: &str) -> bool {
    // The first piece is the rest of the comment's line, and the last is the indentation of the code below.
    let mut lines = gap.split('\n').skip(1).peekable();
    std::iter::from_fn(|| lines.next().filter(|_| lines.peek().is_some())).any(|line| line.trim().is_empty())
}
