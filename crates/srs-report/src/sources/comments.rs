//! Separates a Rust file's comments from its code. Doc comments count as code, because they are attributes of an item.

use std::ops::Range;

/// A `//` comment; `text` is the part after the slashes.
pub(super) struct Comment<'t> {
    pub(super) text: &'t str,
    pub(super) range: Range<usize>,
}

/// The pieces of a file, each list in the file's order.
#[derive(Default)]
pub(super) struct Pieces<'t> {
    pub(super) comments: Vec<Comment<'t>>,
    /// The code, cut at blanks and comments; a literal or a doc comment is one piece.
    pub(super) code: Vec<Range<usize>>,
    /// The ends of the file's outermost items: after each `}` or `;` outside all brackets.
    pub(super) ends: Vec<usize>,
}

impl<'t> Pieces<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        let bytes = text.as_bytes();
        let mut pieces = Self::default();
        let mut at = 0;
        let mut goes_on = false;
        let mut brackets = Brackets::default();
        while let Some(&byte) = bytes.get(at) {
            let rest = &bytes[at..];
            if byte.is_ascii_whitespace() {
                goes_on = false;
                at += 1;
            } else if rest.starts_with(b"//") {
                let range = at..at + line_len(rest);
                at = range.end;
                goes_on = false;
                if is_doc(rest) {
                    brackets.behind_block = false;
                    pieces.code.push(range);
                } else {
                    pieces.comments.push(Comment { text: &text[range.start + 2..range.end], range });
                }
            } else if rest.starts_with(b"/*") {
                let range = at..at + block_comment_len(rest);
                at = range.end;
                goes_on = false;
                pieces.code.extend(is_doc(rest).then_some(range));
            } else {
                let range = at..at + token_len(rest);
                at = range.end;
                brackets.see(&bytes[range.clone()], at, &mut pieces.ends);
                match pieces.code.last_mut().filter(|_| goes_on) {
                    Some(last) => last.end = range.end,
                    None => pieces.code.push(range),
                }
                goes_on = true;
            }
        }
        pieces
    }
}

/// Follows the brackets to find the ends of items.
#[derive(Default)]
struct Brackets {
    depth: usize,
    /// The last token was a `}` that may have ended an item.
    behind_block: bool,
}

impl Brackets {
    fn see(&mut self, token: &[u8], end: usize, ends: &mut Vec<usize>) {
        let begins_item = matches!(token, [first, ..] if *first == b'#' || is_name(first)) && token != b"else";
        if self.behind_block && !begins_item {
            // The block was a part of an expression: `const A: B = B {};`
            ends.pop();
        }
        match token {
            b"{" | b"(" | b"[" => self.depth += 1,
            b"}" | b")" | b"]" => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.behind_block = self.depth == 0 && token == b"}";
        if self.behind_block || (self.depth == 0 && token == b";") {
            ends.push(end);
        }
    }
}

fn is_name(byte: &u8) -> bool {
    *byte == b'_' || *byte >= 0x80 || byte.is_ascii_alphanumeric()
}

fn line_len(text: &[u8]) -> usize {
    text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len())
}

/// Whether a comment documents an item: `///`, `//!`, `/** */`, `/*! */`.
fn is_doc(comment: &[u8]) -> bool {
    match comment {
        [b'/', kind, b'!', ..] => matches!(kind, b'/' | b'*'),
        [b'/', b'/', b'/', after @ ..] => !after.starts_with(b"/"),
        [b'/', b'*', b'*', after @ ..] => !after.starts_with(b"*") && !after.starts_with(b"/"),
        _ => false,
    }
}

