//! `cargo xtask ci`: runs the steps of CI in order and stops at the first that fails.
//!
//! `.github/workflows/ci.yml` runs the same commands, one job each; a test below compares the two. Longer checks run at
//! night: `.github/workflows/nightly.yml`.

use crate::workspace;
use anyhow::bail;
use std::env;
use std::fmt;
use std::time::{Duration, Instant};
use xshell::{Shell, cmd};

/// A command of CI.
struct Step {
    name: &'static str,
    env: Option<(&'static str, &'static str)>,
    args: &'static [&'static str],
}

const STEPS: [Step; 13] = [
    Step { name: "fmt", env: None, args: &["fmt", "--all", "--check"] },
    Step {
        name: "clippy",
        env: None,
        args: &["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"],
    },
    Step { name: "test", env: None, args: &["test", "--workspace"] },
    Step {
        name: "docs",
        env: Some(("RUSTDOCFLAGS", "-D warnings")),
        args: &["doc", "--workspace", "--no-deps", "--all-features"],
    },
    Step { name: "srs-report", env: None, args: &["xtask", "srs-report", "--check"] },
    Step { name: "header", env: None, args: &["xtask", "header", "--check"] },
    Step { name: "standalone", env: None, args: &["xtask", "standalone"] },
    Step { name: "instructions", env: None, args: &["xtask", "bench", "instructions", "--check"] },
    Step { name: "syscalls", env: None, args: &["xtask", "bench", "syscalls", "--check"] },
    Step { name: "allocations", env: None, args: &["xtask", "bench", "allocations", "--check"] },
    Step { name: "memory", env: None, args: &["xtask", "bench", "memory", "--check"] },
    Step { name: "cache", env: None, args: &["xtask", "bench", "cache", "--check"] },
    Step { name: "verify", env: None, args: &["xtask", "verify", "--tier", "commit"] },
];

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, value)) = self.env {
            write!(f, "{name}=\"{value}\" ")?;
        }
        write!(f, "cargo {}", self.args.join(" "))
    }
}

/// Runs the steps, up to the first that fails.
pub(crate) fn run() -> anyhow::Result<()> {
    let shell = Shell::new()?;
    shell.change_dir(workspace::root()?);
    let started = Instant::now();
    for step in &STEPS {
        println!("ci: {}: {step}", step.name);
        let step_started = Instant::now();
        let outcome = step.run(&shell);
        let took = seconds(step_started.elapsed());
        if let Err(error) = outcome {
            bail!("ci: {} FAILED after {took}: {error}", step.name);
        }
        println!("ci: {} passed in {took}", step.name);
    }
    println!("ci: all {} steps passed in {}", STEPS.len(), seconds(started.elapsed()));
    Ok(())
}

impl Step {
    fn run(&self, shell: &Shell) -> anyhow::Result<()> {
        let mut command = match self.args {
            // Runs this program itself. `cargo xtask` would build it again, because the tests were built with other
            // features.
            ["xtask", args @ ..] => shell.cmd(env::current_exe()?).args(args),
            args => cmd!(shell, "cargo {args...}"),
        };
        if let Some((name, value)) = self.env {
            command = command.env(name, value);
        }
        Ok(command.quiet().run()?)
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workflow_runs_the_same_commands_in_jobs_of_the_same_names() {
        let workflow = include_str!("../../.github/workflows/ci.yml");
        let commands: Vec<&str> = workflow
            .lines()
            .filter_map(|line| line.trim().strip_prefix("- run: "))
            .filter(|it| it.contains("cargo "))
            .collect();
        let steps = STEPS.each_ref().map(Step::to_string);
        assert_eq!(commands, steps.each_ref().map(String::as_str));

        let (_, below) = workflow.split_once("\njobs:\n").unwrap();
        let jobs: Vec<&str> = below.lines().filter_map(job_name).collect();
        let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        assert_eq!(jobs, [names.as_slice(), &["gate"]].concat());
        assert!(workflow.contains(&format!("needs: [{}]", names.join(", "))), "the gate needs every job");
    }

    /// The key of a line such as `  fmt:`. Only names of jobs have this indentation.
    fn job_name(line: &str) -> Option<&str> {
        let key = line.strip_prefix("  ")?.strip_suffix(':')?;
        (!key.starts_with(' ')).then_some(key)
    }
}
