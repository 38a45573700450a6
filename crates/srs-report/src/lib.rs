//! Shows the code and the tests of each requirement, and reports what is missing.
//!
//! This library is the program `srs-report`, so that another program can have it as a command of its own. [`run`] does
//! everything; what it prints is the interface.
//!
//! The report is a pipeline with one file per stage. [`documents`], [`sources`], [`exceptions`], [`notes`],
//! [`snapshot`], [`results`] and [`mutants`] read. [`model`] joins their results, and [`status`] judges it without
//! doing I/O. [`render`] prints. A fault of the project is a [`finding`]. An input that cannot be read at all is an
//! error.

mod args;
mod config;
mod date;
mod documents;
mod exceptions;
mod excerpts;
mod finding;
mod fix;
mod hash;
mod model;
mod mutants;
mod notes;
mod own_tests;
mod proofs;
mod render;
mod results;
mod snapshot;
mod sources;
mod status;
mod toml_file;
mod walk;

pub use args::Args;

use anyhow::{Context as _, bail};
use config::Config;
use date::Date;
use documents::Document;
use excerpts::Excerpts;
use finding::Finding;
use model::{Aspect, Model, Parts};
use mutants::{Choice, Mutants};
use proofs::Proofs;
use render::Format;
use results::Results;
use sources::Tag;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

/// Prints the report. The exit status is 0 without findings, 1 with findings, and 2 if no report could be made.
pub fn run(args: &Args, home: &Path) -> ExitCode {
    match report(args, home) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Does the requested work. Returns the number of findings.
fn report(args: &Args, home: &Path) -> anyhow::Result<usize> {
    let root = match &args.root {
        Some(root) if !root.is_dir() => bail!("--root: there is no folder {}", root.display()),
        Some(root) => root.clone(),
        None => home.to_owned(),
    };
    let config = Config::read(&root)?;
    let mut findings = Vec::new();
    let documents = documents::read(&root, &config, &mut findings)?;
    if args.bless {
        return bless(&root, &config, &documents);
    }
    if let Some(id) = args.ids().find(|id| !has(&documents, id)) {
        bail!("no document has {id}");
    }
    let model = model(args, &root, &config, documents, findings)?;
    write(args, &rendered(args, &model, &root)?)?;
    Ok(if args.explain.is_some() { 0 } else { model.findings.len() })
}

/// Reads everything but the documents, and joins it.
fn model(
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

fn bless(root: &Path, config: &Config, documents: &[Document]) -> anyhow::Result<usize> {
    let changed = snapshot::bless(root, &config.snapshot, documents)?;
    println!("{}: {changed} lines changed", config.snapshot);
    if let Some(mut proofs) = Proofs::read(root, &config.proven)? {
        proofs.align(documents);
        proofs.write(root, &config.proven)?;
    }
    Ok(0)
}

fn has(documents: &[Document], id: &str) -> bool {
    documents.iter().flat_map(|document| &document.requirements).any(|requirement| requirement.id == id)
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

fn rendered(args: &Args, model: &Model, root: &Path) -> anyhow::Result<String> {
    let excerpts = Excerpts::of(root);
    match (&args.explain, args.format) {
        (Some(id), Format::Text) => render::explain(model, id, &excerpts),
        (Some(id), Format::Json) => render::explain_json(model, id),
        (Some(_), _) => bail!("--explain writes text or json"),
        (None, Format::Text) if args.check => Ok(render::check(model)),
        (None, format) => render::report(format, model, &excerpts),
    }
}

fn write(args: &Args, text: &str) -> anyhow::Result<()> {
    if let Some(file) = &args.output {
        return fs::write(file, text).with_context(|| format!("cannot write {}", file.display()));
    }
    match io::stdout().write_all(text.as_bytes()) {
        // `| head` may stop reading; the exit status still tells the result.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
