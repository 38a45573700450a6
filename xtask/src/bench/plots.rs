//! The plots. They show only echo, because the other scenarios yield a handful of figures.

use super::outcome::{Entry, Outcome};
use super::scenarios::Family;
use anyhow::anyhow;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;
use std::ops::Range;
use std::path::Path;

/// A line: its name, and its points from left to right.
struct Line {
    name: &'static str,
    points: Vec<(f64, f64)>,
}

struct Axes<'a> {
    title: &'a str,
    x: &'a str,
    y: &'a str,
    /// The labels on the x axis and their positions.
    ticks: Vec<(f64, String)>,
}

/// Writes each of the four plots whose figures are in the outcomes.
pub(crate) fn write(out: &Path, outcomes: &[Outcome]) -> anyhow::Result<()> {
    let echoes: Vec<&Outcome> = outcomes.iter().filter(|it| it.family == Family::Echo).collect();
    let with = |connections| echoes.iter().copied().filter(move |it| it.connections == connections).collect::<Vec<_>>();
    let small: Vec<_> = echoes.iter().copied().filter(|it| it.size == 64).collect();
    let by_size = |it: &Outcome| it.size;
    let by_connections = |it: &Outcome| it.connections;
    let cpu = "server CPU, microseconds per message";
    let axes = |title, x, y| Axes { title, x, y, ticks: Vec::new() };
    let sizes = |title, y| axes(title, "bytes in a message", y);
    draw(
        &out.join("throughput.svg"),
        sizes("Throughput, 64 connections", "echoes per second"),
        &with(64),
        by_size,
        |it| it.rate,
    )?;
    draw(&out.join("cpu.svg"), sizes("CPU per message, 64 connections", cpu), &with(64), by_size, |it| it.cpu)?;
    draw(
        &out.join("connections.svg"),
        axes("Cost against connections, 64 B messages", "connections", cpu),
        &small,
        by_connections,
        |it| it.cpu,
    )?;
    match small.iter().find(|it| it.connections == 1000) {
        Some(outcome) => latency(&out.join("latency.svg"), outcome),
        None => Ok(()),
    }
}

fn latency(path: &Path, outcome: &Outcome) -> anyhow::Result<()> {
    let names = ["p50", "p90", "p99", "p99.9"];
    let ticks = (0..).map(f64::from).zip(names.map(str::to_owned)).collect();
    let axes = Axes { title: "Latency, 64 B, 1000 connections", x: "percentile", y: "microseconds", ticks };
    let line = |entry: &Entry| Line {
        name: entry.name,
        points: (0..).map(f64::from).zip([entry.p50, entry.p90, entry.p99, entry.p999]).collect(),
    };
    lines(path, &axes, &outcome.entries.iter().map(line).collect::<Vec<_>>())
}

/// Draws a line for each entry through all outcomes. The x axis is the logarithm of `x`.
#[allow(clippy::cast_precision_loss, reason = "places on paper")]
fn draw(
    path: &Path,
    mut axes: Axes<'_>,
    outcomes: &[&Outcome],
    x: fn(&Outcome) -> usize,
    y: fn(&Entry) -> f64,
) -> anyhow::Result<()> {
    let [first, _, ..] = outcomes else { return Ok(()) };
    let place = |outcome: &Outcome| (x(outcome) as f64).log10();
    axes.ticks = outcomes.iter().map(|it| (place(it), x(it).to_string())).collect();
    let line = |index: usize| Line {
        name: first.entries[index].name,
        points: outcomes.iter().map(|it| (place(it), y(&it.entries[index]))).collect(),
    };
    lines(path, &axes, &(0..first.entries.len()).map(line).collect::<Vec<_>>())
}

fn lines(path: &Path, axes: &Axes<'_>, lines: &[Line]) -> anyhow::Result<()> {
    plot(path, axes, lines).map_err(|error| anyhow!("{}: {error}", path.display()))
}

fn plot(path: &Path, axes: &Axes<'_>, lines: &[Line]) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::new(path, (900, 520)).into_drawing_area();
    root.fill(&WHITE)?;
    let all = || lines.iter().flat_map(|line| &line.points);
    let (left, right) = all().fold((f64::MAX, f64::MIN), |(low, high), (x, _)| (low.min(*x), high.max(*x)));
    let (low, high) = all().fold((f64::MAX, f64::MIN), |(low, high), (_, y)| (low.min(*y), high.max(*y)));
    let (chart, legend) = root.split_horizontally(690);
    let mut context = ChartBuilder::on(&chart)
        .caption(axes.title, ("sans-serif", 20))
        .margin(14)
        .x_label_area_size(46)
        .y_label_area_size(76)
        .build_cartesian_2d(Ticks { range: left..right, ticks: &axes.ticks }, (low * 0.8..high * 1.2).log_scale())?;
    context
        .configure_mesh()
        .x_desc(axes.x)
        .y_desc(axes.y)
        .y_label_formatter(&|value| if *value >= 10.0 { format!("{value:.0}") } else { format!("{value:.1}") })
        .light_line_style(WHITE)
        .label_style(("sans-serif", 14))
        .draw()?;
    for (index, line) in lines.iter().enumerate() {
        let is_ours = line.name.starts_with("ours");
        let colour = Palette99::pick(index).stroke_width(if is_ours { 4 } else { 2 });
        context.draw_series(LineSeries::new(line.points.iter().copied(), colour).point_size(3))?;
        let at = (0, 60 + 24 * i32::try_from(index)?);
        legend.draw(&PathElement::new([at, (26, at.1)], colour))?;
        legend.draw(&Text::new(line.name, (34, at.1 - 8), ("sans-serif", 15)))?;
    }
    root.present()?;
    Ok(())
}

/// An x axis with marks where the figures are.
struct Ticks<'a> {
    range: Range<f64>,
    ticks: &'a [(f64, String)],
}

impl Ranged for Ticks<'_> {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    #[allow(clippy::cast_possible_truncation, reason = "places on paper")]
    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let part = (value - self.range.start) / (self.range.end - self.range.start);
        from + (part * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.iter().map(|(at, _)| *at).collect()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Ticks<'_> {
    fn format_ext(&self, value: &f64) -> String {
        let named = self.ticks.iter().find(|(at, _)| (at - value).abs() < 1e-6);
        named.map_or_else(String::new, |(_, name)| name.clone())
    }
}
