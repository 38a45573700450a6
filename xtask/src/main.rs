//! `cargo xtask`: the workspace's own commands. This file only names them; each lives in its own file.

mod ci;
mod srs_report;
mod standalone;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The workspace's own commands", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Traces every requirement of docs/srs to its code and its tests
    SrsReport(srs_report::Args),
    /// Shows that each library crate builds, documents and compiles its tests alone
    Standalone,
    /// Runs the steps of CI in order and stops at the first that fails
    Ci,
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::SrsReport(args) => srs_report::run(&args),
        Command::Standalone => exit_code(standalone::run()),
        Command::Ci => exit_code(ci::run()),
    }
}

fn exit_code(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
