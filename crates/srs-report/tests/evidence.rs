//! Tests how `srs-report` uses results, mutants, the snapshot and `srs.toml`.
#![allow(clippy::unwrap_used, reason = "clippy's allow-unwrap-in-tests does not see the helpers of tests")]

mod common;

use common::{CODE, DOCUMENT, Project, Report, UNIT};
use rstest::rstest;
use std::fs;

const UNIT_PASSED: &str = r#"<testcase name="a_is" classname="door::unit" time="0.25"/>"#;
const INTEGRATION_PASSED: &str = r#"<testcase name="a_is" classname="house::integration" time="0.25"/>"#;

/// A sound project whose code and tests are in cargo packages.
fn packages() -> Project {
    Project::sound().file("crates/a/Cargo.toml", "[package]\nname = \"door\"\n").file(
        "tests/Cargo.toml",
        "[package]\nname = \"house\"\n[[test]]\nname = \"integration\"\npath = \"integration.rs\"\n",
    )
}

/// Adds JUnit results: each test binary with its test cases.
fn with_results(project: Project, suites: &[(&str, &str)]) -> Project {
    let suite = |(name, cases): &(&str, &str)| {
        format!(
            "<testsuite name=\"{name}\" tests=\"1\" disabled=\"0\" errors=\"0\" failures=\"0\">{cases}</testsuite>\n"
        )
    };
    let suites: String = suites.iter().map(suite).collect();
    project.file(
        "results.xml",
        &format!("<?xml version=\"1.0\"?>\n<testsuites name=\"r\" tests=\"2\" failures=\"0\" errors=\"0\">{suites}</testsuites>\n"),
    )
}

fn report_with(project: &Project, flag: &str, path: &str, more: &[&str]) -> Report {
    let path = project.0.path().join(path);
    project.report(&[&[flag, path.to_str().unwrap()], more].concat())
}

/// The status of the only requirement, with these results.
fn status_with(project: &Project, flag: &str, path: &str) -> String {
    let report = report_with(project, flag, path, &["--format", "json"]);
    assert_eq!(report.stderr, "");
    let json: serde_json::Value = serde_json::from_str(&report.stdout).unwrap();
    json["documents"][0]["requirements"][0]["status"].as_str().unwrap().to_owned()
}

#[rstest]
#[case::all_passed(UNIT_PASSED, INTEGRATION_PASSED, "proven")]
#[case::one_did_not_run(UNIT_PASSED, "", "not run")]
#[case::one_was_ignored(UNIT_PASSED, "<testcase name=\"a_is\" classname=\"x\"><skipped/></testcase>", "not run")]
#[case::one_failed("<testcase name=\"a_is\" classname=\"x\"><failure/></testcase>", INTEGRATION_PASSED, "failed")]
#[case::one_broke("<testcase name=\"a_is\" classname=\"x\"><error/></testcase>", INTEGRATION_PASSED, "failed")]
#[case::only_below_the_name("<testcase name=\"a_is::case_1\" classname=\"x\"/>", INTEGRATION_PASSED, "not run")]
fn a_requirement_is_proven_if_all_its_tests_ran_and_passed(
    #[case] unit: &str,
    #[case] integration: &str,
    #[case] expected: &str,
) {
    let project = with_results(packages(), &[("door::unit", unit), ("house::integration", integration)]);
    assert_eq!(status_with(&project, "--results", "results.xml"), expected);
}

#[test]
fn a_test_of_the_same_name_in_another_binary_proves_nothing() {
    let suites = [("door::other", UNIT_PASSED), ("house::integration", INTEGRATION_PASSED)];
    assert_eq!(status_with(&with_results(packages(), &suites), "--results", "results.xml"), "not run");
}

#[rstest]
#[case::every_case(&["case_1", "case_2_two"], "proven")]
#[case::one_case_is_ignored(&["case_1"], "not run")]
fn an_rstest_is_all_its_cases(#[case] cases: &[&str], #[case] expected: &str) {
    let test = "// Tests_SRS_A_01_001\n#[rstest]\n#[case(1)]\n#[case::two(2)]\nfn a_is(#[case] n: u8) {}\n";
    let cases: String = cases.iter().map(|case| format!("<testcase name=\"a_is::{case}\" classname=\"x\"/>")).collect();
    let project = packages().file(UNIT, test);
    let project = with_results(project, &[("door::unit", &cases), ("house::integration", INTEGRATION_PASSED)]);
    assert_eq!(status_with(&project, "--results", "results.xml"), expected);
}

#[rstest]
#[case::in_a_module("mod m { proptest! {\n// Tests_SRS_A_01_001\n#[test] fn b(x in 0..9) {} } }", "m::b", "proven")]
#[case::above_several("// Tests_SRS_A_01_001\nproptest! { #[test] fn b() {} #[test] fn c() {} }", "b", "not run")]
fn a_proptest_has_the_name_of_its_function(#[case] test: &str, #[case] name: &str, #[case] expected: &str) {
    let case = format!("<testcase name=\"{name}\" classname=\"x\"/>");
    let project = packages().file(UNIT, test);
    let project = with_results(project, &[("door::unit", &case), ("house::integration", INTEGRATION_PASSED)]);
    assert_eq!(status_with(&project, "--results", "results.xml"), expected);
}

