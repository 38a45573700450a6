//! The order of the stages: reads everything, and joins it.

use super::args::Args;
use super::config::Config;
use super::date::Date;
use super::documents::{self, Document};
use super::finding::Finding;
use super::model::{Aspect, Model, Parts};
use super::mutants::{self, Choice, Mutants};
use super::proofs::Proofs;
use super::results::{self, Results};
use super::sources::{self, Tag};
use super::{exceptions, fix, notes, own_tests, snapshot};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// The model of a project without results, for a comparison.
pub(super) fn plain_model(root: &Path) -> anyhow::Result<Model> {
    let config = Config::read(root)?;
    let mut findings = Vec::new();
    let documents = documents::read(root, &config, &mut findings)?;
    model(&Args::default(), root, &config, documents, findings)
}

/// Reads everything but the documents, and joins it.
pub(super) fn model(
    args: &Args,
    root: &Path,
    config: &Config,
    documents: Vec<Document>,
    mut findings: Vec<Finding>,
) -> anyhow::Result<Model> {
    snapshot::compare(root, &config.snapshot, config.needs_snapshot, &documents, &mut findings)?;
    if args.fix {
        let tags = sources::read(root, config, &mut Vec::new())?;
        println!("{}", fix::fix(root, &documents, &tags)?);
    }
    let tags = sources::read(root, config, &mut findings)?;
    let waivers = exceptions::read(root, &config.exceptions, &config.levels)?;
    let notes = notes::read(root, config, &mut findings)?;
    let results = results_of(args, root, config, &tags)?;
    let proofs = proofs_of(args, root, config, &documents, &tags)?;
    if let Some(proofs) = &proofs {
        proofs.check(&config.proven, &documents, &mut findings);
    }
    let mutants = mutants_of(args, root, &tags)?;
    let (aspects, today) = (Aspect::all(&config.levels), Date::today());
    Ok(Model::join(Parts { aspects, documents, tags, waivers, notes, results, mutants, proofs, findings, today }))
}

/// The requested results. To explain a requirement, the results of the last run will do.
fn results_of(args: &Args, root: &Path, config: &Config, tags: &[Tag]) -> anyhow::Result<Option<Results>> {
    let mut files: Vec<PathBuf> = args.results.clone();
    if args.run {
        files.push(results::run(root, config.run.as_deref())?);
    }
    if files.is_empty() && args.explain.is_some() {
        files.extend(results::last(root).ok().filter(|file| file.is_file()));
    }
    if files.is_empty() {
        return Ok(None);
    }
    Results::read(&files, tags, &config.names).map(Some)
}

/// The known proofs. With `--own-tests`, a run updates them first.
fn proofs_of(
    args: &Args,
    root: &Path,
    config: &Config,
    documents: &[Document],
    tags: &[Tag],
) -> anyhow::Result<Option<Proofs>> {
    let known = Proofs::read(root, &config.proven)?;
    if !args.own_tests {
        return Ok(known);
    }
    let mut proofs = known.unwrap_or_default();
    proofs.align(documents);
    let choice = Choice { only: &args.only, package: args.package.as_deref() };
    let half = || thread::available_parallelism().map_or(1, |all| (all.get() / 2).max(1));
    let options = own_tests::Options {
        jobs: args.jobs.unwrap_or_else(half),
        limit: Duration::from_secs(args.limit),
        end: args.minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes)),
    };
    own_tests::prove(root, tags, &choice, &options, &mut proofs)?;
    proofs.write(root, &config.proven)?;
    // Reads the file again for the lines of its entries.
    Proofs::read(root, &config.proven)
}

fn mutants_of(args: &Args, root: &Path, tags: &[Tag]) -> anyhow::Result<Option<Mutants>> {
    let made = if args.prove && !args.own_tests {
        let choice = Choice { only: &args.only, package: args.package.as_deref() };
        Some(mutants::prove(root, tags, &choice)?)
    } else {
        None
    };
    let dir = made.as_ref().or(args.mutants.as_ref());
    dir.map(|dir| Mutants::read(dir, root)).transpose()
}
