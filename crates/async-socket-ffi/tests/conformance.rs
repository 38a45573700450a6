//! The C library as a C program sees it: the conformance program of `tests/c` with the static and the shared library,
//! the header as C99 and as C++11, and the exported names.
//!
//! `cargo xtask c-abi --valgrind` and `--asan` name a checker in `C_ABI_CHECKER`, and the program runs under it.

#[path = "common/c_programs.rs"]
mod c_programs;

use c_programs::{SHARED, built, compiler, folder, package, succeed, with_soname};
use rstest::rstest;
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Werror", "-pedantic"];

/// The documented names.
const EXPORTED: &str = include_str!("../exported-names.txt");

// Tests_SRS_C_LIBRARY_01_040, Tests_SRS_C_LIBRARY_01_041, Tests_SRS_C_LIBRARY_01_042, Tests_SRS_C_LIBRARY_01_043
// Tests_SRS_C_LIBRARY_01_044, Tests_SRS_C_LIBRARY_01_045, Tests_SRS_C_LIBRARY_01_046, Tests_SRS_C_LIBRARY_01_047
// Tests_SRS_C_LIBRARY_01_048, Tests_SRS_C_LIBRARY_01_049, Tests_SRS_C_LIBRARY_01_050, Tests_SRS_C_LIBRARY_01_051
// Tests_SRS_C_LIBRARY_01_055, Tests_SRS_C_LIBRARY_01_056, Tests_SRS_C_LIBRARY_01_057, Tests_SRS_C_LIBRARY_01_058
// Tests_SRS_C_LIBRARY_01_060, Tests_SRS_C_LIBRARY_01_061, Tests_SRS_C_LIBRARY_01_062, Tests_SRS_C_LIBRARY_01_063
// Tests_SRS_C_LIBRARY_01_064, Tests_SRS_C_LIBRARY_01_066, Tests_SRS_C_LIBRARY_01_067, Tests_SRS_C_LIBRARY_01_068
// Tests_SRS_C_LIBRARY_01_070, Tests_SRS_C_LIBRARY_01_072, Tests_SRS_C_LIBRARY_01_073, Tests_SRS_C_LIBRARY_01_074
// Tests_SRS_C_LIBRARY_01_075, Tests_SRS_C_LIBRARY_01_076, Tests_SRS_C_LIBRARY_01_077, Tests_SRS_C_LIBRARY_01_078
// Tests_SRS_C_LIBRARY_01_079, Tests_SRS_C_LIBRARY_01_080, Tests_SRS_C_LIBRARY_01_081
#[rstest]
#[case::static_library("libasync_socket.a")]
#[case::shared_library("libasync_socket.so")]
fn a_c_program_finds_every_function_result_and_rule_as_documented(#[case] library: &str) {
    let folder = folder(library);
    let program = folder.join("conformance");
    let mut compile = compiler(false);
    compile.args(["-std=c99", "-g", "-pthread"]).args(WARNINGS);
    compile.arg(package().join("tests/c/conformance.c")).arg(built(library)).arg("-o").arg(&program);
    compile.args(["-lpthread", "-ldl", "-lm"]);
    if checker() == "asan" {
        compile.arg("-fsanitize=address");
    }
    succeed(&mut compile);

    let output = succeed(run(&program).env("LD_LIBRARY_PATH", with_soname(&folder)).env("ASYNC_SOCKET_LOG", "off"));

    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("57 tests passed"), "{said}");
}

#[rstest]
#[case::handles("null_handles_are_refused_or_ignored", &[
    "async_socket_send_async",
    "completion_port_add",
    "argument=\"async_socket\" why=\"is NULL\"",
])]
#[case::buffers("refused_payloads_change_nothing", &["bad argument: buffers", "async_socket_receive_async"])]
fn the_program_says_what_was_wrong_with_which_argument_if_asked_to(#[case] test: &str, #[case] lines: &[&str]) {
    let folder = folder(&format!("log of {test}"));
    let program = folder.join("conformance");
    let mut compile = compiler(false);
    compile.args(["-std=c99", "-pthread"]).arg(package().join("tests/c/conformance.c"));
    compile.arg(built("libasync_socket.a")).arg("-o").arg(&program).args(["-lpthread", "-ldl", "-lm"]);
    succeed(&mut compile);

    let silent = succeed(Command::new(&program).arg(test).env_remove("ASYNC_SOCKET_LOG"));
    let told = succeed(Command::new(&program).arg(test).env("ASYNC_SOCKET_LOG", "debug"));

    assert_eq!(String::from_utf8_lossy(&silent.stderr).trim(), test);
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    for line in lines {
        assert!(told.contains(line), "{line} is not in:\n{told}");
    }
}

#[test]
fn the_program_of_the_readme_compiles_without_a_warning_and_runs() {
    let readme = fs::read_to_string(package().join("README.md")).expect("there is one");
    let (_, program) = readme.split_once("```c\n").expect("it has a program");
    let (program, _) = program.split_once("```").expect("the program ends");
    let source = folder("readme").join("readme.c");
    fs::write(&source, program).expect("a file can be written");
    let executable = source.with_extension("program");
    let mut compile = compiler(false);
    compile.args(["-std=c99", "-D_POSIX_C_SOURCE=200809L", "-pthread"]).args(WARNINGS).arg(source);
    compile.arg(built("libasync_socket.a")).arg("-o").arg(&executable).args(["-lpthread", "-ldl", "-lm"]);
    succeed(&mut compile);
    succeed(&mut Command::new(executable));
}

#[rstest]
#[case::c99(false, "c", "c99")]
#[case::cpp11(true, "c++", "c++11")]
fn the_header_alone_compiles_twice_over(#[case] cpp: bool, #[case] language: &str, #[case] standard: &str) {
    if cpp && Command::new("c++").arg("--version").output().is_err() {
        println!("skipped: there is no C++ compiler");
        return;
    }
    let source = folder(standard).join("twice.txt");
    fs::write(&source, "#include \"async_socket.h\"\n#include \"async_socket.h\"\n").expect("a file can be written");
    let mut compile = compiler(cpp);
    compile.args(["-x", language, &format!("-std={standard}"), "-fsyntax-only"]).args(WARNINGS).arg(source);
    succeed(&mut compile);
}

#[test]
fn the_shared_library_exports_the_documented_names_and_no_others() {
    let output = succeed(Command::new("nm").args(["-D", "--defined-only", "--format=posix"]).arg(built(SHARED)));
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut names: Vec<&str> = listed.lines().filter_map(|line| line.split(' ').next()).collect();
    names.sort_unstable();
    assert_eq!(names, EXPORTED.lines().collect::<Vec<_>>());
}

/// The checker that the program runs under. Empty if there is none.
fn checker() -> String {
    env::var("C_ABI_CHECKER").unwrap_or_default()
}

fn run(program: &Path) -> Command {
    if checker() != "valgrind" {
        return Command::new(program);
    }
    let mut command = Command::new("valgrind");
    let kinds = "definite,indirect,possible";
    command.args(["-q", "--error-exitcode=99", "--leak-check=full"]).env("C_ABI_SLOW", "1");
    command.arg(format!("--show-leak-kinds={kinds}")).arg(format!("--errors-for-leak-kinds={kinds}")).arg(program);
    command
}
