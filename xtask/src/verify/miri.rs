//! The tests that need no kernel, under miri, for three targets.
//!
//! A test with a real port or socket is left out, because miri lacks the thread attributes that a port thread is made
//! with. Tests with thousands of operations are left out too, because miri is hundreds of times slower. rustix makes
//! its system calls through libc here, because miri runs no assembly.

use super::run::{Run, tests_passed};
use anyhow::ensure;

/// This machine's target, a target with 32 bits, and a big-endian one.
const TARGETS: [&str; 3] = ["x86_64-unknown-linux-gnu", "i686-unknown-linux-gnu", "s390x-unknown-linux-gnu"];

/// The arguments of `cargo test`, and the tests that are left out.
const TESTS: [(&str, &[&str]); 4] = [
    // Generated lists of buffers take a minute each, and only lists of raw pointers can have a fault that miri finds.
    ("-p async-socket-api --test unit --", &["is_checked_alike_and_keeps_its_buffers"]),
    (
        "-p completion-port --test unit -- add:: claim:: debug:: dispatch:: errors:: lazily:: panics:: register:: \
         remove::remove_waits remove::remove_inside remove::while_remove_waits remove::a_second_remove \
         remove::an_abandoned remove::a_registration_can_be_dropped",
        NOT_HERE,
    ),
    // One test writes fifty lines of a thousand characters, which takes minutes under miri. The others have a real port.
    ("-p async-socket-ffi --lib --", &["a_line_that_is_too_long", "destroyed_while_opening::"]),
    // Only calls that get NULL for a handle, because all others need a socket.
    ("-p async-socket-ffi --test arguments -- ing_null on_null ignore_null", &[]),
];

/// Tests on real ports in files whose other tests are on mocks, and one that takes too long.
const NOT_HERE: &[&str] = &[
    "no_system_call_is_made",
    "costs_a_wake_up",
    "before_the_descriptor_is_fully_registered",
    "a_port_shows_its_references",
    "lets_the_thread_sleep",
    "thread_alive",
    "the_thread_and_the_other_descriptors",
    "added_once_edge_triggered",
    "a_failure_of_a_real_port",
    "registered_without_a_system_call",
    "what_is_removed_unused",
    "watched_once_edge_triggered",
    "what_came_before_the_first",
    "what_a_real_port_cannot_watch",
    "finds_out_that_the_port_has_failed",
    "may_look_at_",
    "without_its_driver",
    // A hundred thousand operations.
    "an_endless_chain",
];

/// One generated list, because each takes long under miri. The ordinary tests try many.
const CASES: &str = "1";

pub(super) fn run(run: &Run) -> anyhow::Result<String> {
    let mut figures = Vec::new();
    for target in TARGETS {
        let mut passed = 0;
        for (tests, left_out) in TESTS {
            let skip: String = left_out.iter().map(|test| format!(" --skip {test}")).collect();
            let line = format!("cargo +nightly miri test --no-fail-fast --target {target} {tests}{skip}");
            let command = run.command(&line).env("CARGO_TARGET_DIR", run.target("miri"));
            let text = run.succeeds(
                command
                    .env("RUSTFLAGS", "--cfg=rustix_use_libc")
                    .env("MIRIFLAGS", "-Zmiri-disable-isolation")
                    .env("PROPTEST_CASES", CASES),
            )?;
            ensure!(tests_passed(&text) > 0, "none of {tests} ran; see {}", run.log().display());
            passed += tests_passed(&text);
        }
        println!("verify: miri: {target}: {passed} tests");
        figures.push(passed);
    }
    Ok(format!("{figures:?} tests on {}", TARGETS.join(", ")))
}
