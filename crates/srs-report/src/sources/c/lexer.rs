//! Separates the comments of a C or C++ file from its code.
//!
//! Comments are found here and not in the parsed file, because the parser may lose its way in macros and a tag must
//! not be lost with it.

use super::branches;
use crate::sources::pieces::{Brackets, Comment, Kind, Pieces, is_name};
use crate::sources::place::Item;
use std::ops::Range;

/// A file's pieces, and its tokens outside of preprocessor directives.
#[derive(Debug, Default)]
pub(in crate::sources) struct Lexed {
    pub(in crate::sources) pieces: Pieces,
    /// Without those of branches that the parser would not understand.
    pub(super) tokens: Vec<Range<usize>>,
    pub(super) directives: Vec<Directive>,
    /// Branches of `#if` that open or close a bracket.
    pub(super) dead: Vec<Range<usize>>,
}

/// A preprocessor directive with its continuation lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) range: Range<usize>,
    /// `define`
    pub(super) word: String,
    /// The word behind, which is the name of a macro.
    pub(super) name: String,
}

impl Directive {
    pub(super) fn is_conditional(&self) -> bool {
        self.word.starts_with("if") || self.word.starts_with("el") || self.word == "endif"
    }
}

/// The pieces of a file.
pub(in crate::sources) fn lex(text: &str) -> Lexed {
    let mut lexer = Lexer { text, bytes: text.as_bytes(), at: 0, goes_on: false, lexed: Lexed::default() };
    let mut is_line_start = true;
    while let Some(&byte) = lexer.bytes.get(lexer.at) {
        if byte == b'#' && is_line_start {
            lexer.directive();
        } else if byte.is_ascii_whitespace() || lexer.skips_break() {
            is_line_start |= byte == b'\n';
            lexer.at += 1;
            lexer.goes_on = false;
        } else if !lexer.comment() {
            is_line_start = false;
            let token = lexer.token();
            lexer.lexed.tokens.push(token);
        }
    }
    let mut lexed = lexer.lexed;
    lexed.dead = branches::dead(text, &lexed.tokens, &lexed.directives);
    let dead = std::mem::take(&mut lexed.dead);
    lexed.tokens.retain(|token| {
        let next = dead.partition_point(|range| range.end <= token.start);
        dead.get(next).is_none_or(|range| token.start < range.start)
    });
    lexed.dead = dead;
    find_ends(text, &mut lexed);
    lexed
}

/// The ends of the outermost items. A block ends one if it is a function's; a type or a table ends with a semicolon.
fn find_ends(text: &str, lexed: &mut Lexed) {
    let mut brackets = Brackets::default();
    let mut is_body = false;
    let mut before = "";
    let ends = &mut lexed.pieces.ends;
    for token in &lexed.tokens {
        let own = &text[token.clone()];
        if own == "{" && brackets.is_outside() {
            is_body = before == ")";
        }
        brackets.see(own.as_bytes(), token.end, ends);
        if own == "}" && brackets.behind_block && !is_body {
            ends.pop();
            brackets.behind_block = false;
        }
        before = own;
    }
    brackets.finish(&mut lexed.pieces);
}

/// The outermost items by their brackets alone, with the last name before the body as their name.
pub(in crate::sources) fn outermost(text: &str, lexed: &Lexed) -> Vec<Item> {
    let mut items = Vec::new();
    let mut tokens = lexed.tokens.iter().peekable();
    for &end in &lexed.pieces.ends {
        let Some(first) = tokens.peek().map(|first| first.start) else { break };
        let (mut name, mut depth, mut has_body) = ("", 0_usize, false);
        while let Some(token) = tokens.next_if(|token| token.end <= end) {
            match &text[token.clone()] {
                "(" => depth += 1,
                ")" => depth = depth.saturating_sub(1),
                "{" | "=" if depth == 0 => has_body = true,
                own if depth == 0 && !has_body && is_word(own) => name = own,
                _ => {}
            }
        }
        items.push(Item::plain(name.to_owned(), first..end));
    }
    items
}

fn is_word(token: &str) -> bool {
    token.starts_with(|it: char| it == '_' || it.is_alphabetic())
}

struct Lexer<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    /// The next token goes on the last piece of code.
    goes_on: bool,
    lexed: Lexed,
}

