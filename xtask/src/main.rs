//! `cargo xtask`: the workspace's own commands. This file lists them; each has a file or folder of its own.

mod bench;
mod c_abi;
mod ci;
mod header;
mod interop;
mod srs_report_bench;
mod srs_report_browser;
mod standalone;
mod verify;
mod workspace;

use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;
use xshell::{Shell, cmd};

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
    /// Measures the report, on this workspace and on a large generated one
    SrsReportBench,
    /// Looks at the HTML report in headless Chromium
    SrsReportBrowser,
    /// Shows that each library crate, its documentation and its tests compile alone
    Standalone,
    /// Generates the C header from the sources of crates/async-socket-ffi
    Header(header::Args),
    /// Installs the C library; see `cargo xtask install --help`
    // Only for the list of commands, because the launcher runs it.
    #[command(disable_help_flag = true)]
    Install {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        arguments: Vec<OsString>,
    },
    /// Runs the C ABI's conformance program, plain or under a checker
    CAbi(c_abi::Args),
    /// Compares with bare epoll and other libraries, or measures one thing exactly
    Bench(bench::Args),
    /// Tries to break the libraries: sanitizers, fuzzing, mutation and more
    Verify(verify::Args),
    /// Runs other people's programs and libraries over async-socket-futures
    Interop(interop::Args),
    /// Runs the steps of CI in order and stops at the first that fails
    Ci,
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::SrsReport(args) => srs_report(&args),
        Command::SrsReportBench => exit_code(srs_report_bench::run()),
        Command::SrsReportBrowser => exit_code(srs_report_browser::run()),
        Command::Standalone => exit_code(standalone::run()),
        Command::Header(args) => exit_code(header::run(&args)),
        Command::Install { arguments } => exit_code(install(&arguments)),
        Command::CAbi(args) => exit_code(c_abi::run(&args)),
        Command::Bench(args) => exit_code(bench::run(args)),
        Command::Verify(args) => exit_code(verify::run(&args)),
        Command::Interop(args) => exit_code(interop::run(&args)),
        Command::Ci => exit_code(ci::run()),
    }
}

fn srs_report(args: &srs_report::Args) -> ExitCode {
    match workspace::root() {
        Ok(root) => srs_report::run(args, &root),
        Err(error) => exit_code(Err(error)),
    }
}

/// Serves a caller that starts this program without the launcher.
fn install(arguments: &[OsString]) -> anyhow::Result<()> {
    let shell = Shell::new()?;
    Ok(cmd!(shell, "cargo xtask install {arguments...}").quiet().run()?)
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
