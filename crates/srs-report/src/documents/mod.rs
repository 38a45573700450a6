//! Reads the requirements out of the documents, `docs/srs/*.md`.
//!
//! Nothing is lost in silence. Each place in a document where the form of an id matches is a requirement, mentions a
//! requirement of some document, or is a finding. Only fenced code and inline code with a whole requirement in it are
//! examples. [`brackets`] and [`oft`] read the two styles, [`markdown`] finds blocks and code, and [`text`] makes one
//! line of a requirement's text.

mod brackets;
mod markdown;
mod oft;
mod text;

pub(super) use text::{normal, undecorated};

use super::config::{Config, FILE, Need, Pattern, Style, is_word};
use super::finding::{Finding, Kind, Location};
use super::walk::{self, Walked};
use anyhow::bail;
use markdown::Markdown;
use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

/// One file of requirements, in the order of the file.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) path: Arc<str>,
    pub(super) requirements: Vec<Requirement>,
}

/// A requirement in the words of its document.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Requirement {
    pub(super) id: String,
    /// Its text in one line, with the back-ticks of inline code and the targets of links.
    pub(super) text: String,
    /// The same without back-ticks and targets, as code quotes it.
    pub(super) plain: String,
    pub(super) location: Location,
    pub(super) needs: Vec<Need>,
    /// The requirements of other documents that it covers.
    pub(super) covers: Vec<String>,
    /// The kinds of requirements that have to cover it.
    pub(super) covered_by: Vec<String>,
}

/// A document that is being read.
struct Page<'p> {
    path: Arc<str>,
    text: &'p str,
    markdown: Markdown,
    config: &'p Config,
}

impl Page<'_> {
    fn at(&self, offset: usize) -> Location {
        Location { path: Arc::clone(&self.path), line: self.markdown.lines.line(offset) }
    }
}

/// Reads every document. Fails if there is no requirement at all.
pub(super) fn read(root: &Path, config: &Config, findings: &mut Vec<Finding>) -> anyhow::Result<Vec<Document>> {
    let mut documents = Vec::new();
    let mut mentions = Vec::new();
    let walked = find(root, config, findings)?;
    for path in walked.files.iter().map(|file| &file.path) {
        let path: Arc<str> = path.as_str().into();
        let location = Location { path: Arc::clone(&path), line: 1 };
        let bytes = match fs::read(root.join(&*path)) {
            Ok(bytes) => bytes,
            Err(error) => {
                let message = format!("it cannot be read: {error}");
                findings.push(Finding::new(&location, Kind::UnreadableFile, message));
                continue;
            }
        };
        if std::str::from_utf8(&bytes).is_err() {
            let message = "it is not UTF-8; what is not is read as U+FFFD".to_owned();
            findings.push(Finding::new(&location, Kind::UnreadableFile, message));
        }
        let text = String::from_utf8_lossy(&bytes);
        documents.push(parse(path, text.trim_start_matches('\u{feff}'), config, &mut mentions, findings));
    }
    if documents.iter().all(|document| document.requirements.is_empty()) {
        let form = match config.style {
            Style::Brackets => "`**ID: [** text **]**`",
            Style::OpenFastTrace => "`` `ID` `` on a line of its own",
        };
        bail!(
            "no requirement in {}: one is written {form}, with an ID like `{}`{}",
            places(&config.documents),
            config.id_pattern(),
            without_file(config)
        );
    }
    report_undefined(&documents, mentions, findings);
    report_uncovered(&documents, findings);
    Ok(documents)
}

fn places(patterns: &[Pattern]) -> String {
    patterns.iter().map(|pattern| pattern.text.as_str()).collect::<Vec<_>>().join(", ")
}

/// What a project without settings is told.
fn without_file(config: &Config) -> String {
    if config.has_file {
        return String::new();
    }
    format!("; there is no {FILE} to say where the documents are, and `srs-report init` writes one")
}

/// The Markdown files, in the order of their patterns.
fn find(root: &Path, config: &Config, findings: &mut Vec<Finding>) -> anyhow::Result<Walked> {
    let groups: Vec<&[Pattern]> = config.documents.iter().map(std::slice::from_ref).collect();
    let mut walked = walk::walk(root, &groups, &config.exclude, &[], findings);
    walked.files.retain(|file| {
        let is_markdown = [".md", ".markdown"].iter().any(|extension| file.path.ends_with(extension));
        is_markdown || config.documents.iter().any(|pattern| pattern.text == file.path)
    });
    walked.files.sort_by(|a, b| (a.group, &a.path).cmp(&(b.group, &b.path)));
    if walked.files.is_empty() {
        let places = places(&config.documents);
        let is_there = |pattern: &Pattern| root.join(&pattern.text).exists() || pattern.text.contains(['*', '?', '[']);
        if config.documents.iter().any(is_there) {
            bail!("no documents in {places}: it has no .md file{}", without_file(config));
        }
        let error = std::io::Error::from_raw_os_error(2);
        debug_assert_eq!(error.kind(), ErrorKind::NotFound);
        bail!("no documents in {places}: {error}{}", without_file(config));
    }
    walked.report_unmatched(&config.documents, findings);
    Ok(walked)
}

