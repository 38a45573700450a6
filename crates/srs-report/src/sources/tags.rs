//! Finds the tags in a comment.
//!
//! A tag is a word such as `Codes_` directly before an id. It counts if it begins a line of the comment, stands in a
//! list behind another tag, or has the requirement's text behind it, `Codes_SRS_…: [ text ]`. Anywhere else it is a
//! mention. A line that begins with another word and an id is reported as a wrong entry.

use crate::config::{Family, TagWord, is_word};
use std::ops::Range;

/// What a comment says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry<'t> {
    Tag(Found<'t>),
    /// Something that is meant as a tag, with its offset and what is wrong with it.
    Wrong(usize, String),
}

/// A tag in its file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found<'t> {
    pub(super) word: &'t TagWord,
    pub(super) id: &'t str,
    pub(super) start: usize,
    /// The requirement's text between the brackets.
    pub(super) quote: Option<Range<usize>>,
}

/// A word and an id, which may be a tag.
struct Candidate<'t> {
    word: &'t TagWord,
    id: &'t str,
    range: Range<usize>,
    /// What has to stand behind the id is there.
    is_closed: bool,
}

/// The characters that decorate the start of a comment's line.
const DECORATION: [char; 8] = ['/', '*', '!', '#', '-', ';', '<', '%'];

/// The tags of a comment, which is a range of the file's text.
pub(super) fn entries<'t>(text: &'t str, comment: Range<usize>, families: &'t [Family]) -> Vec<Entry<'t>> {
    // Most comments have no id, and looking for one is quick.
    if families.iter().all(|family| family.ids.is_absent(&text[comment.clone()])) {
        return Vec::new();
    }
    let mut candidates = candidates(text, &comment, families);
    if candidates.is_empty() {
        return near_misses(text, &comment, families, &[]);
    }
    let mut accepted: Vec<Candidate<'t>> = Vec::new();
    // The end of the last tag and its text, as long as a list may continue behind it.
    let mut list_end = None;
    candidates.reverse();
    while let Some(candidate) = candidates.pop() {
        let start = candidate.range.start;
        let begins_line = is_decoration(&text[line_start(text, &comment, start)..start]);
        let goes_on = list_end.is_some_and(|end| is_separator(&text[end..start]));
        let end = candidates.last().map_or(comment.end, |next| next.range.start);
        let quote = quote(text, candidate.range.end, end);
        let has_colon = text[candidate.range.end..end].trim_start().starts_with(':');
        let is_quoted = text[comment.start..start].ends_with('`');
        if begins_line || goes_on || (quote.is_some() && has_colon && !is_quoted) {
            // The bracket that ends the text may be missing.
            let behind = |quote: Range<usize>| quote.end + usize::from(text[quote.end..].starts_with(']'));
            list_end = Some(quote.map_or(candidate.range.end, behind));
            accepted.push(candidate);
        }
    }
    let mut entries = Vec::new();
    for (index, candidate) in accepted.iter().enumerate() {
        let end = accepted.get(index + 1).map_or(comment.end, |next| next.range.start);
        entries.extend(entry(text, candidate, end));
    }
    let starts: Vec<usize> = accepted.iter().map(|it| it.range.start).collect();
    entries.extend(near_misses(text, &comment, families, &starts));
    entries
}

/// Whether the comment has a tag text that is not ended, so that it may go on in the next line comment.
pub(super) fn is_open(text: &str, comment: Range<usize>, families: &[Family]) -> bool {
    if families.iter().all(|family| family.ids.is_absent(&text[comment.clone()])) {
        return false;
    }
    let found = candidates(text, &comment, families);
    found.last().is_some_and(|last| {
        let rest = &text[last.range.end..comment.end];
        opens(rest).is_some_and(|open| rest[open..].matches('[').count() + 1 > rest[open..].matches(']').count())
    })
}

/// The number of words with an id behind, wherever they stand.
pub(super) fn count(text: &str, families: &[Family]) -> usize {
    candidates(text, &(0..text.len()), families).len()
}

fn candidates<'t>(text: &'t str, comment: &Range<usize>, families: &'t [Family]) -> Vec<Candidate<'t>> {
    let inner = &text[comment.clone()];
    let mut found: Vec<Candidate<'t>> = Vec::new();
    for family in families {
        for word in &family.words {
            for (at, _) in inner.match_indices(word.prefix.as_str()) {
                let is_inside_word = word.prefix.starts_with(is_word) && inner[..at].ends_with(is_word);
                let id_start = comment.start + at + word.prefix.len();
                let rest = &text[id_start..comment.end];
                let Some(len) = id_len(family, rest).filter(|_| !is_inside_word) else { continue };
                let (end, is_closed) = suffix_end(&rest[len..], &family.suffix);
                let range = comment.start + at..id_start + len + end;
                found.push(Candidate { word, id: &text[id_start..id_start + len], range, is_closed });
            }
        }
    }
    // Of several words at a place, the first is the longest. A word may also stand inside another tag.
    found.sort_by_key(|candidate| candidate.range.start);
    let mut end = 0;
    found.retain(|candidate| {
        let is_first = candidate.range.start >= end;
        end = if is_first { candidate.range.end } else { end };
        is_first
    });
    found
}

