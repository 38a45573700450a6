//! Plays many programs in a child process, one after the other, and shrinks a program that fails.

use super::{Act, Program, Setting, Totals, play};
use anyhow::{Context, bail, ensure};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};
use test_doubles::Fault;

/// A smaller program counts as working after this many plays without failure. Threads make a program fail only at times.
const TRIES: usize = 3;

/// The time limit for shrinking a program.
const SHRINKING: Duration = Duration::from_secs(120);

/// The time limit of a smaller program.
const ONE_PROGRAM: Duration = Duration::from_secs(100);

/// The events without which a campaign proves nothing.
#[derive(Debug, Clone, clap::Args)]
pub struct Wanted {
    /// Fails if fewer faults were injected
    #[arg(long, default_value_t = 0)]
    at_least: u64,
    /// Fails if an act never happened
    #[arg(long)]
    every_act: bool,
}

impl Wanted {
    /// Checks that the wanted events have happened.
    ///
    /// # Errors
    /// The events that have not happened.
    pub fn check(&self, totals: &Totals) -> anyhow::Result<()> {
        let (injected, missing) = (totals.injected(), totals.missing());
        ensure!(injected >= self.at_least, "{injected} faults are fewer than {}", self.at_least);
        ensure!(!self.every_act || missing.is_empty(), "these acts never happened: {missing:?}");
        Ok(())
    }

    fn arguments(&self) -> Vec<String> {
        let every_act = self.every_act.then(|| "--every-act".to_owned());
        ["--at-least".to_owned(), self.at_least.to_string()].into_iter().chain(every_act).collect()
    }
}

/// Plays programs in this process until the time is over. Prints each program before playing it. If a wanted event has
/// not happened by then, plays on, at most for the same time again.
///
/// # Errors
/// The first failure.
pub fn play_many(first_seed: u64, time: Duration, wanted: &Wanted, setting: &Setting) -> anyhow::Result<Totals> {
    let start = Instant::now();
    let mut totals = Totals::default();
    let mut seeds = fastrand::Rng::with_seed(first_seed);
    while start.elapsed() < time || (start.elapsed() < time * 2 && wanted.check(&totals).is_err()) {
        let program = Program::of(seeds.u64(..));
        println!("playing {}", program.seed);
        match play(&program, setting) {
            Ok(more) => totals.add(&more),
            Err(violations) => bail!("{program}:\n  {}", violations.join("\n  ")),
        }
    }
    Ok(totals)
}

/// Runs [`play_many`] in a child process. If a program fails or kills the child, shrinks that program.
///
/// # Errors
/// The failure, with the smallest failing program that was found.
pub fn run(seconds: u64, first_seed: u64, wanted: &Wanted, setting: &Setting) -> anyhow::Result<()> {
    let mut child = this(setting)?
        .args(["--in-this-process", "--seconds", &seconds.to_string(), "--first-seed", &first_seed.to_string()])
        .args(wanted.arguments())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stderr = child.stderr.take().context("piped")?;
    let errors = thread::spawn(move || {
        let mut said = String::new();
        let _ = stderr.read_to_string(&mut said);
        said
    });
    let mut last = None;
    for line in BufReader::new(child.stdout.take().context("piped")?).lines() {
        let line = line?;
        match line.strip_prefix("playing ").and_then(|seed| seed.parse().ok()) {
            Some(seed) => last = Some(seed),
            None => println!("{line}"),
        }
    }
    let status = child.wait()?;
    if status.success() {
        return Ok(());
    }
    let said = errors.join().unwrap_or_default();
    let Some(seed) = last else { bail!("{status}: {said}") };
    println!("seed {seed} fails ({status}):\n{said}");
    let smallest = shrink(Program::of(seed), setting)?;
    bail!("seed {seed} fails; the smallest program that still does:\n  faults {smallest}\n{said}");
}

/// Returns the smallest program that still fails, as far as the time allows.
fn shrink(mut program: Program, setting: &Setting) -> anyhow::Result<Program> {
    let start = Instant::now();
    'smaller: loop {
        for candidate in program.smaller() {
            // Twice, because a failure of one run in hundreds could not be played again.
            if fails(&candidate, setting, start)? && fails(&candidate, setting, start)? {
                println!("still fails: {candidate}");
                program = candidate;
                continue 'smaller;
            }
        }
        return Ok(program);
    }
}

/// Whether one of a few runs fails, as far as the time allows.
fn fails(program: &Program, setting: &Setting, start: Instant) -> anyhow::Result<bool> {
    for _ in 0..TRIES {
        if start.elapsed() > SHRINKING {
            return Ok(false);
        }
        if !works(program, setting)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn works(program: &Program, setting: &Setting) -> anyhow::Result<bool> {
    let mut child = this(setting)?.args(program.arguments()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let (done, ended) = channel();
    let id = nix::unistd::Pid::from_raw(child.id().try_into()?);
    let waiting = thread::spawn(move || {
        let works = child.wait().is_ok_and(|status| status.success());
        let _ = done.send(works);
    });
    let works = ended.recv_timeout(ONE_PROGRAM).unwrap_or_else(|_| {
        let _ = nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGKILL);
        false
    });
    let _ = waiting.join();
    Ok(works)
}

fn this(setting: &Setting) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(setting.arguments());
    Ok(command)
}

/// Prints what was played.
pub fn print(totals: &Totals, took: Duration) {
    println!(
        "{} programs, {} sockets, {} operations accepted and each called back once, {} refused, {} MiB right, {:.0} s",
        totals.programs,
        totals.sockets,
        totals.accepted,
        totals.refused,
        totals.bytes >> 20,
        took.as_secs_f64()
    );
    for (fault, count) in Fault::ALL.iter().zip(totals.faults) {
        println!("{count:>12} {fault:?}");
    }
    println!("{:>12} NoMemoryForAnOperation", totals.without_memory);
    println!("{:>12} faults injected", totals.injected());
    for (act, count) in Act::ALL.iter().zip(totals.acts) {
        println!("{count:>12} {act:?}");
    }
    println!("{:>12} acts that users rarely do", totals.acts.iter().sum::<u64>());
}
