//! Shows the code and the tests of each requirement, and reports what is missing.
//!
//! This library is the program `srs-report`, so that another program can have it as a command of its own. [`run`] does
//! everything; what it prints is the interface.
//!
//! ```no_run
//! use clap::Parser;
//! use std::path::Path;
//! use std::process::ExitCode;
//!
//! #[derive(Parser)]
//! struct Cli {
//!     #[command(flatten)]
//!     args: srs_report::Args,
//! }
//!
//! fn main() -> ExitCode {
//!     srs_report::run(&Cli::parse().args, Path::new("."))
//! }
//! ```
//!
//! The report is a pipeline with one file per stage. `documents`, `sources`, `exceptions`, `notes`, `snapshot`,
//! `results` and `mutants` read. `model` joins their results, and `status` judges it without doing I/O. `render` prints.
//! `pipeline` is the order of the stages. A fault of the project is a `finding`. An input that cannot be read at all is
//! an error.

mod args;
mod config;
mod date;
mod diff;
mod documents;
mod exceptions;
mod excerpts;
mod finding;
mod fix;
mod hash;
mod init;
mod model;
mod mutants;
mod notes;
mod own_tests;
mod pipeline;
mod progress;
mod proofs;
mod render;
mod results;
mod snapshot;
mod sources;
mod status;
mod toml_file;
mod walk;
mod watch;

pub use args::Args;

use anyhow::{Context as _, bail};
use args::Command;
use config::Config;
use documents::Document;
use excerpts::Excerpts;
use finding::Kind;
use model::Model;
use proofs::Proofs;
use render::Format;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

/// Does what the arguments say, in the folder `home` if they name no other.
///
/// The exit status is 0 without findings, 1 with findings, and 2 if no report could be made.
#[must_use]
pub fn run(args: &Args, home: &Path) -> ExitCode {
    match dispatch(args, home) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Does the requested work. Returns the number of findings.
fn dispatch(args: &Args, home: &Path) -> anyhow::Result<usize> {
    let root = match &args.root {
        Some(root) if !root.is_dir() => bail!("--root: there is no folder {}", root.display()),
        Some(root) => root,
        None => home,
    };
    match &args.command {
        Some(Command::Init) => init::init(root).map(|text| print(args, &text))?.map(|()| 0),
        Some(Command::Completions { shell }) => print(args, &args::completions(*shell)).map(|()| 0),
        Some(Command::Man) => print(args, &args::manual()?).map(|()| 0),
        None if args.watch => watch::watch(root, || report(args, root)),
        None => report(args, root),
    }
}

/// Makes and prints one report. Returns the number of findings.
fn report(args: &Args, root: &Path) -> anyhow::Result<usize> {
    if let Some(kind) = args.explain.as_deref().and_then(Kind::of) {
        print(args, &render::explain_kind(kind))?;
        return Ok(0);
    }
    if let Some(base) = &args.diff {
        let (text, broken) = diff::diff(args, root, base)?;
        print(args, &text)?;
        return Ok(broken);
    }
    let config = Config::read(root)?;
    let mut findings = Vec::new();
    let documents = documents::read(root, &config, &mut findings)?;
    if args.bless {
        return bless(root, &config, &documents);
    }
    if let Some(id) = args.ids().find(|id| !has(&documents, id)) {
        bail!("no document has {id}");
    }
    let model = pipeline::model(args, root, &config, documents, findings)?;
    print(args, &rendered(args, &model, root)?)?;
    Ok(if args.explain.is_some() { 0 } else { model.findings.len() })
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

/// Writes to the file that the arguments name, or to standard output.
fn print(args: &Args, text: &str) -> anyhow::Result<()> {
    if let Some(file) = &args.output {
        return fs::write(file, text).with_context(|| format!("cannot write {}", file.display()));
    }
    match io::stdout().write_all(text.as_bytes()) {
        // `| head` may stop reading; the exit status still tells the result.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
