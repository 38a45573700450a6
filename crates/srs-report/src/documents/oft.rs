//! The specification items of `OpenFastTrace`: an id in back-ticks on a line of its own, its text, and keywords such as
//! `Needs:` and `Covers:`.

use super::{Page, Requirement, text};
use crate::config::Need;

const KEYWORDS: [&str; 7] = ["Needs:", "Covers:", "Depends:", "Tags:", "Rationale:", "Comment:", "Status:"];

/// The words of `OpenFastTrace` for what this report calls a level.
const LEVELS: [(&str, &str); 4] = [("impl", "code"), ("utest", "unit"), ("itest", "integration"), ("stest", "system")];

/// The items of a document. What an item needs stands in the item itself.
pub(super) fn requirements(page: &Page<'_>) -> Vec<Requirement> {
    let mut done: Vec<Requirement> = Vec::new();
    let mut open: Option<(Requirement, String, &str)> = None;
    let mut start = 0;
    for line in page.text.split_inclusive('\n') {
        let from = start;
        start += line.len();
        if page.markdown.is_fenced(from) {
            continue;
        }
        let is_heading = page.markdown.headings.iter().any(|heading| heading.start == from);
        let id = id_of(line).filter(|id| page.config.family_of(id).is_some());
        if id.is_some() || is_heading {
            done.extend(open.take().map(|it| finished(page, it)));
        }
        if let Some(id) = id {
            let needs = page.config.family_of(id).map(|family| family.required.clone()).unwrap_or_default();
            let requirement =
                Requirement { id: id.to_owned(), location: page.at(from), needs, ..Requirement::default() };
            open = Some((requirement, String::new(), ""));
        } else if let Some((requirement, text, keyword)) = &mut open {
            let found = KEYWORDS.into_iter().find(|keyword| line.trim_start().starts_with(keyword));
            *keyword = found.unwrap_or(keyword);
            let rest = line.trim_start().strip_prefix(*keyword).unwrap_or(line);
            match *keyword {
                "" => text.push_str(line),
                "Needs:" if found.is_some() => needs(page, requirement, rest),
                "Covers:" => requirement.covers.extend(page.config.mentioned(rest).map(str::to_owned)),
                _ => {}
            }
        }
    }
    done.extend(open.take().map(|it| finished(page, it)));
    done
}

/// The id of a line that has nothing else.
fn id_of(line: &str) -> Option<&str> {
    let line = line.trim();
    // Older documents put an anchor before the id.
    let line = line.rsplit_once("</a>").map_or(line, |(_, rest)| rest).trim();
    line.strip_prefix('`')?.strip_suffix('`')
}

fn needs(page: &Page<'_>, requirement: &mut Requirement, list: &str) {
    requirement.needs.clear();
    for word in list.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let level = LEVELS.iter().find(|(name, _)| *name == word).map_or(word, |(_, level)| level);
        match page.config.levels.iter().position(|it| *it.name == *level) {
            Some(index) => requirement.needs.push(Need::Aspect(index)),
            None => requirement.covered_by.push(word.to_owned()),
        }
    }
}

fn finished(page: &Page<'_>, (mut requirement, raw, _): (Requirement, String, &str)) -> Requirement {
    (requirement.text, requirement.plain) = text::of(raw.trim(), &page.markdown.targets);
    requirement
}
