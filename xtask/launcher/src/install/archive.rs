//! Makes the installed static library from the one that cargo builds.
//!
//! Cargo's library exposes symbols of Rust's standard library to the linker. The installed library is a single object
//! with only the documented symbols global, so that it links beside any other library.

use super::build::tool;
use anyhow::{Context as _, bail};
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

/// The names that both libraries export.
const EXPORTED: &str = include_str!("../../../../crates/async-socket-ffi/exported-names.txt");

/// The prefix of the symbols that a program may define itself. The program's definitions take precedence.
const WEAK: &str = "MU_";

/// Links the parts of an archive that the exported functions need into one object. Hides all other symbols, and makes
/// an archive of the object.
pub(super) fn localise(shell: &Shell, archive: &Path, target: &str, scratch: &Path, to: &Path) -> anyhow::Result<()> {
    let (all, hidden) = (scratch.join("all.o"), scratch.join("async_socket.o"));
    let wanted = EXPORTED.lines().map(|name| format!("--undefined={name}"));
    let kept = EXPORTED.lines().map(|name| format!("--keep-global-symbol={name}"));
    let weak = EXPORTED.lines().filter(|name| name.starts_with(WEAK)).map(|name| format!("--weaken-symbol={name}"));
    let unwinder = unwinder(shell, target)?;
    let (ld, objcopy, ar) = (tool("ld"), tool("objcopy"), tool("ar"));
    // Dissolves section groups, because a linker would merge them with groups of the same name in a second Rust
    // library.
    cmd!(shell, "{ld} -r --gc-sections --force-group-allocation {wanted...} -o {all} {archive} {unwinder}")
        .quiet()
        .run()
        .context("ld is part of binutils")?;
    // std's bitcode sections are invalid once they are joined, and tools with an LLVM plug-in fail on them.
    let bitcode = ["--remove-section=.llvmbc", "--remove-section=.llvmcmd"];
    cmd!(shell, "{objcopy} --strip-debug {bitcode...} {kept...} {weak...} {all} {hidden}").quiet().run()?;
    cmd!(shell, "{ar} rcs {to} {hidden}").quiet().run()?;
    check_names(shell, to)
}

/// A static unwinder, so that the library needs no shared one.
fn unwinder(shell: &Shell, target: &str) -> anyhow::Result<PathBuf> {
    // The C compiler's unwinder may be made for another libc. Rust has its own for musl.
    if target.ends_with("musl") {
        let libraries = PathBuf::from(cmd!(shell, "rustc --print target-libdir --target {target}").quiet().read()?);
        return Ok(libraries.join("self-contained/libunwind.a"));
    }
    let cc = tool("cc");
    let path = PathBuf::from(cmd!(shell, "{cc} -print-file-name=libgcc_eh.a").quiet().read()?);
    if !path.is_absolute() {
        bail!("the C compiler has no libgcc_eh.a, which comes with gcc");
    }
    Ok(path)
}

fn check_names(shell: &Shell, archive: &Path) -> anyhow::Result<()> {
    let nm = tool("nm");
    let listed = cmd!(shell, "{nm} --extern-only --defined-only --format=posix {archive}").quiet().read()?;
    let mut names: Vec<&str> = listed.lines().filter_map(|line| line.split_once(' ')).map(|(name, _)| name).collect();
    names.retain(|name| !name.ends_with(':') && !name.contains('['));
    names.sort_unstable();
    if !names.iter().copied().eq(EXPORTED.lines()) {
        bail!("the static library exports {names:?}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exported_names_are_the_functions_of_the_header() {
        let header = include_str!("../../../../crates/async-socket-ffi/include/async_socket.h");
        let prefixes = ["async_socket_", "completion_port_", "platform_", "MU_"];
        let code = header.lines().filter(|line| !line.starts_with([' ', '/', '#']));
        let mut declared: Vec<&str> = code
            .filter_map(|line| line.split_once('('))
            .filter_map(|(before, _)| before.split([' ', '*']).next_back())
            .filter(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)))
            .collect();
        declared.sort_unstable();
        assert_eq!(declared, EXPORTED.lines().collect::<Vec<_>>());
    }
}
