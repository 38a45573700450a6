//! Compares the real socket with a reference model; the tests are `crates/verify/tests/state_machine`.

use super::run::{Run, tests_passed};

pub(super) fn run(run: &Run) -> anyhow::Result<String> {
    let mut tests = 0;
    // The mocks are as fast as memory; a real socket pair is not.
    let [mocked, real] = if run.long { [1_000_000, 20_000] } else { [50_000, 1_000] };
    for (filter, cases) in [("mocked", mocked), ("real", real)] {
        let line = format!("cargo test --quiet --release --package verify --test state_machine {filter}");
        let text = run.succeeds(run.command(&line).env("PROPTEST_CASES", cases.to_string()))?;
        tests += tests_passed(&text);
    }
    anyhow::ensure!(tests == 2, "{tests} tests ran instead of 2");
    Ok(format!("{mocked} sequences of up to 60 acts over mocks, {real} of up to 40 on socket pairs"))
}
