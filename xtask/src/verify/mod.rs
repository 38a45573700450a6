//! `cargo xtask verify`: attempts to break the libraries. Each is one command, bounded in time, and ends in one figure.
//!
//! This file has the table of checks and runs them; docs/reliability.md says what came of them. A new check is a file
//! with a `run`, a `mod` line and a row of [`CHECKS`].

mod coverage;
mod faults;
mod fuzz;
mod hostile_peers;
mod memcheck;
mod models;
mod mutants;
mod run;
mod sanitizers;
mod soak;
mod state_machine;
mod supply_chain;
mod tools;

use anyhow::{Context as _, bail};
use clap::builder::PossibleValuesParser;
use run::Run;
use std::time::{Duration, Instant};
use tools::Tool;

/// An attempt to break the libraries.
struct Check {
    name: &'static str,
    /// What is true if it passes.
    shows: &'static str,
    needs: &'static [Tool],
    /// What the short form may take, and what the long one.
    at_most: [Duration; 2],
    /// Returns the figure; fails with what was found.
    run: fn(&Run) -> anyhow::Result<String>,
}

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

const CHECKS: &[Check] = &[
    Check {
        name: "models",
        shows: "the concurrency core keeps its promises in every order of steps, and every planted defect is noticed",
        needs: &[],
        at_most: [minutes(15), minutes(60)],
        run: models::run,
    },
    Check {
        name: "faults",
        shows: "random programs over faulty system calls keep every promise, and every planted defect is noticed",
        needs: &[],
        at_most: [minutes(15), minutes(40)],
        run: faults::run,
    },
    Check {
        name: "state-machine",
        shows: "the socket does what a reference model says, over mocks and on real socket pairs",
        needs: &[],
        at_most: [minutes(10), minutes(60)],
        run: state_machine::run,
    },
    Check {
        name: "soak",
        shows: "memory, descriptors, threads and latency stay flat while thousands of connections come and go",
        needs: &[],
        at_most: [minutes(10), minutes(12)],
        run: soak::run,
    },
    Check {
        name: "hostile-peers",
        shows: "no peer costs more than was promised, and no other peer notices it",
        needs: &[],
        at_most: [minutes(10), minutes(30)],
        run: hostile_peers::run,
    },
    Check {
        name: "address-sanitizer",
        shows: "no byte is touched before it is lent or after it is given back",
        needs: &[Tool::Nightly],
        at_most: [minutes(8), minutes(20)],
        run: sanitizers::address,
    },
    Check {
        name: "leak-sanitizer",
        shows: "all memory is given back",
        needs: &[Tool::Nightly],
        at_most: [minutes(8), minutes(20)],
        run: sanitizers::leak,
    },
    Check {
        name: "thread-sanitizer",
        shows: "what threads share, they share in order",
        needs: &[Tool::Component("rust-src")],
        at_most: [minutes(10), minutes(30)],
        run: sanitizers::thread,
    },
    Check {
        name: "memcheck",
        shows: "no byte is used that is not there or was never written, and none is lost",
        needs: &[Tool::Program("valgrind", "valgrind")],
        at_most: [minutes(8), minutes(30)],
        run: memcheck::run,
    },
    Check {
        name: "fuzz",
        shows: "no input breaks the C ABI, the event call-back or the report's parsers",
        needs: &[Tool::Nightly, Tool::Cargo("fuzz", "0.13.2")],
        at_most: [minutes(8), minutes(45)],
        run: fuzz::run,
    },
    Check {
        name: "mutants",
        shows: "a test fails whatever is broken in the libraries",
        needs: &[Tool::Cargo("mutants", "27.1.0"), Tool::Program("cargo-nextest", "cargo-nextest")],
        at_most: [minutes(15), minutes(600)],
        run: mutants::run,
    },
    Check {
        name: "coverage",
        shows: "the tests run the libraries' lines, but for those that docs/coverage.toml explains",
        needs: &[Tool::Component("llvm-tools"), Tool::Cargo("llvm-cov", "0.9.1")],
        at_most: [minutes(15), minutes(15)],
        run: coverage::run,
    },
    Check {
        name: "supply-chain",
        shows: "what we depend on is licensed, used, and as old as we say; the API only grows",
        needs: &[
            Tool::Nightly,
            Tool::Cargo("deny", "0.20.2"),
            Tool::Cargo("machete", "0.9.2"),
            Tool::Cargo("hack", "0.6.46"),
            Tool::Cargo("semver-checks", "0.51.0"),
        ],
        at_most: [minutes(10), minutes(15)],
        run: supply_chain::run,
    },
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The check to run
    #[arg(required_unless_present_any = ["list", "short"], value_parser = PossibleValuesParser::new(names()))]
    name: Option<String>,
    /// Its long form: everything, not a part of it
    #[arg(long, requires = "name")]
    long: bool,
    /// How long to go on, where a check can go on for any time
    #[arg(long, value_name = "N", requires = "name")]
    minutes: Option<u64>,
    /// Print what there is
    #[arg(long, conflicts_with_all = ["name", "short"])]
    list: bool,
    /// The short forms of all checks, which CI runs
    #[arg(long, conflicts_with = "name")]
    short: bool,
}

/// Fails with the first check that finds something.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if args.list {
        CHECKS.iter().for_each(print);
        return Ok(());
    }
    let chosen = |check: &&Check| args.name.as_deref().is_none_or(|name| name == check.name);
    for check in CHECKS.iter().filter(chosen) {
        check.start(args).with_context(|| format!("verify {}", check.name))?;
    }
    Ok(())
}

fn names() -> Vec<&'static str> {
    CHECKS.iter().map(|check| check.name).collect()
}

fn print(check: &Check) {
    let [short, long] = check.at_most.map(|limit| limit.as_secs() / 60);
    let needs: Vec<String> = check.needs.iter().map(Tool::to_string).collect();
    let needs = if needs.is_empty() { "nothing".to_owned() } else { needs.join(", ") };
    println!("{:18} {}\n{:18} needs {needs}; at most {short} min, --long {long} min", check.name, check.shows, "");
}

impl Check {
    fn start(&self, args: &Args) -> anyhow::Result<()> {
        let [short, long] = self.at_most;
        let asked = args.minutes.map(minutes);
        // Building comes on top of the minutes that were asked for.
        let limit = asked.map_or(if args.long { long } else { short }, |asked| asked * 2 + minutes(10));
        let run = Run::new(self.name, args.long, asked)?;
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

    #[test]
    fn docs_reliability_has_a_row_for_every_check() {
        let document = include_str!("../../../docs/reliability.md");
        for check in CHECKS {
            let row = document.lines().find(|line| line.starts_with(&format!("| `{}`", check.name)));
            assert!(row.is_some(), "docs/reliability.md says nothing about {}", check.name);
        }
    }
}
