//! Reads JUnit files as nextest, libtest, cargo2junit, ctest, gtest, pytest and Maven write them.
//!
//! The format has no standard. What is needed here is little: the suites' names, and each test's name, class and
//! outcome. Times of day are kept as they are written.

use super::Outcome;
use anyhow::{Context as _, anyhow, bail};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// What a file says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct File {
    /// The name of the root.
    pub(super) name: String,
    /// When the tests began, if the file says so.
    pub(super) began: Option<String>,
    pub(super) cases: Vec<Test>,
}

/// One `testcase`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Test {
    /// The name of the innermost suite.
    pub(super) suite: String,
    pub(super) class: String,
    pub(super) name: String,
    pub(super) outcome: Outcome,
    pub(super) seconds: f64,
}

/// Reads a file's text. The error says in one line why it is no JUnit file.
pub(super) fn parse(text: &str) -> anyhow::Result<File> {
    let mut reader = Reader::from_str(text);
    let mut file = File::default();
    let mut suites: Vec<String> = Vec::new();
    let mut open: Option<Test> = None;
    let mut depth = 0_usize;
    let mut has_root = false;
    loop {
        let event = reader.read_event().map_err(|error| anyhow!("{}", one_line(&error)))?;
        let (element, is_empty) = match &event {
            Event::Start(element) => (element, false),
            Event::Empty(element) => (element, true),
            Event::End(element) => {
                depth = depth.saturating_sub(1);
                match element.name().as_ref() {
                    b"testcase" => file.cases.extend(open.take()),
                    b"testsuite" => drop(suites.pop()),
                    _ => {}
                }
                continue;
            }
            Event::Eof if depth > 0 => bail!("it ends inside an element"),
            Event::Eof => break,
            Event::Text(text) if depth == 0 && !text.trim_ascii().is_empty() => bail!("it is no XML"),
            _ => continue,
        };
        let name = element.name();
        let kind = String::from_utf8_lossy(name.as_ref()).into_owned();
        let attribute = |name| attribute(element, name);
        if depth == 0 {
            if !matches!(kind.as_str(), "testsuites" | "testsuite") {
                bail!("its root is `{kind}`, not `testsuites` or `testsuite`");
            }
            has_root = true;
            file.name = attribute("name")?.unwrap_or_default();
        }
        depth += usize::from(!is_empty);
        match kind.as_str() {
            "testsuites" | "testsuite" => {
                let began = attribute("timestamp")?.filter(|it| !it.is_empty());
                file.began = file.began.take().into_iter().chain(began).min();
                if kind == "testsuite" && !is_empty {
                    suites.push(attribute("name")?.unwrap_or_default());
                }
            }
            "testcase" => {
                let test = test(element, suites.last().map_or("", String::as_str))?;
                if is_empty {
                    file.cases.push(test);
                } else {
                    open = Some(test);
                }
            }
            // A test that was run again after a failure, and passed, has a `flakyFailure`.
            "failure" | "error" | "rerunFailure" | "rerunError" => {
                open.iter_mut().for_each(|test| test.outcome = Outcome::Failed);
            }
            "skipped" => open.iter_mut().for_each(|test| test.outcome = test.outcome.max(Outcome::NotRun)),
            _ => {}
        }
    }
    if !has_root {
        bail!("it has no element `testsuites` or `testsuite`");
    }
    Ok(file)
}

fn test(element: &BytesStart<'_>, suite: &str) -> anyhow::Result<Test> {
    let text = |name| attribute(element, name);
    // GoogleTest says in `status` or `result` that a test did not run, ctest that it failed.
    let states = [text("status")?.unwrap_or_default(), text("result")?.unwrap_or_default()].map(|it| it.to_lowercase());
    let is = |words: &[&str]| states.iter().any(|state| words.contains(&state.as_str()));
    let outcome = if is(&["fail", "failed", "failure", "error"]) {
        Outcome::Failed
    } else if is(&["notrun", "disabled", "skipped", "suppressed", "ignored"]) {
        Outcome::NotRun
    } else {
        Outcome::Passed
    };
    Ok(Test {
        suite: suite.to_owned(),
        class: text("classname")?.or(text("class")?).unwrap_or_default(),
        name: text("name")?.context("a `testcase` has no name")?,
        outcome,
        // Maven writes `1,234.5`.
        seconds: text("time")?.and_then(|it| it.replace(',', "").parse().ok()).unwrap_or_default(),
    })
}

fn attribute(element: &BytesStart<'_>, name: &str) -> anyhow::Result<Option<String>> {
    let found = element.try_get_attribute(name).map_err(|error| anyhow!("{}", one_line(&error)))?;
    found
        .map(|it| {
            it.normalized_value(quick_xml::XmlVersion::Implicit1_0)
                .map(std::borrow::Cow::into_owned)
                .map_err(|error| anyhow!("{}", one_line(&error)))
        })
        .transpose()
}

/// An error and its causes, in one line.
fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases(text: &str) -> Vec<String> {
        let file = parse(text).expect("a JUnit file");
        let case = |it: &Test| format!("{}|{}|{}|{}", it.suite, it.class, it.name, it.outcome.name());
        file.cases.iter().map(case).collect()
    }

    #[test]
    fn the_root_is_a_suite_or_several() {
        let one = "<?xml version=\"1.0\"?>\n<testsuite name=\"s\" timestamp=\"2026-11-28T18:25:26\"><properties/><testcase name=\"a\" classname=\"c\"/></testsuite>";
        assert_eq!(cases(one), ["s|c|a|passed"]);
        assert_eq!(parse(one).expect("a file").began.as_deref(), Some("2026-11-28T18:25:26"));
        let nested = "<testsuites><testsuite name=\"s\"><testsuite name=\"t\"><testcase name=\"a\"></testcase></testsuite><testcase name=\"b\"/></testsuite></testsuites>";
        assert_eq!(cases(nested), ["t||a|passed", "s||b|passed"]);
    }

    #[test]
    fn a_runner_has_its_own_way_to_say_that_a_test_failed() {
        for (inner, outcome) in [
            ("<testcase name=\"a\"><failure/></testcase>", "failed"),
            ("<testcase name=\"a\"><error message=\"m\">t</error></testcase>", "failed"),
            ("<testcase name=\"a\"><skipped/></testcase>", "not run"),
            ("<testcase name=\"a\" status=\"fail\"/>", "failed"),
            ("<testcase name=\"a\" status=\"notrun\" result=\"suppressed\"/>", "not run"),
            ("<testcase name=\"a\" status=\"run\" result=\"completed\"/>", "passed"),
            ("<testcase name=\"a\"><flakyFailure/></testcase>", "passed"),
        ] {
            assert_eq!(
                cases(&format!("<testsuite name=\"s\">{inner}</testsuite>")),
                [format!("s||a|{outcome}")],
                "{inner}"
            );
        }
    }

    #[test]
    fn what_is_no_junit_file_is_refused_with_the_reason() {
        for (text, reason) in [
            ("purr", "it is no XML"),
            ("", "it has no element `testsuites` or `testsuite`"),
            ("<html></html>", "its root is `html`, not `testsuites` or `testsuite`"),
            ("<testsuites><testsuite name=\"s\">", "it ends inside an element"),
            ("<testsuite><testcase/></testsuite>", "a `testcase` has no name"),
        ] {
            assert_eq!(parse(text).expect_err("no JUnit").to_string(), reason, "{text}");
        }
    }
}
