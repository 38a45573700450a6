//! Gives the shared library its name for the dynamic linker. Also links gcc's static unwinder into it, if gcc has one, so that the
//! library needs only libc at run time.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // The tests compile C programs for this target.
    println!("cargo::rustc-env=ASYNC_SOCKET_TARGET={}", env::var("TARGET").unwrap_or_default());
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libasync_socket.so.0");
    if let (Some(unwinder), Some(out)) = (static_unwinder(), env::var_os("OUT_DIR")) {
        // std asks the linker for `gcc_s`, and the linker finds this script first.
        let script = Path::new(&out).join("libgcc_s.so");
        if fs::write(script, format!("INPUT({})\n", unwinder.display())).is_ok() {
            println!("cargo::rustc-link-search=native={}", Path::new(&out).display());
        }
    }
}

/// `None` if this is not a native build with gcc. The library then needs `libgcc_s.so.1` too.
fn static_unwinder() -> Option<PathBuf> {
    let is_native = env::var_os("HOST") == env::var_os("TARGET");
    let is_gnu = env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "gnu");
    if !is_native || !is_gnu {
        return None;
    }
    let output = Command::new("cc").arg("-print-file-name=libgcc_eh.a").output().ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    path.is_absolute().then_some(path)
}
