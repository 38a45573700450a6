//! Reads the tags of a project's Rust files and finds the item of each.
//!
//! A tag is a line comment, `// Codes_SRS_…` or `// Tests_SRS_…`, or several separated by commas. It is attached
//! to the item directly below it, or to the item among whose attributes it stands. Any other tag is attached to the item
//! whose body contains it. [`files`] finds the files, [`comments`] the comments, [`items`] the items, and [`packages`]
//! the names of tests.

mod comments;
mod files;
mod items;
mod packages;

use super::config::{Config, Ids, Words};
use super::finding::{Finding, Kind, Lines, Location};
use anyhow::{Context as _, anyhow};
use comments::{Comment, Pieces};
use files::File;
use items::Item;
use proc_macro2::TokenStream;
use std::fmt;
use std::fs;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::sync::Arc;
use std::thread;

pub(super) use files::Level;
pub(super) use packages::Home;

/// One id of one tag comment.
#[derive(Debug)]
pub(super) struct Tag {
    pub(super) word: Word,
    pub(super) id: String,
    pub(super) level: Level,
    pub(super) location: Location,
    pub(super) target: Option<Arc<Target>>,
}

/// The claim of a tag about its item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Code,
    Test,
}

/// The item a tag is attached to.
#[derive(Debug)]
pub(super) struct Target {
    /// The name with the modules and types around it: `tests::it_works`.
    pub(super) name: String,
    pub(super) is_test: bool,
    /// Whether it is a test or exists only for tests.
    pub(super) is_test_code: bool,
    /// The item's lines, its attributes included.
    pub(super) lines: RangeInclusive<usize>,
    pub(super) test: TestName,
}

/// The runner's name of a test.
#[derive(Debug)]
pub(super) struct TestName {
    pub(super) home: Home,
    /// The names with their modules, as the runner prints them after the binary. A macro may hold several tests.
    pub(super) names: Vec<String>,
    /// Whether a name may stand for several tests: `name::case_1`.
    pub(super) is_parametrised: bool,
    /// The least number of tests, if there is only one name.
    pub(super) cases: usize,
}

impl TestName {
    /// Whether this is the test `name` of the runner's `binary`, which is empty if the runner names no binaries.
    pub(super) fn is(&self, binary: &str, name: &str) -> bool {
        self.is_in(binary) && self.names.iter().any(|own| self.covers(own, name))
    }

    /// May the test be in this binary?
    pub(super) fn is_in(&self, binary: &str) -> bool {
        match (&self.home.binary, &self.home.package) {
            (Some(own), _) => binary.is_empty() || **own == *binary,
            (None, Some(package)) => binary.is_empty() || package_of(binary) == &**package,
            (None, None) => true,
        }
    }

    fn covers(&self, own: &str, name: &str) -> bool {
        let below = || name.strip_prefix(own).is_some_and(|rest| rest.starts_with("::"));
        own == name || (self.is_parametrised && below())
    }
}

impl fmt::Display for TestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Home { package, binary, .. } = &self.home;
        if let Some(place) = binary.as_ref().or(package.as_ref()) {
            write!(f, "{place} ")?;
        }
        f.write_str(&self.names.join(", "))
    }
}

/// The package in nextest's name for a test binary, `package::target`.
pub(super) fn package_of(binary: &str) -> &str {
    binary.split("::").next().unwrap_or(binary)
}

/// The text without its comments and blanks; doc comments stay.
pub(super) fn code_of(text: &str) -> String {
    Pieces::of(text).code.into_iter().map(|piece| &text[piece]).collect::<Vec<_>>().join(" ")
}