/// The length of what stands behind an id up to the end of the suffix, and whether the suffix is there. `OpenFastTrace`
/// may put `>>utest,itest` between.
fn suffix_end(rest: &str, suffix: &str) -> (usize, bool) {
    let line = rest.lines().next().unwrap_or_default();
    match line.find(suffix) {
        Some(at) if at == 0 || rest.starts_with(">>") => (at + suffix.len(), true),
        _ => (0, false),
    }
}

/// The length of the id, or of what is meant as one.
fn id_len(family: &Family, text: &str) -> Option<usize> {
    family.ids.len_at_start(text).or_else(|| {
        let is_part = |it: char| is_word(it) || matches!(it, '-' | '.');
        let len = text.find(|it| !is_part(it)).unwrap_or(text.len());
        let len = text[..len].trim_end_matches(['-', '.']).len();
        family.ids.is_meant(&text[..len]).then_some(len)
    })
}

/// The offset behind the bracket that opens the text of a tag: `: [` or `[`.
fn opens(rest: &str) -> Option<usize> {
    let trimmed = rest.trim_start();
    let trimmed = trimmed.strip_prefix(':').unwrap_or(trimmed).trim_start();
    Some(rest.len() - trimmed.strip_prefix('[')?.len())
}

/// The text of a tag, up to the last bracket before `end`.
fn quote(text: &str, from: usize, end: usize) -> Option<Range<usize>> {
    let start = from + opens(&text[from..end])?;
    let close = text[start..end].rfind(']').map_or(end, |close| start + close);
    Some(start..close)
}

/// A tag, and what is wrong with the list behind it.
fn entry<'t>(text: &'t str, candidate: &Candidate<'t>, end: usize) -> Vec<Entry<'t>> {
    let Candidate { word, id, range, is_closed } = candidate;
    let quote = quote(text, range.end, end);
    let tag = |quote| Entry::Tag(Found { word, id, start: range.start, quote });
    if !is_closed {
        let message = format!("`{}` has something else behind its id than it should", &text[range.clone()]);
        return vec![tag(None), Entry::Wrong(range.start, message)];
    }
    if let Some(quote) = quote {
        let is_closed = text[quote.end..end].starts_with(']');
        let open = format!("the text of `{}{id}` is not ended by `]`", word.prefix);
        let wrong = (!is_closed).then_some(Entry::Wrong(range.start, open));
        return [tag(Some(quote))].into_iter().chain(wrong).collect();
    }
    // What stands in the next lines is an explanation.
    let rest = text[range.end..end].lines().next().unwrap_or_default();
    if rest.trim_start().starts_with(':') {
        let message = format!("the text of `{}{id}` is not between `[` and `]`", word.prefix);
        return vec![tag(None), Entry::Wrong(range.start, message)];
    }
    let mut parts = rest.split([',', ';']).map(|part| part.trim().trim_end_matches('\\').trim());
    let first = parts.next().unwrap_or_default();
    let wrong = |entry: &str| {
        let message = format!("`{entry}` among the tags is none; tags are separated by commas");
        Entry::Wrong(range.start, message)
    };
    let own = if first.is_empty() || is_decoration(first) {
        tag(None)
    } else {
        wrong(&format!("{} {first}", &text[range.clone()]))
    };
    let others = parts.filter(|part| !part.is_empty() && !is_decoration(part)).map(wrong);
    [own].into_iter().chain(others).collect()
}

/// Lines that begin with a word and an id, where the word is none of the project's.
fn near_misses<'t>(text: &str, comment: &Range<usize>, families: &[Family], known: &[usize]) -> Vec<Entry<'t>> {
    let mut wrong = Vec::new();
    let mut start = comment.start;
    for line in text[comment.clone()].split_inclusive('\n') {
        let from = start + line.len()
            - line.trim_start_matches(|it: char| it.is_whitespace() || DECORATION.contains(&it)).len();
        start += line.len();
        let token = text[from..start].split(|it: char| !is_word(it)).next().unwrap_or_default();
        if token.is_empty() || known.contains(&from) {
            continue;
        }
        for family in families {
            let Some((at, _)) = family.ids.places(token).find(|(at, id)| *at > 0 && at + id.len() == token.len())
            else {
                continue;
            };
            let before = &token[..at];
            let is_disabled = family.disabled.iter().any(|prefix| before.ends_with(prefix.as_str()));
            if !is_disabled && before.chars().all(|it| it == '_' || it.is_alphabetic()) {
                let words: Vec<String> = family.words.iter().map(|word| format!("`{}`", word.prefix)).collect();
                let message = format!("`{token}` begins with none of the words of tags: {}", words.join(", "));
                wrong.push(Entry::Wrong(from, message));
                break;
            }
        }
    }
    wrong
}

fn line_start(text: &str, comment: &Range<usize>, offset: usize) -> usize {
    text[comment.start..offset].rfind('\n').map_or(comment.start, |line| comment.start + line + 1)
}

fn is_decoration(text: &str) -> bool {
    text.chars().all(|it| it.is_whitespace() || DECORATION.contains(&it))
}

