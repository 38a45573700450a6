//! The integration tests under valgrind's memcheck, after injected bugs that memcheck must report.
//!
//! The runs omit tests of time or of the process itself (its memory, descriptors, signals, children). Tests with many
//! threads or operations take minutes each here; the sanitizers run those. They also omit a test that leaks on
//! purpose: the library forgets a panic's payload that panics when it is dropped, because the next payload might too.

use super::run::{Run, tests_passed};
use anyhow::ensure;
use xshell::Cmd;

/// The test binaries of the two forms. The short form runs the C ABI, because C programs use memcheck. The long form
/// adds those tests of other binaries that may run under it.
const RUNS: [&str; 2] = [
    "--test c_abi --",
    "--test socket --test port --test process -- claim:: close:: closing_in_callbacks:: create_and_destroy:: \
     end_of_stream:: late_events:: open:: order:: panics:: payload_refused:: port_one_shot:: port_register:: \
     port_remove:: queued_receives:: raw_buffers:: receive:: send:: several_ports:: urgent_data::",
];

const VALGRIND: &str = "valgrind --quiet --fair-sched=yes --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
                        --error-exitcode=99";

const NOT_HERE: &str = "--skip a_panic_whose_payload_panics_when_it_is_dropped_hurts_nobody_else";

/// The prefix of each line of valgrind's reports.
const REPORT: &str = "==";

pub(super) fn run(run: &Run) -> anyhow::Result<String> {
    let injected =
        "cargo run --quiet --manifest-path xtask/injected-bug/Cargo.toml --target-dir target/injected-bug --";
    for (bug, report) in [("use-after-free", "Invalid read"), ("leak", "definitely lost")] {
        let printed = run.printed(under(run, &format!("{injected} {bug}")))?;
        ensure!(printed.text.contains(report) && !printed.ok, "does not report the injected {bug}");
    }
    let mut passed = 0;
    for chosen in &RUNS[..if run.long { 2 } else { 1 }] {
        // The whole workspace, so that nothing is built that `cargo test` has not built.
        let line = format!("cargo test --no-fail-fast --workspace {chosen} --test-threads 2 {NOT_HERE}");
        let text = run.succeeds(under(run, &line))?;
        let reports = text.lines().filter(|line| line.starts_with(REPORT)).count();
        ensure!(reports == 0, "reports of {reports} lines; see {}", run.log().display());
        passed += tests_passed(&text);
    }
    Ok(format!("{passed} tests, 0 reports"))
}

fn under<'r>(run: &'r Run, line: &str) -> Cmd<'r> {
    let architecture = std::env::consts::ARCH.to_uppercase();
    run.command(line).env(format!("CARGO_TARGET_{architecture}_UNKNOWN_LINUX_GNU_RUNNER"), VALGRIND)
}
