//! Reads the failed tests from the log of one mutant. Understands nextest and the tests' own harness.

/// A test that failed on a mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FailedTest {
    /// nextest's name of the binary; empty if the log does not say.
    pub(crate) binary: String,
    pub(crate) name: String,
}

/// The tests that failed, each once.
pub(super) fn failed_tests(log: &str) -> Vec<FailedTest> {
    let mut failed: Vec<FailedTest> = Vec::new();
    // The harness names the tests first, and cargo names their binary afterwards.
    let mut unplaced: Vec<&str> = Vec::new();
    let mut add = |binary: &str, name: &str| {
        let test = FailedTest { binary: binary.to_owned(), name: name.to_owned() };
        if !failed.contains(&test) {
            failed.push(test);
        }
    };
    for line in log.lines() {
        if let Some((binary, name)) = of_nextest(line) {
            add(binary, name);
        } else if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            unplaced.push(name);
        } else if let Some(binary) = line.strip_prefix("error: test failed, to rerun pass `").and_then(binary_of) {
            unplaced.drain(..).for_each(|name| add(&binary, name));
        }
    }
    unplaced.into_iter().for_each(|name| add("", name));
    failed
}

/// `        FAIL [   0.127s] (1/1) package::target module::name`
fn of_nextest(line: &str) -> Option<(&str, &str)> {
    let (word, rest) = line.trim_start().split_once(" [")?;
    if !matches!(word, "FAIL" | "TIMEOUT" | "ABORT") && !word.starts_with("SIG") {
        return None;
    }
    let (_, rest) = rest.split_once(']')?;
    let mut words = rest.split_whitespace().skip_while(|word| word.starts_with('(') || word.ends_with(')'));
    Some((words.next()?, words.next()?))
}

/// `-p package --test target` as `package::target`.
fn binary_of(flags: &str) -> Option<String> {
    let words: Vec<&str> = flags.trim_end_matches('`').split_whitespace().collect();
    match words.as_slice() {
        ["-p", package, "--test", target] => Some(format!("{package}::{target}")),
        ["-p", package, "--bin", target] => Some(format!("{package}::bin/{target}")),
        ["-p", package, "--example", target] => Some(format!("{package}::example/{target}")),
        ["-p", package, ..] => Some((*package).to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(log: &str) -> Vec<(String, String)> {
        failed_tests(log).into_iter().map(|test| (test.binary, test.name)).collect()
    }

    #[test]
    fn nextest_names_binary_and_test_more_than_once() {
        let log = "       START [         ] (1/2) p::unit adds\n        FAIL [   0.127s] (1/2) p::unit m::adds\n    \
                   test adds ... FAILED\n     SIGABRT [   1.000s] ( 2/12) p b\n        FAIL [   0.127s] (1/2) p::unit m::adds\n";
        let expected = [("p::unit", "m::adds"), ("p", "b")];
        assert_eq!(failed(log), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn cargo_names_the_binary_after_its_tests() {
        let log = "test a ... ok\ntest m::b ... FAILED\nerror: test failed, to rerun pass `-p p --test unit`\n\
                   test c ... FAILED\nerror: test failed, to rerun pass `-p q --lib`\ntest d ... FAILED\n";
        let expected = [("p::unit", "m::b"), ("q", "c"), ("", "d")];
        assert_eq!(failed(log), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
}
