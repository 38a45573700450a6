//! Finds the line comments of a Rust file: what lies between its tokens. Doc comments are tokens.

use proc_macro2::{Span, TokenStream, TokenTree};
use std::ops::Range;

/// A `//` comment; `text` is what follows the slashes.
pub(super) struct Comment<'t> {
    pub(super) text: &'t str,
    pub(super) range: Range<usize>,
}

/// The byte range of every token, in order; a group counts as its two delimiters.
pub(super) fn token_ranges(tokens: TokenStream) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    push_ranges(tokens, &mut ranges);
    ranges
}

fn push_ranges(tokens: TokenStream, ranges: &mut Vec<Range<usize>>) {
    for tree in tokens {
        match tree {
            TokenTree::Group(group) => {
                push_range(group.span_open(), ranges);
                push_ranges(group.stream(), ranges);
                push_range(group.span_close(), ranges);
            }
            leaf => push_range(leaf.span(), ranges),
        }
    }
}

fn push_range(span: Span, ranges: &mut Vec<Range<usize>>) {
    let range = span.byte_range();
    // A doc comment becomes the tokens of `#[doc = "…"]`, which all lie in the comment.
    if ranges.last().is_none_or(|last| last.end <= range.start) {
        ranges.push(range);
    }
}

/// The line comments between the tokens.
pub(super) fn line_comments<'t>(text: &'t str, tokens: &[Range<usize>]) -> Vec<Comment<'t>> {
    let starts = std::iter::once(0).chain(tokens.iter().map(|token| token.end));
    let ends = tokens.iter().map(|token| token.start).chain([text.len()]);
    let mut comments = Vec::new();
    for (start, end) in starts.zip(ends) {
        comments_of_gap(text, start..end, &mut comments);
    }
    comments
}

fn comments_of_gap<'t>(text: &'t str, gap: Range<usize>, comments: &mut Vec<Comment<'t>>) {
    let mut offset = gap.start;
    while let Some(slash) = text[offset..gap.end].find('/') {
        let start = offset + slash;
        let rest = &text[start..gap.end];
        if let Some(line) = rest.strip_prefix("//") {
            let line = line.lines().next().unwrap_or_default();
            offset = start + 2 + line.len();
            comments.push(Comment { text: line, range: start..offset });
        } else {
            offset = start + block_comment_len(rest);
        }
    }
}

/// The length of the block comment that `text` begins with; they nest.
fn block_comment_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut offset = 0;
    while let Some(pair) = bytes.get(offset..offset + 2) {
        match pair {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                offset += 1;
                continue;
            }
        }
        offset += 2;
        if depth == 0 {
            return offset;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<&str> {
        let tokens = token_ranges(source.parse().unwrap());
        line_comments(source, &tokens).into_iter().map(|comment| comment.text).collect()
    }

    #[test]
    fn comments_are_found_wherever_tokens_may_stand() {
        assert_eq!(texts("//1\nfn f(/**/ //2\n) { //3é\n m!{ a //4\n } }\n//5"), ["1", "2", "3é", "4", "5"]);
    }

    #[test]
    fn what_looks_like_a_comment_in_another_token_is_none() {
        assert_eq!(texts("/// doc //a\nconst A: &str = r#\"\n//b\n\"#; /* /* */\n//c\n*/ //d"), ["d"]);
    }
}
