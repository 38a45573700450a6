//! `--watch`: reports again whenever a file of the project changes.

use super::config::Pattern;
use super::walk;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

const PAUSE: Duration = Duration::from_millis(300);

/// Folders of build output, in which much changes that the report does not read.
const BUILD: [&str; 4] = ["**/target", "**/node_modules", "**/build", "**/out"];

/// The time and the size of each file.
type State = BTreeMap<String, (Option<SystemTime>, u64)>;

/// Reports now and after each change, until the program is ended. An error is told and waits for the next change.
pub(super) fn watch(root: &Path, report: impl Fn() -> anyhow::Result<usize>) -> anyhow::Result<usize> {
    loop {
        let before = state(root);
        if let Err(error) = report() {
            eprintln!("error: {error:#}");
        }
        eprintln!("srs-report: waiting for a change in {}", root.display());
        while state(root) == before {
            thread::sleep(PAUSE);
        }
        eprintln!();
    }
}

fn state(root: &Path) -> State {
    let pattern = |text: &str| Pattern { text: text.to_owned(), line: None };
    let all = [pattern("**")];
    let walked = walk::walk(root, &[&all], &BUILD.map(pattern), &[], &mut Vec::new());
    let entry = |path: String| {
        let metadata = fs::metadata(root.join(&path)).ok();
        let time = metadata.as_ref().and_then(|it| it.modified().ok());
        (path, (time, metadata.map_or(0, |it| it.len())))
    };
    walked.files.into_iter().map(|file| entry(file.path)).collect()
}
