//! The plan of a run: requirements, the mutants of their code, and their tests.

use super::listed::changes;
use super::parts::{self, Part};
use super::schemata::Mutation;
use super::scratch::Targets;
use crate::config::Word;
use crate::hash;
use crate::mutants::{Change, Choice, Span};
use crate::sources::{Tag, Target, code_of};
use anyhow::{Context as _, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

/// The whole plan. Numbers of mutants and tests are positions in its lists.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) subjects: Vec<Subject>,
    /// Number 0 is no mutant.
    pub(super) mutants: Vec<Mutant>,
    pub(super) tests: Vec<Test>,
    /// The text of each file with mutants.
    pub(super) files: BTreeMap<String, String>,
    /// The root file of each crate with mutants.
    pub(super) crate_roots: BTreeSet<String>,
}

/// The levels of tests that are proven: those with these names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Unit,
    Integration,
}

impl Level {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Integration => "integration",
        }
    }

    fn of(tag: &Tag) -> Option<Self> {
        [Self::Unit, Self::Integration].into_iter().find(|level| level.name() == &*tag.level_name)
    }
}

/// What a mutant is to a requirement. Those of a later tier count if none of an earlier one compiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tier {
    /// It changes what the requirement's tag stands above.
    Own,
    /// It changes the whole function around the part that the tag stands above.
    Around,
    /// It only ends the process.
    LastResort,
}

/// One requirement.
#[derive(Debug, Default)]
pub(super) struct Subject {
    pub(super) id: String,
    pub(super) mutants: BTreeMap<usize, Tier>,
    unit: BTreeSet<usize>,
    integration: BTreeSet<usize>,
}

impl Subject {
    pub(super) fn tests(&self, level: Level) -> &BTreeSet<usize> {
        match level {
            Level::Unit => &self.unit,
            Level::Integration => &self.integration,
        }
    }
}

/// A change to a file.
#[derive(Debug)]
pub(super) struct Mutant {
    pub(super) file: String,
    /// The name that cargo-mutants shows.
    pub(super) name: String,
    pub(super) mutation: Mutation,
    /// The hash of the file's code and of the change.
    pub(super) key: u64,
    lines: RangeInclusive<usize>,
    /// Whether it changes a part as only the part's own tags ask for.
    is_of_part: bool,
    is_last_resort: bool,
}

/// A change that may become a mutant.
struct Proposed {
    change: Change,
    is_of_part: bool,
    is_last_resort: bool,
}

/// The parts of functions with tags of their own, by file and line of the tag.
type Parts<'t> = BTreeMap<(&'t str, usize), Part>;

/// What a tag of code stands above.
struct Place<'p> {
    path: &'p str,
    lines: &'p RangeInclusive<usize>,
    is_part: bool,
    /// What is in these smaller parts concerns their own requirements only.
    smaller: Vec<&'p RangeInclusive<usize>>,
}

impl<'p> Place<'p> {
    fn of(tag: &'p Tag, target: &'p Target, parts: &'p Parts<'_>) -> Self {
        let path = &*tag.location.path;
        let part = parts.get(&(path, tag.location.line)).map(|part| &part.lines);
        let lines = part.unwrap_or(&target.lines);
        let of_file = parts.range((path, 0)..=(path, usize::MAX)).map(|(_, part)| &part.lines);
        let smaller = of_file.filter(|inner| *inner != lines && holds(lines, inner)).collect();
        Self { path, lines, is_part: part.is_some(), smaller }
    }

    /// What the mutant is to the tag's requirement.
    fn tier(&self, mutant: &Mutant) -> Option<Tier> {
        // The body of a function begins on the line of its first part.
        let is_inside = |lines| holds(lines, &mutant.lines);
        if mutant.file != self.path || (mutant.is_of_part && !self.is_part) {
            None
        } else if is_inside(self.lines) && !self.smaller.iter().any(|lines| is_inside(lines)) {
            Some(if mutant.is_last_resort { Tier::LastResort } else { Tier::Own })
        } else {
            let is_of_function = !mutant.is_of_part && !mutant.is_last_resort;
            (self.is_part && is_of_function && holds(&mutant.lines, self.lines)).then_some(Tier::Around)
        }
    }
}

