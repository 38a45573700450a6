//! Runs a project's tests with nextest, which writes the results as JUnit.

use anyhow::{Context as _, bail};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The file that the last `--run` left.
pub(crate) fn last(root: &Path) -> anyhow::Result<PathBuf> {
    Ok(folder(root)?.join("results.xml"))
}

/// The folder for the files that the report makes for a project, in its build output.
///
/// `CARGO_TARGET_DIR` is about the project that the program was started in, so it counts only for that one.
pub(crate) fn folder(root: &Path) -> anyhow::Result<PathBuf> {
    let root = root.canonicalize().with_context(|| format!("there is no {}", root.display()))?;
    let is_started_here =
        || env::current_dir().and_then(|dir| dir.canonicalize()).is_ok_and(|dir| dir.starts_with(&root));
    let target = env::var_os("CARGO_TARGET_DIR").filter(|_| is_started_here());
    Ok(root.join(target.unwrap_or_else(|| "target".into())).join("srs-report"))
}

/// Runs every test, even after a failure: with the project's own command if it has one. Returns the JUnit file.
pub(crate) fn run(root: &Path, command: Option<&str>) -> anyhow::Result<PathBuf> {
    match command {
        Some(command) => run_command(root, command),
        None => run_nextest(root),
    }
}

/// Runs a shell command in which `{file}` is the JUnit file to write.
fn run_command(root: &Path, command: &str) -> anyhow::Result<PathBuf> {
    let file = new_file(root)?;
    let quoted = format!("'{}'", file.display().to_string().replace('\'', "'\\''"));
    let line = command.replace("{file}", &quoted);
    let status = Command::new("sh")
        .current_dir(root)
        .args(["-c", &line])
        .stdout(Stdio::from(std::io::stderr()))
        .status()
        .context("cannot start sh")?;
    if !file.is_file() {
        bail!("`{command}` left no results in {} ({status})", file.display());
    }
    Ok(file)
}

/// The place for new results. Those of an earlier run are removed.
fn new_file(root: &Path) -> anyhow::Result<PathBuf> {
    let folder = folder(root)?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = last(root)?;
    if file.exists() {
        fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
    }
    Ok(file)
}

fn run_nextest(root: &Path) -> anyhow::Result<PathBuf> {
    if !root.join("Cargo.toml").is_file() {
        bail!(
            "--run needs a Cargo.toml in {}; join results made elsewhere with --results, or name a command in srs.toml",
            root.display()
        );
    }
    if !is_installed("nextest") {
        bail!("--run needs cargo-nextest: cargo install --locked cargo-nextest");
    }
    let file = new_file(root)?;
    let config = file.with_file_name("nextest.toml");
    let junit = format!("[profile.default.junit]\npath = {:?}\nstore-success-output = false\n", file.display());
    fs::write(&config, junit).with_context(|| format!("cannot write {}", config.display()))?;
    let status = Command::new("cargo")
        .current_dir(root)
        .args(["nextest", "run", "--workspace", "--no-fail-fast", "--no-tests", "pass", "--tool-config-file"])
        .arg(format!("srs-report:{}", config.display()))
        // The report alone goes to standard output.
        .stdout(Stdio::from(std::io::stderr()))
        .status()
        .context("cannot start cargo nextest")?;
    if !file.is_file() {
        bail!("cargo nextest left no results ({status}): do the tests build?");
    }
    Ok(file)
}

/// Whether `cargo NAME` exists.
pub(crate) fn is_installed(name: &str) -> bool {
    let mut command = Command::new("cargo");
    command.args([name, "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