/// Whether a text may stand between two tags of a list.
fn is_separator(text: &str) -> bool {
    text.chars().all(|it| it.is_whitespace() || DECORATION.contains(&it) || matches!(it, ',' | '\\' | '&' | '+'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Ids, Word};

    fn families() -> Vec<Family> {
        let word = |prefix: &str, word| TagWord { prefix: prefix.to_owned(), word, level: None };
        let ids = Ids::new("SRS_[A-Z0-9_]+_[0-9]{2}_[0-9]{3}").expect("a pattern");
        let words = vec![word("Codes_", Word::Code), word("Tests_", Word::Test)];
        let family = |ids, words, suffix: &str| Family {
            ids,
            words,
            suffix: suffix.to_owned(),
            disabled: vec!["NON_".to_owned()],
            required: Vec::new(),
        };
        let other = Ids::new("req~[a-z-]+~[0-9]+").expect("a pattern");
        vec![family(ids, words, ""), family(other, vec![word("[impl->", Word::Code)], "]")]
    }

    /// `C1[text]` for `Codes_SRS_A_01_001: [text]`, and `!` for what is wrong.
    fn read(comment: &str) -> Vec<String> {
        let short = |found: &Found<'_>| {
            let quote = found.quote.clone().map(|range| format!("[{}]", &comment[range])).unwrap_or_default();
            format!("{}{}{quote}", &found.word.prefix[..1], &found.id[found.id.len() - 1..])
        };
        let families = families();
        let entries = entries(comment, 0..comment.len(), &families);
        entries
            .iter()
            .map(|entry| match entry {
                Entry::Tag(found) => short(found),
                Entry::Wrong(..) => "!".to_owned(),
            })
            .collect()
    }

    #[test]
    fn tags_stand_alone_in_lists_and_with_texts() {
        for (comment, expected) in [
            (" Codes_SRS_A_01_001", vec!["C1"]),
            ("Codes_SRS_A_01_001, Tests_SRS_A_01_002", vec!["C1", "T2"]),
            (" Codes_SRS_A_01_001; Codes_SRS_A_01_002,", vec!["C1", "C2"]),
            ("Codes_SRS_A_01_001: [ a, b ], Codes_SRS_A_01_002", vec!["C1[ a, b ]", "C2"]),
            ("Codes_SRS_A_01_001: [ a [b] c ]*", vec!["C1[ a [b] c ]"]),
            ("Codes_SRS_A_01_001: [ a ]\n   Codes_SRS_A_01_002: [ b\n c ]", vec!["C1[ a ]", "C2[ b\n c ]"]),
            ("Codes_SRS_A_01_001: [ a ] Codes_SRS_A_01_002: [ b ]", vec!["C1[ a ]", "C2[ b ]"]),
            ("*\n * Codes_SRS_A_01_001\n * and why\n", vec!["C1"]),
            ("Why: Codes_SRS_A_01_001: [ a ]", vec!["C1[ a ]"]),
            ("[impl->req~a-b~1]", vec!["[1"]),
            ("[impl->req~a-b~1>>utest, itest]", vec!["[1"]),
            ("Codes_SRS_A_01_01", vec!["C1"]),
        ] {
            assert_eq!(read(comment), expected, "{comment}");
        }
    }

    #[test]
    fn what_is_meant_as_a_tag_and_is_none_is_wrong() {
        for (comment, expected) in [
            ("codes_SRS_A_01_001", vec!["!"]),
            ("Test_SRS_A_01_001: [ a ]", vec!["!"]),
            ("Codes_SRS_A_01_001 and more", vec!["!"]),
            ("Codes_SRS_A_01_001, SRS_A_01_002", vec!["C1", "!"]),
            ("Codes_SRS_A_01_001: [ a", vec!["C1[ a]", "!"]),
            ("Codes_SRS_A_01_001: a ]", vec!["C1", "!"]),
            ("[impl->req~a-b~1)", vec!["[1", "!"]),
            ("Codes_SRS_A_01_001: [Codes_SRS_A_01_002", vec!["C1[]", "!", "C2"]),
            ("Codes_SRS_A_01_001\ntests_SRS_A_01_002", vec!["C1", "!"]),
        ] {
            assert_eq!(read(comment), expected, "{comment}");
        }
    }

    #[test]
    fn a_mention_is_no_tag() {
        for comment in [
            "As Codes_SRS_A_01_001 wants it.",
            "`Codes_SRS_A_01_001: [ a ]` is a tag",
            "SRS_A_01_001 says",
            "NON_SRS_A_01_001",
            "MyCodes SRS_A_01_001",
        ] {
            assert_eq!(read(comment), [""; 0], "{comment}");
        }
    }

    #[test]
    fn a_text_is_open_until_its_bracket() {
        let families = families();
        for (comment, open) in
            [("Codes_SRS_A_01_001: [ a", true), ("Codes_SRS_A_01_001: [ a ]", false), ("Codes_SRS_A_01_001", false)]
        {
            assert_eq!(is_open(comment, 0..comment.len(), &families), open, "{comment}");
        }
    }
}
