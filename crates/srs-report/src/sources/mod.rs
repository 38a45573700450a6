//! Reads the tags of a project's source files and finds the item of each.
//!
//! A tag is attached to the item directly below its comment, or to the item among whose attributes it stands. Any other
//! tag is attached to the item whose body contains it. [`files`] finds the files, [`tags`] the tags of a comment, and
//! [`place`] the item of a comment. [`rust`], [`c`] and [`plain`] know the languages. [`reader`] reads one file.
//!
//! A file that cannot be read or parsed costs a finding of its own, never the report.

mod c;
mod files;
mod language;
mod pieces;
mod place;
mod plain;
mod reader;
mod rust;
mod tags;
mod target;

pub(super) use language::is_language;
pub(super) use target::{Tag, Target, TestName, package_of};

use super::config::Config;
use super::finding::{Finding, Kind, Location};
use super::progress::Progress;
use files::File;
use language::Language;
use reader::{Reader, Text};
use rust::{ModuleTree, Packages, Scan};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// The stack of a thread that parses. The Rust parser is recursive, and only what it uses is ever backed by memory.
const STACK: usize = 256 << 20;

/// The text without its comments and blanks; doc comments stay.
pub(super) fn code_of(text: &str) -> String {
    rust::pieces(text).code.into_iter().map(|piece| &text[piece]).collect::<Vec<_>>().join(" ")
}

/// Reads every tag of the project.
pub(super) fn read(root: &Path, config: &Config, findings: &mut Vec<Finding>) -> anyhow::Result<Vec<Tag>> {
    let mut packages = Packages::of(root);
    let mut files = files::find(root, config, &mut packages, findings)?;
    if files.is_empty() {
        report_nothing(config, findings);
    }
    let reader = Reader { root, config };
    let loaded = in_parallel(files.len(), |index| reader.load(&files[index]));
    let mut texts = Vec::with_capacity(loaded.len());
    let mut scans = BTreeMap::new();
    for (file, (text, scan, wrong)) in files.iter().zip(loaded) {
        findings.extend(wrong);
        scans.extend(scan.map(|scan| (file.path.to_string(), scan)));
        texts.push(text);
    }
    let undeclared = follow_modules(&reader, &mut files, &texts, &scans, &packages);
    findings.extend(undeclared);
    let outcomes = in_parallel(files.len(), |index| read_one(&reader, &files[index], texts[index].as_ref()));
    let mut tags = Vec::new();
    for (found, wrong) in outcomes {
        tags.extend(found);
        findings.extend(wrong);
    }
    Ok(tags)
}

/// No level names a source file, so nothing could be traced.
fn report_nothing(config: &Config, findings: &mut Vec<Finding>) {
    let places: Vec<&str> =
        config.levels.iter().flat_map(|level| &level.patterns).map(|pattern| pattern.text.as_str()).collect();
    let advice =
        if config.has_file { "" } else { "; there is no srs.toml to name others, and `srs-report init` writes one" };
    let message = format!("there is no source file in {}{advice}", places.join(", "));
    let location = Location { path: crate::config::FILE.into(), line: 1 };
    findings.push(Finding::new(&location, Kind::MatchesNothing, message));
}

/// Tells the files what their modules say. Returns the findings about files with tags that no module declares.
fn follow_modules(
    reader: &Reader<'_>,
    files: &mut [File],
    texts: &[Option<Text>],
    scans: &BTreeMap<String, Scan>,
    packages: &Packages,
) -> Vec<Finding> {
    let tree = ModuleTree::of(reader.root, scans, packages);
    let mut findings = Vec::new();
    for (file, text) in files.iter_mut().zip(texts) {
        if file.language != Some(Language::Rust) || file.home.package.is_none() {
            continue;
        }
        match tree.get(&file.path) {
            Some(declared) => {
                file.home.module.clone_from(&declared.module);
                file.only_tests |= declared.only_tests;
            }
            None if text.as_ref().is_some_and(|text| text.has_tags(reader.config)) => {
                let location = Location { path: Arc::clone(&file.path), line: 1 };
                let message = "it has tags, and no module of its package declares it".to_owned();
                findings.push(Finding::new(&location, Kind::UndeclaredFile, message));
            }
            None => {}
        }
    }
    findings
}

/// The tags of a file. A parser that panics costs only this file.
fn read_one(reader: &Reader<'_>, file: &File, text: Option<&Text>) -> (Vec<Tag>, Vec<Finding>) {
    let Some(text) = text else { return (Vec::new(), Vec::new()) };
    catch_unwind(AssertUnwindSafe(|| reader.read(file, text))).unwrap_or_else(|_| {
        let location = Location { path: Arc::clone(&file.path), line: 1 };
        let finding = Finding::new(&location, Kind::NotParsed, "the parser panicked; no tag of it counts".to_owned());
        (Vec::new(), vec![finding])
    })
}

/// Does the work for each number below `count` on all processors. The results have the order of the numbers.
fn in_parallel<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let progress = Progress::of(count);
    let run = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return done;
            }
            done.push((index, work(index)));
            progress.step();
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from).min(count);
    let mut all: Vec<(usize, T)> = thread::scope(|scope| {
        let start = || thread::Builder::new().stack_size(STACK).spawn_scoped(scope, run);
        let started: Vec<_> = (0..workers).filter_map(|_| start().ok()).collect();
        // Without a single thread, this one does the work.
        let own = if started.is_empty() { run() } else { Vec::new() };
        started.into_iter().filter_map(|it| it.join().ok()).flatten().chain(own).collect()
    });
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, result)| result).collect()
}
