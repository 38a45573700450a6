//! Tells the user how to make the dynamic linker find the shared library.

use super::SONAME;
use super::place::Place;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The steps that are left to the user. `None` if there are none, or if the files are only gathered for a package.
pub(super) fn advice(place: &Place) -> Option<String> {
    if place.is_staged() {
        return None;
    }
    let folder = fs::canonicalize(place.libdir()).unwrap_or_else(|_| place.libdir().to_owned());
    Some(advice_for(&folder, &searched()))
}

fn advice_for(folder: &Path, searched: &BTreeSet<PathBuf>) -> String {
    if searched.contains(folder) {
        return format!("run `ldconfig` as root: until then programs do not find {SONAME} at their start");
    }
    let folder = folder.display();
    format!(
        "the dynamic linker does not look for {SONAME} in {folder}: link programs with -Wl,-rpath,'{folder}', or set \
         LD_LIBRARY_PATH, or name the folder in /etc/ld.so.conf and run `ldconfig`"
    )
}

/// The folders that `ldconfig` puts into the dynamic linker's cache.
fn searched() -> BTreeSet<PathBuf> {
    let programs = ["ldconfig", "/sbin/ldconfig", "/usr/sbin/ldconfig"];
    // This only shows what `ldconfig` would do.
    let outputs = programs.iter().filter_map(|program| Command::new(program).args(["-N", "-X", "-v"]).output().ok());
    outputs.take(1).flat_map(|output| folders(&String::from_utf8_lossy(&output.stdout))).collect()
}

fn folders(text: &str) -> BTreeSet<PathBuf> {
    let lines = text.lines().filter(|line| line.starts_with('/'));
    let named = lines.filter_map(|line| line.split_once(':')).map(|(folder, _)| PathBuf::from(folder));
    named.map(|folder| fs::canonicalize(&folder).unwrap_or(folder)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldconfig_is_named_alone_where_it_is_enough() {
        let text =
            "/absent/local/lib: (from /etc/ld.so.conf.d/libc.conf:2)\n\tlibx.so.1 -> libx.so.1.0\n/absent/lib:\n";
        let searched = folders(text);
        let there = advice_for(Path::new("/absent/lib"), &searched);
        assert!(there.starts_with("run `ldconfig`"), "{there}");
        let elsewhere = advice_for(Path::new("/opt/a b/lib"), &searched);
        assert!(elsewhere.contains("-Wl,-rpath,'/opt/a b/lib'"), "{elsewhere}");
    }
}
