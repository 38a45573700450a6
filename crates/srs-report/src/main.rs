//! The program `srs-report`.

use clap::Parser;
use srs_report::Args;
use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

/// Traces requirements to their code, their tests and the results of the tests
#[derive(Parser)]
#[command(name = "srs-report", version, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn main() -> ExitCode {
    srs_report::run(&Cli::parse().args, &home())
}

/// The nearest folder around that has an `srs.toml`, or this one.
fn home() -> PathBuf {
    let here = env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    here.ancestors().find(|folder| folder.join("srs.toml").is_file()).unwrap_or(&here).to_owned()
}
