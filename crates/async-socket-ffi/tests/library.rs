//! The library's version, names and log, in small C programs.

#[path = "common/c_programs.rs"]
mod c_programs;

use c_programs::{SHARED, STATIC, built, compilation, compile, compiler, folder, package, succeed, with_soname};
use rstest::rstest;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

// Tests_SRS_C_LIBRARY_01_002, Tests_SRS_C_LIBRARY_01_003, Tests_SRS_C_LIBRARY_01_004, Tests_SRS_C_LIBRARY_01_005
// Tests_SRS_C_LIBRARY_01_006, Tests_SRS_C_LIBRARY_01_007, Tests_SRS_C_LIBRARY_01_008, Tests_SRS_C_LIBRARY_01_010
// Tests_SRS_C_LIBRARY_01_012
#[rstest]
#[case::static_library(STATIC, &[])]
#[case::shared_library(SHARED, &[])]
#[case::own_names_beside_the_static_library(STATIC, &["-DOWN_NAMES"])]
#[case::own_names_beside_the_shared_library(SHARED, &["-DOWN_NAMES"])]
fn a_c_program_learns_names_version_and_log(#[case] library: &str, #[case] flags: &[&str]) {
    let folder = folder(&format!("library {library} {}", flags.len()));
    let program = folder.join("library");
    compile("library.c", &program, flags, &[&built(library)]);
    let mut run = Command::new(&program);
    let output = succeed(run.env("LD_LIBRARY_PATH", with_soname(&folder)).env_remove("ASYNC_SOCKET_LOG"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "all is as documented\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "no log on standard error was asked for");
}

/// Runs the program. It has a file of its own for each run, because several processes may run these tests at once.
fn rough_log(what: &str, log: &str) -> Output {
    let name = format!("program {} {:?}", std::process::id(), std::thread::current().id());
    let program = folder("rough log").join(name);
    compile("rough_log.c", &program, &[], &[&built(STATIC)]);
    let output = succeed(Command::new(&program).arg(what).env("ASYNC_SOCKET_LOG", log));
    fs::remove_file(program).expect("it is ours");
    output
}

// Tests_SRS_C_LIBRARY_01_011
#[test]
fn a_c_program_logs_after_a_threads_variables_are_gone_and_at_exit() {
    let output = rough_log("exit", "trace");
    let said = String::from_utf8_lossy(&output.stderr);
    let lines = said.lines().filter(|line| line.contains("function=\"async_socket_close\" argument=\"async_socket\""));
    assert_eq!(lines.count(), 5, "one of the thread, three of its key's destructor, one of the exit:\n{said}");
}

// Tests_SRS_C_LIBRARY_01_011
#[test]
fn a_c_program_survives_a_standard_error_that_is_a_closed_pipe() {
    let output = rough_log("pipe", "trace");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "survived\n");
}

// Tests_SRS_C_LIBRARY_01_009
#[test]
fn a_c_program_is_told_of_a_log_level_that_is_none_once_and_with_the_levels_that_there_are() {
    let output = rough_log("exit", "lo\nud");
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "async_socket: ASYNC_SOCKET_LOG=lo ud is no level, so nothing is logged; use off, error, warn, info, debug or trace\n"
    );
}

// Tests_SRS_C_LIBRARY_01_001
#[rstest]
#[case::not_defined("", "")]
#[case::plain("#define INVALID_SOCKET (-1)\n", "")]
#[case::with_a_cast("#define INVALID_SOCKET ((SOCKET_HANDLE)-1)\n", "")]
#[case::unsigned("#define INVALID_SOCKET (~0u)\n", "")]
#[case::the_same_again("", "#define INVALID_SOCKET (-1)\n")]
fn the_header_gets_on_with_another_definition_of_the_invalid_socket(#[case] before: &str, #[case] after: &str) {
    let case = before.len() * 100 + after.len();
    let source = folder("invalid socket").join(format!("{case}.c"));
    let program = format!(
        "{before}#include \"async_socket.h\"\n{after}int is_none(SOCKET_HANDLE handle) {{ return handle == (SOCKET_HANDLE)INVALID_SOCKET; }}\n\
         typedef char is_minus_one[INVALID_SOCKET == -1 ? 1 : -1];\n"
    );
    fs::write(&source, program).expect("a file can be written");
    let mut compile = compiler(false);
    compile.args(["-std=c99", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-pedantic"]).arg(source);
    succeed(&mut compile);
}

/// An archive and a shared library with functions of the specification's names, like those of the original.
fn original(folder: &Path) -> [PathBuf; 2] {
    let [object, archive, shared] = ["original.o", "liboriginal.a", "liboriginal.so"].map(|name| folder.join(name));
    let source = package().join("tests/c/original.c");
    succeed(compiler(false).args(["-std=c99", "-fPIC", "-c"]).arg(source).arg("-o").arg(&object));
    let _ = fs::remove_file(&archive);
    succeed(Command::new("ar").arg("rcs").arg(&archive).arg(&object));
    succeed(compiler(false).arg("-shared").arg(&object).arg("-o").arg(&shared));
    [archive, shared]
}

// Tests_SRS_C_LIBRARY_01_005
#[rstest]
#[case::ours_first(true, "ours, is_answering 1\n")]
#[case::ours_second(false, "the other, is_answering 0\n")]
fn a_c_program_sees_which_of_two_shared_libraries_answers(#[case] ours_first: bool, #[case] expected: &str) {
    let folder = folder(&format!("which shared {ours_first}"));
    let program = folder.join("which");
    let [_, other] = original(&folder);
    let ours = built(SHARED);
    let order: [&Path; 2] = if ours_first { [&ours, &other] } else { [&other, &ours] };
    compile("which_library.c", &program, &["-DASK"], &order);
    let output = succeed(Command::new(&program).env("LD_LIBRARY_PATH", with_soname(&folder)));
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

// Tests_SRS_C_LIBRARY_01_005
#[test]
fn a_c_program_gets_the_first_of_two_static_libraries_and_if_it_asks_does_not_link_with_the_wrong_one() {
    let folder = folder("which static");
    let program = folder.join("which");
    let [other, other_shared] = original(&folder);
    let ours = built(STATIC);
    for (flags, order, expected) in [
        (&["-DASK"][..], [&ours, &other], "ours, is_answering 1\n"),
        (&[], [&ours, &other], "ours\n"),
        (&[], [&other, &ours], "the other\n"),
        (&["-DASK"], [&ours, &other_shared], "ours, is_answering 1\n"),
        // With `ASK`, our static library is linked into the program before any shared library.
        (&["-DASK"], [&other_shared, &ours], "ours, is_answering 1\n"),
        (&[], [&other_shared, &ours], "the other\n"),
    ] {
        compile("which_library.c", &program, flags, &order.map(PathBuf::as_path));
        let output = succeed(Command::new(&program).env("LD_LIBRARY_PATH", &folder));
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{flags:?} {order:?}");
    }
    let output = compilation("which_library.c", &program, &["-DASK"], &[&other, &ours]).output().expect("cc starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("multiple definition of `async_socket_open_async'"), "{said}");
}
