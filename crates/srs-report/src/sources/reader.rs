//! Reads one file: its text, the comments with tags, and the items that these belong to.

use super::c::{self, CFile};
use super::files::File;
use super::language::{self, Language};
use super::pieces::{Comment, join_lines};
use super::place::{Item, Source};
use super::plain;
use super::rust::{self, Scan};
use super::tags::{self, Entry, Found};
use super::target::{Quote, Tag, Target, TestName};
use crate::config::{Config, Word};
use crate::documents::undecorated;
use crate::finding::{Finding, Kind, Lines, Location};
use std::collections::HashSet;
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

/// The bytes that show whether a file is text.
const BEGINNING: u64 = 8 << 10;

/// The text of a file that may have tags.
#[derive(Debug)]
pub(super) struct Text {
    text: String,
    is_utf8: bool,
}

impl Text {
    pub(super) fn has_tags(&self, config: &Config) -> bool {
        tags::count(&self.text, &config.families) > 0
    }
}

/// The settings for reading every file.
#[derive(Debug)]
pub(super) struct Reader<'r> {
    pub(super) root: &'r Path,
    pub(super) config: &'r Config,
}

/// A file of which the comments are known.
struct Open<'o> {
    file: &'o File,
    text: &'o Text,
    lines: Lines,
}

/// A comment with tags and the item that it belongs to.
struct Tagged<'t> {
    comment: Comment,
    entries: Vec<Entry<'t>>,
}

