//! `cargo xtask standalone`: each library crate, its documentation and its tests compile alone.
//!
//! In the workspace the crates share features and dependencies, which hides a missing declaration of either. Here a
//! scratch package depends on each crate by its path, as a user's package would.

use crate::workspace;
use anyhow::{Context as _, bail};
use std::fs;
use std::path::Path;
use tempfile::TempDir;
use xshell::{Shell, cmd};

/// A library crate, a program that uses it, and the crates that it must not depend on.
struct Library {
    name: &'static str,
    /// Uses one item of its public API.
    main: &'static str,
    /// No dependency of the crate may have a name with one of these prefixes.
    forbidden: &'static [&'static str],
}

const LIBRARIES: [Library; 6] = [
    Library {
        name: "async-socket-api",
        main: "fn main() { drop(async_socket_api::Payload::to_send(vec![0_u8; 8])); }",
        forbidden: &["nix", "libc", "rustix", "completion-port", "async-socket-linux", "test-doubles"],
    },
    Library {
        name: "completion-port",
        main: "fn main() { drop(completion_port::CompletionPort::create()); }",
        forbidden: &["async-socket", "test-doubles"],
    },
    Library {
        name: "async-socket-linux",
        main: "fn main() { drop(async_socket_linux::ExecutionEngine::builder().threads(2).build()); }",
        forbidden: &["test-doubles"],
    },
    Library {
        name: "async-socket-net",
        main: "fn main() { drop(async_socket_net::Resolver::new(1, 1)); }",
        forbidden: &["test-doubles"],
    },
    Library {
        name: "async-socket-futures",
        main: "fn main() { drop(async_socket_futures::block_on(async { 1 })); }",
        forbidden: &["async-socket-net", "hyper", "test-doubles", "tokio"],
    },
    Library { name: "test-doubles", main: "fn main() { drop(test_doubles::any_descriptor()); }", forbidden: &[] },
];

/// Checks every library. Fails with the first that does not compile alone.
pub(crate) fn run() -> anyhow::Result<()> {
    let root = workspace::root()?;
    let shell = Shell::new()?;
    // A folder of its own, because these builds and those of the workspace have different features and would evict each
    // other.
    shell.set_var("CARGO_TARGET_DIR", workspace::target_dir()?.join("standalone"));
    shell.set_var("RUSTDOCFLAGS", "-D warnings");
    for library in &LIBRARIES {
        check(&shell, &root, library).with_context(|| format!("{} does not stand alone", library.name))?;
        println!("standalone: {} stands alone", library.name);
    }
    Ok(())
}

fn check(shell: &Shell, root: &Path, library: &Library) -> anyhow::Result<()> {
    let name = library.name;
    let scratch = scratch_package(root, library)?;
    let in_scratch = shell.push_dir(scratch.path());
    // Nothing needs to run.
    cmd!(shell, "cargo check --quiet").run()?;
    cmd!(shell, "cargo doc --quiet --no-deps -p {name}").run()?;
    let tree = cmd!(shell, "cargo tree --quiet -e normal --prefix none -p {name}").read()?;
    drop(in_scratch);
    if let Some(pulled) = forbidden(&tree, library) {
        bail!("it depends on {pulled}");
    }
    let manifest = root.join("crates").join(name).join("Cargo.toml");
    cmd!(shell, "cargo check --quiet --tests --manifest-path {manifest}").run()?;
    Ok(())
}

/// A package outside the workspace that depends on the library by its path.
fn scratch_package(root: &Path, library: &Library) -> anyhow::Result<TempDir> {
    let Library { name, main, .. } = library;
    let path = root.join("crates").join(name);
    let scratch = tempfile::Builder::new().prefix("standalone-").tempdir()?;
    let manifest = format!(
        "[package]\nname = \"scratch\"\nedition = \"2024\"\n\n[dependencies]\n{name} = {{ path = {path:?} }}\n\n[workspace]\n"
    );
    fs::write(scratch.path().join("Cargo.toml"), manifest)?;
    fs::create_dir(scratch.path().join("src"))?;
    fs::write(scratch.path().join("src/main.rs"), main)?;
    // The versions that the workspace is tested with. Cargo drops the entries that it does not need.
    fs::copy(root.join("Cargo.lock"), scratch.path().join("Cargo.lock"))?;
    Ok(scratch)
}

/// The first crate in the tree that the library must not depend on. The library itself does not count.
fn forbidden<'t>(tree: &'t str, library: &Library) -> Option<&'t str> {
    let names = tree.lines().filter_map(|line| line.split_whitespace().next());
    let mut others = names.filter(|name| *name != library.name);
    others.find(|name| library.forbidden.iter().any(|prefix| name.starts_with(prefix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_crate_is_found_anywhere_in_the_tree() {
        let [api, port, ..] = &LIBRARIES;
        let tree = "async-socket-api v0.1.0 (/a)\nthiserror v2.0.1\nthiserror-impl v2.0.1 (proc-macro)\nlibc v0.2.1\n";
        assert_eq!(forbidden(tree, api), Some("libc"));
        assert_eq!(forbidden(tree, port), Some("async-socket-api"));
    }

    #[test]
    fn the_library_itself_is_not_forbidden() {
        assert_eq!(forbidden("async-socket-api v0.1.0 (/a)\nthiserror v2.0.1\n", &LIBRARIES[0]), None);
    }
}
