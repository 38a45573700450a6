//! `srs-report init`: looks at a project, writes an `srs.toml` that fits it, and says why.

use super::config::{FILE, ID, Pattern};
use super::walk;
use anyhow::{Context as _, bail};
use regex::Regex;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// What is never a project's own source.
const FOREIGN: [&str; 7] =
    ["**/target", "**/node_modules", "**/build", "**/deps", "**/third_party", "**/vendor", "**/cmake_*"];

/// What was seen in the project.
#[derive(Debug, Default)]
struct Survey {
    /// Documents with requirements in bold brackets.
    documents: BTreeSet<String>,
    /// Documents with items of `OpenFastTrace`.
    items: BTreeSet<String>,
    ids: BTreeSet<String>,
    folders: BTreeSet<String>,
    has_c: bool,
    has_manifest: bool,
}

/// Writes the file. Returns its text, which explains each choice.
pub(super) fn init(root: &Path) -> anyhow::Result<String> {
    let path = root.join(FILE);
    if path.exists() {
        bail!("{} is there already", path.display());
    }
    let text = settings(&Survey::of(root)?)?;
    fs::write(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(format!("{} is written:\n\n{text}", path.display()))
}

impl Survey {
    fn of(root: &Path) -> anyhow::Result<Self> {
        let bracket = Regex::new(r"(?:\*\*|__)([\p{L}][^\s*`\[\]:]*)[ \t]*:[ \t]*\[[ \t]*(?:\*\*|__)")?;
        let item = Regex::new(r"(?m)^\s*`[a-zA-Z]+~[^`~\s]+~[0-9]+`\s*$")?;
        let pattern = |text: &str| Pattern { text: text.to_owned(), line: None };
        let all = [pattern("**")];
        let walked = walk::walk(root, &[&all], &FOREIGN.map(pattern), &[], &mut Vec::new());
        let mut survey = Self { has_manifest: root.join("Cargo.toml").is_file(), ..Self::default() };
        for path in walked.files.into_iter().map(|file| file.path) {
            survey.folders.extend(path.match_indices('/').map(|(end, _)| path[..end].to_owned()));
            survey.has_c |= [".c", ".cpp", ".cc", ".cxx"].iter().any(|extension| path.ends_with(extension));
            if !path.ends_with(".md") {
                continue;
            }
            let bytes = fs::read(root.join(&path)).with_context(|| format!("cannot read {path}"))?;
            let text = String::from_utf8_lossy(&bytes);
            let ids: Vec<String> = bracket.captures_iter(&text).map(|found| found[1].to_owned()).collect();
            if !ids.is_empty() {
                survey.documents.insert(path);
                survey.ids.extend(ids);
            } else if item.is_match(&text) {
                survey.items.insert(path);
            }
        }
        Ok(survey)
    }

    /// The folders with one of these names, without those inside another.
    fn named(&self, is: impl Fn(&str) -> bool) -> Vec<String> {
        let name = |folder: &str| folder.rsplit('/').next().unwrap_or(folder).to_lowercase();
        let found: Vec<&String> = self.folders.iter().filter(|folder| is(&name(folder))).collect();
        let is_inside = |folder: &str| found.iter().any(|outer| folder.starts_with(&format!("{outer}/")));
        found.iter().filter(|folder| !is_inside(folder)).map(|folder| (*folder).clone()).collect()
    }
}

fn settings(survey: &Survey) -> anyhow::Result<String> {
    let mut text =
        "# How srs-report reads this project. docs/srs-report.md of srs-report explains each key.\n".to_owned();
    let in_devdoc = |path: &&String| path.split('/').any(|part| part == "devdoc");
    let devdocs = survey.documents.iter().filter(in_devdoc).count();
    if survey.has_c && devdocs > 0 && 2 * devdocs >= survey.documents.len() {
        writeln!(text, "# There is C code, and {devdocs} documents with requirements are in folders called devdoc.")?;
        text += "preset = \"c-build-tools\"\n";
        return Ok(text);
    }
    if survey.items.len() > survey.documents.len() {
        writeln!(text, "# {} documents have items in the form of OpenFastTrace.", survey.items.len())?;
        text += "preset = \"openfasttrace\"\n";
        return Ok(text);
    }
    documents(survey, &mut text)?;
    levels(survey, &mut text)?;
    Ok(text)
}

fn documents(survey: &Survey, text: &mut String) -> anyhow::Result<()> {
    let folders: BTreeSet<&str> =
        survey.documents.iter().map(|path| path.rsplit_once('/').map_or(path.as_str(), |(folder, _)| folder)).collect();
    if folders.is_empty() {
        *text += "# No document has a requirement yet. One is written `**SRS_NAME_01_001: [** text **]**`.\n";
        *text += "documents = [\"docs/srs\"]\n";
        return Ok(());
    }
    writeln!(text, "# {} requirements are in these places.", survey.ids.len())?;
    writeln!(text, "documents = [{}]", quoted(folders.into_iter()))?;
    let usual = Regex::new(&format!("^(?:{ID})$"))?;
    if !survey.ids.iter().all(|id| usual.is_match(id)) {
        let pattern = id_pattern(&survey.ids)?;
        *text += "# Their ids, as a regular expression. Widen it if new ones look different.\n";
        writeln!(text, "id = '{pattern}'")?;
    }
    Ok(())
}

/// A pattern for ids that differ in their numbers and in the names between.
fn id_pattern(ids: &BTreeSet<String>) -> anyhow::Result<String> {
    let numbers = Regex::new("[0-9]+")?;
    let shape = |id: &String| {
        let mut shape = String::new();
        let mut end = 0;
        for number in numbers.find_iter(id) {
            shape += &regex::escape(&id[end..number.start()]);
            shape += "[0-9]+";
            end = number.end();
        }
        shape + &regex::escape(&id[end..])
    };
    let shapes: BTreeSet<String> = ids.iter().map(shape).collect();
    let all: Vec<&str> = shapes.iter().map(String::as_str).collect();
    Ok(match all.as_slice() {
        [one] => (*one).to_owned(),
        several => format!("(?:{})", several.join("|")),
    })
}

fn levels(survey: &Survey, text: &mut String) -> anyhow::Result<()> {
    let crates = survey.folders.iter().any(|folder| folder.starts_with("crates/") && folder.ends_with("/src"));
    if survey.has_manifest && crates {
        *text += "# The packages are in crates/, so levels are as usual: tests in a package are unit tests, those in tests/\n\
                  # are integration tests.\n";
        return Ok(());
    }
    let is_integration = |name: &str| {
        ["integration", "e2e", "itest", "system"].iter().any(|word| name.contains(word)) || name.ends_with("_int")
    };
    let is_unit =
        |name: &str| !is_integration(name) && (name.contains("test") || name == "spec" || name.ends_with("_ut"));
    let is_code =
        |name: &str| ["src", "source", "sources", "lib", "inc", "include", "app", "pkg", "cmd"].contains(&name);
    let (code, unit, integration) = if survey.has_manifest {
        *text += "# A cargo package: tests in src are unit tests, those in tests are integration tests.\n";
        (vec!["src".to_owned()], Vec::new(), vec!["tests".to_owned()])
    } else {
        *text += "# Folders by their names. The last level that names a file has it.\n";
        (survey.named(is_code), survey.named(is_unit), survey.named(is_integration))
    };
    let code = if code.is_empty() { vec!["**".to_owned()] } else { code };
    if integration.is_empty() || (unit.is_empty() && !survey.has_manifest) {
        *text += "# There is one kind of tests, so a test of any level will do.\n";
        *text += "required = [\"code\", \"test\"]\n";
    }
    writeln!(text, "\n[levels]")?;
    for (name, places) in [("code", code), ("unit", unit), ("integration", integration)] {
        writeln!(text, "{name} = [{}]", quoted(places.iter().map(String::as_str)))?;
    }
    Ok(())
}

fn quoted<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    texts.map(|text| format!("{text:?}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_made_of_the_ids() {
        let pattern = |ids: &[&str]| id_pattern(&ids.iter().map(|&id| id.to_owned()).collect()).expect("a pattern");
        assert_eq!(pattern(&["REQ-1", "REQ-22"]), r"REQ\-[0-9]+");
        assert_eq!(pattern(&["A.1", "B.2"]), r"(?:A\.[0-9]+|B\.[0-9]+)");
    }
}