#[test]
fn a_unit_test_in_src_has_its_modules_in_its_name() {
    let test = "#[cfg(test)]\nmod tests {\n    // Tests_SRS_A_01_001\n    #[test]\n    fn b() {}\n}\n";
    let project = packages().file(UNIT, "").file("crates/a/src/deep/door.rs", test);
    let case = "<testcase name=\"deep::door::tests::b\" classname=\"door\"/>";
    let project = with_results(project, &[("door", case), ("house::integration", INTEGRATION_PASSED)]);
    assert_eq!(status_with(&project, "--results", "results.xml"), "proven");
}

#[test]
fn results_of_several_runs_are_joined_and_the_worst_counts() {
    let project = with_results(packages(), &[("door::unit", UNIT_PASSED)]);
    fs::rename(project.0.path().join("results.xml"), project.0.path().join("unit.xml")).unwrap();
    let project = with_results(project, &[("house::integration", INTEGRATION_PASSED)]);
    let unit = project.0.path().join("unit.xml");
    let report = report_with(&project, "--results", "results.xml", &[unit.to_str().unwrap(), "--check"]);
    assert!(report.stdout.ends_with("requirements: 1 proven\nno findings\n"), "{}", report.stdout);
    let failed = "<testcase name=\"a_is\" classname=\"x\"><failure/></testcase>";
    let project = with_results(project, &[("door::unit", failed), ("house::integration", INTEGRATION_PASSED)]);
    let report = report_with(&project, "--results", "results.xml", &[unit.to_str().unwrap(), "--check"]);
    assert!(report.stdout.contains("the test `door::unit a_is` failed"), "{}", report.stdout);
}

#[rstest]
#[case::of_another_project(
    "<testsuites name=\"r\"><testsuite name=\"cat\" tests=\"1\" errors=\"0\" failures=\"0\"><testcase name=\"purrs\" classname=\"cat\"/></testsuite></testsuites>",
    "is of another project: none of its tests is in this one"
)]
#[case::no_xml("purr", "is no JUnit file: ")]
fn results_that_say_nothing_are_unusable(#[case] text: &str, #[case] message: &str) {
    let project = packages().file("results.xml", text);
    let Report { status, stdout, stderr } = report_with(&project, "--results", "results.xml", &[]);
    assert_eq!((status, stdout.as_str(), stderr.lines().count()), (Some(2), "", 1), "{stderr}");
    assert!(stderr.contains(message), "{stderr}");
}

/// An outcome of cargo-mutants for a mutant in line 2 of the code.
fn outcome(change: &str, summary: &str, log: &str) -> String {
    format!(
        r#"{{"scenario":{{"Mutant":{{"name":"{CODE}:2:1: {change}","package":"door","file":"{CODE}","function":null,
        "span":{{"start":{{"line":2,"column":1}},"end":{{"line":2,"column":9}}}},"replacement":"0","genre":"FnValue"}}}},
        "summary":"{summary}","log_path":"log/{log}.log","diff_path":null,"phase_results":[]}}"#
    )
}

fn with_mutants(outcomes: &[String]) -> Project {
    let baseline = r#"{"scenario":"Baseline","summary":"Success","log_path":"log/baseline.log","phase_results":[]}"#;
    let outcomes = format!("{{\"outcomes\":[{baseline},{}]}}", outcomes.join(","));
    packages()
        .file("mutants.out/outcomes.json", &outcomes)
        .file("mutants.out/log/own.log", "        FAIL [   0.1s] (1/1) door::unit a_is\n")
        .file("mutants.out/log/other.log", "        FAIL [   0.1s] (1/1) door::unit b_is\n")
}

#[rstest]
#[case::all_caught(&["CaughtMutant", "Unviable"], "proven by mutation")]
#[case::one_missed(&["CaughtMutant", "MissedMutant"], "traced")]
#[case::one_timed_out(&["CaughtMutant", "Timeout"], "traced")]
#[case::none_viable(&["Unviable"], "traced")]
fn code_is_proven_by_mutation_if_every_viable_mutant_is_caught(#[case] summaries: &[&str], #[case] expected: &str) {
    let outcomes: Vec<String> =
        summaries.iter().enumerate().map(|(index, summary)| outcome(&index.to_string(), summary, "own")).collect();
    assert_eq!(status_with(&with_mutants(&outcomes), "--mutants", "."), expected);
}

#[test]
fn a_mutant_tells_whether_the_requirements_own_test_caught_it() {
    let outcomes = [
        outcome("a", "CaughtMutant", "own"),
        outcome("b", "CaughtMutant", "other"),
        outcome("c", "MissedMutant", "own"),
    ];
    let report = report_with(&with_mutants(&outcomes), "--mutants", "mutants.out", &["--explain", "SRS_A_01_001"]);
    let expected = format!(
        "mutants: 2 of 3 mutants caught (1 by its own tests), 1 missed\n  caught, by its own test: {CODE}:2:1: a\n  \
         caught: {CODE}:2:1: b\n  missed: {CODE}:2:1: c\n"
    );
    assert!(report.stdout.ends_with(&expected), "{}", report.stdout);
}

