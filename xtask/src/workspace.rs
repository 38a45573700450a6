//! Finds the workspace and its build output.

use anyhow::Context as _;
use std::env;
use std::path::PathBuf;

/// The folder of the workspace's `Cargo.toml`.
///
/// The path is read at run time and not with `env!`, because a build cache may outlive the checkout that filled it.
pub(crate) fn root() -> anyhow::Result<PathBuf> {
    let manifest_dir = env::var_os("CARGO_MANIFEST_DIR").context("start this as `cargo xtask`")?;
    let xtask = PathBuf::from(manifest_dir);
    xtask.parent().map(PathBuf::from).context("xtask lies in the workspace's folder")
}

/// The folder into which cargo builds the workspace.
pub(crate) fn target_dir() -> anyhow::Result<PathBuf> {
    let root = root()?;
    Ok(match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root.join(dir),
        None => root.join("target"),
    })
}
