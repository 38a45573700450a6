//! `cargo xtask header`: makes the C header from the ABI's sources. With `--check`, it compares the header in the
//! repository with them.

use crate::workspace;
use anyhow::{Context as _, bail};
use cbindgen::{Builder, Config};
use std::fs;

const CRATE: &str = "crates/async-socket-ffi";

/// The header, from the workspace's folder.
const HEADER: &str = "crates/async-socket-ffi/include/async_socket.h";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing; fail if the header is not up to date
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let path = workspace::root()?.join(HEADER);
    let header = generate()?;
    if !args.check {
        fs::write(&path, header).with_context(|| format!("cannot write {HEADER}"))?;
        println!("header: wrote {HEADER}");
        return Ok(());
    }
    let present = fs::read_to_string(&path).with_context(|| format!("cannot read {HEADER}"))?;
    if let Some(line) = first_difference(&present, &header) {
        bail!("{HEADER}:{line}: differs from the sources; run `cargo xtask header`");
    }
    println!("header: {HEADER} is up to date");
    Ok(())
}

fn generate() -> anyhow::Result<String> {
    let root = workspace::root()?.join(CRATE);
    let config = Config::from_file(root.join("cbindgen.toml")).map_err(anyhow::Error::msg)?;
    let builder = Builder::new().with_config(config).with_src(root.join("src/lib.rs"));
    let mut header = Vec::new();
    builder.generate().context("cbindgen does not understand the sources")?.write(&mut header);
    let header = with_version(&String::from_utf8(header)?, env!("CARGO_PKG_VERSION"));
    // The section "Safety" in Rust becomes the C function's requirements on its caller.
    Ok(header.replace("\n * # Safety\n", "\n * Requires:\n"))
}

/// Puts the workspace's version in its places.
fn with_version(header: &str, version: &str) -> String {
    let numbers = ["@MAJOR@", "@MINOR@", "@PATCH@"].into_iter().zip(version.split(['.', '-', '+']));
    numbers.fold(header.replace("@VERSION@", version), |header, (place, number)| header.replace(place, number))
}

/// The number of the first line that differs.
fn first_difference(one: &str, two: &str) -> Option<usize> {
    if one == two {
        return None;
    }
    let same = one.split('\n').zip(two.split('\n')).take_while(|(one, two)| one == two).count();
    Some(same + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_put_in_whole_and_in_parts() {
        let header = "@MAJOR@ @MINOR@ @PATCH@ \"@VERSION@\"";
        assert_eq!(with_version(header, "1.20.3-rc.1"), "1 20 3 \"1.20.3-rc.1\"");
    }

    #[test]
    fn the_first_line_that_differs_is_named() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some(2));
        assert_eq!(first_difference("a\n", "a\nb\n"), Some(2));
        assert_eq!(first_difference("a", "a\n"), Some(2));
    }
}
