//! The pieces of a source file: its comments, its code, and where its outermost items end.

use std::ops::Range;

/// A comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Comment {
    /// With its marks.
    pub(super) range: Range<usize>,
    /// Without them.
    pub(super) inner: Range<usize>,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Line,
    Block,
    /// Documentation, which the language takes for a part of the item.
    Doc,
}

/// The pieces of a file, each list in the file's order.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pub(super) comments: Vec<Comment>,
    /// The code, cut at blanks and comments; a literal or a doc comment is one piece.
    pub(super) code: Vec<Range<usize>>,
    /// The ends of the file's outermost items: after each `}` or `;` outside all brackets.
    pub(super) ends: Vec<usize>,
    /// How deeply brackets are nested.
    pub(super) depth: usize,
    /// The number of tokens in the longest expression.
    pub(super) longest: usize,
    /// Whether every bracket is closed.
    pub(super) is_balanced: bool,
}

/// Follows the brackets to find the ends of items.
#[derive(Debug, Default)]
pub(super) struct Brackets {
    depth: usize,
    deepest: usize,
    /// The tokens since the last one that ends an expression.
    run: usize,
    longest: usize,
    is_broken: bool,
    /// The last token was a `}` that may have ended an item.
    pub(super) behind_block: bool,
}

impl Brackets {
    pub(super) fn see(&mut self, token: &[u8], end: usize, ends: &mut Vec<usize>) {
        let begins_item = matches!(token, [first, ..] if *first == b'#' || is_name(first)) && token != b"else";
        if self.behind_block && !begins_item {
            // The block was a part of an expression: `const A: B = B {};`
            ends.pop();
        }
        match token {
            b"{" | b"(" | b"[" => self.depth += 1,
            b"}" | b")" | b"]" => {
                self.is_broken |= self.depth == 0;
                self.depth = self.depth.saturating_sub(1);
            }
            _ => {}
        }
        self.deepest = self.deepest.max(self.depth);
        self.run = if matches!(token, b"{" | b"}" | b";" | b",") { 0 } else { self.run + 1 };
        self.longest = self.longest.max(self.run);
        self.behind_block = self.depth == 0 && token == b"}";
        if self.behind_block || (self.depth == 0 && token == b";") {
            ends.push(end);
        }
    }

    pub(super) fn is_outside(&self) -> bool {
        self.depth == 0
    }

    /// Writes what was seen into the pieces.
    pub(super) fn finish(&self, pieces: &mut Pieces) {
        pieces.depth = self.deepest;
        pieces.longest = self.longest;
        pieces.is_balanced = self.depth == 0 && !self.is_broken;
    }
}

pub(super) fn is_name(byte: &u8) -> bool {
    *byte == b'_' || *byte >= 0x80 || byte.is_ascii_alphanumeric()
}

pub(super) fn line_len(text: &[u8]) -> usize {
    text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len())
}

/// The length of a string with escapes, which begins with its quote.
pub(super) fn string_len(text: &[u8]) -> usize {
    let mut offset = 1;
    while let Some(byte) = text.get(offset) {
        match byte {
            b'"' => return offset + 1,
            b'\\' => offset += 2,
            _ => offset += 1,
        }
    }
    text.len()
}

/// Joins line comments that stand below each other if `goes_on` says so for what is joined so far.
pub(super) fn join_lines(text: &str, comments: Vec<Comment>, goes_on: impl Fn(Range<usize>) -> bool) -> Vec<Comment> {
    let mut joined: Vec<Comment> = Vec::with_capacity(comments.len());
    for comment in comments {
        let is_line = |it: &Comment| it.kind != Kind::Block;
        let follows = |last: &&mut Comment| {
            let gap = &text[last.range.end..comment.range.start];
            is_line(last) && is_line(&comment) && gap.trim().is_empty() && gap.matches('\n').count() == 1
        };
        match joined.last_mut().filter(follows).filter(|last| goes_on(last.inner.clone())) {
            Some(last) => {
                last.range.end = comment.range.end;
                last.inner.end = comment.inner.end;
            }
            None => joined.push(comment),
        }
    }
    joined
}

/// The text with every untagged outermost item as blanks, because parsing takes most of the time.
pub(super) fn only_items_of(text: &str, ends: &[usize], tagged: &[usize]) -> String {
    let start_of = |item: usize| if item == 0 { 0 } else { ends[item - 1] };
    let mut keep = vec![false; ends.len() + 1];
    for &tag in tagged {
        let item = ends.partition_point(|&end| end <= tag);
        keep[item] = true;
        // A tag after an item on the same line may belong to that item.
        if item > 0 && !text[start_of(item)..tag].contains('\n') {
            keep[item - 1] = true;
        }
    }
    let mut left = String::with_capacity(text.len());
    for (item, keep) in keep.into_iter().enumerate() {
        let part = &text[start_of(item)..ends.get(item).copied().unwrap_or(text.len())];
        if keep {
            left.push_str(part);
        } else {
            left.extend(part.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
        }
    }
    left
}
