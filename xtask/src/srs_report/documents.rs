//! Reads the requirements out of `docs/srs/*.md`.
//!
//! A requirement is `**SRS_NAME_NN_NNN: [** text **]**` inside one block of Markdown. The Markdown is parsed,
//! so code blocks are not mistaken for requirements, and lists may nest as they like.

use super::finding::{Finding, Kind, Lines, Location, relative};
use anyhow::{Context as _, bail};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use std::fs;
use std::mem;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The folder of the documents, from the project's root.
pub(super) const FOLDER: &str = "docs/srs";

/// One file of requirements, in the order they are written.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) path: Rc<str>,
    pub(super) requirements: Vec<Requirement>,
}

/// A requirement as its document states it; `text` keeps the back-ticks of inline code.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Requirement {
    pub(super) id: String,
    pub(super) text: String,
    pub(super) location: Location,
}

/// Reads every document; fails if they hold no requirement at all.
pub(super) fn read(root: &Path, findings: &mut Vec<Finding>) -> anyhow::Result<Vec<Document>> {
    let folder = root.join(FOLDER);
    let paths = markdown_files(&folder).with_context(|| format!("no documents in {}", folder.display()))?;
    if paths.is_empty() {
        bail!("no documents in {}: it has no .md file", folder.display());
    }
    let mut documents = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        documents.push(parse(relative(root, &path), &text, findings));
    }
    if documents.iter().all(|document| document.requirements.is_empty()) {
        bail!("no requirement in {}: one is written `**SRS_NAME_NN_NNN: [** text **]**`", folder.display());
    }
    Ok(documents)
}

fn markdown_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn parse(path: Rc<str>, text: &str, findings: &mut Vec<Finding>) -> Document {
    let mut reader = Reader { path, lines: Lines::of(text), bold: None, open: None, done: Vec::new(), findings };
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
    path: Rc<str>,
    lines: Lines,
    /// What stands between a pair of `**`, while in it.
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
        let location = Location { path: Rc::clone(&self.path), line: self.lines.line(offset) };
        if let Some(id) = opened_id(&bold) {
            self.end_block();
            self.open = Some(Requirement { id: id.to_owned(), text: String::new(), location });
        } else if bold == "]" {
            match self.open.take() {
                Some(requirement) => self.finish(requirement),
                None => self.malformed(&location, "`**]**` ends no requirement".to_owned()),
            }
        } else if self.open.is_some() {
            self.push(&bold);
        } else if bold.starts_with("SRS_") && !is_id(&bold) {
            self.malformed(&location, format!("`**{bold}**` is not of the form `**SRS_NAME_NN_NNN: [**`"));
        }
    }

    /// A requirement does not go on into the next block.
    fn end_block(&mut self) {
        if let Some(requirement) = self.open.take() {
            self.malformed(&requirement.location, format!("{} is not ended by `**]**`", requirement.id));
            self.finish(requirement);
        }
    }

    fn finish(&mut self, mut requirement: Requirement) {
        requirement.text = mem::take(&mut requirement.text).trim().to_owned();
        self.done.push(requirement);
    }

    fn malformed(&mut self, location: &Location, message: String) {
        self.findings.push(Finding::new(location, Kind::MalformedRequirement, message));
    }
}

/// The id in `SRS_NAME_NN_NNN: [`.
fn opened_id(bold: &str) -> Option<&str> {
    bold.strip_suffix(": [").filter(|id| is_id(id))
}

/// Is this `SRS_NAME_NN_NNN`?
fn is_id(text: &str) -> bool {
    let mut parts = text.rsplitn(3, '_');
    let number = |part: Option<&str>, digits| {
        part.is_some_and(|part| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    number(parts.next(), 3)
        && number(parts.next(), 2)
        && parts.next().and_then(|rest| rest.strip_prefix("SRS_")).is_some_and(|name| {
            !name.is_empty() && name.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirements(text: &str) -> Vec<(String, String, usize)> {
        let mut findings = Vec::new();
        let document = parse("a.md".into(), text, &mut findings);
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

    #[test]
    fn an_id_has_a_name_two_digits_and_three_digits() {
        assert!(is_id("SRS_ASYNC_SOCKET_LINUX_11_001"));
        for wrong in
            ["SRS_A_1_001", "SRS_A_01_01", "SRS__01_001", "SRS_01_001", "SRS_a_01_001", "A_01_001", "SRS_A_01_0x1"]
        {
            assert!(!is_id(wrong), "{wrong}");
        }
    }
}
