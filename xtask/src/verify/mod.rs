//! `cargo xtask verify`: attempts to break the libraries. Each is one command with a time limit, and it ends in one
//! figure.
//!
//! This file has the table of checks and runs them; docs/reliability.md reports the results. A new check is a file with
//! a `run`, a `mod` line and a row of [`CHECKS`]. The row says in which [`Tier`] the check begins to run.

mod api;
mod c_library;
mod coverage;
mod faults;
mod fuzz;
mod hostile_peers;
pub(crate) mod licences;
mod memcheck;
mod miri;
mod models;
mod mutants;
pub(crate) mod run;
mod sanitizers;
mod soak;
mod state_machine;
mod supply_chain;
mod targets;
pub(crate) mod tools;
mod two_hosts;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use clap::builder::PossibleValuesParser;
use run::Run;
use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, Instant};
use tools::Tool;

/// When a check runs. Each tier includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Tier {
    /// On each commit: all of it ends within minutes.
    Commit,
    /// Each night.
    Night,
    /// Before a release: takes a day.
    Release,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Commit => "commit",
            Self::Night => "night",
            Self::Release => "release",
        })
    }
}

/// An attempt to break the libraries.
struct Check {
    name: &'static str,
    /// The claim that a pass supports.
    shows: &'static str,
    needs: &'static [Tool],
    /// The first tier that runs the check, and the first that runs its long form.
    from: Tier,
    long_from: Tier,
    /// The time limits of the short form and of the long form.
    at_most: [Duration; 2],
    /// Returns the figure, or fails with the findings.
    run: fn(&Run) -> anyhow::Result<String>,
}

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

