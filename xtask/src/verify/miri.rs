//! The tests that need no kernel, under miri, for three targets.
//!
//! What real sockets are needed for is not among them. rustix makes its system calls through libc here, because miri runs
//! no assembly.

use super::run::{Run, tests_passed};
use anyhow::ensure;

/// This machine's, one with 32 bits, one on which the most significant byte comes first.
const TARGETS: [&str; 3] = ["x86_64-unknown-linux-gnu", "i686-unknown-linux-gnu", "s390x-unknown-linux-gnu"];

/// What is run: the arguments of `cargo test`.
const TESTS: [&str; 3] = [
    "-p async-socket-api --tests",
    "-p completion-port --test unit -- add:: claim:: debug:: dispatch:: register::",
    "-p async-socket-ffi --lib",
];

pub(super) fn run(run: &Run) -> anyhow::Result<String> {
    let mut figures = Vec::new();
    for target in TARGETS {
        let mut passed = 0;
        for tests in TESTS {
            let line = format!("cargo +nightly miri test --no-fail-fast --target {target} {tests}");
            let command = run.command(&line).env("CARGO_TARGET_DIR", run.target("miri"));
            let text = run.succeeds(
                command
                    .env("RUSTFLAGS", "--cfg=rustix_use_libc")
                    .env("MIRIFLAGS", "-Zmiri-disable-isolation")
                    .env("PROPTEST_CASES", "20"),
            )?;
            ensure!(tests_passed(&text) > 0, "none of {tests} ran; see {}", run.log().display());
            passed += tests_passed(&text);
        }
        println!("verify: miri: {target}: {passed} tests");
        figures.push(passed);
    }
    Ok(format!("{figures:?} tests on {}", TARGETS.join(", ")))
}
