//! Puts the defaults into what `srs.toml` says, and checks it.

use super::file::{File, OneOrMany};
use super::preset::{self, Base};
use super::{Config, FILE, Family, Ids, Level, Need, Pattern, TagWord, Tests, Word};
use crate::finding::Lines;
use anyhow::{anyhow, bail};
use regex::Regex;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use toml::Spanned;

/// The names of levels that every project has, in the order of the report.
const USUAL: [&str; 3] = ["code", "unit", "integration"];

/// The settings of a project with this file.
pub(super) fn config(root: &Path, read: Option<(File, Lines)>) -> anyhow::Result<Config> {
    let has_file = read.is_some();
    let (file, lines) = read.unwrap_or_else(|| (File::default(), Lines::of("")));
    let base = base(&file, &lines)?;
    let levels = levels(&file, &base, &lines)?;
    let families = families(&file, &base, &levels, &lines)?;
    let mut exclude = patterns(base.exclude);
    exclude.extend(placed(file.exclude.as_deref().unwrap_or_default(), &lines));
    if base.without_submodules {
        exclude.extend(submodules(root));
    }
    let documents = match &file.documents {
        Some(documents) => placed(documents, &lines),
        None => patterns(base.documents),
    };
    let functions = match &file.tests.functions {
        Some(pattern) => Regex::new(pattern.as_ref())
            .map_err(|_| anyhow!("{FILE}:{}: `functions` is no pattern", lines.line(pattern.span().start)))?,
        None => Regex::new(base.functions)?,
    };
    let text = |text: &Option<String>, default: &str| text.clone().unwrap_or_else(|| default.to_owned());
    Ok(Config {
        documents,
        exclude,
        skipped: base.skipped,
        notes: file.notes.as_ref().map_or_else(|| patterns(&["docs/decisions.md"]), |notes| placed(notes, &lines)),
        exceptions: text(&file.exceptions, "docs/srs/exceptions.toml"),
        needs_snapshot: base.needs_snapshot || file.snapshot.is_some(),
        snapshot: text(&file.snapshot, "docs/srs/snapshot.txt"),
        proven: text(&file.proven, "docs/srs/proven.toml"),
        families,
        levels,
        style: base.style,
        spread: file.spread.unwrap_or(base.spread),
        untagged_tests: file.untagged_tests,
        languages: languages(&file, &lines)?,
        tests: Tests { macros: file.tests.macros, attributes: file.tests.attributes, functions },
        run: file.run,
        names: file.results.names.unwrap_or_else(|| base.names.iter().map(|&it| it.to_owned()).collect()),
        has_file,
    })
}

fn base(file: &File, lines: &Lines) -> anyhow::Result<Base> {
    let Some(name) = &file.preset else { return Ok(preset::CARGO) };
    let line = lines.line(name.span().start);
    let unknown = || anyhow!("{FILE}:{line}: there is no preset `{}`: {}", name.as_ref(), preset::NAMES.join(", "));
    preset::of(name.as_ref()).ok_or_else(unknown)
}

/// The levels of the file. If all its names are among the usual ones, the usual ones that it does not name stay.
fn levels(file: &File, base: &Base, lines: &Lines) -> anyhow::Result<Vec<Level>> {
    let mut named: Vec<(&Spanned<String>, &Vec<Spanned<String>>)> = file.levels.iter().collect();
    named.sort_by_key(|(name, _)| name.span().start);
    if let Some((name, _)) = named.iter().find(|(name, _)| matches!(name.as_ref().as_str(), "test" | "suffix")) {
        bail!("{FILE}:{}: a level has another name than `test` and `suffix`", lines.line(name.span().start));
    }
    let is_usual = named.iter().all(|(name, _)| base.levels.iter().any(|(usual, _)| usual == name.as_ref()));
    let mut levels: Vec<Level> = base
        .levels
        .iter()
        .filter(|(name, _)| is_usual || *name == USUAL[0])
        .map(|(name, defaults)| Level { name: (*name).into(), patterns: patterns(defaults) })
        .collect();
    for (name, places) in named {
        let patterns = placed(places, lines);
        match levels.iter_mut().find(|level| *level.name == **name.as_ref()) {
            Some(level) => level.patterns = patterns,
            None => levels.push(Level { name: name.as_ref().as_str().into(), patterns }),
        }
    }
    Ok(levels)
}

fn families(file: &File, base: &Base, levels: &[Level], lines: &Lines) -> anyhow::Result<Vec<Family>> {
    let defaults = Defaults { base, levels, lines, required: file.required.as_deref() };
    let mut families = Vec::new();
    if file.id.is_some() || file.family.is_empty() {
        let id = file.id.as_ref().map(|id| (id.as_ref().as_str(), lines.line(id.span().start)));
        families.push(defaults.family(id, &file.tags, file.disabled.as_deref(), None)?);
    }
    for entry in &file.family {
        let id = Some((entry.id.as_ref().as_str(), lines.line(entry.id.span().start)));
        let mut tags = file.tags.clone();
        tags.extend(entry.tags.clone());
        let disabled = entry.disabled.as_deref().or(file.disabled.as_deref());
        families.push(defaults.family(id, &tags, disabled, entry.required.as_deref())?);
    }
    Ok(families)
}

/// What a family has if it does not say otherwise.
struct Defaults<'d> {
    base: &'d Base,
    levels: &'d [Level],
    lines: &'d Lines,
    required: Option<&'d [Spanned<String>]>,
}

