//! A generated cargo workspace.

use super::save;
use std::fmt::Write as _;
use std::path::Path;

pub(super) const REQUIREMENTS: usize = 5_000;
const LINES: usize = 500_000;
const CRATES: usize = 50;
/// The code files of each crate. There are half as many files of unit tests.
const FILES: usize = 8;

/// Writes a workspace in which every requirement has code and both kinds of tests. Returns its number of lines.
pub(super) fn generate(root: &Path) -> anyhow::Result<usize> {
    let per_crate = REQUIREMENTS / CRATES;
    let tests = FILES / 2;
    // The divisor counts code files, files of unit tests, and one file of integration tests.
    let lines = LINES / CRATES / (FILES + tests + 1);
    let mut written = 0;
    for package in 0..CRATES {
        let ids: Vec<String> = (0..per_crate).map(|number| format!("SRS_PART_{package:02}_{number:03}")).collect();
        let mut document = format!("# Part {package}\n");
        for id in &ids {
            write!(document, "\n**{id}: [** Part {package} shall do what {id} says, and nothing else. **]**\n")?;
        }
        save(&root.join(format!("docs/srs/part_{package:02}.md")), &document)?;
        let folder = root.join(format!("crates/part-{package:02}"));
        save(&folder.join("Cargo.toml"), &format!("[package]\nname = \"part-{package:02}\"\n"))?;
        let (code, test) = (
            |id: &str, index| function("Codes", "", id, index),
            |id: &str, index| function("Tests", "#[test]\n", id, index),
        );
        for (file, ids) in ids.chunks(per_crate.div_ceil(FILES)).enumerate() {
            written += save(&folder.join(format!("src/file_{file}.rs")), &source(ids, lines, code))?;
        }
        for (file, ids) in ids.chunks(per_crate.div_ceil(tests)).enumerate() {
            written += save(&folder.join(format!("tests/file_{file}.rs")), &source(ids, lines, test))?;
        }
        written += save(&root.join(format!("tests/part_{package:02}.rs")), &source(&ids, lines, test))?;
    }
    Ok(written)
}

/// A file of `lines` lines: a function for every id, then functions without tags.
fn source(ids: &[String], lines: usize, tagged: impl Fn(&str, usize) -> String) -> String {
    let mut text = String::new();
    for (index, id) in ids.iter().enumerate() {
        text += &tagged(id, index);
    }
    let mut index = ids.len();
    while text.lines().count() < lines {
        for _ in 0..2 {
            text += &function("See", "", "", index);
            index += 1;
        }
    }
    text
}

fn function(word: &str, attribute: &str, id: &str, index: usize) -> String {
    format!(
        "/// What the function of index {index} does, in a sentence.\n\
         // {word}_{id}\n{attribute}fn function_{index}(left: usize, right: usize) -> usize {{\n    \
         // A comment of some length, as code has them.\n    \
         let sum = left.wrapping_add(right);\n    \
         if sum.is_multiple_of(7) {{\n        return sum.saturating_mul({index});\n    }}\n\n    \
         [left, right, sum].into_iter().filter(|it| *it > {index}).sum()\n}}\n\n"
    )
}
