//! Requirements of the form `**ID: [** text **]**`.
//!
//! The form is looked for in the text itself and not in its Markdown, because Markdown knows no bold text in
//! `[**letters`, and makes code of a requirement that is indented by four blanks.

use super::{Page, Requirement, text};
use crate::finding::{Finding, Kind};
use regex::Regex;
use std::ops::Range;
use std::sync::LazyLock;

static MARKS: LazyLock<Regex> = LazyLock::new(|| {
    let blank = r"[ \t]*(?:\r?\n[ \t>]*)?";
    let bold = r"(?:\*\*|__)";
    let open = format!(r"{bold}[ \t]*([^\n*`\[\]|]+?){blank}:{blank}\[[ \t]*{bold}");
    let close = format!(r"{bold}[ \t]*\][ \t]*{bold}");
    Regex::new(&format!("{open}|{close}")).expect("a pattern")
});

/// An opening with its word, or a closing.
struct Mark<'t> {
    range: Range<usize>,
    word: Option<&'t str>,
}

/// What an opening begins.
enum Opening {
    Requirement,
    /// Something that is switched off, or a finding already. Its closing is no second finding.
    Passed,
    /// Bold text that has nothing to do with requirements.
    Other,
}

/// The requirements of a document, with the findings about their form.
pub(super) fn requirements(page: &Page<'_>, findings: &mut Vec<Finding>) -> Vec<Requirement> {
    let marks = marks(page);
    let mut done = Vec::new();
    let mut next = marks.iter().peekable();
    while let Some(mark) = next.next() {
        let Some(word) = mark.word else {
            let message = "`**]**` ends no requirement".to_owned();
            findings.push(Finding::new(&page.at(mark.range.start), Kind::MalformedRequirement, message));
            continue;
        };
        let opening = opening(page, word, mark.range.start, findings);
        if matches!(opening, Opening::Other) {
            continue;
        }
        let block = page.markdown.edge_behind(mark.range.start).unwrap_or(page.text.len());
        let is_near = |close: usize| close <= block || page.config.spread;
        let closing = next.next_if(|it| it.word.is_none() && is_near(it.range.start));
        if matches!(opening, Opening::Passed) {
            continue;
        }
        let location = page.at(mark.range.start);
        let end = match closing {
            Some(closing) => closing.range.start,
            None => {
                let message = format!("{word} is not ended by `**]**`");
                findings.push(Finding::new(&location, Kind::MalformedRequirement, message));
                let following = next.peek().map_or(page.text.len(), |it| it.range.start);
                block.min(following).max(mark.range.end)
            }
        };
        let (text, plain) = text::of(&page.text[mark.range.end..end], &page.markdown.targets);
        let needs = page.config.family_of(word).map(|family| family.required.clone()).unwrap_or_default();
        done.push(Requirement { id: word.to_owned(), text, plain, location, needs, ..Requirement::default() });
    }
    report_bold(page, findings);
    done
}

fn marks<'t>(page: &Page<'t>) -> Vec<Mark<'t>> {
    let is_mark = |range: &Range<usize>| {
        // `a__b: [__` is no bold text.
        let is_in_word = page.text[range.start..].starts_with("__")
            && page.text[..range.start].ends_with(|it: char| it.is_alphanumeric());
        !is_in_word && !page.markdown.is_code(range.start)
    };
    MARKS
        .captures_iter(page.text)
        .filter_map(|captures| {
            let range = captures.get(0)?.range();
            let word = captures.get(1).map(|word| word.as_str().trim());
            is_mark(&range).then_some(Mark { range, word })
        })
        .collect()
}

fn opening(page: &Page<'_>, word: &str, offset: usize, findings: &mut Vec<Finding>) -> Opening {
    if page.config.family_of(word).is_some() {
        return Opening::Requirement;
    }
    for family in &page.config.families {
        let is_disabled =
            |prefix: &String| word.strip_prefix(prefix.as_str()).is_some_and(|rest| family.ids.is_id(rest));
        if family.disabled.iter().any(is_disabled) {
            return Opening::Passed;
        }
        let holds_id = family.ids.mentioned(word).next().is_some();
        if family.ids.is_meant(word) || holds_id {
            let message = format!("`{word}` is not of the form `{}`", family.ids.pattern);
            findings.push(Finding::new(&page.at(offset), Kind::MalformedId, message));
            return Opening::Passed;
        }
    }
    Opening::Other
}

/// Bold text that begins like an id and is none.
fn report_bold(page: &Page<'_>, findings: &mut Vec<Finding>) {
    for (offset, bold) in page.markdown.bold.iter().filter(|(_, bold)| !bold.trim_end().ends_with('[')) {
        let Some(family) = page.config.families.iter().find(|family| family.ids.is_meant(bold)) else { continue };
        let is_disabled = family.disabled.iter().any(|prefix| bold.starts_with(prefix.as_str()));
        // An id alone is looked at with the other places where ids stand.
        let is_id = page.config.family_of(bold.trim_end_matches([':', ' '])).is_some();
        if !is_id && !is_disabled {
            let message = format!("`**{bold}**` is not of the form `**{}: [**`", family.ids.pattern);
            findings.push(Finding::new(&page.at(*offset), Kind::MalformedId, message));
        }
    }
}