impl Reader<'_> {
    /// The text, if it is worth reading further, and what a Rust file says about modules.
    pub(super) fn load(&self, file: &File) -> (Option<Text>, Option<Scan>, Vec<Finding>) {
        let mut findings = Vec::new();
        let location = Location { path: Arc::clone(&file.path), line: 1 };
        let bytes = match content(&self.root.join(&*file.path), file.language.is_some()) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return (None, None, findings),
            Err(error) => {
                let message = format!("it cannot be read: {error}");
                findings.push(Finding::new(&location, Kind::UnreadableFile, message));
                return (None, None, findings);
            }
        };
        let (text, is_utf8) = decoded(bytes);
        let Some(language) = file.language else {
            findings.extend(self.unknown_language(&text, &location));
            return (None, None, findings);
        };
        let is_rust = language == Language::Rust;
        let has_ids = !self.config.families.iter().all(|family| family.ids.is_absent(&text));
        if !is_utf8 && is_rust {
            let message = "it is not UTF-8, so it is no Rust; what is not is read as U+FFFD".to_owned();
            findings.push(Finding::new(&location, Kind::UnreadableFile, message));
        }
        let scan = (is_rust && file.home.package.is_some()).then(|| Scan::of(&text));
        let is_needed = has_ids || self.config.untagged_tests;
        (is_needed.then_some(Text { text, is_utf8 }), scan, findings)
    }

    /// A file in which tags stand that nothing here can read.
    fn unknown_language(&self, text: &str, location: &Location) -> Option<Finding> {
        let is_absent = self.config.families.iter().all(|family| family.ids.is_absent(text));
        let count = if is_absent { 0 } else { tags::count(text, &self.config.families) };
        let tags = if count == 1 { "a tag".to_owned() } else { format!("{count} tags") };
        let message = format!("it has {tags} and is of no known language");
        (count > 0).then(|| Finding::new(location, Kind::UnknownLanguage, message))
    }

    /// The tags of a file, and what is wrong with it.
    pub(super) fn read(&self, file: &File, text: &Text) -> (Vec<Tag>, Vec<Finding>) {
        let open = Open { file, text, lines: Lines::of(&text.text) };
        match file.language {
            Some(Language::Rust) => self.rust(&open),
            Some(Language::C | Language::CHeader | Language::Cpp) => self.c(&open),
            Some(Language::Plain(syntax)) => self.plain(&open, plain::comments(&text.text, syntax)),
            None => (Vec::new(), Vec::new()),
        }
    }

    fn rust(&self, open: &Open<'_>) -> (Vec<Tag>, Vec<Finding>) {
        let text = open.text.text.as_str();
        let mut pieces = rust::pieces(text);
        let comments = std::mem::take(&mut pieces.comments);
        let excused = open.excused(&comments, self.config);
        let tagged = self.tagged(text, comments);
        if tagged.is_empty() && !self.config.untagged_tests {
            return (Vec::new(), Vec::new());
        }
        match rust::items(text, &pieces, self.starts(&tagged).as_deref(), &self.config.tests) {
            Ok(items) => {
                let source = Source { text, code: pieces.code, items, outermost: Vec::new(), is_lenient: false };
                self.attached(open, tagged, &source, &excused)
            }
            Err((line, message)) => {
                let location = Location { path: Arc::clone(&open.file.path), line };
                let (tags, mut findings) = self.unattached(open, tagged);
                findings.push(Finding::new(&location, Kind::NotParsed, message));
                (tags, findings)
            }
        }
    }

    fn c(&self, open: &Open<'_>) -> (Vec<Tag>, Vec<Finding>) {
        let text = open.text.text.as_str();
        let mut lexed = c::lex(text);
        let comments = std::mem::take(&mut lexed.pieces.comments);
        let excused = open.excused(&comments, self.config);
        let ranges: Vec<_> = comments.iter().map(|comment| comment.range.clone()).collect();
        let tagged = self.tagged(text, comments);
        if tagged.is_empty() && !self.config.untagged_tests {
            return (Vec::new(), Vec::new());
        }
        let is_cpp = match open.file.language {
            Some(Language::Cpp) => true,
            Some(Language::CHeader) => language::is_cpp(text),
            _ => false,
        };
        let file = CFile { is_cpp, only_tests: open.file.only_tests, tests: &self.config.tests };
        let items = c::items(text, &lexed, &ranges, self.starts(&tagged).as_deref(), &file);
        let outermost = c::outermost(text, &lexed);
        let source = Source { text, code: lexed.pieces.code, items, outermost, is_lenient: true };
        self.attached(open, tagged, &source, &excused)
    }

    fn plain(&self, open: &Open<'_>, comments: Vec<Comment>) -> (Vec<Tag>, Vec<Finding>) {
        let tagged = self.tagged(&open.text.text, comments);
        self.unattached(open, tagged)
    }

    /// The comments that have tags, or something like them.
    fn tagged<'t>(&'t self, text: &'t str, comments: Vec<Comment>) -> Vec<Tagged<'t>> {
        let families = &self.config.families;
        join_lines(text, comments, |inner| tags::is_open(text, inner, families))
            .into_iter()
            .filter_map(|comment| {
                let entries = tags::entries(text, comment.inner.clone(), families);
                (!entries.is_empty()).then_some(Tagged { comment, entries })
            })
            .collect()
    }

    /// The places around which a file has to be parsed; `None` to know every test.
    fn starts(&self, tagged: &[Tagged<'_>]) -> Option<Vec<usize>> {
        let starts = || tagged.iter().map(|tagged| tagged.comment.range.start).collect();
        (!self.config.untagged_tests).then(starts)
    }

    /// The tags with the items of a parsed file, and the tests that have none.
    fn attached(
        &self,
        open: &Open<'_>,
        tagged: Vec<Tagged<'_>>,
        source: &Source<'_>,
        excused: &[Comment],
    ) -> (Vec<Tag>, Vec<Finding>) {
        let (mut tags, mut findings) = (Vec::new(), Vec::new());
        let mut seen: HashSet<usize> = excused.iter().filter_map(|it| source.item_of(it)).map(|it| it.start).collect();
        for Tagged { comment, entries } in tagged {
            let item = source.item_of(&comment);
            seen.extend(item.map(|item| item.start));
            let target = item.map(|item| Arc::new(open.target(item)));
            for entry in entries {
                match entry {
                    Entry::Tag(found) => tags.push(self.tag(open, &found, target.clone())),
                    Entry::Wrong(offset, message) => findings.push(open.wrong(offset, message)),
                }
            }
        }
        if self.config.untagged_tests {
            findings.extend(open.untagged(&source.items, &seen));
        }
        (tags, findings)
    }

    /// The tags of a file whose items are not known. What a tag says about its item is believed.
    fn unattached(&self, open: &Open<'_>, tagged: Vec<Tagged<'_>>) -> (Vec<Tag>, Vec<Finding>) {
        let (mut tags, mut findings) = (Vec::new(), Vec::new());
        for Tagged { comment, entries } in tagged {
            let function = plain::function_at(&open.text.text, &comment.range);
            let line = open.lines.line(comment.range.start);
            let (name, at) = function.unwrap_or_else(|| (open.stem().to_owned(), line));
            for entry in entries {
                match entry {
                    Entry::Tag(found) => {
                        let target = Target {
                            name: name.clone(),
                            is_test: found.word.word == Word::Test,
                            is_test_code: open.file.only_tests,
                            lines: line.min(at)..=line.max(at),
                            test: open.test_name(vec![name.clone()], true, 1),
                        };
                        tags.push(self.tag(open, &found, Some(Arc::new(target))));
                    }
                    Entry::Wrong(offset, message) => findings.push(open.wrong(offset, message)),
                }
            }
        }
        (tags, findings)
    }

    fn tag(&self, open: &Open<'_>, found: &Found<'_>, target: Option<Arc<Target>>) -> Tag {
        let level = found.word.level.unwrap_or(open.file.level);
        let quote = found.quote.clone().map(|range| Quote {
            text: undecorated(&open.text.text[range.clone()]),
            range: Some(range).filter(|_| open.text.is_utf8),
        });
        Tag {
            word: found.word.word,
            id: found.id.to_owned(),
            level,
            level_name: self.config.levels.get(level).map_or_else(|| "".into(), |level| Arc::clone(&level.name)),
            location: open.at(found.start),
            target,
            quote,
        }
    }
}

