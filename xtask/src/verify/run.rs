//! One run of a check: its commands, its log and its deadline.

use crate::workspace;
use anyhow::{Context as _, bail};
use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use xshell::{Cmd, Shell, cmd};

/// The means of a check.
pub(crate) struct Run {
    pub(crate) shell: Shell,
    pub(crate) root: PathBuf,
    pub(crate) long: bool,
    /// The requested duration.
    pub(crate) minutes: Option<Duration>,
    target: PathBuf,
    log: PathBuf,
    end: Instant,
}

/// The output of a command and its success.
pub(crate) struct Printed {
    pub(crate) ok: bool,
    /// Standard output, then standard error.
    pub(crate) text: String,
}

impl Run {
    pub(crate) fn new(name: &str, long: bool, minutes: Option<Duration>) -> anyhow::Result<Self> {
        let (root, target) = (workspace::root()?, workspace::target_dir()?);
        let folder = target.join("verify");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let log = folder.join(format!("{name}.log"));
        File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let shell = Shell::new()?;
        shell.change_dir(&root);
        // The tools that were installed for the checks come first.
        let tools = target.join("tools/bin");
        let path = env::var_os("PATH").unwrap_or_default();
        shell.set_var("PATH", env::join_paths([tools].into_iter().chain(env::split_paths(&path)))?);
        Ok(Self { shell, root, long, minutes, target, log, end: Instant::now() + Duration::from_secs(3600) })
    }

    /// The same run, whose commands are killed at `end`.
    pub(crate) fn until(self, end: Instant) -> Self {
        Self { end, ..self }
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// A folder below cargo's build output, for files that must not share it.
    pub(crate) fn target(&self, name: &str) -> PathBuf {
        self.target.join(name)
    }

    /// A command that `timeout` kills, with all processes that it started, at the deadline.
    pub(crate) fn command(&self, line: &str) -> Cmd<'_> {
        let seconds = self.end.saturating_duration_since(Instant::now()).as_secs().max(1).to_string();
        let words = line.split_whitespace();
        cmd!(self.shell, "timeout --kill-after=10 {seconds} {words...}").quiet()
    }

    /// The standard output of a command that has to succeed.
    pub(crate) fn read(&self, line: &str) -> anyhow::Result<String> {
        Ok(self.command(line).read()?)
    }

    /// Runs a command to its end, good or bad. Adds its output to the log.
    pub(crate) fn printed(&self, command: Cmd<'_>) -> anyhow::Result<Printed> {
        let name = command.to_string();
        let output = command.ignore_status().output()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut log = OpenOptions::new().append(true).open(&self.log)?;
        writeln!(log, "$ {name}\n{text}")?;
        if matches!(output.status.code(), Some(124 | 137)) {
            bail!("the time was up; see {}", self.log.display());
        }
        Ok(Printed { ok: output.status.success(), text })
    }

    /// Runs a command that has to succeed.
    pub(crate) fn succeeds(&self, command: Cmd<'_>) -> anyhow::Result<String> {
        let name = command.to_string();
        let Printed { ok, text } = self.printed(command)?;
        if !ok {
            let lines: Vec<&str> = text.lines().collect();
            let end = lines.len().saturating_sub(40);
            bail!("{}\n{name} failed; all of it is in {}", lines[end..].join("\n"), self.log.display());
        }
        Ok(text)
    }
}

/// The number of passed tests, from the output of `cargo test`.
pub(crate) fn tests_passed(text: &str) -> u64 {
    let results = text.lines().filter_map(|line| line.strip_prefix("test result: ok. "));
    results.filter_map(|rest| rest.split_once(" passed")?.0.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_passed_tests_of_all_binaries_are_counted() {
        let text = "test result: ok. 3 passed; 0 failed; 1 ignored\nx\ntest result: ok. 40 passed; 0 failed\n";
        assert_eq!(tests_passed(text), 43);
        assert_eq!(tests_passed("test result: FAILED. 3 passed; 1 failed\n"), 0);
    }
}
