//! `cargo xtask c-abi`: the conformance program of the C ABI, against both libraries, plain or under a checker.

use crate::workspace;
use anyhow::bail;
use xshell::{Shell, cmd};

#[derive(clap::Args)]
#[group(multiple = false)]
pub(crate) struct Args {
    /// Under memcheck: no error, no leak
    #[arg(long)]
    valgrind: bool,
    /// With the address sanitizer in the C code
    #[arg(long)]
    asan: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let shell = Shell::new()?;
    shell.change_dir(workspace::root()?);
    let checker = match args {
        Args { valgrind: true, .. } => "valgrind",
        Args { asan: true, .. } => "asan",
        _ => "",
    };
    if args.valgrind && cmd!(shell, "valgrind --version").quiet().ignore_stderr().read().is_err() {
        bail!("valgrind is missing: install the package valgrind");
    }
    if args.asan && !cmd!(shell, "cc -print-file-name=libasan.so").quiet().read()?.starts_with('/') {
        bail!("the address sanitizer is missing: install gcc with its libasan (libgcc-*-dev on Debian)");
    }
    cmd!(shell, "cargo test -p async-socket-ffi --test conformance -- --nocapture")
        .env("C_ABI_CHECKER", checker)
        .run()?;
    Ok(())
}
