//! `srs-report` on the projects of `fixtures`: one for each kind of finding, and the example of
//! the documentation.
#![allow(clippy::unwrap_used, reason = "clippy's allow-unwrap-in-tests does not see the helpers of tests")]

mod common;

use common::{Report, fixture};
use std::collections::BTreeSet;
use std::fs;

#[test]
fn each_fixture_has_exactly_the_finding_it_is_named_after() {
    for kind in kinds_with_a_fixture() {
        let root = fixture("findings").join(&kind);
        let results = root.join("results.xml");
        let mut args = vec!["--check"];
        if results.is_file() {
            args.extend(["--results", results.to_str().unwrap()]);
        }
        let Report { status, stdout, stderr } = Report::of(&root, &args);
        assert_eq!((status, stderr.as_str()), (Some(1), ""), "{kind}");
        let expected = fs::read_to_string(root.join("expected.txt")).unwrap();
        assert!(stdout.starts_with(&expected), "{kind}: {stdout}");
        assert!(expected.contains(&format!(": error[{kind}]: ")) && expected.contains("\n  hint: "), "{kind}");
        assert!(stdout.ends_with("\n1 finding\n"), "{kind}: {stdout}");
    }
}

#[test]
fn every_kind_of_finding_has_a_fixture() {
    let report = Report::of(&fixture("example"), &["--format", "sarif"]);
    let sarif: serde_json::Value = serde_json::from_str(&report.stdout).unwrap();
    let rules = sarif["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    let kinds: BTreeSet<String> = rules.iter().map(|rule| rule["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, kinds_with_a_fixture());
}

fn kinds_with_a_fixture() -> BTreeSet<String> {
    let entries = fs::read_dir(fixture("findings")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn the_example_is_sound_with_its_own_ids_words_and_folders() {
    let Report { status, stdout, stderr } = Report::of(&fixture("example"), &[]);
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
    let lines: Vec<Vec<&str>> = stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[3], ["REQ-3", "traced", "counter.rs:12", "counter.rs:32", "counter_test.rs:3"]);
}
