//! Separates a Rust file's comments from its code. Doc comments count as both, because they are attributes of an item.

use crate::sources::pieces::{Brackets, Comment, Kind, Pieces, is_name, line_len, string_len};
use std::ops::Range;

/// The pieces of a Rust file.
pub(in crate::sources) fn pieces(text: &str) -> Pieces {
    let bytes = text.as_bytes();
    let mut pieces = Pieces::default();
    let mut at = 0;
    let mut goes_on = false;
    let mut brackets = Brackets::default();
    while let Some(&byte) = bytes.get(at) {
        let rest = &bytes[at..];
        if byte.is_ascii_whitespace() {
            goes_on = false;
            at += 1;
        } else if let Some(comment) = comment(rest, at) {
            at = comment.range.end;
            goes_on = false;
            if comment.kind == Kind::Doc {
                brackets.behind_block &= rest.starts_with(b"/*");
                pieces.code.push(comment.range.clone());
            }
            pieces.comments.push(comment);
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
    brackets.finish(&mut pieces);
    pieces
}

/// The tokens of a Rust file, without comments.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
            if rest[0].is_ascii_whitespace() {
                at += 1;
            } else if let Some(comment) = comment(rest, at) {
                at = comment.range.end;
            } else {
                let start = at;
                at += token_len(rest);
                return text.get(start..at);
            }
        }
    })
}

/// The comment at the start of `rest`, which begins at the offset `at`.
fn comment(rest: &[u8], at: usize) -> Option<Comment> {
    let is_line = rest.starts_with(b"//");
    if !is_line && !rest.starts_with(b"/*") {
        return None;
    }
    let is_doc = is_doc(rest);
    let opening = if is_doc { 3 } else { 2 };
    let (len, closing) = if is_line { (line_len(rest), 0) } else { block_comment_len(rest) };
    let kind = match (is_doc, is_line) {
        (true, _) => Kind::Doc,
        (false, true) => Kind::Line,
        (false, false) => Kind::Block,
    };
    let inner: Range<usize> = (at + opening).min(at + len)..at + len.saturating_sub(closing).max(opening.min(len));
    Some(Comment { range: at..at + len, inner, kind })
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

/// The length of the block comment at the start of `text`, and of its end mark; block comments nest.
fn block_comment_len(text: &[u8]) -> (usize, usize) {
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
            return (offset, 2);
        }
    }
    (text.len(), 0)
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

    /// The texts of line comments.
    fn texts(source: &str) -> Vec<&str> {
        let lines = pieces(source).comments.into_iter().filter(|comment| comment.kind == Kind::Line);
        lines.map(|comment| &source[comment.inner]).collect()
    }

    #[test]
    fn block_and_doc_comments_are_comments() {
        let source = "/*1*//**2*/ //!3\n/*/*4*/*/ ///5\n/*!6*/ /* 7";
        let all: Vec<&str> = pieces(source).comments.into_iter().map(|comment| &source[comment.inner]).collect();
        assert_eq!(all, ["1", "2", "3", "/*4*/", "5", "6", " 7"]);
    }

    #[test]
    fn tokens_are_names_literals_and_single_signs() {
        let all: Vec<&str> = tokens("#[path = \"a;b\"] pub mod r#c; // mod d;\n").collect();
        assert_eq!(all, ["#", "[", "path", "=", "\"a;b\"", "]", "pub", "mod", "r", "#", "c", ";"]);
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
        let ends = pieces(source).ends;
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
        let code: Vec<&str> = pieces(source).code.into_iter().map(|range| &source[range]).collect();
        assert_eq!(code, ["/// d", "fn", "f(){\"a b\"}", "g"]);
    }
}
