//! Reads the notes on decisions, `docs/decisions.md`, and finds the requirements that each mentions.

use super::config::{Config, FILE, Pattern};
use super::finding::{Finding, Kind, Location};
use anyhow::Context as _;
use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

/// A paragraph, or a row of a table, in the text of the file.
#[derive(Debug, Clone)]
pub(super) struct Note {
    pub(super) location: Location,
    pub(super) text: Arc<str>,
}

/// The notes of each id.
pub(super) type Notes = HashMap<String, Vec<Note>>;

/// The title of the last column of a table of decisions. The column names requirements.
const COLUMN: &str = "Requirements";
/// The prefix of a cell in that column if it names no requirement.
const NONE: &str = "none: ";

/// Reads the files that are there.
pub(super) fn read(root: &Path, config: &Config, findings: &mut Vec<Finding>) -> anyhow::Result<Notes> {
    let mut notes = Notes::new();
    for Pattern { text: file, line } in &config.notes {
        let text = match fs::read(root.join(file)) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                findings.extend(line.map(|line| missing(file, line)));
                continue;
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {file}")),
        };
        let path: Arc<str> = file.as_str().into();
        let mut columns = Columns::default();
        for (line, block) in blocks(&text) {
            if columns.lacks_id(line, &block, config) {
                let location = Location { path: Arc::clone(&path), line };
                let message = format!("a decision names no requirement in its column `{COLUMN}`");
                findings.push(Finding::new(&location, Kind::DecisionWithoutId, message));
            }
            let note = Note { location: Location { path: Arc::clone(&path), line }, text: block.as_str().into() };
            let mut mentioned: Vec<&str> = config.mentioned(&block).collect();
            mentioned.sort_unstable();
            mentioned.dedup();
            for id in mentioned {
                notes.entry(id.to_owned()).or_default().push(note.clone());
            }
        }
    }
    Ok(notes)
}

/// A file that `srs.toml` names and that is not there.
fn missing(file: &str, line: usize) -> Finding {
    let location = Location { path: FILE.into(), line };
    Finding::new(&location, Kind::MatchesNothing, format!("`{file}` names no file"))
}

/// The state of the table that contains the current block.
#[derive(Default)]
struct Columns {
    /// The line of the table's last checked row.
    line: Option<usize>,
    /// Its last column is that of requirements.
    has_requirements: bool,
}

impl Columns {
    /// Whether this is a decision that names no requirement and gives no reason for it. Check the blocks in their
    /// order.
    fn lacks_id(&mut self, line: usize, block: &str, config: &Config) -> bool {
        let Some(row) = block.strip_prefix('|') else {
            *self = Self::default();
            return false;
        };
        let cells: Vec<&str> = row.strip_suffix('|').unwrap_or(row).split('|').map(str::trim).collect();
        let last = cells.last().copied().unwrap_or_default();
        let goes_on = self.line.replace(line).is_some_and(|before| before + 1 == line);
        if !goes_on {
            self.has_requirements = last == COLUMN;
            return false;
        }
        let is_rule = cells.iter().all(|cell| !cell.is_empty() && cell.bytes().all(|byte| matches!(byte, b'-' | b':')));
        let has_reason = last.strip_prefix(NONE).is_some_and(|reason| !reason.trim().is_empty());
        self.has_requirements && !is_rule && !has_reason && config.mentioned(last).next().is_none()
    }
}

/// Paragraphs and rows, each with the number of its first line.
fn blocks(text: &str) -> Vec<(usize, String)> {
    let mut blocks: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (index, line) in text.lines().map(str::trim).enumerate() {
        let is_row = line.starts_with('|');
        match blocks.last_mut().filter(|_| goes_on && !line.is_empty() && !is_row) {
            Some((_, block)) => *block = format!("{block} {line}"),
            None if !line.is_empty() => blocks.push((index + 1, line.to_owned())),
            None => {}
        }
        goes_on = !line.is_empty() && !is_row && !line.starts_with('#');
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_names_requirements_or_says_why_none() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("srs.toml"), "id = \"REQ-[0-9]+\"\n").expect("a file");
        let config = Config::read(folder.path()).expect("settings");
        let lacking = |text: &str| {
            let mut columns = Columns::default();
            blocks(text)
                .into_iter()
                .filter(|(line, row)| columns.lacks_id(*line, row, &config))
                .map(|(line, _)| line)
                .collect::<Vec<_>>()
        };
        let table = "| Point | Requirements |\n|---|:--|\n";
        assert_eq!(lacking(&format!("{table}| a | REQ-1<br>REQ-2 |\n| b | none: internal |\n")), [0; 0]);
        assert_eq!(lacking(&format!("{table}| a | REQ-1 |\n| REQ-1 | – |\n| c | |\n| d | none:  |\n")), [4, 5, 6]);
        assert_eq!(lacking("| Point | Reason |\n|---|---|\n| a | – |\n"), [0; 0]);
        assert_eq!(lacking(&format!("{table}\n| Point | Reason |\n|---|---|\n| a | – |\n")), [0; 0]);
    }

    #[test]
    fn a_note_is_a_paragraph_or_a_row() {
        let text = "# T\na\nb\n\n| c |\n| d |\ne\n";
        let expected = [(1, "# T"), (2, "a b"), (5, "| c |"), (6, "| d |"), (7, "e")];
        assert_eq!(blocks(text), expected.map(|(line, block)| (line, block.to_owned())));
    }
}
