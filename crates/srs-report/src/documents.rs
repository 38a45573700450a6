//! Reads the requirements out of the documents, `docs/srs/*.md`.
//!
//! A requirement is `**ID: [** text **]**` inside one block of Markdown. This file parses the Markdown, so it takes no
//! code block for a requirement, and lists may nest to any depth.

use super::config::Ids;
use super::finding::{Finding, Kind, Lines, Location, relative};
use anyhow::{Context as _, bail};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use std::fs;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One file of requirements, in the order of the file.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) path: Arc<str>,
    pub(super) requirements: Vec<Requirement>,
}

/// A requirement in the words of its document; `text` keeps the back-ticks of inline code.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Requirement {
    pub(super) id: String,
    pub(super) text: String,
    pub(super) location: Location,
}

/// Reads every document. `places` are files and folders of files. Fails if there is no requirement at all.
pub(super) fn read(
    root: &Path,
    places: &[String],
    ids: &Ids,
    findings: &mut Vec<Finding>,
) -> anyhow::Result<Vec<Document>> {
    let mut paths = Vec::new();
    for place in places {
        let found = markdown_files(&root.join(place)).with_context(|| format!("no documents in {place}"))?;
        if found.is_empty() {
            bail!("no documents in {place}: it has no .md file");
        }
        paths.extend(found);
    }
    paths.dedup();
    let mut documents = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", relative(root, &path)))?;
        documents.push(parse(relative(root, &path), &text, ids, findings));
    }
    if documents.iter().all(|document| document.requirements.is_empty()) {
        let places = places.join(", ");
        bail!("no requirement in {places}: one is written `**ID: [** text **]**`, with an ID like `{}`", ids.pattern);
    }
    Ok(documents)
}

fn markdown_files(place: &Path) -> std::io::Result<Vec<PathBuf>> {
    if place.is_file() {
        return Ok(vec![place.to_owned()]);
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(place)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn parse(path: Arc<str>, text: &str, ids: &Ids, findings: &mut Vec<Finding>) -> Document {
    let mut reader = Reader { path, lines: Lines::of(text), ids, bold: None, open: None, done: Vec::new(), findings };
    for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
        match event {
            Event::Start(Tag::Strong) => reader.bold = Some(String::new()),
            Event::End(TagEnd::Strong) => reader.end_bold(range.start),
            Event::Text(text) => reader.push(&text),
            Event::Code(code) => reader.push(&format!("`{code}`")),
            Event::SoftBreak | Event::HardBreak => reader.push(" "),
            Event::Start(tag) if is_block(tag.to_end()) => reader.end_block(),
            Event::End(tag) if is_block(tag) => reader.end_block(),
            _ => {}
        }
    }
    Document { path: reader.path, requirements: reader.done }
}

fn is_block(tag: TagEnd) -> bool {
    !matches!(tag, TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough | TagEnd::Link | TagEnd::Image)
}

struct Reader<'f> {
    path: Arc<str>,
    lines: Lines,
    ids: &'f Ids,
    /// The text of the current pair of `**`.
    bold: Option<String>,
    open: Option<Requirement>,
    done: Vec<Requirement>,
    findings: &'f mut Vec<Finding>,
}

impl Reader<'_> {
    fn push(&mut self, text: &str) {
        if let Some(bold) = &mut self.bold {
            bold.push_str(text);
        } else if let Some(open) = &mut self.open {
            open.text.push_str(text);
        }
    }

    fn end_bold(&mut self, offset: usize) {
        let bold = self.bold.take().unwrap_or_default();
        let location = Location { path: Arc::clone(&self.path), line: self.lines.line(offset) };
        if let Some(id) = bold.strip_suffix(": [").filter(|id| self.ids.is_id(id)) {
            self.end_block();
            self.open = Some(Requirement { id: id.to_owned(), text: String::new(), location });
        } else if bold == "]" {
            match self.open.take() {
                Some(requirement) => self.finish(requirement),
                None => self.find(&location, Kind::MalformedRequirement, "`**]**` ends no requirement".to_owned()),
            }
        } else if self.open.is_some() {
            self.push(&bold);
        } else if let Some(id) = bold.strip_suffix(": [").filter(|id| id.starts_with(&self.ids.prefix)) {
            let message = format!("`{id}` is not of the form `{}`", self.ids.pattern);
            self.find(&location, Kind::MalformedId, message);
            // The malformed requirement is dropped. Opening it keeps its end from being a second finding.
            self.open = Some(Requirement { id: String::new(), text: String::new(), location });
        } else if bold.starts_with(&self.ids.prefix) && !self.ids.is_id(&bold) {
            let message = format!("`**{bold}**` is not of the form `**{}: [**`", self.ids.pattern);
            self.find(&location, Kind::MalformedId, message);
        }
    }

    /// Ends a requirement at the end of its block, because it must not go on into the next.
    fn end_block(&mut self) {
        if let Some(requirement) = self.open.take() {
            if !requirement.id.is_empty() {
                let message = format!("{} is not ended by `**]**`", requirement.id);
                self.find(&requirement.location, Kind::MalformedRequirement, message);
            }
            self.finish(requirement);
        }
    }

    fn finish(&mut self, mut requirement: Requirement) {
        if requirement.id.is_empty() {
            return;
        }
        requirement.text = mem::take(&mut requirement.text).trim().to_owned();
        self.done.push(requirement);
    }

    fn find(&mut self, location: &Location, kind: Kind, message: String) {
        self.findings.push(Finding::new(location, kind, message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirements(text: &str) -> Vec<(String, String, usize)> {
        let mut findings = Vec::new();
        let ids = Ids::new("SRS_[A-Z0-9_]+_[0-9]{2}_[0-9]{3}").unwrap();
        let document = parse("a.md".into(), text, &ids, &mut findings);
        assert_eq!(findings, []);
        document.requirements.into_iter().map(|it| (it.id, it.text, it.location.line)).collect()
    }

    #[test]
    fn a_requirement_has_an_id_a_text_and_a_line() {
        let text = "# Title\n\n**SRS_A_B_01_002: [** If `x` is `NULL`, **f**\nshall fail. **]**\n";
        let expected = ("SRS_A_B_01_002".to_owned(), "If `x` is `NULL`, f shall fail.".to_owned(), 3);
        assert_eq!(requirements(text), [expected]);
    }

    #[test]
    fn requirements_nest_in_lists() {
        let text = "**SRS_A_01_001: [** do: **]**\n\n- **SRS_A_01_002: [** if: **]**\n\n  \
                    - **SRS_A_01_003: [** then. **]**\n  - **SRS_A_01_004: [** else.**]**\n";
        let found: Vec<_> = requirements(text).into_iter().map(|(id, _, line)| (id, line)).collect();
        let expected = [("SRS_A_01_001", 1), ("SRS_A_01_002", 3), ("SRS_A_01_003", 5), ("SRS_A_01_004", 6)];
        assert_eq!(found, expected.map(|(id, line)| (id.to_owned(), line)));
    }

    #[test]
    fn examples_and_mentions_are_no_requirements() {
        let text = "```\n**SRS_A_01_001: [** in code **]**\n```\n\nSee SRS_A_01_002 and **SRS_A_01_003**.\n";
        assert_eq!(requirements(text), []);
    }
}
