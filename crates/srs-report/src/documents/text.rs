//! Makes one line of a requirement's text.
//!
//! The snapshot keeps a hash of it, so the line of a text without links and HTML stays the same in every version.

use pulldown_cmark::{BrokenLink, CowStr, Event, Parser, Tag, TagEnd};
use regex::Regex;
use std::collections::HashMap;
use std::sync::LazyLock;

/// A line break of a paragraph, with the marks of quotations.
static BREAK: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\\?[ \t]*(?:\r?\n[ \t]*(?:>[ \t]*)*)+").expect("a pattern"));

/// HTML that only changes how a text looks.
static FORMATTING: LazyLock<Regex> = LazyLock::new(|| {
    let names = "a|b|br|code|em|i|kbd|p|small|span|strong|sub|sup|tt|u|wbr";
    Regex::new(&format!(r"(?i)^</?(?:{names})(?:[\s/][^>]*)?>$|^<!--")).expect("a pattern")
});

/// The text with back-ticks and the targets of links, and the text without.
pub(super) fn of(raw: &str, targets: &HashMap<String, String>) -> (String, String) {
    // The text stands between two `**`, so it begins and ends beside punctuation, and never as a list or a heading.
    let line = format!(".{}.", BREAK.replace_all(raw.trim_end_matches(['\n', '\r']), " "));
    let (mut text, mut plain) = (String::new(), String::new());
    let mut links: Vec<(String, usize)> = Vec::new();
    let mut target_of = |link: BrokenLink<'_>| {
        let target = targets.get(&link.reference.to_lowercase())?;
        Some((CowStr::from(target.clone()), CowStr::from("")))
    };
    for event in Parser::new_with_broken_link_callback(&line, pulldown_cmark::Options::empty(), Some(&mut target_of)) {
        match event {
            Event::Text(part) => {
                text += &part;
                plain += &part;
            }
            Event::InlineHtml(part) | Event::Html(part) => {
                text += &part;
                // Code does not quote how a text looks, but `Vec<u8>` is no HTML.
                plain += if FORMATTING.is_match(&part) { " " } else { &part };
            }
            Event::Code(code) => {
                text += &format!("`{code}`");
                plain += &code;
            }
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                links.push((dest_url.to_string(), text.len()));
            }
            Event::End(TagEnd::Link | TagEnd::Image) => {
                let (target, start) = links.pop().unwrap_or_default();
                if !text[start..].trim_start_matches('<').starts_with(target.trim_start_matches("mailto:")) {
                    text += &format!(" ({target})");
                }
            }
            Event::SoftBreak | Event::HardBreak => {
                text.push(' ');
                plain.push(' ');
            }
            _ => {}
        }
    }
    let inner = |text: &str| {
        let text = text.strip_prefix('.').unwrap_or(text);
        text.strip_suffix('.').unwrap_or(text).trim().to_owned()
    };
    (inner(&text), inner(&plain))
}

/// A text as it is compared: without marks, escapes, and differences of blanks.
pub(crate) fn normal(text: &str) -> String {
    let decoded = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
    let kept: String = decoded.chars().filter(|it| !matches!(it, '`' | '*' | '\\')).collect();
    kept.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text of a comment without what decorates its lines.
pub(crate) fn undecorated(comment: &str) -> String {
    let line = |line: &str| {
        let line = line.trim().trim_end_matches('\\').trim_start_matches(['/', '*', '!', '#', ';']);
        line.trim().to_owned()
    };
    // The first line begins behind the bracket.
    let mut lines = comment.lines();
    let first = lines.next().unwrap_or_default().trim_end().trim_end_matches('\\').trim().to_owned();
    [first].into_iter().chain(lines.map(line)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(raw: &str) -> String {
        of(raw, &HashMap::from([("r".to_owned(), "https://r".to_owned())])).0
    }

    #[test]
    fn a_text_keeps_what_changes_its_meaning() {
        for (raw, expected) in [
            (" If `x` is `NULL`, **f**\n  shall *fail*. ", "If `x` is `NULL`, f shall fail."),
            ("at most Vec<u8> &lt;b&gt;", "at most Vec<u8> <b>"),
            ("of [RFC](https://a/1)", "of RFC (https://a/1)"),
            ("of [RFC][r] and [r]", "of RFC (https://r) and r (https://r)"),
            ("see <https://a/1>", "see https://a/1"),
            ("![a](b.png)", "a (b.png)"),
            ("_a_ b_c \\_ d", "a b_c _ d"),
            ("a\n> > b", "a b"),
            ("- a\n# b", "- a # b"),
        ] {
            assert_eq!(text(raw), expected, "{raw}");
        }
    }

    #[test]
    fn a_plain_text_has_no_marks_and_no_formatting() {
        let plain = |raw: &str| normal(&of(raw, &HashMap::new()).1);
        assert_eq!(plain("a `b`,<br/>Vec<u8> <b>c</b> [d](e) &lt;"), "a b, Vec<u8> c d <");
    }

    #[test]
    fn texts_are_compared_without_marks() {
        assert_eq!(normal("If `size`\n is &lt;0\\_ *x*"), normal("If size is <0_ x"));
        assert_eq!(undecorated(" On success\n     * return \\\n  // a handle. "), "On success return a handle.");
    }
}
