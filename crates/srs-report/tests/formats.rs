//! The formats of `srs-report`.
#![allow(clippy::unwrap_used, reason = "clippy's allow-unwrap-in-tests does not see the helpers of tests")]

mod common;

use common::{CODE, DOCUMENT, ID, Project, Report, UNIT, fixture};
use quick_junit::TestCaseStatus;
use rstest::rstest;
use serde_json::Value;
use std::fs;

fn json(project: &Project, args: &[&str]) -> Value {
    serde_json::from_str(&project.report(args).stdout).unwrap()
}

#[test]
fn json_has_what_stands_behind_a_requirement() {
    let project = Project::sound()
        .file("docs/decisions.md", "| SRS_A_01_001 | as it is |\n")
        .file("crates/a/Cargo.toml", "[package]\nname = \"door\"\n");
    let report = json(&project, &["--format", "json"]);
    let row = &report["documents"][0]["requirements"][0];
    assert_eq!(row["id"], ID);
    assert_eq!(row["text"], "`a` shall be.");
    assert_eq!(row["status"], "traced");
    assert_eq!(row["packages"][0], "door");
    assert_eq!(row["evidence"]["code"][0]["item"], "a");
    assert_eq!(row["evidence"]["unit"][0]["test"], "door::unit a_is");
    assert_eq!(row["notes"][0]["at"], "docs/decisions.md:1");
    assert_eq!(report["findings"], Value::Array(Vec::new()));
    assert_eq!(&json(&project, &["--explain", ID, "--format", "json"]), row);
}

#[rstest]
#[case::sound(Project::sound(), 0)]
#[case::with_findings(Project::sound().file(CODE, "// Codes_SRS_A_01_002\n").file(UNIT, ""), 4)]
fn sarif_is_valid(#[case] project: Project, #[case] findings: usize) {
    let sarif = json(&project, &["--format", "sarif"]);
    let schema: Value = serde_json::from_slice(&fs::read(fixture("sarif/schema-2.1.0.json")).unwrap()).unwrap();
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.add_resource("https://example.org/sarif.json", schema).unwrap();
    let index = compiler.compile("https://example.org/sarif.json", &mut schemas).unwrap();
    let verdict = schemas.validate(&sarif, index);
    assert!(verdict.is_ok(), "{}", verdict.unwrap_err());
    let mut broken = sarif.clone();
    broken["runs"][0]["tool"]["driver"]["name"] = Value::from(1);
    assert!(schemas.validate(&broken, index).is_err(), "the schema is applied");

    let results = sarif["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), findings);
    let rules = sarif["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    for result in results {
        assert_eq!(rules[usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()]["id"], result["ruleId"]);
    }
}

#[test]
fn junit_has_a_case_for_each_requirement_and_each_finding() {
    let project = Project::sound().append(DOCUMENT, "\n**SRS_A_01_002: [** more **]**\n").blessed();
    let report = project.report(&["--format", "junit"]);
    let junit = quick_junit::Report::deserialize_from_str(&report.stdout).unwrap();
    let [document, findings] = junit.test_suites.as_slice() else { panic!("{junit:?}") };
    let [sound, lacking] = document.test_cases.as_slice() else { panic!("{document:?}") };
    assert!(matches!(sound.status, TestCaseStatus::Success { .. }));
    assert!(
        matches!(&lacking.status, TestCaseStatus::NonSuccess { message: Some(it), .. } if it.as_str() == "missing")
    );
    assert_eq!((report.status, findings.test_cases.len()), (Some(1), 3));
}

#[test]
fn markdown_has_a_table_and_the_findings() {
    let report = Project::sound().file(UNIT, "").report(&["--format", "markdown"]);
    for part in [
        "1 missing.",
        "| docs/srs/a.md | 1 | 1 | 0 | 1 |",
        "- `docs/srs/a.md:1`: **not-unit-tested**: SRS_A_01_001",
        "| SRS_A_01_001 | missing | `crates/a/src/lib.rs:1` | **missing** | `tests/integration.rs:1` |",
    ] {
        assert!(report.stdout.contains(part), "{part}: {}", report.stdout);
    }
}

#[test]
fn html_needs_nothing_else_and_escapes_what_it_shows() {
    let code = "// Codes_SRS_A_01_001\npub fn a() -> &'static str { \"<script>1</script>\" }\n";
    let page = Project::sound().file(CODE, code).report(&["--format", "html"]).stdout;
    assert!(page.starts_with("<!DOCTYPE html>"));
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("&lt;script&gt;1"));
    for outside in ["http:", "https:", "src=", "@import", "url(", "<script>1", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn one_requirement_is_explained_whole() {
    let code =
        "struct S;\n/// Doc.\nimpl S {\n    fn a() {\n        // Codes_SRS_A_01_001\n        let _ = 1;\n    }\n}\n";
    let project = Project::sound()
        .file(CODE, code)
        .file("docs/decisions.md", "# D\n\nHow SRS_A_01_001\nis read.\n")
        .file(UNIT, "")
        .file(
            "docs/srs/exceptions.toml",
            "[[exception]]\nid = \"SRS_A_01_001\"\nmissing = [\"unit\"]\nreason = \"r\"\nuntil = \"9999-12-31\"\n",
        );
    let report = project.report(&["--explain", ID]);
    let expected = "SRS_A_01_001: traced\ndocs/srs/a.md:1\n\n  `a` shall be.\n\n\
        note docs/decisions.md:3\n  How SRS_A_01_001 is read.\n\n\
        code\n  crates/a/src/lib.rs:5 in S::a\n        4 | fn a() {\n        5 |     // Codes_SRS_A_01_001\n        \
        6 |     let _ = 1;\n        7 | }\n\n\
        unit\n  waived until 9999-12-31 at docs/srs/exceptions.toml:2: r\n\n\
        integration\n  tests/integration.rs:1 a_is\n";
    assert_eq!((report.status, report.stdout.as_str()), (Some(0), expected), "{}", report.stderr);
}

#[test]
fn the_report_goes_to_a_file() {
    let project = Project::sound();
    let file = project.0.path().join("report.md");
    let report = project.report(&["--format", "markdown", "--output", file.to_str().unwrap()]);
    assert_eq!((report.status, report.stdout.as_str()), (Some(0), ""));
    assert!(fs::read_to_string(file).unwrap().starts_with("# Requirements\n"));
}

#[rstest]
#[case(&["--explain", "SRS_A_01_009"], "no document has SRS_A_01_009")]
#[case(&["--explain", ID, "--format", "html"], "--explain writes text or json")]
#[case(&["--prove", "--only", "SRS_A_01_009"], "no document has SRS_A_01_009")]
fn what_cannot_be_shown_is_refused_in_one_line(#[case] args: &[&str], #[case] message: &str) {
    let Report { status, stdout, stderr } = Project::sound().report(args);
    assert_eq!((status, stdout.as_str(), stderr), (Some(2), "", format!("error: {message}\n")));
}