fn parse(
    path: Arc<str>,
    text: &str,
    config: &Config,
    mentions: &mut Vec<Mention>,
    findings: &mut Vec<Finding>,
) -> Document {
    let page = Page { path, text, markdown: Markdown::of(text), config };
    let requirements = match config.style {
        Style::Brackets => brackets::requirements(&page, findings),
        Style::OpenFastTrace => oft::requirements(&page),
    };
    mentions.extend(page.mentions());
    Document { path: page.path, requirements }
}

/// A place where an id stands.
struct Mention {
    id: String,
    location: Location,
}

impl Page<'_> {
    /// Each id outside of examples, once per line.
    fn mentions(&self) -> Vec<Mention> {
        let mut mentions = Vec::new();
        let mut seen = HashSet::new();
        let mut start = 0;
        for (index, line) in self.text.split_inclusive('\n').enumerate() {
            let from = start;
            start += line.len();
            if self.markdown.is_fenced(from) {
                continue;
            }
            let unescaped = line.contains("\\_").then(|| line.replace("\\_", "_"));
            let is_example = |offset| unescaped.is_none() && self.markdown.is_example(from + offset, self.text);
            for id in self.ids_of(unescaped.as_deref().unwrap_or(line), is_example) {
                if seen.insert((index, id.clone())) {
                    mentions.push(Mention { id, location: Location { path: Arc::clone(&self.path), line: index + 1 } });
                }
            }
        }
        mentions
    }

    /// The ids of a line as whole words, without those that are switched off.
    fn ids_of(&self, line: &str, is_example: impl Fn(usize) -> bool) -> Vec<String> {
        let mut found = Vec::new();
        for family in &self.config.families {
            for (start, id) in family.ids.places(line) {
                if is_example(start) {
                    continue;
                }
                let before = line[..start].trim_end_matches(is_word).len();
                let behind = line[start + id.len()..].trim_start_matches(is_word);
                let whole = &line[before..line.len() - behind.len()];
                let mut word = whole.trim_matches('_');
                // A tag is quoted.
                for tag in &family.words {
                    word = word.strip_prefix(tag.prefix.as_str()).unwrap_or(word);
                }
                if !family.disabled.iter().any(|prefix| word.starts_with(prefix.as_str())) {
                    let is_id = word.trim_matches('_') == id.trim_matches('_');
                    found.push(if is_id { id } else { word }.to_owned());
                }
            }
        }
        found
    }
}

/// An id that no document defines is a requirement that was lost, or a mistake.
fn report_undefined(documents: &[Document], mentions: Vec<Mention>, findings: &mut Vec<Finding>) {
    let defined: HashSet<&str> =
        documents.iter().flat_map(|document| &document.requirements).map(|it| it.id.as_str()).collect();
    let known: HashSet<Location> = findings
        .iter()
        .filter(|it| matches!(it.kind, Kind::MalformedId | Kind::MalformedRequirement))
        .map(|it| it.location.clone())
        .collect();
    for Mention { id, location } in mentions {
        if !defined.contains(id.as_str()) && !known.contains(&location) {
            let message = format!("{id} stands here, and no document defines it in a form that is read");
            findings.push(Finding::new(&location, Kind::MalformedRequirement, message));
        }
    }
}

/// `OpenFastTrace`'s items say which documents have to cover them.
fn report_uncovered(documents: &[Document], findings: &mut Vec<Finding>) {
    let all = || documents.iter().flat_map(|document| &document.requirements);
    let covered: HashSet<(&str, &str)> = all()
        .flat_map(|by| by.covers.iter().map(|id| (id.as_str(), by.id.split('~').next().unwrap_or_default())))
        .collect();
    for requirement in all() {
        for kind in requirement.covered_by.iter().filter(|kind| !covered.contains(&(&requirement.id, kind))) {
            let message = format!("{}: no `{kind}` covers it", requirement.id);
            findings.push(Finding::new(&requirement.location, Kind::NotCovered, message));
        }
    }
}