#[test]
fn a_mutant_elsewhere_is_none_of_the_requirements() {
    let project = with_mutants(&[outcome("a", "MissedMutant", "own")])
        .file(CODE, "// Codes_SRS_A_01_001\n\npub fn a() {}\n// Codes_SRS_A_01_001\npub fn b() {}\n");
    let report = report_with(&project, "--mutants", ".", &["--explain", "SRS_A_01_001"]);
    assert!(!report.stdout.contains("mutants:"), "{}", report.stdout);
}

#[rstest]
#[case::no_folder("nowhere", "cannot read")]
#[case::no_outcomes("mutants.out", "is none of cargo-mutants")]
fn mutants_that_cannot_be_read_are_unusable(#[case] dir: &str, #[case] message: &str) {
    let project = packages().file("mutants.out/outcomes.json", "[]");
    let Report { status, stderr, .. } = report_with(&project, "--mutants", dir, &[]);
    assert_eq!((status, stderr.lines().count()), (Some(2), 1), "{stderr}");
    assert!(stderr.contains(message), "{stderr}");
}

#[test]
fn mutants_of_another_project_are_unusable() {
    let project = with_mutants(&[outcome("a", "CaughtMutant", "own").replace(CODE, "src/cat.rs")]);
    let Report { status, stderr, .. } = report_with(&project, "--mutants", ".", &[]);
    assert_eq!(status, Some(2));
    assert!(stderr.ends_with("is of another project: it has none of its files\n"), "{stderr}");
}

#[test]
fn a_review_is_a_line_of_the_snapshot() {
    let project = Project::sound();
    let snapshot = || fs::read_to_string(project.0.path().join("docs/srs/snapshot.txt")).unwrap();
    let before = snapshot();
    // Another position of a line break does not change the text.
    fs::write(project.0.path().join(DOCUMENT), "**SRS_A_01_001: [** `a`\nshall be. **]**\n").unwrap();
    assert_eq!(project.findings().0, Some(0));
    fs::write(project.0.path().join(DOCUMENT), "**SRS_A_01_001: [** `a` shall not be. **]**\n").unwrap();
    assert!(project.findings().1[0].contains("error[text-changed]"));
    let report = project.report(&["--bless"]);
    assert_eq!((report.status, report.stdout.as_str()), (Some(0), "docs/srs/snapshot.txt: 1 lines changed\n"));
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (before, after) = (lines(&before), lines(&snapshot()));
    assert_eq!(before.len(), 3);
    assert_eq!(before[..2], after[..2]);
    assert_ne!(before[2], after[2]);
    assert_eq!(project.findings().0, Some(0));
}

#[test]
fn the_snapshot_is_sorted() {
    let project =
        Project::empty().file(DOCUMENT, "**SRS_B_01_001: [** b **]**\n\n**SRS_A_01_001: [** a **]**\n").blessed();
    let text = fs::read_to_string(project.0.path().join("docs/srs/snapshot.txt")).unwrap();
    let ids: Vec<&str> = text.lines().skip(2).map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(ids, ["SRS_A_01_001", "SRS_B_01_001"]);
}

#[rstest]
#[case::broken_snapshot(
    "docs/srs/snapshot.txt",
    "SRS_A_01_001\n",
    "docs/srs/snapshot.txt:1: not an id and a hash; rewrite the file with --bless"
)]
#[case::unknown_key(
    "srs.toml",
    "document = []\n",
    "srs.toml:1: unknown field `document`, expected one of `documents`, `notes`, `exceptions`, `snapshot`, `proven`, `id`, `tags`, `levels`"
)]
#[case::no_toml("srs.toml", "\nid = \n", "srs.toml:2: string values must be quoted, expected literal string")]
#[case::no_pattern("srs.toml", "id = \"[A-Z\"\n", "srs.toml:1: `id` is no pattern: error: unclosed character class")]
#[case::one_word(
    "srs.toml",
    "[tags]\ncode = \"a\"\ntest = \"a\"\n",
    "srs.toml: `tags.code` and `tags.test` are two different words"
)]
#[case::no_date(
    "docs/srs/exceptions.toml",
    "[[exception]]\nid = \"a\"\nmissing = []\nuntil = \"soon\"\n",
    "docs/srs/exceptions.toml:4: `soon` is no date: write YYYY-MM-DD"
)]
#[case::no_manifest("crates/a/Cargo.toml", "[package\n", "crates/a/Cargo.toml:1: ")]
fn bad_input_is_told_in_one_line(#[case] path: &str, #[case] text: &str, #[case] message: &str) {
    let Report { status, stdout, stderr } = Project::sound().file(path, text).report(&[]);
    assert_eq!((status, stdout.as_str(), stderr.lines().count()), (Some(2), "", 1), "{stderr}");
    assert!(stderr.starts_with(&format!("error: {message}")), "{stderr}");
}
