//! The result of a scenario's rounds: medians, and ratios to the first participant within the same round.

use super::limits::Figure;
use super::load::Measured;
use super::scenarios::{Family, Participant, Scenario};
use super::{median, table};
use serde::Serialize;

#[derive(Serialize)]
pub(crate) struct Outcome {
    pub(crate) scenario: String,
    #[serde(skip)]
    pub(crate) family: Family,
    pub(crate) size: usize,
    pub(crate) connections: usize,
    pub(crate) entries: Vec<Entry>,
}

#[derive(Serialize)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    /// Messages in a second; of bulk, bytes.
    pub(crate) rate: f64,
    /// The server's CPU microseconds per message. For the families `Bulk` and `Beside`, they are per mebibyte.
    pub(crate) cpu: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    /// Against the first entry.
    rate_ratio: f64,
    cpu_ratio: f64,
    p99_ratio: f64,
    /// The rounds in which other processes used the machine too.
    pub(crate) disturbed: usize,
    pub(crate) rounds: Vec<Measured>,
}

/// The part of one CPU that other processes may use before a round counts as disturbed. That counter has steps of 10
/// ms.
const TOLERATED: f64 = 0.05;

impl Measured {
    pub(crate) fn is_disturbed(&self) -> bool {
        self.other_cpu > TOLERATED * self.seconds + 0.02
    }

    #[allow(clippy::cast_precision_loss, reason = "figures to be read")]
    fn rate(&self, family: Family) -> f64 {
        (if family == Family::Bulk { self.bytes } else { self.messages }) as f64 / self.seconds
    }

    #[allow(clippy::cast_precision_loss, reason = "figures to be read")]
    fn cpu(&self, family: Family) -> f64 {
        let units =
            if counts_mebibytes(family) { self.bytes as f64 / f64::from(1 << 20) } else { self.messages as f64 };
        self.server_cpu * 1e6 / units
    }
}

/// Whether the server's work depends on the bytes rather than on the messages.
fn counts_mebibytes(family: Family) -> bool {
    matches!(family, Family::Bulk | Family::Beside)
}

impl Outcome {
    /// `rounds` holds the measurements of each round, for each participant.
    pub(crate) fn new(scenario: &Scenario, rounds: Vec<Vec<Measured>>) -> Self {
        let family = scenario.family;
        let first = rounds[0].clone();
        let entry = |(name, rounds): (&'static str, Vec<Measured>)| {
            let middle = |figure: &dyn Fn(&Measured) -> f64| median(rounds.iter().map(figure).collect());
            let ratio = |figure: &dyn Fn(&Measured) -> f64| {
                median(rounds.iter().zip(&first).map(|(one, other)| figure(one) / figure(other)).collect())
            };
            Entry {
                name,
                rate: middle(&|it| it.rate(family)),
                cpu: middle(&|it| it.cpu(family)),
                p50: middle(&|it| it.p50),
                p90: middle(&|it| it.p90),
                p99: middle(&|it| it.p99),
                p999: middle(&|it| it.p999),
                rate_ratio: ratio(&|it| it.rate(family)),
                cpu_ratio: ratio(&|it| it.cpu(family)),
                p99_ratio: ratio(&|it| it.p99),
                disturbed: rounds.iter().filter(|it| it.is_disturbed()).count(),
                rounds,
            }
        };
        let names = scenario.participants.iter().map(Participant::name);
        Self {
            scenario: scenario.name.clone(),
            family,
            size: scenario.size,
            connections: scenario.connections,
            entries: names.zip(rounds).map(entry).collect(),
        }
    }

    pub(crate) fn table(&self) -> String {
        let rate = if self.family == Family::Bulk { "MiB/s" } else { "per second" };
        let cpu = if counts_mebibytes(self.family) { "CPU us/MiB" } else { "CPU us" };
        let scale = if self.family == Family::Bulk { f64::from(1 << 20) } else { 1.0 };
        let has_latency =
            matches!(self.family, Family::Echo | Family::Pipelined | Family::Beside | Family::Churn | Family::Http);
        let mut head = vec![self.scenario.as_str(), rate, "ratio", cpu, "ratio"];
        if has_latency {
            head.extend(["p50 us", "p99 us", "p99.9 us", "p99 ratio"]);
        }
        let row = |entry: &Entry| {
            let mark = if entry.disturbed > 0 { " (disturbed)" } else { "" };
            let mut row = vec![
                format!("{}{mark}", entry.name),
                format!("{:.0}", entry.rate / scale),
                format!("{:.3}", entry.rate_ratio),
                format!("{:.2}", entry.cpu),
                format!("{:.3}", entry.cpu_ratio),
            ];
            if has_latency {
                row.extend([entry.p50, entry.p99, entry.p999].map(|micros| format!("{micros:.1}")));
                row.push(format!("{:.3}", entry.p99_ratio));
            }
            row
        };
        table::format(&head, &self.entries.iter().map(row).collect::<Vec<_>>())
    }

    /// The figures that `limits.toml` may limit.
    pub(crate) fn figures(&self) -> Vec<Figure> {
        let find = |name: &str| self.entries.iter().find(|entry| entry.name == name);
        // The second entry of what the others are compared with, unless it was left out.
        let first = self.entries.first().map_or("", |entry| entry.name);
        let again = self.entries.iter().find(|it| it.name.strip_suffix(" again") == Some(first));
        let noise = |of: fn(&Entry) -> f64| again.map(|again| (of(again) - 1.0).abs());
        let mut figures = Vec::new();
        let mut figure = |name: String, value: f64, noise| figures.push(Figure { name, value, noise });
        let rate_noise = noise(|entry| entry.rate_ratio);
        for name in ["ours", "ours, C ABI", "two ports", "futures", "hyper on futures"] {
            let Some(ours) = find(name) else { continue };
            let name = format!("{name}: {}", self.scenario);
            figure(format!("{name}: throughput"), ours.rate_ratio, rate_noise);
            figure(format!("{name}: CPU"), ours.cpu_ratio, noise(|entry| entry.cpu_ratio));
            figure(format!("{name}: p99"), ours.p99_ratio, noise(|entry| entry.p99_ratio));
            // The time of a round trip is the inverse of the rate.
            figure(format!("{name}: time"), 1.0 / ours.rate_ratio, rate_noise);
            let peers = ["bare epoll", "bare epoll again", "mio", "tokio"];
            let best = peers.iter().filter_map(|peer| find(peer)).map(|peer| peer.rate_ratio).fold(0.0, f64::max);
            figure(format!("{name}: throughput against the best"), ours.rate_ratio / best, rate_noise);
            if let Some(tokio) = find("tokio") {
                figure(format!("{name}: time against tokio"), tokio.rate_ratio / ours.rate_ratio, rate_noise);
                figure(format!("{name}: throughput against tokio"), ours.rate_ratio / tokio.rate_ratio, rate_noise);
                let cpu_noise = noise(|entry| entry.cpu_ratio);
                figure(format!("{name}: CPU against tokio"), ours.cpu_ratio / tokio.cpu_ratio, cpu_noise);
                let p99_noise = noise(|entry| entry.p99_ratio);
                figure(format!("{name}: p99 against tokio"), ours.p99_ratio / tokio.p99_ratio, p99_noise);
            }
        }
        figures
    }
}