fn holds(outer: &RangeInclusive<usize>, inner: &RangeInclusive<usize>) -> bool {
    outer.contains(inner.start()) && outer.contains(inner.end())
}

/// A tagged test.
#[derive(Debug)]
pub(super) struct Test {
    pub(super) target: Arc<Target>,
    /// The hash of its file's code and of its name.
    pub(super) key: u64,
}

impl Plan {
    /// cargo-mutants may need a copy of the project, in `folder`.
    pub(super) fn of(root: &Path, folder: &Path, tags: &[Tag], choice: &Choice<'_>) -> anyhow::Result<Self> {
        let mut plan = Self::default();
        let mut tagged: BTreeMap<&str, Vec<RangeInclusive<usize>>> = BTreeMap::new();
        for tag in tags.iter().filter(|tag| choice.takes(tag)) {
            let Some(target) = &tag.target else { continue };
            tagged.entry(&tag.location.path).or_default().push(target.lines.clone());
        }
        if tagged.is_empty() {
            bail!("--prove: no code is tagged with what --only and --crate choose");
        }
        let mut parts = parts(root, tags)?;
        let mut all: Vec<Proposed> = Vec::new();
        let mut propose = |changes: Vec<Change>, is_of_part, is_last_resort| {
            all.extend(changes.into_iter().map(|change| Proposed { change, is_of_part, is_last_resort }));
        };
        propose(changes(root, folder, &tagged)?, false, false);
        let mut whole: BTreeMap<&str, Vec<RangeInclusive<usize>>> = BTreeMap::new();
        for tag in tags.iter().filter(|tag| choice.takes(tag)) {
            let path = &*tag.location.path;
            if let Some(part) = parts.get_mut(&(path, tag.location.line)) {
                propose(part.changes.drain(..).collect(), true, false);
                propose(part.last_resort.drain(..).collect(), true, true);
            } else if let Some(target) = &tag.target {
                whole.entry(path).or_default().push(target.lines.clone());
            }
        }
        for (path, lines) in whole.into_iter().filter(|(path, _)| is_rust(path)) {
            let ends = parts::ends(path, &read(root, path)?, &lines).with_context(|| format!("{path} is not Rust"))?;
            propose(ends, false, true);
        }
        plan.add_mutants(root, all, &tagged)?;
        plan.add_subjects(root, tags, choice, &parts)?;
        Ok(plan)
    }

    /// The changes to a file.
    pub(super) fn mutations(&self, path: &str) -> impl Iterator<Item = &Mutation> {
        self.mutants.iter().skip(1).filter(move |mutant| mutant.file == path).map(|mutant| &mutant.mutation)
    }

    fn add_mutants(
        &mut self,
        root: &Path,
        changes: Vec<Proposed>,
        tagged: &BTreeMap<&str, Vec<RangeInclusive<usize>>>,
    ) -> anyhow::Result<()> {
        let nothing = Mutation { number: 0, range: 0..0, replacement: String::new() };
        let (file, name) = (String::new(), String::new());
        let (is_of_part, is_last_resort) = (false, false);
        self.mutants.push(Mutant { file, name, mutation: nothing, key: 0, lines: 0..=0, is_of_part, is_last_resort });
        for Proposed { change, is_of_part, is_last_resort } in changes {
            let lines = tagged.get(change.file.as_str());
            if !lines.is_some_and(|all| all.iter().any(|lines| lines.contains(&change.span.start.line))) {
                continue;
            }
            let text = match self.files.get(&change.file) {
                Some(text) => text,
                None => {
                    let text = read(root, &change.file)?;
                    self.files.entry(change.file.clone()).or_insert(text)
                }
            };
            let range = bytes(text, &change.span)
                .with_context(|| format!("{} has no such place: {}", change.file, change.name))?;
            // The position counts only code, because comments and blanks do not matter.
            let place = code_of(&text[..range.start]).len();
            let key = hash::of_parts(&[
                code_of(text).as_bytes(),
                &place.to_le_bytes(),
                text[range.clone()].as_bytes(),
                change.replacement.as_bytes(),
            ]);
            // Several tags may stand above one part.
            if self.mutants.iter().any(|mutant| mutant.key == key) {
                continue;
            }
            let number = self.mutants.len();
            let Change { name, file, replacement, span } = change;
            let root_file = crate_root(root, &file)
                .with_context(|| format!("{file} is in no crate with a src/lib.rs or a src/main.rs"))?;
            self.crate_roots.insert(root_file);
            let (lines, mutation) = (span.start.line..=span.end.line, Mutation { number, range, replacement });
            self.mutants.push(Mutant { file, name, mutation, key, lines, is_of_part, is_last_resort });
        }
        Ok(())
    }

