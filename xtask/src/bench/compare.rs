//! `cargo xtask bench`: all servers under all loads, in rounds, each round in an order of its own.
//!
//! A server has one CPU, and the load has another. A server with two threads has all CPUs except the load's. A program
//! that runs both sides in one process has all CPUs.

use super::load::{self, Measured, on_cpus};
use super::machine::Machine;
use super::outcome::Outcome;
use super::scenarios::{self, Family, Participant, Scenario};
use super::servers::{Kind, OURS_TWO_PORTS, Programs, Server, TOKIO_MULTI};
use super::{limits, plots, require};
use crate::workspace;
use anyhow::{Context as _, bail, ensure};
use serde::Serialize;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Few scenarios and short rounds, in two minutes
    #[arg(long)]
    quick: bool,
    /// Fail if a limit is not kept
    #[arg(long)]
    check: bool,
    /// Only scenarios whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Only these implementations, by their names in the tables with hyphens between the words. The first one is what the
    /// others are compared with; `tokio-again` beside `tokio` shows the noise
    #[arg(long = "impl", value_name = "NAMES", value_delimiter = ',')]
    implementations: Vec<String>,
    /// Only plain echoes, of these sizes in bytes, for instance `64,4k`
    #[arg(long, value_name = "SIZES", value_delimiter = ',', value_parser = scenarios::size)]
    sizes: Vec<usize>,
    /// Only plain echoes, on these numbers of connections: 1, 64 and 1000 if only `--sizes` is given
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    connections: Vec<usize>,
    /// How many rounds: 7, or 3 if quick
    #[arg(long)]
    rounds: Option<usize>,
    /// How long a measurement is: 1, or 0.25 if quick
    #[arg(long)]
    seconds: Option<f64>,
    /// The folder for the results: docs/benchmarks, or target/bench/results unless all is measured
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Serialize)]
struct Results<'a> {
    command: &'a str,
    machine: &'a Machine,
    outcomes: &'a [Outcome],
}

impl Options {
    fn is_of_all_loads(&self) -> bool {
        self.sizes.is_empty() && self.connections.is_empty()
    }
}

pub(crate) fn run(args: &Options) -> anyhow::Result<()> {
    require("taskset", "util-linux")?;
    let machine = Machine::this()?;
    let programs = Programs::build(true)?;
    let rounds = args.rounds.unwrap_or(if args.quick { 3 } else { 7 }).max(1);
    let seconds = args.seconds.unwrap_or(if args.quick { 0.25 } else { 1.0 });
    let is_wanted = |it: &Scenario| args.only.as_ref().is_none_or(|text| it.name.contains(text.as_str()));
    let all = if args.is_of_all_loads() {
        scenarios::all(args.quick)
    } else {
        scenarios::echoes(&args.sizes, &args.connections)
    };
    let is_all = !args.quick && args.only.is_none() && args.implementations.is_empty() && args.is_of_all_loads();
    let mut scenarios: Vec<_> = all.into_iter().filter(is_wanted).collect();
    ensure!(!scenarios.is_empty(), "no scenario has such a name");
    if !args.implementations.is_empty() {
        scenarios.iter_mut().for_each(|scenario| scenario.choose(&args.implementations));
        scenarios.retain(|scenario| !scenario.participants.is_empty());
        let known = |name| scenarios.iter().any(|it| it.participants.iter().any(|it| it.is_called(name)));
        if let Some(name) = args.implementations.iter().find(|name| !known(name)) {
            bail!("no implementation of these scenarios is called {name}");
        }
    }
    println!("{}\n", machine.line());
    let mut outcomes = Vec::new();
    for scenario in &scenarios {
        let outcome = compare(&programs, scenario, rounds, seconds, machine.cores)?;
        println!("{}", outcome.table());
        outcomes.push(outcome);
    }
    let out = match &args.out {
        Some(out) => out.clone(),
        None if is_all => workspace::root()?.join("docs/benchmarks"),
        None => workspace::target_dir()?.join("bench/results"),
    };
    write(&out, &machine, &outcomes)?;
    println!("{}", disturbance(&outcomes));
    println!("The figures and plots are in {}", out.display());
    let figures: Vec<_> = outcomes.iter().flat_map(Outcome::figures).collect();
    if args.check { limits::check("compare", &figures, !is_all) } else { Ok(()) }
}

