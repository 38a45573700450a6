//! Sources: every file is read, or a finding says why not, and one bad file costs no more than its own finding.

use crate::common::{CODE, Project};
use crate::{evidence, kinds, only_code};
use rstest::rstest;
use std::fs;

/// A sound project with one more file of code, and its findings.
fn with(path: &str, bytes: &[u8]) -> Vec<String> {
    let project = Project::sound();
    let file = project.0.path().join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, bytes).unwrap();
    kinds(project.0.path())
}

#[test]
fn a_file_with_deeply_nested_parentheses_is_read() {
    let deep = format!("// Codes_SRS_A_01_001\npub fn b() -> u8 {{ {}1{} }}\n", "(".repeat(1000), ")".repeat(1000));
    assert_eq!(with("crates/a/src/b.rs", deep.as_bytes()), [""; 0]);
}

#[test]
fn a_file_with_a_long_expression_is_read() {
    let long = format!("// Codes_SRS_A_01_001\npub fn b() -> u64 {{ 1{} }}\n", " + 1".repeat(20_000));
    assert_eq!(with("crates/a/src/b.rs", long.as_bytes()), [""; 0]);
}

#[rstest]
#[case::brackets(format!("// Codes_SRS_A_01_001\nfn b() {{ {}{} }}\n", "(".repeat(50_000), ")".repeat(50_000)))]
#[case::terms(format!("// Codes_SRS_A_01_001\nfn b() {{ 1{}; }}\n", " + 1".repeat(500_000)))]
#[case::syntax("// Codes_SRS_A_01_001\nfn b( {}\n".to_owned())]
fn a_file_that_cannot_be_parsed_costs_one_finding(#[case] text: String) {
    let findings = with("crates/a/src/b.rs", text.as_bytes());
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].ends_with(" not-parsed"), "{findings:?}");
}

#[test]
fn a_file_that_cannot_be_parsed_keeps_its_tags() {
    let project = only_code("").file("crates/a/src/b.rs", "// Codes_SRS_A_01_001\nfn b( {}\n").blessed();
    assert_eq!(evidence(project.0.path()), ["SRS_A_01_001 code: b"]);
    assert_eq!(kinds(project.0.path()), ["crates/a/src/b.rs:2 not-parsed"]);
}

#[rstest]
#[case::utf8_with_a_byte_order_mark("\u{feff}// Codes_SRS_A_01_002\nfn b() {}\n".as_bytes(), &["crates/a/src/b.rs:1 unknown-id"])]
#[case::latin_1(b"// Codes_SRS_A_01_002\nfn b() {} // \xfc\n", &["crates/a/src/b.rs:1 unreadable-file", "crates/a/src/b.rs:1 unknown-id"])]
fn a_file_is_read_whatever_its_encoding(#[case] bytes: &[u8], #[case] expected: &[&str]) {
    let mut findings = with("crates/a/src/b.rs", bytes);
    findings.sort();
    let mut expected: Vec<String> = expected.iter().map(|&it| it.to_owned()).collect();
    expected.sort();
    assert_eq!(findings, expected);
}

#[test]
fn utf16_is_read() {
    let text = "// Codes_SRS_A_01_002\nint b;\n";
    let bytes: Vec<u8> = [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    assert_eq!(with("crates/a/src/b.c", &bytes), ["crates/a/src/b.c:1 unknown-id"]);
}

#[rstest]
#[case::unknown("crates/a/src/b.door", &["crates/a/src/b.door:1 unknown-language"])]
#[case::no_extension("crates/a/src/Doorfile", &["crates/a/src/Doorfile:1 unknown-language"])]
#[case::text("crates/a/src/b.md", &[])]
fn tags_in_a_language_that_is_not_known_are_a_finding(#[case] path: &str, #[case] expected: &[&str]) {
    assert_eq!(with(path, b"// Codes_SRS_A_01_001\n"), expected);
}

#[test]
fn what_is_no_text_is_no_source() {
    assert_eq!(with("crates/a/src/b.door", b"\0\x01 Codes_SRS_A_01_002"), [""; 0]);
}

#[test]
fn a_project_may_name_the_language_of_its_files() {
    let project = only_code("[languages]\ndoor = \"hashes\"\n")
        .file("crates/a/src/b.door", "# Codes_SRS_A_01_001\ndef b():\n")
        .blessed();
    assert_eq!(evidence(project.0.path()), ["SRS_A_01_001 code: b"]);
    assert_eq!(kinds(project.0.path()), [""; 0]);
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_broken_ones_are_findings() {
    let project = only_code("").file("shared/b.rs", "// Codes_SRS_A_01_001\npub fn b() {}\n").blessed();
    let at = |path: &str| project.0.path().join(path);
    fs::create_dir_all(at("crates/a/src")).unwrap();
    for (target, link) in
        [("../../../shared", "crates/a/src/all"), ("nowhere.rs", "crates/a/src/c.rs"), ("..", "crates/a/src/up")]
    {
        std::os::unix::fs::symlink(target, at(link)).unwrap();
    }
    assert_eq!(evidence(project.0.path()), ["SRS_A_01_001 code: b"]);
    assert_eq!(kinds(project.0.path()), ["crates/a/src/c.rs:1 unreadable-file"]);
}

#[test]
fn a_pattern_that_names_nothing_is_a_finding() {
    let settings = "documents = [\"docs/srs\", \"spec\"]\nnotes = [\"why.md\"]\n[levels]\ncode = [\"crates/*/src\", \"lib/**\"]\nunit = []\n";
    let project = only_code(settings).file(CODE, "// Codes_SRS_A_01_001\npub fn a() {}\n").blessed();
    let expected = [2, 3, 5].map(|line| format!("srs.toml:{line} matches-nothing"));
    assert_eq!(kinds(project.0.path()), expected);
}

#[test]
fn a_project_without_a_source_is_told() {
    let project = only_code("").blessed();
    assert!(kinds(project.0.path()).contains(&"srs.toml:1 matches-nothing".to_owned()));
}
