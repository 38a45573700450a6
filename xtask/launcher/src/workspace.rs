//! Finds the workspace.

use anyhow::Context as _;
use std::env;
use std::path::{Path, PathBuf};

/// The folder of the workspace's `Cargo.toml`.
///
/// The path is read at run time and not compiled in with `env!`, because a build cache may outlive its checkout.
pub(crate) fn root() -> anyhow::Result<PathBuf> {
    let manifest_dir = env::var_os("CARGO_MANIFEST_DIR").context("start this as `cargo xtask`")?;
    let root = Path::new(&manifest_dir).ancestors().nth(2);
    root.map(PathBuf::from).context("this package lies in xtask/launcher")
}
