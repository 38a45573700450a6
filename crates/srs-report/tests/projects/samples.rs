//! The small inputs of `fixtures/samples`, each with what is right for it.

use crate::common::{Report, fixture};
use crate::{evidence, json, kinds};
use rstest::rstest;

fn has(findings: &[String], finding: &str) -> bool {
    findings.iter().any(|it| it == finding)
}

#[test]
fn none_of_nine_requirements_is_lost_in_silence() {
    let root = fixture("samples/silent");
    let read = evidence(&root);
    let ids: Vec<&str> = read.iter().map(|it| &it[..15]).collect();
    assert_eq!(ids, [1, 2, 3, 4, 7].map(|number| format!("SRS_DOOR_01_00{number}")));
    let findings = kinds(&root);
    for line in [15, 17, 21, 23] {
        assert!(has(&findings, &format!("docs/srs/door.md:{line} malformed-requirement")), "{line}: {findings:?}");
    }
}

#[test]
fn the_gate_does_not_pass_what_it_does_not_know() {
    let report = Report::of(&fixture("samples/silent-gate"), &["--check"]);
    assert!(report.stdout.contains("docs/srs/door.md: 3 requirements:"), "{}", report.stdout);
    assert_eq!(report.status, Some(1));
}

#[test]
fn each_style_of_rust_tag_is_read_or_a_finding() {
    let root = fixture("samples/rust-styles");
    let names = [
        "code: a, j",
        "code: b",
        "code: c",
        "code: d",
        "code: e",
        "code: f",
        "code: g",
        "",
        "code: make::h",
        "code: i",
        "code: j",
        "code: k",
        "code: k",
        "",
    ];
    let expected: Vec<String> = (1..)
        .zip(names)
        .map(|(number, name)| format!("SRS_DOOR_01_{number:03} {name}").trim_end().to_owned())
        .collect();
    assert_eq!(evidence(&root), expected);
    let findings = kinds(&root);
    assert!(has(&findings, "crates/door/src/lib.rs:17 orphan-tag"), "{findings:?}");
    assert!(has(&findings, "crates/door/src/lib.rs:33 malformed-tag"), "{findings:?}");
}

#[test]
fn a_c_module_needs_nothing_but_a_preset() {
    let root = fixture("samples/c-small");
    let expected = [
        "SRS_STACK_07_001 code: stack_create; unit: a_stack_of_depth_0_fails",
        "SRS_STACK_07_002 code: ALLOCATE; unit: a_stack_is_created",
        "SRS_STACK_07_003 code: stack_create; unit: a_stack_is_created",
        "SRS_STACK_07_004 code: stack_create; unit: a_stack_fails_if_memory_does",
        "SRS_STACK_07_005 code: stack_push; integration: a_full_stack_refuses",
        "SRS_STACK_07_006 code: STACK_MAX",
    ];
    assert_eq!(evidence(&root), expected);
    let findings = [
        "devdoc/stack_requirements.md:23 not-tested",
        "src/stack.c:28 text-differs",
        "tests/stack_int/stack_int.c:5 unknown-id",
    ];
    assert_eq!(kinds(&root), findings);
    assert_eq!(json(&root, &[])["tags"], 12);
}

#[test]
fn a_text_changes_with_its_link_and_with_its_angle_brackets() {
    let root = fixture("samples/link-target");
    assert_eq!(kinds(&root), ["docs/srs/door.md:1 text-changed", "docs/srs/door.md:3 text-changed"]);
}

#[rstest]
#[case("ctest")]
#[case("gtest")]
#[case("gtest-without-timestamp")]
#[case("pytest")]
#[case("libtest")]
#[case("maven")]
fn the_same_passed_test_joins_from_every_runner(#[case] runner: &str) {
    let results = fixture(&format!("samples/junit/{runner}.xml"));
    let report = json(&fixture("samples/silent"), &["--results", results.to_str().unwrap()]);
    let row = &report["documents"][0]["requirements"][0];
    assert_eq!(row["status"], "proven");
    assert_eq!(row["evidence"]["unit"][0]["result"]["cases"], if runner == "pytest" { 2 } else { 1 });
}
