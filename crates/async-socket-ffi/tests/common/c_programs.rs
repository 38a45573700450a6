//! Small C programs, compiled against the header and run.
#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(unreachable_pub, reason = "a module of every test file, not a crate")]

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub const STATIC: &str = "libasync_socket.a";
pub const SHARED: &str = "libasync_socket.so";

/// Cargo builds the libraries that the tests depend on. It puts them beside the tests or, in newer versions, into a
/// folder beside the folder of the test. Libraries of earlier builds may be there too, so this takes the newest.
pub fn built(library: &str) -> PathBuf {
    let test = env::current_exe().expect("this test is a file");
    let beside = test.with_file_name(library);
    let units = test.ancestors().nth(3).and_then(|package| fs::read_dir(package).ok()).into_iter().flatten().flatten();
    let in_units = units.map(|unit| unit.path().join("out").join(library));
    let all = in_units.chain([beside]).filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path)));
    let (_, newest) = all.max().unwrap_or_else(|| panic!("{library} has not been built for {}", test.display()));
    newest
}

pub fn package() -> PathBuf {
    env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this test").into()
}

/// A folder of its own for each test.
pub fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).expect("a folder can be made");
    folder
}

/// A folder in which the dynamic linker finds the shared library.
pub fn with_soname(folder: &Path) -> &Path {
    let link = folder.join("libasync_socket.so.0");
    let _ = fs::remove_file(&link);
    symlink(built(SHARED), &link).expect("a link can be made");
    folder
}

pub fn compiler(cpp: bool) -> Command {
    let mut build = cc::Build::new();
    build.cpp(cpp).cargo_metadata(false).opt_level(1).debug(false).warnings(false);
    build.target(env!("ASYNC_SOCKET_TARGET")).host(env!("ASYNC_SOCKET_TARGET")).include(package().join("include"));
    build.get_compiler().to_command()
}

/// Compiles a program of `tests/c` and links it with libraries in this order.
pub fn compile(source: &str, program: &Path, flags: &[&str], libraries: &[&Path]) {
    succeed(&mut compilation(source, program, flags, libraries));
}

pub fn compilation(source: &str, program: &Path, flags: &[&str], libraries: &[&Path]) -> Command {
    let mut compile = compiler(false);
    compile.args(["-std=c99", "-g", "-pthread", "-Wall", "-Wextra", "-Werror", "-pedantic"]).args(flags);
    compile.arg(package().join("tests/c").join(source)).args(libraries).arg("-o").arg(program);
    compile.args(["-lpthread", "-ldl", "-lm"]);
    compile
}

pub fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    output
}
