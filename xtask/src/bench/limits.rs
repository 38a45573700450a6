//! `docs/benchmarks/limits.toml`: what the figures must keep to.

use crate::workspace;
use anyhow::{Context as _, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use xshell::{Shell, cmd};

/// The factor by which a figure may exceed its reference.
const REGRESSION: f64 = 1.03;

#[derive(Deserialize)]
struct File {
    /// The compiler of the references.
    rustc: String,
    #[serde(flatten)]
    measures: BTreeMap<String, BTreeMap<String, Limit>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    at_most: Option<f64>,
    at_least: Option<f64>,
    /// The figure at the time when the limit was set.
    reference: Option<f64>,
    /// A figure may miss the limit by the measured noise: the difference of the two entries of bare epoll.
    #[serde(default)]
    within_noise: bool,
}

/// A measured figure, under the name that its limit uses.
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    /// The relative difference between two measurements of the same program, where it is known.
    pub(crate) noise: Option<f64>,
}

impl Figure {
    /// A figure without noise.
    pub(crate) fn exact(name: impl Into<String>, value: f64) -> Self {
        Self { name: name.into(), value, noise: None }
    }
}

/// Prints whether each figure of `measure` keeps its limit. Fails if one does not. Unless `only_a_part` is set, a limit
/// whose figure was not measured fails too.
pub(crate) fn check(measure: &str, figures: &[Figure], only_a_part: bool) -> anyhow::Result<()> {
    let root = workspace::root()?;
    let text = fs::read_to_string(root.join("docs/benchmarks/limits.toml"))?;
    let file: File = toml::from_str(&text).context("docs/benchmarks/limits.toml")?;
    let limits = file.measures.get(measure).with_context(|| format!("limits.toml has no limits of {measure}"))?;
    let shell = Shell::new()?;
    let rustc = cmd!(shell, "rustc --version").quiet().read()?;
    let same_compiler = rustc.split(' ').nth(1) == Some(&file.rustc);
    let mut broken = 0;
    for (name, limit) in limits {
        let measured: Vec<_> = figures.iter().filter(|figure| is_named(&figure.name, name)).collect();
        if measured.is_empty() && !only_a_part {
            println!("FAIL {measure}: {name}: was not measured");
            broken += 1;
        }
        for figure in measured {
            let verdict = limit.verdict(figure, same_compiler);
            let (word, why) = (if verdict.kept { "ok  " } else { "FAIL" }, verdict.why);
            println!("{word} {measure}: {}: {:.3} {why}", figure.name, figure.value);
            broken += usize::from(!verdict.kept);
        }
    }
    if !same_compiler {
        println!("note: the references are of rustc {}, this is {rustc}: only absolute limits count", file.rustc);
    }
    if broken > 0 {
        bail!("{broken} times a limit of {measure} is not kept");
    }
    Ok(())
}

/// Whether a limit is for a figure; a `*` in the limit stands for anything.
fn is_named(figure: &str, limit: &str) -> bool {
    match limit.split_once('*') {
        Some((start, end)) => figure.strip_prefix(start).is_some_and(|rest| rest.ends_with(end)),
        None => figure == limit,
    }
}

struct Verdict {
    kept: bool,
    why: String,
}

impl Limit {
    fn verdict(&self, figure: &Figure, same_compiler: bool) -> Verdict {
        let noise = figure.noise.unwrap_or_default();
        let allowance = if self.within_noise { noise } else { 0.0 };
        let figure = figure.value;
        let mut verdict = Verdict { kept: true, why: String::new() };
        if let Some(at_most) = self.at_most {
            verdict.kept &= figure <= at_most * (1.0 + allowance);
            verdict.why += &format!("(at most {at_most})");
        }
        if let Some(at_least) = self.at_least {
            verdict.kept &= figure >= at_least * (1.0 - allowance);
            verdict.why += &format!("(at least {at_least})");
        }
        if noise > 0.0 {
            verdict.why += &format!(", noise {:.1} %", noise * 100.0);
        }
        if let Some(reference) = self.reference {
            verdict.kept &= !same_compiler || figure <= reference * REGRESSION;
            verdict.why += &format!(" {:+.1} % of reference {reference}", (figure / reference - 1.0) * 100.0);
            if figure < reference / REGRESSION {
                verdict.why += ", which can be lowered";
            }
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(limit: &str, value: f64, noise: Option<f64>, same_compiler: bool) -> bool {
        let limit: Limit = toml::from_str(limit).unwrap();
        limit.verdict(&Figure { name: String::new(), value, noise }, same_compiler).kept
    }

    #[test]
    fn a_regression_counts_with_the_compiler_of_the_reference_and_a_limit_always() {
        let limit = "at_most = 400\nreference = 300";
        assert!(kept(limit, 308.0, None, true));
        assert!(!kept(limit, 310.0, None, true));
        assert!(kept(limit, 310.0, None, false));
        assert!(!kept(limit, 401.0, None, false));
    }

    #[test]
    fn a_lower_limit_is_kept_from_above_and_noise_counts_where_the_limit_says_so() {
        assert!(kept("at_least = 0.97", 0.97, Some(0.05), true));
        assert!(!kept("at_least = 0.97", 0.96, Some(0.05), true));
        assert!(kept("at_least = 0.97\nwithin_noise = true", 0.96, Some(0.05), true));
    }

    #[test]
    fn one_limit_can_be_that_of_many_figures() {
        assert!(is_named("ours: echo, 64 B, 1 connection: CPU", "ours: echo, *: CPU"));
        assert!(!is_named("ours: echo, 64 B, 1 connection: p99", "ours: echo, *: CPU"));
        assert!(!is_named("ours, C ABI: echo, 64 B: CPU", "ours: echo, *: CPU"));
    }

    #[test]
    fn what_is_no_figure_keeps_to_no_limit() {
        assert!(!kept("at_most = 1", f64::NAN, None, true));
        assert!(!kept("at_least = 1", f64::NAN, None, true));
    }

    #[test]
    fn the_checked_in_file_is_understood() {
        let file: File = toml::from_str(include_str!("../../../docs/benchmarks/limits.toml")).unwrap();
        assert!(
            file.measures.values().flat_map(BTreeMap::values).all(|it| it.at_most.is_some() || it.at_least.is_some())
        );
    }
}
