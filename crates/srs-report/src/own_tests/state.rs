//! Remembers the outcome of each mutant, so that a second run tries only the changed ones.
//!
//! A line is a hash and a word. The hash covers everything that the word depends on, so an entry never has to be
//! removed.

use anyhow::Context as _;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;

/// The fact that belongs to a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fact {
    /// The mutant compiles.
    Viable,
    Unviable,
    /// The test fails on the mutant, or does not end.
    Noticed,
    /// The test passes on the mutant.
    Missed,
}

impl Fact {
    const ALL: [Self; 4] = [Self::Viable, Self::Unviable, Self::Noticed, Self::Missed];

    fn name(self) -> &'static str {
        match self {
            Self::Viable => "viable",
            Self::Unviable => "unviable",
            Self::Noticed => "noticed",
            Self::Missed => "missed",
        }
    }
}

/// The facts of this run and of earlier runs.
#[derive(Debug)]
pub(super) struct State {
    inner: Mutex<(HashMap<u64, Fact>, File)>,
}

impl State {
    /// Reads the file if it exists. Ignores the last line if a killed run left it unfinished.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).unwrap_or_default();
        let entry = |line: &str| {
            let (hash, word) = line.split_once(' ')?;
            let fact = Fact::ALL.into_iter().find(|fact| fact.name() == word)?;
            Some((u64::from_str_radix(hash, 16).ok()?, fact))
        };
        let known = text.lines().filter_map(entry).collect();
        let file = OpenOptions::new().create(true).append(true).open(path);
        let mut file = file.with_context(|| format!("cannot write {}", path.display()))?;
        if !text.is_empty() && !text.ends_with('\n') {
            file.write_all(b"\n")?;
        }
        Ok(Self { inner: Mutex::new((known, file)) })
    }

    pub(super) fn get(&self, hash: u64) -> Option<Fact> {
        self.inner.lock().ok()?.0.get(&hash).copied()
    }

    pub(super) fn set(&self, hash: u64, fact: Fact) -> anyhow::Result<()> {
        if let Ok(mut inner) = self.inner.lock()
            && inner.0.insert(hash, fact) != Some(fact)
        {
            inner.1.write_all(format!("{hash:016x} {}\n", fact.name()).as_bytes())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_outlive_the_run_that_found_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.txt");
        let state = State::open(&path).expect("a state");
        state.set(1, Fact::Missed).expect("written");
        state.set(2, Fact::Viable).expect("written");
        state.set(1, Fact::Noticed).expect("written");
        // A killed run may leave half a line.
        fs::write(&path, fs::read_to_string(&path).expect("a file") + "0000000000000002 unv").expect("written");
        let state = State::open(&path).expect("a state");
        assert_eq!([1, 2, 3].map(|hash| state.get(hash)), [Some(Fact::Noticed), Some(Fact::Viable), None]);
        state.set(3, Fact::Missed).expect("written");
        assert_eq!(State::open(&path).expect("a state").get(3), Some(Fact::Missed));
    }
}
