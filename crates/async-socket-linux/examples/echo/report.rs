//! What the user sees.
//!
//! Results go to stdout, complaints to stderr, one line each. If the reader is gone, the work goes on.

use crate::client::{Outcome, Plan, Totals};
use crate::server::Served;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

/// Something went wrong in the middle.
const FAILED: u8 = 1;

fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Says what is wrong, in one line.
pub(crate) fn complain(what: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "echo: {what}");
}

pub(crate) fn listening(address: SocketAddr, threads: usize) {
    say(format_args!("echo: listening on {address}, {}; Ctrl-C ends it", counted(threads, "thread")));
}

pub(crate) fn driving(address: SocketAddr, plan: &Plan) {
    say(format_args!("echo: driving {address}, {plan}, {}", counted(plan.threads, "thread")));
}

pub(crate) fn serving_and_driving(address: SocketAddr, plan: &Plan) {
    say(format_args!("echo: serving and driving {address}, {plan}, {} each", counted(plan.threads, "thread")));
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connections = counted(self.connections, "connection");
        let (size, seconds) = (grouped(self.size as u64), self.duration.as_secs_f64());
        write!(f, "{connections}, {size}-byte messages, {seconds} s")
    }
}

/// The server's summary.
pub(crate) fn served(served: &Served) {
    say(format_args!("connections  {}", grouped(served.connections)));
    say(format_args!("messages     {}", grouped(served.messages)));
    say(format_args!("data         {} each way", megabytes(served.bytes)));
}

/// The client's summary.
pub(crate) fn outcome(outcome: &Outcome) -> ExitCode {
    let (totals, latencies) = (outcome.totals, &outcome.latencies);
    let quantile = |quantile| duration(latencies.value_at_quantile(quantile));
    say(format_args!(
        "messages     {}   ({} per second)",
        grouped(totals.messages),
        grouped(rate(totals.messages, outcome.elapsed))
    ));
    say(format_args!(
        "data         {} each way   ({} per second)",
        megabytes(totals.bytes),
        megabytes(rate(totals.bytes, outcome.elapsed))
    ));
    if latencies.is_empty() {
        say(format_args!("latency      unknown: no message came back"));
    } else {
        say(format_args!(
            "latency      p50 {}   p99 {}   p99.9 {}   max {}",
            quantile(0.5),
            quantile(0.99),
            quantile(0.999),
            duration(latencies.max())
        ));
    }
    say(format_args!("bytes wrong  {}", grouped(totals.wrong)));

    if let Some(reason) = &outcome.first_failure {
        let (failed, all) = (grouped(outcome.failed as u64), counted(outcome.connections, "connection"));
        complain(format_args!("{failed} of {all} failed: {reason}"));
    }
    if totals.wrong > 0 {
        complain(format_args!("{} bytes came back wrong", grouped(totals.wrong)));
    }
    if outcome.failed > 0 || totals.wrong > 0 { ExitCode::from(FAILED) } else { ExitCode::SUCCESS }
}

/// A bar on a terminal; elsewhere a line every second.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    /// The last full second, and the totals at that time.
    second: Duration,
    counted: Totals,
}

impl Progress {
    pub(crate) fn new(duration: Duration) -> Self {
        let bar = io::stdout().is_terminal().then(|| {
            let length = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stdout());
            // If our template did not parse, that would show at once. The default template is good enough then.
            match ProgressStyle::with_template("  {bar:30.green/dim} {percent:>3} %  {msg}") {
                Ok(style) => bar.with_style(style.progress_chars("━╸─")),
                Err(_) => bar,
            }
        });
        Self { bar, second: Duration::ZERO, counted: Totals::default() }
    }

    /// To be called more than once a second.
    pub(crate) fn update(&mut self, elapsed: Duration, totals: &Totals) {
        if let Some(bar) = &self.bar {
            bar.set_position(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).min(bar.length().unwrap_or(0)));
        }
        let since = elapsed - self.second;
        if since < Duration::from_secs(1) {
            return;
        }
        let messages = rate(totals.messages - self.counted.messages, since);
        let bytes = rate(totals.bytes - self.counted.bytes, since);
        let speed = format!("{} messages/s   {}/s", grouped(messages), megabytes(bytes));
        match &self.bar {
            Some(bar) => bar.set_message(speed),
            None => say(format_args!("  {:>3} s   {speed}", elapsed.as_secs())),
        }
        self.second = Duration::from_secs(elapsed.as_secs());
        self.counted = *totals;
    }

    pub(crate) fn finish(mut self, elapsed: Duration, totals: &Totals) {
        self.update(elapsed, totals);
        if let Some(bar) = &self.bar {
            bar.abandon();
            // The bar ends at the terminal's right edge.
            say(format_args!(""));
        }
    }
}

/// `127.0.0.1:7000`, or several, as one reads them out.
pub(crate) fn list(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" or ")
}

fn rate(count: u64, duration: Duration) -> u64 {
    let nanoseconds = duration.as_nanos().max(1);
    u64::try_from(u128::from(count) * 1_000_000_000 / nanoseconds).unwrap_or(u64::MAX)
}

/// `1 thread`, `2 threads`.
fn counted(count: usize, what: &str) -> String {
    format!("{} {what}{}", grouped(count as u64), if count == 1 { "" } else { "s" })
}

/// `1,234,567`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `79.0 MB`
fn megabytes(bytes: u64) -> String {
    let tenths = bytes.saturating_add(50_000) / 100_000;
    format!("{}.{} MB", grouped(tenths / 10), tenths % 10)
}

/// `380 µs`, `1.2 ms`: three digits that matter.
fn duration(nanoseconds: u64) -> String {
    let nanoseconds = Duration::from_nanos(nanoseconds).as_secs_f64() * 1e9;
    let (value, unit) = match nanoseconds {
        ..1e3 => (nanoseconds, "ns"),
        ..1e6 => (nanoseconds / 1e3, "µs"),
        ..1e9 => (nanoseconds / 1e6, "ms"),
        _ => (nanoseconds / 1e9, "s"),
    };
    let decimals = match value {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}