const CHECKS: &[Check] = &[
    Check {
        name: "models",
        shows: "the concurrency core keeps its promises in every order of steps, and every injected defect is noticed",
        needs: &[],
        from: Tier::Commit,
        long_from: Tier::Night,
        at_most: [minutes(15), minutes(60)],
        run: models::run,
    },
    Check {
        name: "faults",
        shows: "random programs over faulty system calls keep every promise, and every injected defect is noticed",
        needs: &[],
        from: Tier::Commit,
        long_from: Tier::Night,
        at_most: [minutes(15), minutes(40)],
        run: faults::run,
    },
    Check {
        name: "state-machine",
        shows: "the socket does what a reference model says, over mocks and on real socket pairs",
        needs: &[],
        from: Tier::Night,
        long_from: Tier::Night,
        at_most: [minutes(10), minutes(60)],
        run: state_machine::run,
    },
    Check {
        name: "soak",
        shows: "memory, descriptors, threads and latency stay flat while thousands of connections come and go",
        needs: &[],
        from: Tier::Night,
        long_from: Tier::Night,
        at_most: [minutes(10), minutes(12)],
        run: soak::run,
    },
    Check {
        name: "hostile-peers",
        shows: "no peer costs more than was promised, and no other peer notices it",
        needs: &[],
        from: Tier::Night,
        long_from: Tier::Night,
        at_most: [minutes(10), minutes(30)],
        run: hostile_peers::run,
    },
    Check {
        name: "two-hosts",
        shows: "hosts that do not answer or vanish are noticed as promised, and a bad network between two hosts loses no byte",
        needs: &[Tool::Root, Tool::Program("ip", "iproute2"), Tool::Program("unshare", "util-linux")],
        from: Tier::Night,
        long_from: Tier::Night,
        at_most: [minutes(10), minutes(10)],
        run: two_hosts::run,
    },
    Check {
        name: "address-sanitizer",
        shows: "no byte is touched before it is lent or after it is given back",
        needs: &[Tool::Nightly],
        from: Tier::Commit,
        long_from: Tier::Night,
        at_most: [minutes(8), minutes(20)],
        run: sanitizers::address,
    },
    Check {
        name: "leak-sanitizer",
        shows: "all memory is given back",
        needs: &[Tool::Nightly],
        from: Tier::Night,
        long_from: Tier::Night,
        at_most: [minutes(8), minutes(20)],
        run: sanitizers::leak,
    },
    Check {
        name: "thread-sanitizer",
        shows: "what threads share, they share in order",
        needs: &[Tool::Component("rust-src")],
        from: Tier::Night,
        long_from: Tier::Night,
        at_most: [minutes(10), minutes(30)],
        run: sanitizers::thread,
    },
    Check {
        name: "memcheck",
        shows: "no byte is used that is not there or was never written, and none is lost",
        needs: &[Tool::Program("valgrind", "valgrind")],
        from: Tier::Commit,
        long_from: Tier::Night,
        at_most: [minutes(8), minutes(30)],
        run: memcheck::run,
    },
    Check {
        name: "c-library",
        shows: "C programs find, link and use what is installed, and the checkers of C teams report nothing of it",
        needs: &[
            Tool::Program("valgrind", "valgrind"),
            Tool::Program("cmake", "cmake"),
            Tool::Program("pkg-config", "pkg-config"),
        ],
        from: Tier::Night,
        long_from: Tier::Night,
        at_most: [minutes(10), minutes(10)],
        run: c_library::run,
    },
    Check {
        name: "fuzz",
        shows: "no input breaks the C ABI, the event callback or the report's parsers",
        needs: &[Tool::Nightly, Tool::Cargo("fuzz", "0.13.2")],
        from: Tier::Night,
        long_from: Tier::Night,
        at_most: [minutes(8), minutes(45)],
        run: fuzz::run,
    },
    Check {
        name: "mutants",
        shows: "a test fails whatever is broken in the libraries",
        needs: &[Tool::Cargo("mutants", "27.1.0"), Tool::Program("cargo-nextest", "cargo-nextest")],
        from: Tier::Night,
        long_from: Tier::Release,
        at_most: [minutes(15), minutes(600)],
        run: mutants::run,
    },
    Check {
        name: "coverage",
        shows: "the tests run the libraries' lines, but for those that docs/coverage.toml explains",
        needs: &[Tool::Component("llvm-tools"), Tool::Cargo("llvm-cov", "0.9.1")],
        from: Tier::Night,
        long_from: Tier::Night,
        at_most: [minutes(15), minutes(15)],
        run: coverage::run,
    },
    Check {
        name: "supply-chain",
        shows: "what we depend on is licensed, used, and as old as we say",
        needs: &[Tool::Nightly, Tool::OldestRust],
        from: Tier::Commit,
        long_from: Tier::Commit,
        at_most: [minutes(10), minutes(10)],
        run: supply_chain::run,
    },
    Check {
        name: "targets",
        shows: "the libraries compile for other processors, and say why where they cannot",
        needs: &[
            Tool::Target(targets::CHECKED[0]),
            Tool::Target(targets::CHECKED[1]),
            Tool::Target(targets::CHECKED[2]),
            Tool::Target(targets::REFUSED),
        ],
        from: Tier::Commit,
        long_from: Tier::Commit,
        at_most: [minutes(5), minutes(5)],
        run: targets::run,
    },
    Check {
        name: "miri",
        shows: "the tests that need no kernel do nothing undefined, on 64 and on 32 bits, whichever byte comes first",
        needs: &[Tool::Component("rust-src"), Tool::Component("miri")],
        from: Tier::Night,
        long_from: Tier::Night,
        at_most: [minutes(60), minutes(60)],
        run: miri::run,
    },
    Check {
        name: "api",
        shows: "the Rust API only grows",
        needs: &[Tool::Cargo("semver-checks", "0.51.0")],
        from: Tier::Release,
        long_from: Tier::Release,
        at_most: [minutes(15), minutes(15)],
        run: api::run,
    },
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The check to run; all of the tier if there is none
    #[arg(required_unless_present_any = ["list", "tier"], value_parser = PossibleValuesParser::new(names()))]
    name: Option<String>,
    /// In the form in which this tier runs it
    #[arg(long, value_enum, conflicts_with_all = ["long", "minutes"])]
    tier: Option<Tier>,
    /// Its long form: everything, not a part of it
    #[arg(long, requires = "name")]
    long: bool,
    /// How long to go on, if the check can go on for any time
    #[arg(long, value_name = "N", requires = "name")]
    minutes: Option<u64>,
    /// Print what there is
    #[arg(long, conflicts_with_all = ["name", "tier"])]
    list: bool,
}