/// The length of the block comment at the start of `text`; block comments nest.
fn block_comment_len(text: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut offset = 0;
    while let Some(pair) = text.get(offset..offset + 2) {
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

/// The length of the literal or the name at the start of `text`; 1 for anything else.
fn token_len(text: &[u8]) -> usize {
    match text {
        [b'"', ..] => string_len(text),
        [b'\'', ..] => char_len(text),
        [first, ..] if is_name(first) => {
            let len = text.iter().take_while(|byte| is_name(byte)).count();
            let is_raw = matches!(&text[..len], b"r" | b"br" | b"cr");
            len + if is_raw { raw_string_len(&text[len..]) } else { 0 }
        }
        _ => 1,
    }
}

fn string_len(text: &[u8]) -> usize {
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

/// The length of a character literal, or of only the quote of a lifetime.
fn char_len(text: &[u8]) -> usize {
    let closed =
        |from: usize| text.get(from..)?.iter().take(10).position(|byte| *byte == b'\'').map(|at| from + at + 1);
    match text.get(1) {
        Some(b'\\') => closed(3).unwrap_or(1),
        // The continuation bytes of a character have the form 10xxxxxx.
        Some(_) => {
            let end = text.iter().skip(2).take_while(|byte| **byte & 0xc0 == 0x80).count() + 2;
            if text.get(end) == Some(&b'\'') { end + 1 } else { 1 }
        }
        None => 1,
    }
}

/// The length of a raw string after its `r`: hashes and a string. 0 if there is none, as in `r#type`.
fn raw_string_len(text: &[u8]) -> usize {
    let hashes = text.iter().take_while(|byte| **byte == b'#').count();
    if text.get(hashes) != Some(&b'"') {
        return 0;
    }
    let is_end = |window: &[u8]| window[0] == b'"' && window[1..].iter().all(|byte| *byte == b'#');
    let body = &text[hashes + 1..];
    body.windows(hashes + 1).position(is_end).map_or(text.len(), |end| hashes + 1 + end + hashes + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<&str> {
        Pieces::of(source).comments.into_iter().map(|comment| comment.text).collect()
    }

    #[test]
    fn comments_are_found_wherever_tokens_may_stand() {
        assert_eq!(
            texts("//1\nfn f(/**/ //2\n) { //3é\n m!{ a //4\n } }\n////5\n/***///6"),
            ["1", "2", "3é", "4", "//5", "6"]
        );
    }

    #[test]
    fn what_looks_like_a_comment_in_another_token_is_none() {
        for source in [
            "/// doc //a\n",
            "//! doc //a\n",
            "const A: &str = r#\"\n//b\"\n\"#;",
            "const A: &[u8] = br\"\\\";",
            "const A: &str = \"\\\"//c\";",
            "/* /* */\n//d\n*/",
            "/** //e */",
        ] {
            assert_eq!(texts(&format!("{source} //x")), ["x"], "{source}");
        }
    }

    #[test]
    fn a_quote_begins_a_character_or_a_lifetime() {
        for source in
            ["'\"'", "'\\''", "b'\\\\'", "'é'", "'\\u{1F600}'", "f::<'a>()", "&'_ \"//\"", "r#type", "'a: loop {}"]
        {
            assert_eq!(texts(&format!("{source} //x\n\"//y\"")), ["x"], "{source}");
        }
    }

    #[test]
    fn items_end_at_their_own_blocks_and_semicolons() {
        let source =
            "use a::{b, c};#[d] fn e(f: [u8; 1]) { g; }const H: I = I {};J! { k }static L: M = if n {} else {};";
        let mut start = 0;
        let ends = Pieces::of(source).ends;
        let items: Vec<&str> = ends.into_iter().map(|end| &source[std::mem::replace(&mut start, end)..end]).collect();
        let expected = [
            "use a::{b, c};",
            "#[d] fn e(f: [u8; 1]) { g; }",
            "const H: I = I {};",
            "J! { k }",
            "static L: M = if n {} else {};",
        ];
        assert_eq!(items, expected);
    }

    #[test]
    fn code_is_cut_at_blanks_and_comments() {
        let source = "/// d\nfn f(){\"a b\"}/*c*/ g//x\n";
        let code: Vec<&str> = Pieces::of(source).code.into_iter().map(|range| &source[range]).collect();
        assert_eq!(code, ["/// d", "fn", "f(){\"a b\"}", "g"]);
    }
}
