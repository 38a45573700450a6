//! Reads the notes on decisions, `docs/decisions.md`: which of them mention which requirement.

use super::config::Ids;
use super::finding::Location;
use anyhow::Context as _;
use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

/// A paragraph, or a row of a table, as it stands in the file.
#[derive(Debug, Clone)]
pub(super) struct Note {
    pub(super) location: Location,
    pub(super) text: Arc<str>,
}

/// The notes of each id.
pub(super) type Notes = HashMap<String, Vec<Note>>;

/// Reads the files that are there.
pub(super) fn read(root: &Path, files: &[String], ids: &Ids) -> anyhow::Result<Notes> {
    let mut notes = Notes::new();
    for file in files {
        let text = match fs::read_to_string(root.join(file)) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("cannot read {file}")),
        };
        let path: Arc<str> = file.as_str().into();
        for (line, block) in blocks(&text) {
            let note = Note { location: Location { path: Arc::clone(&path), line }, text: block.as_str().into() };
            let mut mentioned: Vec<&str> = ids.mentioned(&block).collect();
            mentioned.sort_unstable();
            mentioned.dedup();
            for id in mentioned {
                notes.entry(id.to_owned()).or_default().push(note.clone());
            }
        }
    }
    Ok(notes)
}

/// Paragraphs and rows, each with the line it begins at.
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
    fn a_note_is_a_paragraph_or_a_row() {
        let text = "# T\na\nb\n\n| c |\n| d |\ne\n";
        let expected = [(1, "# T"), (2, "a b"), (5, "| c |"), (6, "| d |"), (7, "e")];
        assert_eq!(blocks(text), expected.map(|(line, block)| (line, block.to_owned())));
    }
}