fn compare(
    programs: &Programs,
    scenario: &Scenario,
    rounds: usize,
    seconds: f64,
    cores: usize,
) -> anyhow::Result<Outcome> {
    let mut measured = vec![Vec::new(); scenario.participants.len()];
    for _ in 0..rounds {
        let mut order: Vec<usize> = (0..scenario.participants.len()).collect();
        fastrand::shuffle(&mut order);
        for index in order {
            let participant = &scenario.participants[index];
            let round = match participant {
                Participant::Server(kind) => one_server(programs, scenario, kind, seconds, cores),
                Participant::Engine { engine, threads, .. } => {
                    one_engine(programs, scenario, engine, *threads, seconds)
                }
            };
            measured[index].push(round.with_context(|| format!("{}, {}", participant.name(), scenario.name))?);
        }
    }
    Ok(Outcome::new(scenario, measured))
}

fn one_server(
    programs: &Programs,
    scenario: &Scenario,
    kind: &Kind,
    seconds: f64,
    cores: usize,
) -> anyhow::Result<Measured> {
    let last = cores - 1;
    let has_threads = [TOKIO_MULTI, OURS_TWO_PORTS].contains(kind);
    let cpus = if has_threads && last > 1 { format!("0-{}", last - 1) } else { "0".to_owned() };
    let arguments = scenario.server_arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let server = Server::start(kind, programs.server(kind, &on_cpus(&cpus), &arguments))?;
    let measured = load::measure(programs, &server, last, &scenario.load(seconds))?;
    server.stop()?;
    Ok(measured)
}

fn one_engine(
    programs: &Programs,
    scenario: &Scenario,
    engine: &str,
    threads: usize,
    seconds: f64,
) -> anyhow::Result<Measured> {
    // Pairs on one thread stay on one CPU; pairs on more threads may use all.
    let wrapper = if scenario.family == Family::Pairs { on_cpus("0") } else { Vec::new() };
    let mut command = programs.other("pairs", &wrapper);
    command.args(["--engine", engine, "--threads", &threads.to_string()]).args(scenario.load(seconds));
    let output = command.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the program failed: {command:?}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Whether other load was on the machine.
fn disturbance(outcomes: &[Outcome]) -> String {
    let entries = || outcomes.iter().flat_map(|outcome| &outcome.entries);
    let (rounds, disturbed): (usize, usize) =
        (entries().map(|entry| entry.rounds.len()).sum(), entries().map(|entry| entry.disturbed).sum());
    match disturbed {
        0 => "Nothing else used the machine.".to_owned(),
        _ => format!("DISTURBED: in {disturbed} of {rounds} measurements others used the machine too."),
    }
}

fn write(out: &Path, machine: &Machine, outcomes: &[Outcome]) -> anyhow::Result<()> {
    fs::create_dir_all(out)?;
    let command = ["cargo xtask".to_owned()].into_iter().chain(env::args().skip(1)).collect::<Vec<_>>().join(" ");
    let results = Results { command: &command, machine, outcomes };
    fs::write(out.join("results.json"), serde_json::to_string_pretty(&results)? + "\n")?;
    let mut text = format!("`{command}` on {}\n\n{}\n\n```text\n", machine.line(), disturbance(outcomes));
    let tables: Vec<_> = outcomes.iter().map(Outcome::table).collect();
    writeln!(text, "{}```", tables.join("\n"))?;
    fs::write(out.join("results.md"), text)?;
    plots::write(out, outcomes)
}
