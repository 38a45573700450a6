//! `cargo xtask srs-report`: which code and which tests stand behind each requirement, and what is missing.
//!
//! A pipeline of stages, one file each: [`documents`], [`sources`] and [`exceptions`] read, [`model`] joins
//! what they read and judges it without doing I/O, [`render`] prints. What is wrong with the project is a
//! [`finding`]; an input that cannot be read at all is an error.

mod documents;
mod exceptions;
mod finding;
mod model;
mod render;
mod sources;

use crate::workspace;
use model::Model;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What `srs-report` is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The project to report on, if it is not this workspace
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Print the findings and the summary, not the table
    #[arg(long, visible_alias = "quiet")]
    check: bool,
}

/// Prints the report. The exit status is 0 without findings, 1 with findings, 2 if there is no report to make.
pub(crate) fn run(args: &Args) -> ExitCode {
    match report(args) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn report(args: &Args) -> anyhow::Result<usize> {
    let model = match &args.root {
        Some(root) => trace(root)?,
        None => trace(&workspace::root()?)?,
    };
    let text = if args.check { render::check(&model) } else { render::report(&model) };
    match io::stdout().write_all(text.as_bytes()) {
        // `| head` may stop reading; the exit status still tells the result.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written?,
    }
    Ok(model.findings.len())
}

fn trace(root: &Path) -> anyhow::Result<Model> {
    let mut findings = Vec::new();
    let documents = documents::read(root, &mut findings)?;
    let tags = sources::read(root, &mut findings)?;
    let waivers = exceptions::read(root)?;
    Ok(Model::join(documents, &tags, &waivers, findings))
}
