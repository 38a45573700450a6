//! The tests of the libraries under the compiler's sanitizers, after an injected bug that the sanitizer must report.
//!
//! For the thread sanitizer, cargo also builds the standard library, because accesses that the sanitizer does not see
//! would look like races. So that sanitizer needs no suppressions. For the leak sanitizer, `suppressions/leak.txt`
//! lists the leaks that tests make on purpose.

use super::run::{Run, tests_passed};
use anyhow::ensure;
use xshell::Cmd;

/// The packages with the code and the tests of the libraries.
pub(super) const PACKAGES: &str = "-p async-socket-api -p completion-port -p async-socket-linux -p async-socket-ffi \
                                   -p test-doubles -p integration-tests";

/// The tests of the short forms: the whole stack on real sockets, and the C ABI.
const SHORT: &str = "-p integration-tests --test socket --test port --test process --test c_abi";

/// Two kinds of tests are left out. Some link a C program, and the C compiler lacks the runtime of Rust's sanitizers;
/// `c-abi --asan` runs it with its own. Others measure memory, and a sanitizer holds memory back and adds its own.
const NOT_HERE: &str = "-- --skip a_c_program_ --skip the_program_says_what_was_wrong \
                        --skip leave_memory_and_descriptors_flat --skip leave_nothing_behind \
                        --skip ten_thousand_silent_peers_cost_little_memory_and_no_time \
                        --skip takes_little_stack_per_link --skip on_a_stack_of_two --skip an_array_of_";

/// The tests that the short forms leave out, because they take long under a sanitizer.
const SLOW: &str = "--skip a_million_ --skip chains::";

/// The tests that end while a port's thread sleeps and cannot be woken, or in the child of a `fork`. The memory of that thread is
/// never freed.
const LEAVES_A_THREAD: &str = "--skip a_port_whose_epoll_instance_is_closed --skip a_port_whose_descriptors_are_closed \
                               --skip the_last_drop_does_not_wait_for_a_thread \
                               --skip the_child_of_a_callback_that_forks";

/// Named even on a machine of this target, because cargo then builds build scripts and macros without the sanitizer.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Some tests measure their stack, and would otherwise measure the sanitizer's fake stack.
const TRUE_STACKS: &str = "detect_stack_use_after_return=0";

struct Sanitizer {
    /// The name for `-Zsanitizer`. Each name has a build of its own.
    name: &'static str,
    /// The text that its reports contain.
    report: &'static str,
    /// The bug that it has to report first.
    bug: &'static str,
    options: [(&'static str, String); 2],
    /// More for cargo, and for the tests.
    more: [&'static str; 2],
}

pub(super) fn address(run: &Run) -> anyhow::Result<String> {
    let (report, bug) = ("ERROR: AddressSanitizer", "use-after-free");
    // Leaks are the next check's.
    let options = [("ASAN_OPTIONS", format!("{TRUE_STACKS}:detect_leaks=0")), ("LSAN_OPTIONS", String::new())];
    let figure = tests(run, &Sanitizer { name: "address", report, bug, options, more: [""; 2] })?;
    if !run.long {
        return Ok(figure);
    }
    let conformance = run.succeeds(run.command("cargo xtask c-abi --asan"))?;
    Ok(format!("{figure}; C programs: {} tests, 0 reports", tests_passed(&conformance)))
}

/// Uses the build of the address sanitizer, which includes the leak sanitizer.
pub(super) fn leak(run: &Run) -> anyhow::Result<String> {
    let (report, bug) = ("ERROR: LeakSanitizer", "leak");
    let file = run.root.join("xtask/src/verify/suppressions/leak.txt");
    let suppressions = format!("suppressions={}", file.display());
    let options = [("ASAN_OPTIONS", TRUE_STACKS.to_owned()), ("LSAN_OPTIONS", suppressions)];
    tests(run, &Sanitizer { name: "address", report, bug, options, more: ["", LEAVES_A_THREAD] })
}

pub(super) fn thread(run: &Run) -> anyhow::Result<String> {
    let (report, bug) = ("WARNING: ThreadSanitizer", "race");
    // The tests start threads in children of `fork`.
    let options = [("TSAN_OPTIONS", "die_after_fork=0".to_owned()), ("ASAN_OPTIONS", String::new())];
    // A chain of a million links takes longer here than the tests wait.
    let more = ["-Zbuild-std", "--skip a_million_ --skip chains_that_start_"];
    tests(run, &Sanitizer { name: "thread", report, bug, options, more })
}

fn tests(run: &Run, sanitizer: &Sanitizer) -> anyhow::Result<String> {
    let Sanitizer { report, bug, more: [more, not], .. } = sanitizer;
    let injected = "cargo +nightly run --quiet --manifest-path xtask/injected-bug/Cargo.toml";
    let printed = run.printed(sanitizer.under(run, &format!("{injected} --target {TARGET} {more} -- {bug}")))?;
    ensure!(printed.text.contains(report) && !printed.ok, "does not report the injected {bug}");

    let chosen = if run.long { format!("--tests {PACKAGES}") } else { SHORT.to_owned() };
    let slow = if run.long { "" } else { SLOW };
    let line = format!("cargo +nightly test --no-fail-fast --target {TARGET} {more} {chosen} {NOT_HERE} {not} {slow}");
    let text = run.succeeds(sanitizer.under(run, &line))?;
    let reports = text.matches(report).count();
    ensure!(reports == 0, "{reports} reports; see {}", run.log().display());
    Ok(format!("{} tests, 0 reports", tests_passed(&text)))
}

impl Sanitizer {
    fn under<'r>(&self, run: &'r Run, line: &str) -> Cmd<'r> {
        let Self { name, options, .. } = self;
        run.command(line)
            .env("CARGO_TARGET_DIR", run.target(&format!("{name}-sanitizer")))
            .env("RUSTFLAGS", format!("-Zsanitizer={name}"))
            // No backtraces, because naming the functions takes longer here than the tests wait.
            .env("RUST_BACKTRACE", "0")
            .envs(options.iter().map(|(variable, value)| (variable, value)))
    }
}
