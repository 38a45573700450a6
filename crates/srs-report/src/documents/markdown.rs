//! What a document's Markdown says about its places: which are code, and where blocks begin and end.

use crate::finding::Lines;
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use std::collections::HashMap;
use std::ops::Range;

/// The structure of a document.
pub(super) struct Markdown {
    pub(super) lines: Lines,
    /// Fenced code blocks.
    fences: Vec<Range<usize>>,
    /// Inline code.
    spans: Vec<Range<usize>>,
    /// The starts and ends of blocks, sorted.
    edges: Vec<usize>,
    /// Bold texts and their starts.
    pub(super) bold: Vec<(usize, String)>,
    /// Headings and their starts.
    pub(super) headings: Vec<Range<usize>>,
    /// The targets of links by their labels.
    pub(super) targets: HashMap<String, String>,
}

impl Markdown {
    pub(super) fn of(text: &str) -> Self {
        let mut markdown = Self {
            lines: Lines::of(text),
            fences: Vec::new(),
            spans: Vec::new(),
            edges: Vec::new(),
            bold: Vec::new(),
            headings: Vec::new(),
            targets: HashMap::new(),
        };
        let parser = Parser::new_ext(text, Options::ENABLE_TABLES);
        let definitions = parser.reference_definitions().iter();
        markdown.targets = definitions.map(|(label, it)| (label.to_lowercase(), it.dest.to_string())).collect();
        let mut bold: Option<String> = None;
        for (event, range) in parser.into_offset_iter() {
            match &event {
                Event::Start(Tag::Strong) => bold = Some(String::new()),
                Event::End(TagEnd::Strong) => markdown.bold.extend(bold.take().map(|text| (range.start, text))),
                Event::Text(text) => bold.iter_mut().for_each(|bold| bold.push_str(text)),
                Event::Code(code) => {
                    bold.iter_mut().for_each(|bold| *bold += &format!("`{code}`"));
                    markdown.spans.push(range.clone());
                }
                Event::SoftBreak | Event::HardBreak => bold.iter_mut().for_each(|bold| bold.push(' ')),
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(_))) => markdown.fences.push(range.clone()),
                Event::Start(Tag::Heading { .. }) => markdown.headings.push(range.clone()),
                _ => {}
            }
            match event {
                Event::Start(tag) if is_block(tag.to_end()) => markdown.edges.push(range.start),
                Event::End(tag) if is_block(tag) => markdown.edges.push(range.end),
                _ => {}
            }
        }
        markdown.edges.sort_unstable();
        markdown
    }

    /// Whether the offset is in a fenced code block.
    pub(super) fn is_fenced(&self, offset: usize) -> bool {
        holds(&self.fences, offset).is_some()
    }

    /// Whether the offset is in code of any kind but indented code, which may be a requirement that was indented.
    pub(super) fn is_code(&self, offset: usize) -> bool {
        self.is_fenced(offset) || holds(&self.spans, offset).is_some()
    }

    /// Whether the offset is in inline code that shows the form of a requirement.
    pub(super) fn is_example(&self, offset: usize, text: &str) -> bool {
        holds(&self.spans, offset).is_some_and(|span| text[span.clone()].contains("[**"))
    }

    /// The end of the block that the offset is in, or the start of a block inside it.
    pub(super) fn edge_behind(&self, offset: usize) -> Option<usize> {
        self.edges.get(self.edges.partition_point(|&edge| edge <= offset)).copied()
    }
}

/// The range that holds the offset. The ranges are sorted and do not overlap.
fn holds(ranges: &[Range<usize>], offset: usize) -> Option<&Range<usize>> {
    let next = ranges.partition_point(|range| range.start <= offset);
    ranges[..next].last().filter(|range| range.contains(&offset))
}

fn is_block(tag: TagEnd) -> bool {
    !matches!(tag, TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough | TagEnd::Link | TagEnd::Image)
}
