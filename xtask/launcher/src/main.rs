//! `cargo xtask`: installs the C library itself, and leaves every other command to the package `xtask`.
//!
//! Cargo builds this program before it installs the library. So the program has few dependencies: it builds in a few
//! seconds, and the package `xtask` in several minutes.

mod install;
mod workspace;

use anyhow::Context as _;
use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((first, rest)) if first == "install" => install::run(rest.iter().cloned()),
        _ => leave_to_xtask(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Replaces this process; returns only if that fails.
fn leave_to_xtask(arguments: &[OsString]) -> anyhow::Result<()> {
    let manifest = workspace::root()?.join("Cargo.toml");
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--quiet", "--package", "xtask", "--manifest-path"]).arg(manifest).arg("--").args(arguments);
    Err(cargo.exec()).context("cannot start cargo")
}
