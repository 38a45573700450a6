//! `cargo xtask install`: builds the C library and installs it; `--uninstall` removes it. The installed files are the
//! header, both libraries, the pkg-config file, the `CMake` package and the checkers' suppression files.
//!
//! It builds everything before it writes the first file, and all files appear together or not at all.

mod archive;
mod build;
mod describe;
mod loader;
mod options;
mod place;
mod transaction;

use crate::workspace;
use anyhow::Context as _;
use build::{Built, Scratch};
use options::{Options, Parsed};
use place::Place;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use transaction::{Content, File};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The name under which the dynamic linker looks for the library.
const SONAME: &str = "libasync_socket.so.0";

pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> anyhow::Result<()> {
    let options = match Options::parse(arguments)? {
        Parsed::Options(options) => options,
        Parsed::Help => {
            print!("{}", options::HELP);
            return Ok(());
        }
    };
    let place = Place::new(&options.prefix, options.libdir.as_deref(), options.destdir.as_deref())?;
    if options.uninstall {
        return uninstall(&place);
    }
    let scratch = Scratch::new()?;
    let built = build::library(options.target.as_deref(), &scratch)?;
    transaction::commit(&files(&place, &built)?)?;
    for path in place.older_versions(VERSION)? {
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        println!("install: removed the older {}", path.display());
    }
    for file in place.installed(VERSION) {
        if file.symlink_metadata().is_ok() {
            println!("install: {}", file.display());
        }
    }
    if built.shared.is_none() {
        println!("install: no shared library: {} has none", built.target);
    } else if let Some(advice) = loader::advice(&place) {
        println!("install: {advice}");
    }
    Ok(())
}

/// The files to install, with their content.
fn files(place: &Place, built: &Built) -> anyhow::Result<Vec<File>> {
    let package = workspace::root()?.join("crates/async-socket-ffi");
    let copied = |path: PathBuf, from: PathBuf| File { path, content: Content::Copy(from) };
    let text = |path: PathBuf, text: String| File { path, content: Content::Text(text) };
    let mut files = vec![
        copied(place.header(), package.join("include/async_socket.h")),
        copied(place.archive(), built.archive.clone()),
    ];
    if let Some(shared) = &built.shared {
        files.push(copied(place.shared(VERSION), shared.clone()));
        let target = place::shared_name(VERSION);
        files.extend(place.links().map(|path| File { path, content: Content::Link(target.clone()) }));
    }
    let suppressions = package.join("suppressions");
    files.extend(place.suppressions().map(|(name, path)| copied(path, suppressions.join(name))));
    files.push(text(place.cmake_version(), describe::cmake_version(VERSION)));
    files.push(text(place.cmake_config(), describe::cmake_config(place, VERSION, built.shared.is_some())));
    files.push(text(place.pkg_config(), describe::pkg_config(place, VERSION)));
    Ok(files)
}

fn uninstall(place: &Place) -> anyhow::Result<()> {
    let mut files: Vec<PathBuf> = place.installed(VERSION).collect();
    files.extend(place.older_versions(VERSION)?);
    let mut removed = 0;
    for file in files {
        match fs::remove_file(&file) {
            Ok(()) => println!("uninstall: removed {}", file.display()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("cannot remove {}", file.display())),
        }
        removed += 1;
    }
    // Only folders that belong to this library alone, and only if they are empty.
    for folder in place.own_folders() {
        if fs::remove_dir(&folder).is_ok() {
            println!("uninstall: removed {}", folder.display());
        }
    }
    if removed == 0 {
        println!("uninstall: there is nothing of async_socket in {place}");
    }
    Ok(())
}
