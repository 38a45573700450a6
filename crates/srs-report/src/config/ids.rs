//! The form of ids and the words of tags. A project may have several families of ids, each with rules of its own.

use anyhow::{anyhow, bail};
use regex::Regex;

/// Ids of one form, the tags that name them, and what each requirement of them needs.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) ids: Ids,
    pub(crate) words: Vec<TagWord>,
    /// What stands directly behind the id of a tag; usually nothing.
    pub(crate) suffix: String,
    /// A requirement whose id has one of these prefixes is switched off.
    pub(crate) disabled: Vec<String>,
    pub(crate) required: Vec<Need>,
}

/// What a requirement must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// The aspect of this index: 0 is code, and the levels of tests follow.
    Aspect(usize),
    /// A test of any level.
    AnyTest,
}

/// The word directly before the id of a tag, and what such a tag claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TagWord {
    pub(crate) prefix: String,
    pub(crate) word: Word,
    /// The level that the word decides, as an index into the levels.
    pub(crate) level: Option<usize>,
}

/// The claim of a tag about its item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Code,
    Test,
}

/// The form of the ids of a family.
#[derive(Debug)]
pub(crate) struct Ids {
    whole: Regex,
    start: Regex,
    anywhere: Regex,
    /// The prefix of every id; empty if the pattern has none. A text with this prefix is meant as an id.
    pub(crate) prefix: String,
    pub(crate) pattern: String,
}

impl Ids {
    /// Fails if the pattern is none, or matches the empty text. The error has no place.
    pub(crate) fn new(pattern: &str) -> anyhow::Result<Self> {
        let compile = |text: &str| {
            let one_line = |error: regex::Error| error.to_string().lines().last().unwrap_or_default().to_owned();
            Regex::new(text).map_err(|error| anyhow!("`id` is no pattern: {}", one_line(error)))
        };
        let whole = compile(&format!("^(?:{pattern})$"))?;
        if whole.is_match("") {
            bail!("`id` matches the empty text; an id is for example `REQ-[0-9]+`");
        }
        Ok(Self {
            whole,
            start: compile(&format!("^(?:{pattern})"))?,
            anywhere: compile(pattern)?,
            prefix: prefix_of(pattern),
            pattern: pattern.to_owned(),
        })
    }

    pub(crate) fn is_id(&self, text: &str) -> bool {
        self.whole.is_match(text)
    }

    /// Whether a text that is no id is meant as one.
    pub(crate) fn is_meant(&self, text: &str) -> bool {
        !self.prefix.is_empty() && text.starts_with(&self.prefix)
    }

    /// The length of the id that `text` begins with. A longer word that begins like an id is not that id.
    pub(crate) fn len_at_start(&self, text: &str) -> Option<usize> {
        let end = self.start.find(text)?.end();
        (!text[end..].starts_with(is_word)).then_some(end)
    }

    /// The ids that a text mentions.
    pub(crate) fn mentioned<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        self.places(text).map(|(_, id)| id)
    }

    /// The ids that a text mentions, with their offsets.
    pub(crate) fn places<'t>(&self, text: &'t str) -> impl Iterator<Item = (usize, &'t str)> {
        self.anywhere.find_iter(text).map(|found| (found.start(), found.as_str()))
    }

    /// Whether a text cannot have an id of this form. It is quick, and may be wrong in saying that it can.
    pub(crate) fn is_absent(&self, text: &str) -> bool {
        if self.prefix.is_empty() { !self.anywhere.is_match(text) } else { !text.contains(&self.prefix) }
    }
}

/// Whether a word can continue with this character.
pub(crate) fn is_word(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

/// The letters that every match of the pattern begins with.
fn prefix_of(pattern: &str) -> String {
    if pattern.contains('|') {
        return String::new();
    }
    let is_plain = |it: &char| it.is_alphanumeric() || matches!(it, '_' | '-' | '/' | '~' | ':' | '#' | '@');
    let mut prefix: String = pattern.chars().take_while(is_plain).collect();
    // The operator may repeat or drop the last letter.
    if pattern[prefix.len()..].starts_with(['*', '?', '{', '+']) {
        prefix.pop();
    }
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_a_name_two_digits_and_three_digits() {
        let ids = Ids::new(crate::config::ID).unwrap();
        assert_eq!(ids.prefix, "SRS_");
        assert!(ids.is_id("SRS_ASYNC_SOCKET_LINUX_11_001"));
        for wrong in
            ["SRS_A_1_001", "SRS_A_01_01", "SRS__01_001", "SRS_01_001", "SRS_a_01_001", "A_01_001", "SRS_A_01_0x1"]
        {
            assert!(!ids.is_id(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_pattern_may_begin_with_anything() {
        for (pattern, prefix) in [
            ("REQ-[0-9]+", "REQ-"),
            ("[A-Z]+-[0-9]+", ""),
            ("A+B", ""),
            ("AB?[0-9]", "A"),
            ("A|B", ""),
            ("REQ/[a-z]+/[0-9]+", "REQ/"),
            ("ÜB-[0-9]+", "ÜB-"),
            ("req~[a-z-]+~[0-9]+", "req~"),
        ] {
            assert_eq!(Ids::new(pattern).unwrap().prefix, prefix, "{pattern}");
        }
        for wrong in ["", "[0-9]*", "REQ-[0-9"] {
            assert!(Ids::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_id_ends_at_the_end_of_its_word() {
        let ids = Ids::new("REQ-[0-9]+").unwrap();
        assert_eq!(ids.len_at_start("REQ-12: a"), Some(6));
        assert_eq!(ids.len_at_start("REQ-12a"), None);
        assert_eq!(ids.len_at_start("a REQ-12"), None);
    }
}
