//! A program that is made from a seed, and ways to shrink it.

use super::acts::{Act, Acts};
use super::kernel::Defect;
use clap::{Args, ValueEnum};
use std::fmt;
use test_doubles::{Fault, Faults};

/// A random program. The seed decides every number and every act; given fields take precedence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The seed of all acts.
    pub seed: u64,
    /// The number of simultaneous connections.
    pub connections: usize,
    /// The number of threads that act.
    pub threads: usize,
    /// The number of acts of each thread.
    pub steps: usize,
    /// The number of completion ports.
    pub ports: usize,
    /// Nothing is closed before the end and no fault breaks a connection, so all bytes must arrive.
    pub calm: bool,
    /// The thousandths of the calls in which the library gets no memory.
    pub no_memory: u16,
    /// The faults of the system calls.
    pub faults: Faults,
    /// The acts that it may do besides sending and receiving.
    pub acts: Acts,
}

/// The parts of a program that a command line can set.
#[derive(Debug, Clone, Default, Args)]
pub struct Overrides {
    /// Connections at a time
    #[arg(long)]
    connections: Option<usize>,
    /// Threads that act
    #[arg(long)]
    threads: Option<usize>,
    /// Acts of each thread
    #[arg(long)]
    steps: Option<usize>,
    /// Completion ports
    #[arg(long)]
    ports: Option<usize>,
    /// Thousandths of the calls in which there is no memory
    #[arg(long)]
    no_memory: Option<u16>,
    /// Kinds of faults that do not happen, for instance `Short,Again`
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// Acts that do not happen
    #[arg(long, value_delimiter = ',')]
    without_acts: Vec<Act>,
}

/// The settings that are the same for all programs.
#[derive(Debug, Clone, Args)]
pub struct Setting {
    /// Injects a defect
    #[arg(long)]
    pub inject: Option<Defect>,
    /// The seconds without any progress after which a program hangs
    #[arg(long, default_value_t = 60)]
    pub bound: u64,
}

impl Setting {
    /// The command-line arguments for these settings.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--bound".to_owned(), self.bound.to_string()];
        if let Some(name) = self.inject.and_then(|defect| defect.to_possible_value()) {
            arguments.extend(["--inject".to_owned(), name.get_name().to_owned()]);
        }
        arguments
    }
}

impl Program {
    /// The program of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        // Small programs meet rare orders, and large ones meet crowds. Each size is equally likely.
        let connections = 1 << random.u32(0..11);
        let calm = random.bool();
        let (faults, no_memory) = if calm { (Faults::harmless(), 0) } else { (breaking(&mut random), 30) };
        Self {
            seed,
            connections: connections + random.usize(..connections),
            threads: random.usize(1..=6),
            steps: random.usize(100..4_000),
            ports: random.usize(1..=3),
            calm,
            no_memory: if random.bool() { no_memory } else { 0 },
            faults,
            acts: Acts::of(&mut random, calm),
        }
    }

    /// The program with the overrides of the command line.
    #[must_use]
    pub fn with(mut self, overrides: &Overrides) -> Self {
        let set = |field: &mut usize, value: Option<usize>| *field = value.unwrap_or(*field).max(1);
        set(&mut self.connections, overrides.connections);
        set(&mut self.threads, overrides.threads);
        set(&mut self.steps, overrides.steps);
        set(&mut self.ports, overrides.ports);
        self.no_memory = overrides.no_memory.unwrap_or(self.no_memory);
        for fault in Fault::ALL {
            if overrides.without.iter().any(|name| *name == format!("{fault:?}")) {
                self.faults = self.faults.with(fault, 0);
            }
        }
        self.acts = overrides.without_acts.iter().fold(self.acts, |acts, act| acts.without(*act));
        self
    }

    /// Programs that are smaller than this one, the smallest first.
    #[must_use]
    pub fn smaller(&self) -> Vec<Self> {
        let mut smaller = Vec::new();
        for divisor in [8, 2] {
            let mut halve = |field: fn(&mut Self) -> &mut usize| {
                let mut program = self.clone();
                let size = field(&mut program);
                *size = (*size / divisor).max(1);
                smaller.push(program);
            };
            halve(|program| &mut program.connections);
            halve(|program| &mut program.steps);
            halve(|program| &mut program.threads);
            halve(|program| &mut program.ports);
        }
        smaller.push(Self { no_memory: 0, ..self.clone() });
        smaller.extend(Fault::ALL.map(|fault| Self { faults: self.faults.with(fault, 0), ..self.clone() }));
        smaller.extend(Act::ALL.map(|act| Self { acts: self.acts.without(act), ..self.clone() }));
        smaller.retain(|program| program != self);
        smaller
    }

    /// The arguments that play it again.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let of_seed = Self::of(self.seed);
        let mut arguments = vec!["--seed".to_owned(), self.seed.to_string()];
        let mut say = |name: &str, value: usize, usual: usize| {
            if value != usual {
                arguments.extend([format!("--{name}"), value.to_string()]);
            }
        };
        say("connections", self.connections, of_seed.connections);
        say("threads", self.threads, of_seed.threads);
        say("steps", self.steps, of_seed.steps);
        say("ports", self.ports, of_seed.ports);
        say("no-memory", self.no_memory.into(), of_seed.no_memory.into());
        let gone = |fault: &Fault| self.faults.of(*fault) == 0 && of_seed.faults.of(*fault) > 0;
        let without: Vec<_> = Fault::ALL.into_iter().filter(gone).map(|fault| format!("{fault:?}")).collect();
        if !without.is_empty() {
            arguments.extend(["--without".to_owned(), without.join(",")]);
        }
        let gone = |act: &Act| of_seed.acts.has(*act) && !self.acts.has(*act);
        let names = Act::ALL.into_iter().filter(gone).filter_map(|act| act.to_possible_value());
        let without: Vec<_> = names.map(|name| name.get_name().to_owned()).collect();
        if !without.is_empty() {
            arguments.extend(["--without-acts".to_owned(), without.join(",")]);
        }
        arguments
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.arguments().join(" "))
    }
}

/// All kinds of faults. The seed decides how rare those are that end a connection.
fn breaking(random: &mut fastrand::Rng) -> Faults {
    let rare = random.u16(1..=10);
    let lasting = [Fault::Reset, Fault::Pipe, Fault::Lost, Fault::NoBuffers, Fault::NoMemory];
    lasting.into_iter().fold(Faults::all(), |faults, fault| faults.with(fault, rare))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[arg(long)]
        seed: u64,
        #[command(flatten)]
        overrides: Overrides,
    }

    #[test]
    fn the_arguments_of_a_program_make_the_same_program() {
        for seed in 0..20 {
            for program in [vec![Program::of(seed)], Program::of(seed).smaller()].concat() {
                let cli = Cli::parse_from([vec!["verify".to_owned()], program.arguments()].concat());
                assert_eq!(Program::of(cli.seed).with(&cli.overrides), program);
            }
        }
    }

    #[test]
    fn getting_smaller_comes_to_an_end() {
        let mut program = Program::of(3);
        let mut times = 0;
        while let Some(smaller) = program.smaller().into_iter().next() {
            (program, times) = (smaller, times + 1);
        }
        assert_eq!((program.connections, program.threads, program.steps, program.ports), (1, 1, 1, 1));
        assert!(times < 60);
    }
}
