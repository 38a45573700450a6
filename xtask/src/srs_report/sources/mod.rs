//! Reads the tags of a project's Rust files and finds what each is attached to.
//!
//! A tag is a line comment, `// Codes_SRS_…` or `// Tests_SRS_…`, or several separated by commas. It is attached
//! to the item it stands directly above, among the item's attributes, or else to the item whose body it stands
//! in. [`comments`] finds the comments, [`items`] the items.

mod comments;
mod items;

use super::finding::{Finding, Kind, Lines, Location, relative};
use anyhow::{Context as _, anyhow};
use comments::Comment;
use items::Item;
use proc_macro2::TokenStream;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use walkdir::{DirEntry, WalkDir};

/// One id of one tag comment.
#[derive(Debug)]
pub(super) struct Tag {
    pub(super) word: Word,
    pub(super) id: String,
    pub(super) level: Level,
    pub(super) location: Location,
    pub(super) target: Option<Target>,
}

/// What a tag claims about its item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Codes,
    Tests,
}

/// The kind of test that a test in a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// It is in a crate's own folder.
    Unit,
    /// It is in the `tests` package.
    Integration,
}

/// The item a tag is attached to.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// With the modules and types it is in: `tests::it_works`.
    pub(super) name: String,
    pub(super) is_test: bool,
    /// A test, or something that only tests see.
    pub(super) is_test_code: bool,
}

/// Reads every tag of the project.
pub(super) fn read(root: &Path, findings: &mut Vec<Finding>) -> anyhow::Result<Vec<Tag>> {
    let mut tags = Vec::new();
    for folder in folders(root)? {
        for path in rust_files(&folder.path)? {
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            tags.extend(parse(&relative(root, &path), &text, &folder, findings)?);
        }
    }
    Ok(tags)
}

/// A folder of sources and what its place says about them.
struct Folder {
    path: PathBuf,
    level: Level,
    only_tests: bool,
}

fn folders(root: &Path) -> anyhow::Result<Vec<Folder>> {
    let mut folders = Vec::new();
    let crates = root.join("crates");
    if crates.is_dir() {
        for package in fs::read_dir(&crates).with_context(|| format!("cannot read {}", crates.display()))? {
            let package = package?.path();
            for (name, only_tests) in [("src", false), ("tests", true), ("examples", false)] {
                folders.push(Folder { path: package.join(name), level: Level::Unit, only_tests });
            }
        }
    }
    folders.push(Folder { path: root.join("tests"), level: Level::Integration, only_tests: true });
    folders.retain(|folder| folder.path.is_dir());
    folders.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(folders)
}

fn rust_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let skipped = |entry: &DirEntry| {
        entry.depth() > 0
            && entry.file_type().is_dir()
            && matches!(entry.file_name().to_str(), Some("target" | "fixtures"))
    };
    let mut paths = Vec::new();
    for entry in WalkDir::new(folder).sort_by_file_name().into_iter().filter_entry(|entry| !skipped(entry)) {
        let entry = entry?;
        if entry.file_type().is_file() && entry.path().extension().is_some_and(|extension| extension == "rs") {
            paths.push(entry.into_path());
        }
    }
    Ok(paths)
}

fn parse(path: &Rc<str>, text: &str, folder: &Folder, findings: &mut Vec<Finding>) -> anyhow::Result<Vec<Tag>> {
    // Most files have no tag, and parsing is what takes the time.
    if !Word::ALL.iter().any(|(_, prefix)| text.contains(prefix)) {
        return Ok(Vec::new());
    }
    let tokens: TokenStream = text
        .parse()
        .map_err(|error: proc_macro2::LexError| anyhow!("{path}:{}: not Rust: {error}", error.span().start().line))?;
    let file: syn::File = syn::parse2(tokens.clone())
        .map_err(|error| anyhow!("{path}:{}: not Rust: {error}", error.span().start().line))?;
    let source = Source { text, tokens: comments::token_ranges(tokens), items: items::collect(&file) };

    let lines = Lines::of(text);
    let mut tags = Vec::new();
    for comment in comments::line_comments(text, &source.tokens) {
        let location = Location { path: Rc::clone(path), line: lines.line(comment.range.start) };
        let target = || {
            let item = source.item_of(&comment)?;
            let is_test_code = item.is_test_code || folder.only_tests;
            Some(Target { name: item.name.clone(), is_test: item.is_test, is_test_code })
        };
        for entry in entries(comment.text) {
            match Word::split(entry) {
                Some((word, id)) => tags.push(Tag {
                    word,
                    id: id.to_owned(),
                    level: folder.level,
                    location: location.clone(),
                    target: target(),
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

/// The entries of a comment that begins with a tag; none of one that does not, though it may mention tags.
fn entries(comment: &str) -> impl Iterator<Item = &str> {
    let is_list = Word::ALL.iter().any(|(_, prefix)| comment.trim_start().starts_with(prefix));
    comment.split(',').map(str::trim).filter(move |entry| is_list && !entry.is_empty())
}

impl Word {
    const ALL: [(Self, &str); 2] = [(Self::Codes, "Codes_SRS_"), (Self::Tests, "Tests_SRS_")];

    /// `Codes_SRS_A_01_001` as its word and its id.
    fn split(entry: &str) -> Option<(Self, &str)> {
        let &(word, _) = Self::ALL.iter().find(|(_, prefix)| entry.starts_with(prefix))?;
        let (_, id) = entry.split_once('_')?;
        id.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()).then_some((word, id))
    }
}

/// A parsed file, as byte ranges of its text.
struct Source<'t> {
    text: &'t str,
    /// Every token, in order.
    tokens: Vec<Range<usize>>,
    items: Vec<Item>,
}

impl Source<'_> {
    fn item_of(&self, comment: &Comment<'_>) -> Option<&Item> {
        let next = self.tokens.partition_point(|token| token.start < comment.range.start);
        let before = self.tokens[..next].last();
        match before.filter(|token| !self.text[token.end..comment.range.start].contains('\n')) {
            // Behind code on the same line, it speaks of that code.
            Some(code) => self.around(code.start),
            None => self.below(comment, self.tokens.get(next)).or_else(|| self.around(comment.range.start)),
        }
    }

    /// The item that begins with `next`, if only comments lie between.
    fn below(&self, comment: &Comment<'_>, next: Option<&Range<usize>>) -> Option<&Item> {
        let next = next.filter(|next| !has_blank_line(&self.text[comment.range.end..next.start]))?;
        self.items.iter().find(|item| item.start == next.start)
    }

    /// The innermost item that what stands at `offset` belongs to.
    fn around(&self, offset: usize) -> Option<&Item> {
        let holds = |item: &&Item| {
            let end = if item.owns_body { item.end } else { item.head };
            (item.start..end).contains(&offset)
        };
        self.items.iter().filter(holds).max_by_key(|item| item.start)
    }
}

fn has_blank_line(gap: &str) -> bool {
    // The first piece is the rest of the comment's line, the last the indentation of the code below.
    let mut lines = gap.split('\n').skip(1).peekable();
    std::iter::from_fn(|| lines.next().filter(|_| lines.peek().is_some())).any(|line| line.trim().is_empty())
}
