//! C and C++ programs of `tests/c` that use the library around `fork`, exit handlers, signals, and descriptors that other code
//! closes. Each case is a run of its own.

use rstest::rstest;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

// Tests_SRS_COMPLETION_PORT_01_080
#[rstest]
fn at_the_end_of_a_process_or_thread_everything_works_and_completes_once(
    #[values("atexit", "atexit-destroy", "atexit-on-another-thread", "key-on-main", "key-on-another-thread")]
    kind: &str,
    #[values("off", "trace")] log: &str,
) {
    run(&compiled("process_end.c"), kind, log);
}

// Tests_SRS_COMPLETION_PORT_01_080
#[rstest]
fn the_destructors_of_statics_and_of_thread_locals_may_use_the_library(#[values("off", "trace")] log: &str) {
    if Command::new("c++").arg("--version").output().is_err() {
        println!("skipped: there is no C++ compiler");
        return;
    }
    run(&compiled("static_destructor.cpp"), "", log);
}

// Tests_SRS_COMPLETION_PORT_01_081, Tests_SRS_COMPLETION_PORT_01_082, Tests_SRS_COMPLETION_PORT_01_083
// Tests_SRS_COMPLETION_PORT_01_084, Tests_SRS_COMPLETION_PORT_01_085, Tests_SRS_COMPLETION_PORT_01_086
// Tests_SRS_PLATFORM_01_003, Tests_SRS_PLATFORM_01_004
// Tests_SRS_C_LIBRARY_01_071
#[rstest]
#[case::a_child_that_destroys_leaves_the_parent_alone("child-destroys", "off")]
#[case::what_is_inherited_is_refused("inherited-is-refused", "off")]
#[case::a_child_starts_afresh("afresh", "off")]
#[case::a_daemon_whose_parent_exits("daemon", "off")]
#[case::a_child_that_exits_through_its_handlers("exit-handlers", "off")]
#[case::children_of_children("grandchildren", "off")]
#[case::a_callback_that_forks("callback", "off")]
#[case::a_callback_whose_child_returns("callback-returns", "off")]
#[case::a_close_in_whose_callback_the_program_forks("abandoned", "off")]
#[case::other_threads_are_in_the_library("busy", "off")]
#[case::other_threads_are_in_the_library_and_log("busy", "trace")]
#[case::the_socket_is_at_work("at-work", "off")]
#[case::no_descriptor_is_left("descriptors", "off")]
#[case::settings_are_kept("settings", "off")]
#[case::timers_listeners_and_connects("beyond", "off")]
fn on_both_sides_of_a_fork_the_library_does_what_it_promises(#[case] kind: &str, #[case] log: &str) {
    run(&compiled("forks.c"), kind, log);
}

// Tests_SRS_COMPLETION_PORT_01_082
#[test]
fn the_log_says_why_a_child_is_refused() {
    let output = run(&compiled("forks.c"), "inherited-is-refused", "error");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for function in ["send refused", "receive refused", "async_socket_open_async", "completion_port_add"] {
        let refused = |line: &&str| line.contains(function) && line.contains("before fork");
        assert!(said.lines().any(|line| refused(&line)), "nothing about {function} in:\n{said}");
    }
}

// Tests_SRS_COMPLETION_PORT_01_091, Tests_SRS_COMPLETION_PORT_01_092, Tests_SRS_COMPLETION_PORT_01_093
// Tests_SRS_COMPLETION_PORT_01_094
#[rstest]
fn when_other_code_closes_the_librarys_descriptors_everything_ends_and_nothing_hangs(
    #[values(
        "all-closed",
        "all-closed-and-destroyed",
        "epoll-closed",
        "eventfd-closed",
        "eventfd-taken-over",
        "epoll-taken-over",
        "socket-closed"
    )]
    kind: &str,
) {
    run(&compiled("lost.c"), kind, "off");
}

// Tests_SRS_COMPLETION_PORT_01_087
#[test]
fn a_signal_that_the_program_blocks_reaches_its_sigwait_and_signalfd() {
    run(&compiled("lost.c"), "signals", "off");
}

// Tests_SRS_COMPLETION_PORT_01_087, Tests_SRS_COMPLETION_PORT_01_088, Tests_SRS_COMPLETION_PORT_01_089
// Tests_SRS_PLATFORM_01_005
#[test]
fn threads_have_the_documented_mask_name_and_stack() {
    run(&compiled("lost.c"), "threads", "off");
}

fn run(program: &Path, kind: &str, log: &str) -> Output {
    let output = Command::new(program).arg(kind).env("ASYNC_SOCKET_LOG", log).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<_> = said.lines().rev().take(30).collect();
    assert!(output.status.success(), "{} {kind}: {}\n{said:#?}", program.display(), output.status);
    output
}

/// The program of a source file, which is compiled once per run of the tests.
fn compiled(source: &str) -> PathBuf {
    static COMPILING: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this test"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("process");
    let program = folder.join(source).with_extension("program");
    let mut compiled = COMPILING.lock().unwrap_or_else(PoisonError::into_inner);
    if compiled.iter().any(|done| done == source) {
        return program;
    }
    fs::create_dir_all(&folder).expect("a folder can be made");
    let cpp = Path::new(source).extension().is_some_and(|extension| extension == "cpp");
    let mut build = cc::Build::new();
    build.cpp(cpp).cargo_metadata(false).opt_level(1).debug(false).warnings(false);
    build.target(env!("ASYNC_SOCKET_TARGET")).host(env!("ASYNC_SOCKET_TARGET")).include(package.join("include"));
    let mut compile = build.get_compiler().to_command();
    compile.args([if cpp { "-std=c++11" } else { "-std=c99" }, "-g", "-pthread", "-Wall", "-Wno-unused-function"]);
    compile.arg("-D_DEFAULT_SOURCE").arg("-D_POSIX_C_SOURCE=200809L");
    compile.arg(package.join("tests/c").join(source)).arg(library()).arg("-o").arg(&program);
    compile.args(["-lpthread", "-ldl", "-lm"]);
    let output = compile.output().unwrap_or_else(|error| panic!("{compile:?}: {error}"));
    assert!(output.status.success(), "{compile:?}\n{}", String::from_utf8_lossy(&output.stderr));
    compiled.push(source.to_owned());
    program
}

/// Cargo builds the library for the tests that depend on it, beside them or in a folder beside theirs.
fn library() -> PathBuf {
    const NAME: &str = "libasync_socket.a";
    let test = env::current_exe().expect("this test is a file");
    let units = test.ancestors().nth(3).and_then(|package| fs::read_dir(package).ok()).into_iter().flatten().flatten();
    let all = units.map(|unit| unit.path().join("out").join(NAME)).chain([test.with_file_name(NAME)]);
    let newest = all.filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path))).max();
    newest.unwrap_or_else(|| panic!("{NAME} has not been built for {}", test.display())).1
}