    fn add_subjects(
        &mut self,
        root: &Path,
        tags: &[Tag],
        choice: &Choice<'_>,
        parts: &Parts<'_>,
    ) -> anyhow::Result<()> {
        let ids: BTreeSet<&str> = tags.iter().filter(|tag| choice.takes_id(tag)).map(|tag| tag.id.as_str()).collect();
        let mut subjects: BTreeMap<&str, Subject> =
            ids.into_iter().map(|id| (id, Subject { id: id.to_owned(), ..Subject::default() })).collect();
        let mut numbers: BTreeMap<(&str, usize), usize> = BTreeMap::new();
        for tag in tags {
            let (Some(subject), Some(target)) = (subjects.get_mut(tag.id.as_str()), &tag.target) else { continue };
            let path = &*tag.location.path;
            match tag.word {
                Word::Code if !target.is_test_code => {
                    let place = Place::of(tag, target, parts);
                    for mutant in self.mutants.iter().skip(1) {
                        if let Some(tier) = place.tier(mutant) {
                            let best = subject.mutants.entry(mutant.mutation.number).or_insert(tier);
                            *best = tier.min(*best);
                        }
                    }
                }
                Word::Test if target.is_test => {
                    let place = (path, *target.lines.start());
                    let number = match numbers.get(&place) {
                        Some(number) => *number,
                        None => {
                            let code = read(root, path)?;
                            let name = target.test.to_string();
                            let key = hash::of_parts(&[code_of(&code).as_bytes(), name.as_bytes()]);
                            numbers.insert(place, self.tests.len());
                            self.tests.push(Test { target: Arc::clone(target), key });
                            self.tests.len() - 1
                        }
                    };
                    match Level::of(tag) {
                        Some(Level::Unit) => subject.unit.insert(number),
                        Some(Level::Integration) => subject.integration.insert(number),
                        None => false,
                    };
                }
                Word::Code | Word::Test => {}
            }
        }
        self.subjects = subjects.into_values().collect();
        Ok(())
    }

    /// The binaries with the tests of a mutant's requirements, or with all tests. The packages are always those of all
    /// tests, because with other packages cargo would build with other features.
    pub(super) fn targets(&self, mutant: Option<usize>) -> Targets {
        let mut targets = Targets::default();
        let concerned = self.subjects.iter().filter(|it| mutant.is_none_or(|number| it.mutants.contains_key(&number)));
        let needed: BTreeSet<usize> = concerned.flat_map(|it| it.unit.union(&it.integration)).copied().collect();
        for (number, test) in self.tests.iter().enumerate() {
            let home = &test.target.test.home;
            let Some(package) = home.package.as_deref() else { continue };
            let binary = home.binary.as_deref().and_then(|binary| binary.split_once("::"));
            if binary.is_some_and(|(_, name)| name.contains('/')) {
                continue;
            }
            targets.packages.insert(package.to_owned());
            if needed.contains(&number) {
                match binary {
                    Some((_, name)) => {
                        targets.tests.insert(name.to_owned());
                    }
                    None => targets.libraries = true,
                }
            }
        }
        targets
    }
}

