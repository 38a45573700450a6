//! The tools that checks need besides Rust, in versions that are known to work.

use super::run::Run;
use anyhow::{Context as _, bail};
use std::fmt;
use std::fs;
use xshell::cmd;

/// A tool that a check needs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tool {
    /// A nightly toolchain: sanitizers and `-Z` options.
    Nightly,
    /// A component of that.
    Component(&'static str),
    /// The standard library of the stable toolchain for another processor.
    Target(&'static str),
    /// The oldest toolchain that the manifest promises.
    OldestRust,
    /// The right to make network namespaces.
    Root,
    /// A program and the package that has it.
    Program(&'static str, &'static str),
    /// A subcommand of cargo at a version, which `cargo install` brings into `target/tools` if it is absent.
    Cargo(&'static str, &'static str),
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nightly => write!(f, "a nightly toolchain"),
            Self::Component(name) => write!(f, "a nightly toolchain with {name}"),
            Self::Target(name) => write!(f, "the standard library for {name}"),
            Self::OldestRust => write!(f, "the toolchain that `rust-version` names"),
            Self::Root => write!(f, "root, or sudo without a password"),
            Self::Program(name, _) => write!(f, "{name}"),
            Self::Cargo(name, version) => write!(f, "cargo-{name} {version}"),
        }
    }
}

impl Tool {
    /// Makes sure that the tool is there. Otherwise fails with the command to install it.
    pub(crate) fn provide(self, run: &Run) -> anyhow::Result<()> {
        let shell = &run.shell;
        let there = |command: xshell::Cmd<'_>| command.quiet().ignore_stderr().read();
        match self {
            Self::Nightly => {
                if there(cmd!(shell, "cargo +nightly --version")).is_err() {
                    bail!("needs {self}: rustup toolchain install nightly --profile minimal");
                }
            }
            Self::Component(name) => {
                let installed = there(cmd!(shell, "rustup +nightly component list --installed")).unwrap_or_default();
                if !installed.lines().any(|line| line.starts_with(name)) {
                    bail!("needs {self}: rustup toolchain install nightly --profile minimal --component {name}");
                }
            }
            Self::Target(name) => {
                let installed = there(cmd!(shell, "rustup target list --installed")).unwrap_or_default();
                if !installed.lines().any(|line| line == name) {
                    cmd!(shell, "rustup --quiet target add {name}").run().with_context(|| format!("needs {self}"))?;
                }
            }
            Self::OldestRust => {
                let version = oldest_rust(run)?;
                if there(cmd!(shell, "rustup run {version} cargo --version")).is_err() {
                    cmd!(shell, "rustup --quiet toolchain install {version} --profile minimal --no-self-update")
                        .run()
                        .with_context(|| format!("needs {self}"))?;
                }
            }
            Self::Root => {
                if !is_root() && there(cmd!(shell, "sudo -n true")).is_err() {
                    bail!("needs {self}, because it makes network namespaces");
                }
            }
            Self::Program(name, package) => {
                // Programs of iproute2 know only the short form.
                if ["--version", "-V"].iter().all(|flag| there(cmd!(shell, "{name} {flag}")).is_err()) {
                    bail!("needs {self}: install the package {package}");
                }
            }
            Self::Cargo(name, version) => {
                let has = there(cmd!(shell, "cargo {name} --version")).unwrap_or_default();
                if has.split_whitespace().any(|word| word == version) {
                    return Ok(());
                }
                let (package, root) = (format!("cargo-{name}@{version}"), run.target("tools"));
                println!("verify: installing {package} into {}", root.display());
                // Not optimised, because the tools run for less time than optimising them would take.
                cmd!(shell, "cargo install --quiet --locked --debug --root {root} {package}")
                    .env("CARGO_PROFILE_DEV_DEBUG", "0")
                    .run()
                    .with_context(|| format!("needs {self}: cargo install --locked {package}"))?;
            }
        }
        Ok(())
    }
}

pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The `rust-version` of the workspace.
pub(crate) fn oldest_rust(run: &Run) -> anyhow::Result<String> {
    let manifest: toml::Table = toml::from_str(&fs::read_to_string(run.root.join("Cargo.toml"))?)?;
    let version = manifest["workspace"]["package"]["rust-version"].as_str();
    Ok(version.context("Cargo.toml has no rust-version")?.to_owned())
}
