//! Checks our dependencies.
//!
//! Two things are not checked here. Known vulnerabilities need a database from the network. The check `api` shows that
//! the API only grows.

use super::licences;
use super::run::Run;
use super::tools::oldest_rust;
use anyhow::{Context as _, bail};
use serde_json::Value;
use std::fs;

const LIBRARIES: [&str; 4] = ["async-socket-api", "completion-port", "async-socket-linux", "async-socket-ffi"];

/// The libraries and the packages that their tests need. Tools that users never build ask for newer versions and a
/// newer Rust.
const MEMBERS: &str = r#"members = ["crates/async-socket-api", "crates/completion-port", "crates/async-socket-linux", "crates/async-socket-ffi", "crates/test-doubles"]"#;

pub(super) fn run(run: &Run) -> anyhow::Result<String> {
    // Cargo downloads nothing for other systems, because the library runs on Linux only.
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = format!("cargo metadata --format-version 1 --all-features --locked --filter-platform {target}");
    let packages = licences::check(&run.read(&metadata)?)?;
    let sets = oldest_of_all(run)?;
    Ok(format!("{packages} packages may be used; {sets} sets of features build with the oldest Rust and dependencies"))
}

/// Builds each library with every set of its features, on the oldest Rust and the oldest dependencies that it declares.
/// Fails if a library does not use a dependency. Works in a copy, because that has another lock file.
fn oldest_of_all(run: &Run) -> anyhow::Result<usize> {
    let copy = run.target("verify").join("oldest");
    fs::create_dir_all(&copy)?;
    let _ = fs::remove_dir_all(copy.join("crates"));
    let (root, folder) = (run.root.display(), copy.display());
    run.succeeds(run.command(&format!("cp -r {root}/Cargo.toml {root}/crates {folder}")))?;
    let path = copy.join("Cargo.toml");
    let workspace = fs::read_to_string(&path)?;
    let others = |line: &str| if line.starts_with("members = ") { MEMBERS.to_owned() } else { line.to_owned() };
    fs::write(&path, workspace.lines().map(|line| others(line) + "\n").collect::<String>())?;
    let manifest = format!("--manifest-path {folder}/Cargo.toml");
    run.succeeds(run.command(&format!("cargo +nightly generate-lockfile -Zdirect-minimal-versions {manifest}")))?;

    let metadata = run.read(&format!("cargo metadata --format-version 1 --no-deps --locked {manifest}"))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let (rust, mut sets) = (oldest_rust(run)?, 0);
    for library in LIBRARIES {
        for features in sets_of_features(&metadata, library)? {
            let line = format!(
                "cargo +{rust} check --locked {manifest} -p {library} --no-default-features --features={features}"
            );
            let command = run.command(&line).env("CARGO_TARGET_DIR", copy.join("target"));
            run.succeeds(command.env("RUSTFLAGS", "-D unused_crate_dependencies"))
                .with_context(|| format!("{library} with the features {features:?}"))?;
            sets += 1;
        }
    }
    Ok(sets)
}

/// Every set of a package's features, as `--features` takes it.
fn sets_of_features(metadata: &Value, package: &str) -> anyhow::Result<Vec<String>> {
    let mut packages = metadata["packages"].as_array().context("no packages")?.iter();
    let Some(found) = packages.find(|it| it["name"] == package) else { bail!("there is no {package}") };
    let features = found["features"].as_object().context("no features")?.keys().filter(|name| *name != "default");
    let mut sets = vec![Vec::new()];
    for feature in features {
        let with_it = sets.iter().map(|set| [&set[..], &[feature.as_str()]].concat());
        sets.extend(with_it.collect::<Vec<_>>());
    }
    Ok(sets.iter().map(|set| set.join(",")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_of_features_is_there_once() {
        let features = serde_json::json!({ "default": ["a"], "a": [], "b": [] });
        let metadata = serde_json::json!({ "packages": [{ "name": "p", "features": features }] });
        assert_eq!(sets_of_features(&metadata, "p").expect("the package is there"), ["", "a", "b", "a,b"]);
        assert!(sets_of_features(&metadata, "q").is_err());
    }
}