/// Runs the chosen checks. Fails with the first that finds something.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if args.list {
        // A pager may close the pipe before the end.
        let _ = CHECKS.iter().try_for_each(|check| print(&mut io::stdout(), check));
        return Ok(());
    }
    for check in CHECKS.iter().filter(|check| args.chooses(check)) {
        check.start(args).with_context(|| format!("verify {}", check.name))?;
    }
    Ok(())
}

impl Args {
    /// A named check runs whatever its tier.
    fn chooses(&self, check: &Check) -> bool {
        match &self.name {
            Some(name) => name == check.name,
            None => self.tier.is_some_and(|tier| check.from <= tier),
        }
    }

    fn is_long(&self, check: &Check) -> bool {
        self.long || self.tier.is_some_and(|tier| check.long_from <= tier)
    }
}

fn names() -> Vec<&'static str> {
    CHECKS.iter().map(|check| check.name).collect()
}

fn print(out: &mut impl Write, check: &Check) -> io::Result<()> {
    let [short, long] = check.at_most.map(|limit| limit.as_secs() / 60);
    let needs: Vec<String> = check.needs.iter().map(Tool::to_string).collect();
    let needs = if needs.is_empty() { "nothing".to_owned() } else { needs.join(", ") };
    let (name, from, long_from) = (check.name, check.from, check.long_from);
    writeln!(out, "{name:18} {}", check.shows)?;
    writeln!(out, "{:18} needs {needs}; at most {short} min, --long {long} min", "")?;
    writeln!(out, "{:18} runs from tier {from} on, in its long form from {long_from} on", "")
}

impl Check {
    fn start(&self, args: &Args) -> anyhow::Result<()> {
        let [short, long] = self.at_most;
        let (asked, is_long) = (args.minutes.map(minutes), args.is_long(self));
        // The limit leaves time for building, beside the requested minutes.
        let limit = asked.map_or(if is_long { long } else { short }, |asked| asked * 2 + minutes(10));
        let run = Run::new(self.name, is_long, asked)?;
        for tool in self.needs {
            tool.provide(&run)?;
        }
        println!("verify: {}: at most {} min, log in {}", self.name, limit.as_secs() / 60, run.log().display());
        let started = Instant::now();
        let figure = (self.run)(&run.until(started + limit))?;
        if started.elapsed() > limit {
            bail!("took longer than it may");
        }
        println!("{}: {figure}, {} s", self.name, started.elapsed().as_secs());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../../docs/reliability.md");

    fn row(check: &Check) -> String {
        let begin = format!("| `{}` |", check.name);
        let row = DOCUMENT.lines().find(|line| line.starts_with(&begin));
        row.unwrap_or_else(|| panic!("docs/reliability.md says nothing about {}", check.name)).to_owned()
    }

    #[test]
    fn docs_reliability_has_a_row_for_every_check() {
        CHECKS.iter().for_each(|check| drop(row(check)));
    }

    #[test]
    fn docs_reliability_says_when_every_check_runs() {
        for check in CHECKS {
            let forms = [Tier::Commit, Tier::Night, Tier::Release].map(|tier| match tier {
                _ if tier < check.from => "–",
                _ if check.at_most[0] == check.at_most[1] => "all",
                _ if tier < check.long_from => "short",
                _ => "long",
            });
            let expected = format!("| `{}` | {} |", check.name, forms.join(" | "));
            assert!(DOCUMENT.lines().any(|line| line == expected), "docs/reliability.md lacks: {expected}");
        }
    }

    #[test]
    fn the_nightly_workflow_runs_every_check_of_the_night() {
        let workflow = include_str!("../../../.github/workflows/nightly.yml");
        let (_, listed) = workflow.split_once("check: [").expect("a matrix of checks");
        let (listed, _) = listed.split_once(']').expect("the end of it");
        let listed: Vec<&str> = listed.split(',').map(str::trim).collect();
        let of_the_night = CHECKS.iter().filter(|check| check.from <= Tier::Night);
        assert_eq!(listed, of_the_night.map(|check| check.name).collect::<Vec<_>>());
        assert!(workflow.contains("cargo xtask verify ${{ matrix.check }} --tier night"));
    }
}