impl Open<'_> {
    fn at(&self, offset: usize) -> Location {
        Location { path: Arc::clone(&self.file.path), line: self.lines.line(offset) }
    }

    fn wrong(&self, offset: usize, message: String) -> Finding {
        Finding::new(&self.at(offset), Kind::MalformedTag, message)
    }

    /// The comments that excuse a test from tags.
    fn excused(&self, comments: &[Comment], config: &Config) -> Vec<Comment> {
        let excuses = |comment: &&Comment| {
            let words = self.text.text[comment.inner.clone()].trim_start_matches(['/', '*', '!', ' ', '\t']);
            config.untagged_tests && words.starts_with("no-srs")
        };
        comments.iter().filter(excuses).cloned().collect()
    }

    fn untagged(&self, items: &[Item], seen: &HashSet<usize>) -> Vec<Finding> {
        let is_inside = |inner: &Item, outer: &Item| outer.start < inner.start && inner.end <= outer.end;
        let has_tag = |item: &Item| {
            let own = seen.iter().any(|start| *start == item.start || (item.start..item.end).contains(start));
            own || items.iter().any(|outer| outer.is_test && is_inside(item, outer) && seen.contains(&outer.start))
        };
        let gathers = |item: &Item| items.iter().any(|inner| inner.is_test && is_inside(inner, item));
        let tests = items.iter().filter(|item| item.is_test && !gathers(item) && !has_tag(item));
        tests
            .map(|item| {
                let message = format!("the test `{}` has no tag", item.name);
                Finding::new(&self.at(item.head), Kind::UntaggedTest, message)
            })
            .collect()
    }

    fn target(&self, item: &Item) -> Target {
        let module = &self.file.home.module;
        let full = |name: &String| if module.is_empty() { name.clone() } else { format!("{module}::{name}") };
        Target {
            name: item.name.clone(),
            is_test: item.is_test,
            is_test_code: item.is_test_code || self.file.only_tests,
            lines: self.lines.line(item.start)..=self.lines.line(item.end.saturating_sub(1)),
            test: self.test_name(item.test_names.iter().map(full).collect(), item.is_parametrised, item.cases),
        }
    }

    fn test_name(&self, names: Vec<String>, is_parametrised: bool, cases: usize) -> TestName {
        let folder = self.file.path.rsplit('/').nth(1).map(str::to_owned);
        let places = [self.stem().to_owned()].into_iter().chain(folder).collect();
        TestName { home: self.file.home.clone(), names, is_parametrised, cases, places }
    }

    /// The file's name without its extension.
    fn stem(&self) -> &str {
        let name = self.file.path.rsplit('/').next().unwrap_or(&self.file.path);
        name.rsplit_once('.').map_or(name, |(stem, _)| stem)
    }
}

/// The bytes of a file; `None` of a file of no known language that is no text.
fn content(path: &Path, is_source: bool) -> io::Result<Option<Vec<u8>>> {
    let mut file = fs::File::open(path)?;
    let mut bytes = Vec::new();
    file.by_ref().take(BEGINNING).read_to_end(&mut bytes)?;
    if !is_source && bytes.contains(&0) && !bytes.starts_with(&[0xff, 0xfe]) && !bytes.starts_with(&[0xfe, 0xff]) {
        return Ok(None);
    }
    file.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// The text of a file, and whether it is UTF-8. UTF-16 is recognised by its byte order mark.
fn decoded(bytes: Vec<u8>) -> (String, bool) {
    let wide = |read: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes[2..].chunks_exact(2).map(|pair| read([pair[0], pair[1]])).collect();
        (String::from_utf16_lossy(&units), false)
    };
    if bytes.starts_with(&[0xff, 0xfe]) {
        return wide(u16::from_le_bytes);
    }
    if bytes.starts_with(&[0xfe, 0xff]) {
        return wide(u16::from_be_bytes);
    }
    match String::from_utf8(bytes) {
        // A byte order mark is a blank, so that offsets stay.
        Ok(text) if text.starts_with('\u{feff}') => (text.replacen('\u{feff}', "   ", 1), true),
        Ok(text) => (text, true),
        Err(error) => (String::from_utf8_lossy(error.as_bytes()).into_owned(), false),
    }
}