impl Defaults<'_> {
    fn family(
        &self,
        id: Option<(&str, usize)>,
        tags: &BTreeMap<Spanned<String>, OneOrMany>,
        disabled: Option<&[String]>,
        required: Option<&[Spanned<String>]>,
    ) -> anyhow::Result<Family> {
        let (pattern, place) =
            id.map_or_else(|| (self.base.id, FILE.to_owned()), |(id, line)| (id, format!("{FILE}:{line}")));
        let own = || self.base.disabled.iter().map(|&it| it.to_owned()).collect();
        let (words, suffix) = self.words(tags)?;
        Ok(Family {
            ids: Ids::new(pattern).map_err(|error| anyhow!("{place}: {error}"))?,
            words,
            suffix,
            disabled: disabled.map_or_else(own, <[String]>::to_vec),
            required: self.required(required.or(self.required))?,
        })
    }

    /// The words of tags, and what stands behind the id.
    fn words(&self, tags: &BTreeMap<Spanned<String>, OneOrMany>) -> anyhow::Result<(Vec<TagWord>, String)> {
        let mut words = Vec::new();
        let mut suffix = self.base.suffix.to_owned();
        let mut all: BTreeMap<&str, Vec<&str>> = self.base.tags.iter().map(|(name, it)| (*name, vec![*it])).collect();
        for (name, texts) in tags {
            let line = self.lines.line(name.span().start);
            let is_known = matches!(name.as_ref().as_str(), "code" | "test" | "suffix")
                || self.levels.iter().any(|level| *level.name == **name.as_ref());
            if !is_known {
                bail!("{FILE}:{line}: `{}` is `code`, `test`, `suffix` or a level", name.as_ref());
            }
            all.insert(name.as_ref(), texts.all().iter().map(String::as_str).collect());
        }
        for (name, texts) in all {
            if name == "suffix" {
                suffix = texts.concat();
                continue;
            }
            let level = self.levels.iter().position(|level| *level.name == *name);
            let word = if name == USUAL[0] { Word::Code } else { Word::Test };
            let level = level.filter(|_| word == Word::Test);
            words.extend(texts.iter().map(|&prefix| TagWord { prefix: prefix.to_owned(), word, level }));
        }
        let is_twice = |it: &TagWord| words.iter().filter(|other| other.prefix == it.prefix).count() > 1;
        if words.iter().any(|it| it.prefix.is_empty() || is_twice(it)) {
            bail!("{FILE}: `tags.code` and `tags.test` are two different words");
        }
        // A longer word may begin with a shorter one.
        words.sort_by_key(|word| std::cmp::Reverse(word.prefix.len()));
        Ok((words, suffix))
    }

    fn required(&self, names: Option<&[Spanned<String>]>) -> anyhow::Result<Vec<Need>> {
        let position = |name: &str| self.levels.iter().position(|level| *level.name == *name).map(Need::Aspect);
        let need = |name: &str| if name == "test" { Some(Need::AnyTest) } else { position(name) };
        let Some(names) = names else {
            let all = || (0..self.levels.len()).map(Need::Aspect).collect();
            let own: Vec<Need> = self.base.required.iter().filter_map(|name| need(name)).collect();
            return Ok(if own.is_empty() { all() } else { own });
        };
        let unknown = |name: &Spanned<String>| {
            let known: Vec<&str> = self.levels.iter().map(|level| &*level.name).chain(["test"]).collect();
            let line = self.lines.line(name.span().start);
            anyhow!("{FILE}:{line}: `{}` cannot be required: {}", name.as_ref(), known.join(", "))
        };
        names.iter().map(|name| need(name.as_ref()).ok_or_else(|| unknown(name))).collect()
    }
}

fn languages(file: &File, lines: &Lines) -> anyhow::Result<BTreeMap<String, String>> {
    let mut languages = BTreeMap::new();
    for (extension, name) in &file.languages {
        if !crate::sources::is_language(name.as_ref()) {
            let line = lines.line(name.span().start);
            bail!("{FILE}:{line}: there is no language `{}`: rust, c, cpp, slashes, hashes, dashes", name.as_ref());
        }
        languages.insert(extension.trim_start_matches('.').to_owned(), name.as_ref().clone());
    }
    Ok(languages)
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|&text| Pattern { text: text.to_owned(), line: None }).collect()
}

fn placed(texts: &[Spanned<String>], lines: &Lines) -> Vec<Pattern> {
    let pattern = |it: &Spanned<String>| {
        let text = it.as_ref().trim_start_matches("./").trim_end_matches('/');
        // A name with a wildcard and without a folder is meant at any depth.
        let is_anywhere = text.contains('*') && !text.contains('/') && text != "**";
        let text = if is_anywhere { format!("**/{text}") } else { text.to_owned() };
        Pattern { text, line: Some(lines.line(it.span().start)) }
    };
    texts.iter().map(pattern).collect()
}

/// The folders of git submodules, which belong to other projects.
fn submodules(root: &Path) -> Vec<Pattern> {
    let text = fs::read_to_string(root.join(".gitmodules")).unwrap_or_default();
    let paths = text.lines().filter_map(|line| line.trim().strip_prefix("path")?.trim_start().strip_prefix('='));
    paths.map(|path| Pattern { text: path.trim().to_owned(), line: None }).collect()
}