/// Reads every tag of the project.
pub(super) fn read(root: &Path, config: &Config, ids: &Ids, findings: &mut Vec<Finding>) -> anyhow::Result<Vec<Tag>> {
    let files = files::find(root, config)?;
    let reader = Reader { root, words: &config.tags, ids };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let share = files.len().div_ceil(workers).max(1);
    let outcomes: Vec<_> = thread::scope(|scope| {
        let reader = &reader;
        let started: Vec<_> = files.chunks(share).map(|chunk| scope.spawn(move || reader.read_all(chunk))).collect();
        started.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    let mut tags = Vec::new();
    for outcome in outcomes {
        let (found, wrong) = outcome.map_err(|_| anyhow!("a reader of the sources panicked"))??;
        tags.extend(found);
        findings.extend(wrong);
    }
    Ok(tags)
}

/// The settings for reading every file.
struct Reader<'r> {
    root: &'r Path,
    words: &'r Words,
    ids: &'r Ids,
}

impl Reader<'_> {
    fn read_all(&self, files: &[File]) -> anyhow::Result<(Vec<Tag>, Vec<Finding>)> {
        let (mut tags, mut findings) = (Vec::new(), Vec::new());
        for file in files {
            let path = &file.path;
            let text = fs::read_to_string(self.root.join(&**path)).with_context(|| format!("cannot read {path}"))?;
            tags.extend(self.parse(&text, file, &mut findings)?);
        }
        Ok((tags, findings))
    }

    fn parse(&self, text: &str, file: &File, findings: &mut Vec<Finding>) -> anyhow::Result<Vec<Tag>> {
        // Most files have no tag, and parsing takes most of the time.
        if !self.prefixes().iter().any(|(_, prefix)| text.contains(prefix)) {
            return Ok(Vec::new());
        }
        let path = &file.path;
        let Pieces { comments, code, ends } = Pieces::of(text);
        let tagged: Vec<usize> = comments
            .iter()
            .filter(|comment| self.entries(comment.text).next().is_some())
            .map(|comment| comment.range.start)
            .collect();
        // If the shortened file does not parse, it may have been cut wrongly, so the whole file decides.
        let parsed = parse_rust(path, &only_items_of(text, &ends, &tagged)).or_else(|_| parse_rust(path, text))?;
        let source = Source { text, code, items: items::collect(&parsed) };
        // The parser remembers the file for its spans, which would slow down the next file.
        proc_macro2::extra::invalidate_current_thread_spans();

        let lines = Lines::of(text);
        let mut tags = Vec::new();
        for comment in comments {
            let mut entries = self.entries(comment.text).peekable();
            if entries.peek().is_none() {
                continue;
            }
            let location = Location { path: Arc::clone(path), line: lines.line(comment.range.start) };
            let target = source.item_of(&comment).map(|item| Arc::new(target(item, file, &lines)));
            for entry in entries {
                match self.split(entry) {
                    Some((word, id)) => tags.push(Tag {
                        word,
                        id: id.to_owned(),
                        level: file.level,
                        location: location.clone(),
                        target: target.clone(),
                    }),
                    None => {
                        let message = format!("`{entry}` among the tags is none; tags are separated by commas");
                        findings.push(Finding::new(&location, Kind::MalformedTag, message));
                    }
                }
            }
        }
        Ok(tags)
    }

    /// The prefix of the tags of each word.
    fn prefixes(&self) -> [(Word, String); 2] {
        let Words { code, test } = self.words;
        let prefix = &self.ids.prefix;
        [(Word::Code, format!("{code}{prefix}")), (Word::Test, format!("{test}{prefix}"))]
    }

    /// The entries of a comment that begins with a tag. A comment that only mentions tags has none.
    fn entries<'t>(&self, comment: &'t str) -> impl Iterator<Item = &'t str> + use<'t> {
        let text = comment.trim_start();
        let Words { code, test } = self.words;
        let is_list = [code, test]
            .into_iter()
            .any(|word| text.strip_prefix(word.as_str()).is_some_and(|rest| rest.starts_with(&self.ids.prefix)));
        comment.split(',').map(str::trim).filter(move |entry| is_list && !entry.is_empty())
    }

    /// `Codes_SRS_A_01_001` as its word and its id.
    fn split<'t>(&self, entry: &'t str) -> Option<(Word, &'t str)> {
        let Words { code, test } = self.words;
        let is_id = |id: &&str| {
            let is_word = |byte: u8| matches!(byte, b'_' | b'-' | b'.') || byte.is_ascii_alphanumeric();
            id.starts_with(&self.ids.prefix) && id.bytes().all(is_word)
        };
        [(Word::Code, code), (Word::Test, test)]
            .into_iter()
            .find_map(|(word, prefix)| Some((word, entry.strip_prefix(prefix.as_str()).filter(is_id)?)))
    }
}

/// The text with every untagged outermost item as blanks, because parsing takes most of the time.
fn only_items_of(text: &str, ends: &[usize], tagged: &[usize]) -> String {
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

fn parse_rust(path: &str, text: &str) -> anyhow::Result<syn::File> {
    let not_rust = |line: usize, error: &dyn fmt::Display| anyhow!("{path}:{line}: not Rust: {error}");
    let tokens: TokenStream =
        text.parse().map_err(|error: proc_macro2::LexError| not_rust(error.span().start().line, &error))?;
    syn::parse2(tokens).map_err(|error| not_rust(error.span().start().line, &error))
}

fn target(item: &Item, file: &File, lines: &Lines) -> Target {
    let module = &file.home.module;
    let full = |name: &String| if module.is_empty() { name.clone() } else { format!("{module}::{name}") };
    let Item { is_parametrised, cases, .. } = *item;
    Target {
        name: item.name.clone(),
        is_test: item.is_test,
        is_test_code: item.is_test_code || file.only_tests,
        lines: lines.line(item.start)..=lines.line(item.end.saturating_sub(1)),
        test: TestName {
            home: file.home.clone(),
            names: item.test_names.iter().map(full).collect(),
            is_parametrised,
            cases,
        },
    }
}

/// A parsed file, with its pieces as byte ranges of the text.
struct Source<'t> {
    text: &'t str,
    /// The code without comments, cut at blanks.
    code: Vec<Range<usize>>,
    items: Vec<Item>,
}

impl Source<'_> {
    fn item_of(&self, comment: &Comment<'_>) -> Option<&Item> {
        let next = self.code.partition_point(|piece| piece.start < comment.range.start);
        let before = self.code[..next].last();
        match before.filter(|piece| !self.text[piece.end..comment.range.start].contains('\n')) {
            // A tag after code on the same line belongs to that code.
            Some(code) => self.around(code.end - 1),
            None => self.below(comment, self.code.get(next)).or_else(|| self.around(comment.range.start)),
        }
    }

    /// The item that begins with `next`, if only comments and no blank line lie between.
    fn below(&self, comment: &Comment<'_>, next: Option<&Range<usize>>) -> Option<&Item> {
        let next = next.filter(|next| !has_blank_line(&self.text[comment.range.end..next.start]))?;
        self.items.iter().find(|item| item.start == next.start)
    }

    /// The innermost item that contains the offset.
    fn around(&self, offset: usize) -> Option<&Item> {
        let holds = |item: &&Item| {
            let end = if item.owns_body { item.end } else { item.head };
            (item.start..end).contains(&offset)
        };
        self.items.iter().filter(holds).max_by_key(|item| item.start)
    }
}

fn has_blank_line(gap: &str) -> bool {
    // The first piece is the rest of the comment's line, and the last is the indentation of the code below.
    let mut lines = gap.split('\n').skip(1).peekable();
    std::iter::from_fn(|| lines.next().filter(|_| lines.peek().is_some())).any(|line| line.trim().is_empty())
}
