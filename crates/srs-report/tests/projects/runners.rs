//! Results of runners, and runs that a project describes.

use crate::common::{Project, Report};
use crate::json;
use rstest::rstest;

fn c_project() -> Project {
    Project::empty()
        .file("srs.toml", "preset = \"c-build-tools\"\n")
        .file("devdoc/a.md", "**SRS_A_01_001: [** One. **]**\n")
        .file("src/a.c", "/*Codes_SRS_A_01_001*/\nint f(void);\n")
        .file("tests/a_ut/a_ut.c", "/*Tests_SRS_A_01_001*/\nTEST(Suite, f_is_1) { }\n")
}

fn status(project: &Project, junit: &str) -> String {
    let project_file = project.0.path().join("r.xml");
    std::fs::write(&project_file, junit).unwrap();
    let report = json(project.0.path(), &["--results", project_file.to_str().unwrap()]);
    report["documents"][0]["requirements"][0]["status"].as_str().unwrap().to_owned()
}

fn case(attributes: &str) -> String {
    format!("<testsuite name=\"s\"><testcase {attributes}/></testsuite>")
}

#[rstest]
#[case::of_gtest("name=\"f_is_1\" classname=\"Suite\"", "proven")]
#[case::of_ctest_by_the_file("name=\"a_ut\" classname=\"a_ut\"", "proven")]
#[case::of_ctest_that_failed("name=\"a_ut\" classname=\"a_ut\" status=\"fail\"", "failed")]
fn a_c_test_is_known_by_the_name_that_its_runner_gives(#[case] attributes: &str, #[case] expected: &str) {
    assert_eq!(status(&c_project(), &case(attributes)), expected);
}

#[test]
fn a_project_may_say_how_its_runner_names_tests() {
    let project = c_project().append("srs.toml", "[results]\nnames = [\"{suite}.{name}\"]\n");
    let junit = "<testsuite name=\"Suite\"><testcase name=\"f_is_1\" classname=\"x\"/></testsuite>";
    assert_eq!(status(&project, junit), "proven");
}

#[rstest]
#[case::another_root("<html/>", "is no JUnit file: its root is `html`, not `testsuites` or `testsuite`")]
#[case::no_test("<testsuites/>", "has no test")]
#[case::cut_off("<testsuites><testsuite name=\"s\">", "is no JUnit file: it ends inside an element")]
#[case::another_project(
    "<testsuite name=\"s\"><testcase name=\"purrs\"/></testsuite>",
    "is of another project: none of its tests is in this one"
)]
fn a_wrong_file_is_refused_with_the_true_reason(#[case] junit: &str, #[case] reason: &str) {
    let project = c_project().file("r.xml", junit);
    let file = project.0.path().join("r.xml");
    let Report { status, stderr, .. } = project.report(&["--results", file.to_str().unwrap()]);
    assert_eq!((status, stderr), (Some(2), format!("error: {} {reason}\n", file.display())));
}

#[test]
fn a_project_runs_its_tests_with_its_own_command() {
    let command = "run = \"echo running; cp made.xml {file}\"\n";
    let project =
        c_project().append("srs.toml", command).file("made.xml", &case("name=\"f_is_1\" classname=\"Suite\""));
    let report = project.report(&["--run", "--check"]);
    assert!(report.stdout.ends_with("requirements: 1 proven\nno findings\n"), "{}{}", report.stdout, report.stderr);
    assert_eq!(report.stderr, "running\n");
    let broken = c_project().append("srs.toml", "run = \"exit 3\"\n").report(&["--run"]);
    assert_eq!(broken.status, Some(2));
    assert!(broken.stderr.starts_with("error: `exit 3` left no results in "), "{}", broken.stderr);
}