impl Lexer<'_> {
    /// A backslash that joins a line to the next.
    fn skips_break(&self) -> bool {
        matches!(&self.bytes[self.at..], [b'\\', b'\n', ..] | [b'\\', b'\r', b'\n', ..])
    }

    /// Reads a directive to the end of its last line.
    fn directive(&mut self) {
        let start = self.at;
        let pieces = self.lexed.pieces.code.len();
        let mut words = Vec::new();
        self.goes_on = false;
        while let Some(&byte) = self.bytes.get(self.at) {
            if self.skips_break() {
                self.at += if self.bytes[self.at + 1] == b'\r' { 3 } else { 2 };
                self.goes_on = false;
            } else if byte == b'\n' {
                break;
            } else if byte.is_ascii_whitespace() {
                self.at += 1;
                self.goes_on = false;
            } else if !self.comment() {
                let token = self.token();
                if words.len() < 3 {
                    words.push(token);
                }
            }
        }
        self.goes_on = false;
        let word = |index: usize| words.get(index).map_or(String::new(), |range| self.text[range.clone()].to_owned());
        let directive = Directive { range: start..self.at, word: word(1), name: word(2) };
        if directive.is_conditional() {
            // A tag above it belongs to what it makes conditional.
            self.lexed.pieces.code.truncate(pieces);
        }
        self.lexed.directives.push(directive);
    }

    /// Reads a comment if there is one.
    fn comment(&mut self) -> bool {
        let start = self.at;
        let rest = &self.bytes[start..];
        if rest.starts_with(b"//") {
            let mut end = start;
            // A backslash at the end of the line continues the comment.
            loop {
                end += self.bytes[end..].iter().position(|byte| *byte == b'\n').unwrap_or(self.bytes.len() - end);
                let line = self.bytes[start..end].trim_ascii_end();
                if end == self.bytes.len() || !line.ends_with(b"\\") {
                    break;
                }
                end += 1;
            }
            self.push(start..end, start + 2..end, Kind::Line);
        } else if rest.starts_with(b"/*") {
            let close = rest[2..].windows(2).position(|pair| pair == b"*/");
            let (inner, end) = close.map_or((rest.len(), rest.len()), |close| (close + 2, close + 4));
            self.push(start..start + end, start + 2..start + inner, Kind::Block);
        } else {
            return false;
        }
        true
    }

    fn push(&mut self, range: Range<usize>, inner: Range<usize>, kind: Kind) {
        self.at = range.end;
        self.goes_on = false;
        self.lexed.pieces.comments.push(Comment { range, inner, kind });
    }

    fn token(&mut self) -> Range<usize> {
        let range = self.at..self.at + token_len(&self.bytes[self.at..]);
        self.at = range.end;
        let code = &mut self.lexed.pieces.code;
        match code.last_mut().filter(|_| self.goes_on) {
            Some(last) => last.end = range.end,
            None => code.push(range.clone()),
        }
        self.goes_on = true;
        range
    }
}

/// The length of the literal or the name at the start of `text`; 1 for anything else.
fn token_len(text: &[u8]) -> usize {
    match text {
        [quote @ (b'"' | b'\''), ..] => literal_len(text, *quote),
        [first, ..] if first.is_ascii_digit() => number_len(text),
        [first, ..] if is_name(first) => {
            let len = text.iter().take_while(|byte| is_name(byte)).count();
            let is_raw = matches!(&text[..len], b"R" | b"LR" | b"uR" | b"UR" | b"u8R");
            len + if is_raw { raw_string_len(&text[len..]) } else { 0 }
        }
        _ => 1,
    }
}

/// A string or a character. It ends at the end of its line if it is not closed, as in `#error don't`.
fn literal_len(text: &[u8], quote: u8) -> usize {
    let mut offset = 1;
    while let Some(&byte) = text.get(offset) {
        match byte {
            b'\n' => return offset,
            b'\\' => offset += 2,
            _ if byte == quote => return offset + 1,
            _ => offset += 1,
        }
    }
    text.len()
}

/// `1'000` has a quote inside.
fn number_len(text: &[u8]) -> usize {
    let goes_on = |(index, byte): &(usize, &u8)| {
        is_name(byte) || (**byte == b'\'' && text.get(index + 1).is_some_and(u8::is_ascii_alphanumeric))
    };
    text.iter().enumerate().take_while(goes_on).count()
}

/// `"end(…)end"` of a raw string; 0 if there is none.
fn raw_string_len(text: &[u8]) -> usize {
    let Some(open) = text.iter().take(18).position(|byte| *byte == b'(').filter(|_| text[0] == b'"') else { return 0 };
    let close = [b")", &text[1..open], b"\""].concat();
    let end = text[open..].windows(close.len()).position(|window| window == close);
    end.map_or(text.len(), |end| open + end + close.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comments(source: &str) -> Vec<&str> {
        lex(source).pieces.comments.into_iter().map(|comment| &source[comment.inner]).collect()
    }

    #[test]
    fn comments_are_found_in_code_and_in_macros() {
        let source = "/*1*/ int a; //2\n#define B(x) \\\n    /*3*/ \\\n    x //4\nint c; /*5\n6*/";
        assert_eq!(comments(source), ["1", "2", "3", "4", "5\n6"]);
        assert_eq!(comments("//1 \\\n2\n//3"), ["1 \\\n2", "3"]);
        assert_eq!(comments("/*1"), ["1"]);
    }

    #[test]
    fn what_looks_like_a_comment_in_a_literal_is_none() {
        for source in [
            "\"//a\"",
            "\"\\\"//a\"",
            "'\"'",
            "'\\''",
            "R\"x(\")//a)x\"",
            "1'000'000 'a'",
            "#error don't\n",
            "#include <a'b>\n",
            "u8\"/*\"",
        ] {
            assert_eq!(comments(&format!("{source} //x\n\"//y\"")).last(), Some(&"x"), "{source}");
        }
    }

    #[test]
    fn items_end_at_blocks_and_semicolons() {
        let source = "int b;\nint c(void) { int d; }\nE f = { 1 };\nstruct H { int i; } j;\n";
        let mut start = 0;
        let lexed = lex(source);
        let items: Vec<&str> =
            lexed.pieces.ends.iter().map(|&end| source[std::mem::replace(&mut start, end)..end].trim()).collect();
        assert_eq!(items, ["int b;", "int c(void) { int d; }", "E f = { 1 };", "struct H { int i; } j;"]);
        assert!(lexed.pieces.is_balanced);
        assert!(!lex("int f() {").pieces.is_balanced);
    }
}
