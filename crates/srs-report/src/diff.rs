//! `--diff BASE`: what the project as it is has more, less and otherwise than a revision, as Markdown for a pull request.

use super::args::Args;
use super::config::Config;
use super::documents;
use super::finding::Finding;
use super::model::{Aspect, AspectStatus, Model, Row};
use super::pipeline;
use super::status::status;
use anyhow::{Context as _, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The comparison, and the number of findings that the base does not have.
pub(super) fn diff(args: &Args, root: &Path, base: &str) -> anyhow::Result<(String, usize)> {
    let config = Config::read(root)?;
    let mut findings = Vec::new();
    let documents = documents::read(root, &config, &mut findings)?;
    let now = pipeline::model(args, root, &config, documents, findings)?;
    let checkout = Checkout::of(root, base)?;
    let before = pipeline::plain_model(&checkout.folder);
    Ok(compared(base, before.as_ref().ok(), &now, before.as_ref().err()))
}

/// The files of a revision in a folder of their own, which is removed at the end.
struct Checkout {
    folder: PathBuf,
}

impl Checkout {
    /// `git archive` knows the files below `root` only, and leaves the repository as it is.
    fn of(root: &Path, base: &str) -> anyhow::Result<Self> {
        let name = format!("srs-report-{}-{}", std::process::id(), base.replace(|it: char| !it.is_alphanumeric(), "-"));
        let checkout = Self { folder: std::env::temp_dir().join(name) };
        let folder = &checkout.folder;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut git = Command::new("git")
            .current_dir(root)
            .args(["archive", "--format=tar", "--end-of-options", base])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("--diff needs git")?;
        let archive = git.stdout.take().context("git has no output")?;
        let tar =
            Command::new("tar").arg("-xf").arg("-").arg("-C").arg(folder).stdin(archive).stderr(Stdio::null()).status();
        let output = git.wait_with_output()?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr);
            bail!("git has no files of `{base}`: {}", message.lines().next().unwrap_or_default());
        }
        if !tar.context("--diff needs tar")?.success() {
            bail!("tar cannot unpack `{base}` into {}", folder.display());
        }
        Ok(checkout)
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        // It is in the folder for temporary files.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn compared(base: &str, before: Option<&Model>, now: &Model, error: Option<&anyhow::Error>) -> (String, usize) {
    let old = rows(before);
    let new = rows(Some(now));
    let added = list(new.values().filter(|row| !old.contains_key(id(row))).map(|row| described(row)));
    let dropped = list(old.values().filter(|row| !new.contains_key(id(row))).map(|row| described(row)));
    let both = || new.values().filter_map(|row| Some((*old.get(id(row))?, *row)));
    let texts =
        list(both().filter(|(old, new)| old.requirement.text != new.requirement.text).map(|(old, new)| {
            format!("{}\n  - was: {}\n  - is: {}", id(new), old.requirement.text, new.requirement.text)
        }));
    let lost = list(both().flat_map(|(old, new)| changes(old, new)));
    let gained = list(both().flat_map(|(old, new)| changes(new, old)));
    let (broken, mended) = (fresh(now, before), before.map_or_else(Vec::new, |before| fresh(before, Some(now))));
    let told = |findings: &[&Finding]| {
        let line = |it: &&Finding| format!("`{}`: **{}**: {}", it.location, it.kind.name(), it.message);
        list(findings.iter().map(line))
    };
    let mut text = format!("# Requirements since `{base}`\n");
    if let Some(error) = error {
        text += &format!("\n`{base}` had no report: {error:#}\n");
    }
    let counts = (old.len(), new.len(), before.map_or(0, |it| it.findings.len()), now.findings.len());
    text += &format!("\n{} requirements, now {}; {} findings, now {}.\n", counts.0, counts.1, counts.2, counts.3);
    for (title, lines) in [
        ("New findings", told(&broken)),
        ("Lost evidence", lost),
        ("Changed texts", texts),
        ("New requirements", added),
        ("Dropped requirements", dropped),
        ("Gained evidence", gained),
        ("Mended findings", told(&mended)),
    ] {
        if !lines.is_empty() {
            text += &format!("\n## {title}\n\n{lines}");
        }
    }
    (text, broken.len())
}

fn rows(model: Option<&Model>) -> BTreeMap<&str, &Row> {
    model.into_iter().flat_map(Model::rows).map(|row| (row.requirement.id.as_str(), row)).collect()
}

fn id(row: &Row) -> &str {
    &row.requirement.id
}

fn described(row: &Row) -> String {
    format!("{} ({}): {}", row.requirement.id, status(row).name(), row.requirement.text)
}

/// The aspects that the first has and the second lacks.
fn changes(first: &Row, second: &Row) -> Vec<String> {
    let has = |row: &Row, name: &str| {
        row.aspects().iter().any(|it| it.name() == name && row.aspect(it) == AspectStatus::Present)
    };
    let aspects = first.aspects().iter().map(Aspect::name);
    let lost = aspects.filter(|name| has(first, name) && !has(second, name));
    lost.map(|name| format!("{}: {name}", first.requirement.id)).collect()
}

/// The findings of a model that the other does not have, wherever they stand.
fn fresh<'m>(model: &'m Model, other: Option<&Model>) -> Vec<&'m Finding> {
    let key = |it: &Finding| (it.kind, it.location.path.to_string(), without_lines(&it.message));
    let mut known: BTreeMap<_, usize> = BTreeMap::new();
    for finding in other.into_iter().flat_map(|other| &other.findings) {
        *known.entry(key(finding)).or_default() += 1;
    }
    let is_new = |finding: &&Finding| match known.get_mut(&key(finding)) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    };
    model.findings.iter().filter(is_new).collect()
}

/// A message without the numbers of lines, which change when something is written above.
fn without_lines(message: &str) -> String {
    let mut text = String::new();
    let mut parts = message.split(':');
    text += parts.next().unwrap_or_default();
    for part in parts {
        text.push(':');
        text += part.trim_start_matches(|it: char| it.is_ascii_digit());
    }
    text
}

fn list(lines: impl Iterator<Item = String>) -> String {
    lines.map(|line| format!("- {line}\n")).collect()
}
