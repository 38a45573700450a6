//! What we depend on, and what depends on us.
//!
//! Not here: whether a dependency has a known vulnerability (`cargo deny check advisories`), which needs a database
//! from the network.

use super::run::Run;
use anyhow::Context as _;
use std::fs;

const LIBRARIES: &str = "-p async-socket-api -p completion-port -p async-socket-linux -p async-socket-ffi";

const MEMBERS: &str = r#"members = ["crates/async-socket-api", "crates/completion-port", "crates/async-socket-linux", "crates/async-socket-ffi", "crates/test-doubles"]"#;

/// What the Rust API is compared with: its state after the changes that CHANGELOG.md lists, for nothing is released yet.
/// Once there is a release, that.
const BASELINE: &str = "53a8b80";

pub(super) fn run(run: &Run) -> anyhow::Result<String> {
    step(run, "licences, bans and sources", "cargo deny --workspace check licenses bans sources")?;
    // Not through cargo, by whose variables it would take its own name for a folder.
    step(run, "no unused dependency", "cargo-machete crates xtask tests")?;
    // cargo-hack takes the toolchain of `rust-version`, and every set of features in turn.
    let line =
        format!("cargo hack check --rust-version --feature-powerset --target-dir target/rust-version {LIBRARIES}");
    step(run, "every set of features with the oldest Rust", &line)?;
    oldest_dependencies(run)?;
    if !run.printed(run.command(&format!("git cat-file -e {BASELINE}")))?.ok {
        return Ok(
            "4 steps passed; not run: advisories, and the API's comparison, for which history is missing".to_owned()
        );
    }
    let libraries = "-p async-socket-api -p completion-port -p async-socket-linux";
    step(run, "nothing of the API is gone", &format!("cargo semver-checks {libraries} --baseline-rev {BASELINE}"))?;
    Ok("5 steps passed; not run: advisories".to_owned())
}

fn step(run: &Run, what: &str, line: &str) -> anyhow::Result<()> {
    run.succeeds(run.command(line)).with_context(|| what.to_owned())?;
    println!("verify: supply-chain: {what}");
    Ok(())
}

/// The libraries build with the oldest versions of what they ask for, in a copy, for that has another lock file.
fn oldest_dependencies(run: &Run) -> anyhow::Result<()> {
    let copy = run.target("verify").join("oldest");
    fs::create_dir_all(&copy)?;
    let _ = fs::remove_dir_all(copy.join("crates"));
    let (root, folder) = (run.root.display(), copy.display());
    run.succeeds(run.command(&format!("cp -r {root}/Cargo.toml {root}/crates {folder}")))?;
    // What users do not build asks for newer ones.
    let path = copy.join("Cargo.toml");
    let workspace = fs::read_to_string(&path)?;
    let others = |line: &str| if line.starts_with("members = ") { MEMBERS.to_owned() } else { line.to_owned() };
    fs::write(&path, workspace.lines().map(|line| others(line) + "\n").collect::<String>())?;
    let manifest = format!("--manifest-path {folder}/Cargo.toml");
    run.succeeds(run.command(&format!("cargo +nightly generate-lockfile -Zdirect-minimal-versions {manifest}")))?;
    step(
        run,
        "the oldest dependencies",
        &format!("cargo +nightly check --locked --all-features {manifest} {LIBRARIES}"),
    )
}
