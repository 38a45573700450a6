//! The cost of one echo under callgrind: the difference of a long run and a short one, divided by the messages.
//!
//! The difference contains no cost of start, connecting and end.

use super::load::Held;
use super::servers::{Kind, Programs, Server};
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::fs;

/// Callgrind's counts by event: `Ir` is instructions, `D1mr` is reads that missed the first level, …
pub(crate) type Counts = BTreeMap<String, u64>;

/// The number of connections, and the messages on each in the short run and in the long run.
pub(crate) type Load = (usize, u64, u64);

/// `calloc` clears memory that `malloc` has used before, and how much of it there is differs between runs by more than all
/// messages cost. The kernel clears the memory of a connection's buffer if it has a mapping of its own.
const NO_MEMSET: &str = "glibc.malloc.mmap_threshold=32768";

/// The sum of `events` per message. `options` go to callgrind.
#[allow(clippy::cast_precision_loss, reason = "a figure to be read")]
pub(crate) fn per_echo(
    programs: &Programs,
    kind: &Kind,
    (connections, short, long): Load,
    options: &[&str],
    events: &[&str],
) -> anyhow::Result<f64> {
    let run = |messages| -> anyhow::Result<f64> {
        let counts = counts(programs, kind, connections, messages, options)
            .with_context(|| format!("{} under callgrind", kind.name))?;
        let of = |event: &&str| counts.get(*event).copied().with_context(|| format!("the profile has no {event}"));
        events.iter().map(of).try_fold(0.0, |sum, count| Ok(sum + count? as f64))
    };
    let more_messages = connections as u64 * (long - short);
    Ok((run(long)? - run(short)?) / more_messages as f64)
}

fn counts(
    programs: &Programs,
    kind: &Kind,
    connections: usize,
    messages: u64,
    options: &[&str],
) -> anyhow::Result<Counts> {
    let scratch = tempfile::tempdir()?;
    let out = scratch.path().join("callgrind.out");
    let mut wrapper = ["valgrind", "--quiet", "--tool=callgrind"].map(str::to_owned).to_vec();
    wrapper.push(format!("--callgrind-out-file={}", out.display()));
    wrapper.extend(options.iter().map(|&option| option.to_owned()));
    let mut command = programs.server(kind, &wrapper, &[]);
    command.env("GLIBC_TUNABLES", NO_MEMSET);
    let server = Server::start(kind, command)?;
    let held = Held::connect(programs, &server, connections, messages)?;
    // The clients stay until the server has ended, because it must not serve only some of their departures.
    server.stop()?;
    drop(held);
    totals(&fs::read_to_string(&out)?)
}

/// Reads the totals of a profile. One line names the events, and another has their sums.
fn totals(profile: &str) -> anyhow::Result<Counts> {
    let line = |start| profile.lines().find_map(|line| line.strip_prefix(start));
    let events = line("events: ").context("the profile names no events")?;
    let totals = line("totals: ").context("the profile has no totals")?;
    events
        .split_whitespace()
        .zip(totals.split_whitespace())
        .map(|(event, total)| Ok((event.to_owned(), total.parse()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_totals_go_by_the_names_of_the_events() {
        let counts = totals("version: 1\nevents: Ir Dr D1mr\nfn=(1) f\n3 4 5 6\ntotals: 10 20 30\n").unwrap();
        assert_eq!(counts["Ir"], 10);
        assert_eq!(counts["D1mr"], 30);
        assert!(totals("events: Ir\n").is_err());
    }
}
