//! Languages that are read by the syntax of their comments alone: Python, Go, TypeScript, C#, Java and others.
//!
//! The function around a tag is guessed from the lines, for people to read. A test tag makes a test of what it stands at.

use super::language::Syntax;
use super::pieces::{Comment, Kind, line_len};
use regex::Regex;
use std::ops::Range;
use std::sync::LazyLock;

/// The comments of a file.
pub(super) fn comments(text: &str, syntax: Syntax) -> Vec<Comment> {
    let bytes = text.as_bytes();
    let mut comments = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let is_free =
            at == 0 || bytes[at - 1].is_ascii_whitespace() || matches!(bytes[at - 1], b';' | b'{' | b'}' | b')');
        let line_mark: &[u8] = match syntax {
            Syntax::Slashes => b"//",
            Syntax::Hashes => b"#",
            Syntax::Dashes => b"--",
        };
        let has_blocks = syntax != Syntax::Hashes;
        if rest.starts_with(line_mark) && (is_free || syntax == Syntax::Slashes) {
            let end = at + line_len(rest);
            comments.push(Comment { range: at..end, inner: at + line_mark.len()..end, kind: Kind::Line });
            at = end;
        } else if has_blocks && rest.starts_with(b"/*") {
            let close = rest[2..].windows(2).position(|pair| pair == b"*/");
            let (inner, end) = close.map_or((rest.len(), rest.len()), |close| (close + 2, close + 4));
            comments.push(Comment { range: at..at + end, inner: at + 2..at + inner, kind: Kind::Block });
            at += end;
        } else {
            at += literal_len(rest, syntax);
        }
    }
    comments
}

/// The length of the string at the start of `text`; 1 for anything else. A string that is not closed is none.
fn literal_len(text: &[u8], syntax: Syntax) -> usize {
    let quote = match text {
        [b'"', b'"', b'"', ..] | [b'\'', b'\'', b'\'', ..] if syntax != Syntax::Dashes => {
            let close = text[3..].windows(3).position(|window| window == &text[..3]);
            return close.map_or(3, |close| close + 6);
        }
        [quote @ (b'"' | b'\''), ..] => *quote,
        [b'`', ..] if syntax == Syntax::Slashes => {
            return text[1..].iter().position(|byte| *byte == b'`').map_or(1, |close| close + 2);
        }
        _ => return 1,
    };
    let mut offset = 1;
    while let Some(&byte) = text.get(offset) {
        match byte {
            b'\n' => return 1,
            b'\\' => offset += 2,
            _ if byte == quote => return offset + 1,
            _ => offset += 1,
        }
    }
    1
}

static FUNCTION: LazyLock<Regex> = LazyLock::new(|| {
    let keyword =
        r"\b(?:def|func|function|fun|fn|sub|class|interface|struct|object|trait|module|procedure|describe|it|test)";
    let named = format!(r#"{keyword}\b\s*(?:\([^)]*\)\s*)?["'`(]*\s*([\p{{L}}_$][\w.:$-]*)"#);
    let typed = r"^\s*(?:[\w<>\[\],.?]+\s+)+([\p{L}_]\w*)\s*\([^;]*$";
    let assigned = r"^\s*(?:export\s+)?(?:const|let|var)\s+([\p{L}_$][\w$]*)\s*=";
    Regex::new(&format!("{named}|{typed}|{assigned}")).expect("a pattern")
});

/// The name and the lines of the function that a comment stands above or in. Lines are counted from 1.
pub(super) fn function_at(text: &str, comment: &Range<usize>) -> Option<(String, usize)> {
    let line = text[..comment.start].matches('\n').count();
    let last = text[..comment.end].matches('\n').count();
    let lines: Vec<&str> = text.lines().collect();
    let own = lines
        .get(line)
        .filter(|own| !own[..own.len().min(comment.start - line_start(text, comment.start))].trim().is_empty());
    if let Some(name) = own.and_then(|own| name_in(own)) {
        return Some((name, line + 1));
    }
    let indent = |line: &str| line.len() - line.trim_start().len();
    // Below, behind comments and decorators.
    let mut below = lines.iter().enumerate().skip(last + 1);
    let next = below.find(|(_, line)| {
        let line = line.trim();
        !line.starts_with(['#', '@', '/', '*', '[']) && !line.starts_with("--")
    });
    if let Some((index, name)) = next.and_then(|(index, line)| Some((index, name_in(line)?))) {
        return Some((name, index + 1));
    }
    // Around: the nearest line above that is indented less.
    let own_indent = lines.get(line).map_or(0, |line| indent(line));
    lines[..line.min(lines.len())]
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, line)| !line.trim().is_empty() && indent(line) < own_indent)
        .find_map(|(index, line)| Some((name_in(line)?, index + 1)))
}

fn line_start(text: &str, offset: usize) -> usize {
    text[..offset].rfind('\n').map_or(0, |line| line + 1)
}

fn name_in(line: &str) -> Option<String> {
    let keywords = ["if", "for", "while", "switch", "return", "else", "catch", "elif", "new", "throw"];
    let found = FUNCTION.captures(line)?;
    let name = found.iter().skip(1).flatten().next()?.as_str();
    (!keywords.contains(&name)).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str, syntax: Syntax) -> Vec<&str> {
        comments(source, syntax).into_iter().map(|comment| &source[comment.inner]).collect()
    }

    #[test]
    fn each_syntax_has_its_comments() {
        assert_eq!(texts("a //1\n/*2*/ \"//3\" `//4` 'x' //5", Syntax::Slashes), ["1", "2", "5"]);
        assert_eq!(texts("#1\nx = \"#2\" # 3\n\"\"\"\n# 4\n\"\"\"\n${a#b}", Syntax::Hashes), ["1", " 3"]);
        assert_eq!(texts("--1\na - '--2' -- 3", Syntax::Dashes), ["1", " 3"]);
    }

    #[test]
    fn the_function_of_a_comment_is_below_or_around() {
        let at = |text: &str| {
            let start = text.find("TAG").expect("a tag");
            function_at(text, &(start..start + 3)).map(|(name, line)| format!("{name}:{line}"))
        };
        for (text, expected) in [
            ("# TAG\n@a\ndef b(c):\n  pass\n", Some("b:3")),
            ("def b(c):\n    # TAG\n    pass\n", Some("b:1")),
            ("// TAG\nfunc (s *S) Open(a int) error {\n", Some("Open:2")),
            ("// TAG\n[Fact]\npublic void Opens()\n{\n", Some("Opens:3")),
            ("// TAG\nexport const open = (a) => {\n", Some("open:2")),
            ("// TAG\nit(\"opens\", () => {\n", Some("opens:2")),
            ("// TAG\nexport function open(a: number) {\n", Some("open:2")),
            ("x = 1\n# TAG\ny = 2\n", None),
        ] {
            assert_eq!(at(text).as_deref(), expected, "{text}");
        }
    }
}
