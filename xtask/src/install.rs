//! `cargo xtask install --prefix DIR`: the header, both libraries and the pkg-config file of the C ABI; `--uninstall`
//! takes them away.
//!
//! The static library that cargo builds brings the names of Rust's standard library with it. The one that is
//! installed is a single object in which every name but the documented ones is local, so that it links beside anything.

use crate::{header, workspace};
use anyhow::{Context as _, bail};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

/// What both libraries export, and nothing else.
const EXPORTED: &str = include_str!("../../crates/async-socket-ffi/exported-names.txt");

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to: DIR/include, DIR/lib and DIR/lib/pkgconfig
    #[arg(long, value_name = "DIR")]
    prefix: PathBuf,
    /// Remove what an installation there put there
    #[arg(long)]
    uninstall: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if args.uninstall { Files::below(&std::path::absolute(&args.prefix)?).remove() } else { into(&args.prefix) }
}

/// Installs everything below the prefix.
pub(crate) fn into(prefix: &Path) -> anyhow::Result<()> {
    let prefix = std::path::absolute(prefix)?;
    Files::below(&prefix).install(&prefix)
}

/// Everything that is installed.
struct Files {
    header: PathBuf,
    archive: PathBuf,
    shared: PathBuf,
    /// The name the dynamic linker looks for, and the one that `-lasync_socket` does.
    links: [PathBuf; 2],
    pkg_config: PathBuf,
}

impl Files {
    fn below(prefix: &Path) -> Self {
        let lib = prefix.join("lib");
        Self {
            header: prefix.join("include/async_socket.h"),
            archive: lib.join("libasync_socket.a"),
            shared: lib.join(format!("libasync_socket.so.{VERSION}")),
            links: [lib.join("libasync_socket.so.0"), lib.join("libasync_socket.so")],
            pkg_config: lib.join("pkgconfig/async_socket.pc"),
        }
    }

    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        let Self { header, archive, shared, links, pkg_config } = self;
        [header, archive, shared].into_iter().chain(links).chain([pkg_config])
    }

    fn install(&self, prefix: &Path) -> anyhow::Result<()> {
        let root = workspace::root()?;
        let shell = Shell::new()?;
        shell.change_dir(&root);
        // Only these two kinds: cargo does not optimise a Rust library across crates, nor what is built along with it.
        cmd!(shell, "cargo rustc --quiet --profile c-abi -p async-socket-ffi --lib --crate-type staticlib,cdylib")
            .quiet()
            .run()?;
        let built = workspace::target_dir()?.join("c-abi");

        // An earlier installation may be in use: new files take the places of the old.
        self.remove()?;
        for folder in self.all().filter_map(|file| file.parent()) {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        copy(&root.join(header::HEADER), &self.header)?;
        localise(&shell, &built.join("libasync_socket.a"), &self.archive)?;
        let (shared, to) = (built.join("libasync_socket.so"), &self.shared);
        cmd!(shell, "objcopy --strip-debug {shared} {to}").quiet().run()?;
        for link in &self.links {
            symlink(self.shared.file_name().context("the library has a name")?, link)?;
        }
        fs::write(&self.pkg_config, pkg_config(prefix))?;
        for file in self.all() {
            println!("install: {}", file.display());
        }
        Ok(())
    }

    /// Folders stay: others may use them.
    fn remove(&self) -> anyhow::Result<()> {
        for file in self.all() {
            match fs::remove_file(file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", file.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// Links an archive into one object with what the exported functions need and no more, hides all other names,
/// and makes an archive of that.
fn localise(shell: &Shell, archive: &Path, to: &Path) -> anyhow::Result<()> {
    let scratch = tempfile::Builder::new().prefix("async-socket-").tempdir()?;
    let (all, hidden) = (scratch.path().join("all.o"), scratch.path().join("async_socket.o"));
    let wanted = EXPORTED.lines().map(|name| format!("--undefined={name}"));
    let kept = EXPORTED.lines().map(|name| format!("--keep-global-symbol={name}"));
    let unwinder = unwinder(shell)?;
    // Groups are dissolved: a second library from Rust may have groups of the same names, which linkers merge.
    cmd!(shell, "ld -r --gc-sections --force-group-allocation {wanted...} -o {all} {archive} {unwinder}")
        .quiet()
        .run()
        .context("ld is part of binutils")?;
    // Bits of bitcode that std brings are no bitcode once joined, and make tools with an LLVM plug-in stumble.
    let bitcode = ["--remove-section=.llvmbc", "--remove-section=.llvmcmd"];
    cmd!(shell, "objcopy --strip-debug {bitcode...} {kept...} {all} {hidden}").quiet().run()?;
    cmd!(shell, "ar rcs {to} {hidden}").quiet().run()?;
    check_names(shell, to)
}

/// The C compiler's static unwinder, so that the library needs none at run time.
fn unwinder(shell: &Shell) -> anyhow::Result<PathBuf> {
    let path = PathBuf::from(cmd!(shell, "cc -print-file-name=libgcc_eh.a").quiet().read()?);
    if !path.is_absolute() {
        bail!("the C compiler has no libgcc_eh.a, which comes with gcc");
    }
    Ok(path)
}

fn check_names(shell: &Shell, archive: &Path) -> anyhow::Result<()> {
    let listed = cmd!(shell, "nm --extern-only --defined-only --format=posix {archive}").quiet().read()?;
    let mut names: Vec<&str> = listed.lines().filter_map(|line| line.split_once(' ')).map(|(name, _)| name).collect();
    names.retain(|name| !name.ends_with(':') && !name.contains('['));
    names.sort_unstable();
    if !names.iter().copied().eq(EXPORTED.lines()) {
        bail!("the static library exports {names:?}");
    }
    Ok(())
}

fn pkg_config(prefix: &Path) -> String {
    let prefix = prefix.display();
    format!(
        "prefix={prefix}\n\
         libdir=${{prefix}}/lib\n\
         includedir=${{prefix}}/include\n\
         \n\
         Name: async_socket\n\
         Description: Asynchronous sockets for Linux with the completion model of Windows IOCP\n\
         Version: {VERSION}\n\
         Cflags: -I${{includedir}}\n\
         Libs: -L${{libdir}} -lasync_socket\n\
         Libs.private: -lpthread -ldl -lm\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exported_names_are_the_functions_of_the_header() {
        let header = include_str!("../../crates/async-socket-ffi/include/async_socket.h");
        let prefixes = ["async_socket_", "completion_port_", "platform_"];
        let code = header.lines().filter(|line| !line.starts_with([' ', '/', '#']));
        let mut declared: Vec<&str> = code
            .filter_map(|line| line.split_once('('))
            .filter_map(|(before, _)| before.split([' ', '*']).next_back())
            .filter(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)))
            .collect();
        declared.sort_unstable();
        assert_eq!(declared, EXPORTED.lines().collect::<Vec<_>>());
    }

    #[test]
    fn the_pkg_config_file_names_what_a_static_link_needs_besides() {
        let text = pkg_config(Path::new("/opt/x"));
        assert!(text.starts_with("prefix=/opt/x\nlibdir=${prefix}/lib\n"), "{text}");
        assert!(text.ends_with("Libs.private: -lpthread -ldl -lm\n"), "{text}");
    }
}
