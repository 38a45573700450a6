//! Reads `srs.toml`, which says where a project keeps its requirements, its code and its tests. This workspace needs
//! none.

use super::toml_file;
use anyhow::{anyhow, bail};
use regex::Regex;
use serde::Deserialize;
use std::path::Path;

/// The file's name, in the project's root.
pub(super) const FILE: &str = "srs.toml";

/// Paths are relative to the root; a `*` in a path stands for any one name.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Config {
    /// Markdown files, and folders of them.
    pub(super) documents: Vec<String>,
    /// Markdown files that explain decisions. The report shows each requirement with the notes that mention it.
    pub(super) notes: Vec<String>,
    pub(super) exceptions: String,
    pub(super) snapshot: String,
    /// The results of `--prove --own-tests`.
    pub(super) proven: String,
    /// The regular expression of an id.
    id: String,
    pub(super) tags: Words,
    pub(super) levels: Levels,
}

/// The prefixes of tags, directly before the id.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Words {
    pub(super) code: String,
    pub(super) test: String,
}

/// Source files and folders, by the kind of the tests in them.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Levels {
    /// Code; tests among it are unit tests.
    pub(super) code: Vec<String>,
    pub(super) unit: Vec<String>,
    pub(super) integration: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            documents: strings(["docs/srs"]),
            notes: strings(["docs/decisions.md"]),
            exceptions: "docs/srs/exceptions.toml".to_owned(),
            snapshot: "docs/srs/snapshot.txt".to_owned(),
            proven: "docs/srs/proven.toml".to_owned(),
            id: "SRS_[A-Z0-9_]+_[0-9]{2}_[0-9]{3}".to_owned(),
            tags: Words::default(),
            levels: Levels::default(),
        }
    }
}

impl Default for Words {
    fn default() -> Self {
        Self { code: "Codes_".to_owned(), test: "Tests_".to_owned() }
    }
}

impl Default for Levels {
    fn default() -> Self {
        Self {
            code: strings(["crates/*/src", "crates/*/examples"]),
            unit: strings(["crates/*/tests"]),
            integration: strings(["tests"]),
        }
    }
}

fn strings<const N: usize>(values: [&str; N]) -> Vec<String> {
    values.map(str::to_owned).to_vec()
}

impl Config {
    /// Reads the file. A project without it has the layout of this workspace.
    pub(super) fn read(root: &Path) -> anyhow::Result<(Self, Ids)> {
        let config: Self = toml_file::read(root, FILE)?.map_or_else(Self::default, |(config, _)| config);
        if config.tags.code.is_empty() || config.tags.test.is_empty() || config.tags.code == config.tags.test {
            bail!("{FILE}: `tags.code` and `tags.test` are two different words");
        }
        let ids = Ids::new(&config.id)?;
        Ok((config, ids))
    }
}

/// The form of the project's ids.
#[derive(Debug)]
pub(super) struct Ids {
    whole: Regex,
    anywhere: Regex,
    /// The prefix of every id. A tag or a bold text with this prefix is meant as an id.
    pub(super) prefix: String,
    pub(super) pattern: String,
}

impl Ids {
    pub(super) fn new(pattern: &str) -> anyhow::Result<Self> {
        let compile = |text: &str| Regex::new(text).map_err(|error| anyhow!("{FILE}: `id` is no pattern: {error}"));
        let prefix: String =
            pattern.chars().take_while(|it| it.is_ascii_alphanumeric() || matches!(it, '_' | '-')).collect();
        // The operator may repeat or drop the last letter, so not every id begins with the whole prefix.
        let operator = pattern[prefix.len()..].starts_with(['+', '*', '?', '{', '|']);
        if prefix.is_empty() || operator || pattern.contains('|') {
            bail!("{FILE}: `id` begins with letters that every id has, and has no `|`: `REQ-[0-9]+`");
        }
        let anywhere = compile(pattern)?;
        Ok(Self { whole: compile(&format!("^(?:{pattern})$"))?, anywhere, prefix, pattern: pattern.to_owned() })
    }

    pub(super) fn is_id(&self, text: &str) -> bool {
        self.whole.is_match(text)
    }

    /// The ids that a text mentions.
    pub(super) fn mentioned<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        self.anywhere.find_iter(text).map(|found| found.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_a_name_two_digits_and_three_digits() {
        let ids = Ids::new(&Config::default().id).unwrap();
        assert_eq!(ids.prefix, "SRS_");
        assert!(ids.is_id("SRS_ASYNC_SOCKET_LINUX_11_001"));
        for wrong in
            ["SRS_A_1_001", "SRS_A_01_01", "SRS__01_001", "SRS_01_001", "SRS_a_01_001", "A_01_001", "SRS_A_01_0x1"]
        {
            assert!(!ids.is_id(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_pattern_begins_with_letters() {
        assert_eq!(Ids::new("REQ-[0-9]+").unwrap().prefix, "REQ-");
        for wrong in ["[A-Z]+", "", "A+B", "A|B", "REQ-[0-9"] {
            assert!(Ids::new(wrong).is_err(), "{wrong}");
        }
    }
}