fn is_rust(path: &str) -> bool {
    path.ends_with(".rs")
}

/// The parts that tags stand above.
fn parts<'t>(root: &Path, tags: &'t [Tag]) -> anyhow::Result<Parts<'t>> {
    let mut lines: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for tag in tags.iter().filter(|tag| tag.word == Word::Code && is_rust(&tag.location.path)) {
        // A tag above an item is not in it.
        if tag.target.as_ref().is_some_and(|target| !target.is_test_code && target.lines.contains(&tag.location.line)) {
            lines.entry(&tag.location.path).or_default().push(tag.location.line);
        }
    }
    let mut all = Parts::new();
    for (path, lines) in lines {
        let found = parts::below(path, &read(root, path)?, &lines).with_context(|| format!("{path} is not Rust"))?;
        all.extend(lines.into_iter().zip(found).filter_map(|(line, part)| Some(((path, line), part?))));
    }
    Ok(all)
}

fn read(root: &Path, path: &str) -> anyhow::Result<String> {
    fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"))
}

/// The root file of the crate that contains the file.
fn crate_root(root: &Path, file: &str) -> Option<String> {
    let (package, _) = file.rsplit_once("src/")?;
    ["lib.rs", "main.rs"].iter().map(|name| format!("{package}src/{name}")).find(|path| root.join(path).is_file())
}

/// The byte range of a span, whose columns count characters from 1.
fn bytes(text: &str, span: &Span) -> Option<std::ops::Range<usize>> {
    let offset = |line: usize, column: usize| {
        let start: usize = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
        let rest = text.get(start..)?;
        let skipped: usize = rest.chars().take(column.checked_sub(1)?).map(char::len_utf8).sum();
        Some(start + skipped)
    };
    Some(offset(span.start.line, span.start.column)?..offset(span.end.line, span.end.column)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::Point;
    use rstest::rstest;

    /// The tag's part is in lines 4 to 6 of a function in lines 1 to 9, and line 5 is a part of another requirement.
    #[rstest]
    #[case::in_the_part(4..=4, false, false, Some(Tier::Own))]
    #[case::the_whole_part(4..=6, true, false, Some(Tier::Own))]
    #[case::its_last_resort(4..=4, true, true, Some(Tier::LastResort))]
    #[case::in_the_smaller_part(5..=5, false, false, None)]
    #[case::the_whole_function(1..=9, false, false, Some(Tier::Around))]
    #[case::the_end_of_the_function(1..=9, false, true, None)]
    #[case::elsewhere_in_the_function(8..=8, false, false, None)]
    fn a_mutant_counts_for_the_part_that_it_breaks(
        #[case] lines: RangeInclusive<usize>,
        #[case] is_of_part: bool,
        #[case] is_last_resort: bool,
        #[case] expected: Option<Tier>,
    ) {
        let (part, smaller) = (4..=6, 5..=5);
        let place = Place { path: "f.rs", lines: &part, is_part: true, smaller: vec![&smaller] };
        let mutation = Mutation { number: 1, range: 0..0, replacement: String::new() };
        let (file, name) = ("f.rs".to_owned(), String::new());
        let mutant = Mutant { file, name, mutation, key: 0, lines, is_of_part, is_last_resort };
        assert_eq!(place.tier(&mutant), expected);

        let of_function = Place { lines: &(1..=9), is_part: false, ..place };
        assert_eq!(of_function.tier(&mutant).is_some(), !is_of_part && mutant.lines != smaller);
    }

    #[test]
    fn columns_are_characters() {
        let text = "a\nfn é() { x + y }\n";
        let at = |column| Point { line: 2, column };
        let range = bytes(text, &Span { start: at(12), end: at(13) }).expect("a place");
        assert_eq!(&text[range], "+");
    }
}
