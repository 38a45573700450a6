//! The program `srs-report`.

use clap::Parser;
use srs_report::Args;
use std::path::Path;
use std::process::ExitCode;

/// Traces requirements to their code, their tests and the results of the tests
#[derive(Parser)]
#[command(name = "srs-report", version, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn main() -> ExitCode {
    srs_report::run(&Cli::parse().args, Path::new("."))
}
