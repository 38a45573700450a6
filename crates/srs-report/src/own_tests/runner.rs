//! Runs tests by name, one process for each tagged test.

use super::schemata::VARIABLE;
use super::scratch::Binary;
use crate::sources::TestName;
use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeSet;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The limits of a test, because a mutant may allocate or run without end, and outlive this program if that is ended. One test maps
/// 8 GiB. In `dash`, one call sets one limit.
const LIMITS: &str = "ulimit -c 0; ulimit -v 16777216; ulimit -t 300";

/// A binary and the tests in it.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) binary: Binary,
    names: Vec<String>,
}

impl Listed {
    /// Asks a binary for its tests, without the ignored ones.
    pub(super) fn of(binary: Binary) -> anyhow::Result<Self> {
        let list = |more: &[&str]| {
            let mut command = command(&binary, 0);
            let output = command.args(["--list", "--format", "terse"]).args(more).output();
            let output = output.with_context(|| format!("cannot start {}", binary.path.display()))?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            anyhow::Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
        };
        let all: BTreeSet<String> = list(&[])?;
        let ignored: BTreeSet<String> = list(&["--ignored"])?;
        Ok(Self { binary, names: all.difference(&ignored).cloned().collect() })
    }

    /// The names in the binary that belong to a tagged test: one for each of its cases.
    pub(super) fn tests(&self, tagged: &TestName) -> Vec<String> {
        self.names.iter().filter(|name| tagged.is(&self.binary.name, name)).cloned().collect()
    }
}

/// The outcome of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Passed,
    /// Includes a test whose process died or was killed at the time limit.
    Failed,
}

/// Runs tests of one binary with one mutant.
pub(super) fn run(
    binary: &Binary,
    tests: &[String],
    mutant: usize,
    limit: Duration,
) -> anyhow::Result<(Ended, Duration)> {
    let began = Instant::now();
    let mut child = command(binary, mutant)
        .arg("--exact")
        .args(tests)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", binary.path.display()))?;
    let group = Pid::from_child(&child);
    let status: Option<ExitStatus> = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if began.elapsed() > limit {
            break None;
        }
        thread::sleep(Duration::from_millis(2));
    };
    // A test may have started processes that outlive it. If there are none, the group is gone.
    let _ = kill_process_group(group, Signal::KILL);
    if status.is_none() {
        child.wait()?;
    }
    let ended = if status.is_some_and(|status| status.success()) { Ended::Passed } else { Ended::Failed };
    Ok((ended, began.elapsed()))
}

fn command(binary: &Binary, mutant: usize) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{LIMITS}; exec \"$0\" \"$@\"")]).arg(&binary.path);
    command.current_dir(&binary.folder).env("CARGO_MANIFEST_DIR", &binary.folder).stdin(Stdio::null());
    command.env(VARIABLE, mutant.to_string()).process_group(0);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str) -> (tempfile::TempDir, Binary) {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("binary");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a script");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a program");
        let binary = Binary { name: "p::unit".to_owned(), path, folder: folder.path().to_owned() };
        (folder, binary)
    }

    fn ended(text: &str, limit: Duration) -> Ended {
        let (_folder, binary) = script(text);
        run(&binary, &["a".to_owned()], 7, limit).expect("a run").0
    }

    #[test]
    fn only_a_process_that_ends_well_has_passed() {
        let long = Duration::from_secs(60);
        assert_eq!(ended("exit 0", long), Ended::Passed);
        assert_eq!(ended("exit 101", long), Ended::Failed);
        assert_eq!(ended("kill -ABRT $$", long), Ended::Failed);
        assert_eq!(ended(&format!("test \"${VARIABLE}\" = 7"), long), Ended::Passed);
        assert_eq!(ended("test \"$*\" = \"--exact a\"", long), Ended::Passed);
        let has_limits = "test $(ulimit -c) = 0 && test $(ulimit -v) = 16777216 && test $(ulimit -t) = 300";
        assert_eq!(ended(has_limits, long), Ended::Passed);
    }

    #[test]
    fn a_process_that_hangs_is_killed_with_what_it_started() {
        let began = Instant::now();
        assert_eq!(ended("sleep 600 & sleep 600", Duration::from_millis(100)), Ended::Failed);
        assert!(began.elapsed() < Duration::from_secs(300));
    }

    #[test]
    fn ignored_tests_are_not_listed() {
        let (_folder, binary) =
            script("echo 'b: test'; case \"$*\" in *--ignored*) ;; *) echo 'a: test'; echo 'c: bench';; esac");
        assert_eq!(Listed::of(binary).expect("a list").names, ["a"]);
    }
}
