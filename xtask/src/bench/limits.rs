//! `docs/benchmarks/limits.toml`: what the figures must keep to.

use crate::workspace;
use anyhow::{Context as _, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use xshell::{Shell, cmd};

/// How far a figure may grow over its reference.
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
    /// What was measured when the limit was set.
    reference: Option<f64>,
}

/// Figures of one measure, by name, in the order they were measured.
pub(crate) type Figures = Vec<(String, f64)>;

/// Prints how each figure of `measure` that has a limit keeps to it. Fails if one does not, or was not measured.
pub(crate) fn check(measure: &str, figures: &Figures) -> anyhow::Result<()> {
    let root = workspace::root()?;
    let text = fs::read_to_string(root.join("docs/benchmarks/limits.toml"))?;
    let file: File = toml::from_str(&text).context("docs/benchmarks/limits.toml")?;
    let limits = file.measures.get(measure).with_context(|| format!("limits.toml has no limits of {measure}"))?;
    let shell = Shell::new()?;
    let rustc = cmd!(shell, "rustc --version").quiet().read()?;
    let same_compiler = rustc.split(' ').nth(1) == Some(&file.rustc);
    let mut broken = 0;
    for (name, limit) in limits {
        let Some((_, figure)) = figures.iter().find(|(measured, _)| measured == name) else {
            println!("FAIL {measure}: {name}: was not measured");
            broken += 1;
            continue;
        };
        let verdict = limit.verdict(*figure, same_compiler);
        println!("{} {measure}: {name}: {figure:.4} {}", if verdict.kept { "ok  " } else { "FAIL" }, verdict.why);
        broken += usize::from(!verdict.kept);
    }
    if !same_compiler {
        println!("note: the references are of rustc {}, this is {rustc}: only absolute limits count", file.rustc);
    }
    if broken > 0 {
        bail!("{broken} of {} limits of {measure} are not kept", limits.len());
    }
    Ok(())
}

struct Verdict {
    kept: bool,
    why: String,
}

impl Limit {
    fn verdict(&self, figure: f64, same_compiler: bool) -> Verdict {
        let mut verdict = Verdict { kept: true, why: String::new() };
        if let Some(at_most) = self.at_most {
            verdict.kept &= figure <= at_most;
            verdict.why += &format!("(at most {at_most})");
        }
        if let Some(at_least) = self.at_least {
            verdict.kept &= figure >= at_least;
            verdict.why += &format!("(at least {at_least})");
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

    #[test]
    fn a_regression_counts_with_the_compiler_of_the_reference_and_a_limit_always() {
        let limit = Limit { at_most: Some(400.0), at_least: None, reference: Some(300.0) };
        assert!(limit.verdict(308.0, true).kept);
        assert!(!limit.verdict(310.0, true).kept);
        assert!(limit.verdict(310.0, false).kept);
        assert!(!limit.verdict(401.0, false).kept);
    }

    #[test]
    fn a_lower_limit_is_kept_from_above() {
        let limit = Limit { at_most: None, at_least: Some(0.97), reference: None };
        assert!(limit.verdict(0.97, true).kept);
        assert!(!limit.verdict(0.96, true).kept);
    }

    #[test]
    fn the_checked_in_file_is_understood() {
        let file: File = toml::from_str(include_str!("../../../docs/benchmarks/limits.toml")).unwrap();
        assert!(file.measures.values().flat_map(BTreeMap::values).all(|it| it.at_most.is_some() || it.at_least.is_some()));
    }
}
