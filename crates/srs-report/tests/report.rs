//! `srs-report` on tiny projects: a sound one, and one for each kind of finding that has only that fault.
#![allow(clippy::unwrap_used, reason = "clippy's allow-unwrap-in-tests does not see the helpers of tests")]

mod common;

use common::{CODE, DOCUMENT, EXCEPTIONS, INTEGRATION, Project, Report, UNIT};
use rstest::rstest;

#[track_caller]
fn assert_findings(project: &Project, expected: &[&str]) {
    let status = if expected.is_empty() { 0 } else { 1 };
    assert_eq!(project.findings(), (Some(status), expected.iter().map(|&line| line.to_owned()).collect()));
}

#[test]
fn a_sound_project_gets_a_table_and_a_summary() {
    let report = Project::sound().report(&[]);
    assert_eq!(
        report.stdout,
        [
            "requirement   status  code                   unit                      integration",
            "SRS_A_01_001  traced  crates/a/src/lib.rs:1  crates/a/tests/unit.rs:1  tests/integration.rs:1",
            "",
            "docs/srs/a.md: 1 requirements: code 1, unit 1, integration 1",
            "requirements: 1 traced",
            "no findings\n",
        ]
        .join("\n")
    );
    assert_eq!((report.status, report.stderr.as_str()), (Some(0), ""));
}

#[test]
fn every_location_is_listed_and_gaps_are_named() {
    let project = Project::sound()
        .append(DOCUMENT, "\n**SRS_A_01_002: [** more **]**\n")
        .append(CODE, "fn b() {\n    // Codes_SRS_A_01_001\n    a();\n}\n")
        .file(EXCEPTIONS, "[[exception]]\nid = \"SRS_A_01_002\"\nmissing = [\"integration\"]\nreason = \"r\"\n")
        .blessed();
    let report = project.report(&[]);
    let lines: Vec<Vec<&str>> = report.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[2], ["crates/a/src/lib.rs:4"]);
    assert_eq!(lines[3], ["SRS_A_01_002", "missing", "MISSING", "MISSING", "waived"]);
    assert!(
        report.stdout.ends_with(
            "docs/srs/a.md: 2 requirements: code 1 (1 missing), unit 1 (1 missing), integration 1 (1 waived)\n\
             requirements: 1 missing, 1 traced\n2 findings\n"
        ),
        "{}",
        report.stdout
    );
}

#[rstest]
#[case("--check")]
#[case("--quiet")]
fn the_gate_prints_no_table(#[case] flag: &str) {
    let report = Project::sound().report(&[flag]);
    assert_eq!(
        report.stdout,
        "docs/srs/a.md: 1 requirements: code 1, unit 1, integration 1\nrequirements: 1 traced\nno findings\n"
    );
}

// One project for each kind of finding.

#[rstest]
#[case::another_paragraph("**SRS_A_01_001: [** `a` shall be. ]**\n\nNext. **]**\n", &["docs/srs/a.md:3"])]
#[case::the_end_of_the_file("**SRS_A_01_001: [** `a` shall be.\n", &[])]
#[case::a_nested_list("- **SRS_A_01_001: [** `a` shall be\n  - at once. **]**\n", &["docs/srs/a.md:2"])]
fn a_requirement_ends_in_its_block_but_counts_anyway(#[case] text: &str, #[case] ends: &[&str]) {
    let unclosed = "docs/srs/a.md:1: error[malformed-requirement]: SRS_A_01_001 is not ended by `**]**`".to_owned();
    let unopened = ends.iter().map(|end| format!("{end}: error[malformed-requirement]: `**]**` ends no requirement"));
    let expected: Vec<String> = [unclosed].into_iter().chain(unopened).collect();
    assert_eq!(Project::sound().file(DOCUMENT, text).blessed().findings(), (Some(1), expected));
}

#[test]
fn a_bold_id_of_another_form_is_malformed() {
    let project = Project::sound().append(DOCUMENT, "\n**SRS_A_01_02** is short.\n");
    let finding = "docs/srs/a.md:3: error[malformed-id]: \
                   `**SRS_A_01_02**` is not of the form `**SRS_[A-Z0-9_]+_[0-9]{2}_[0-9]{3}: [**`";
    assert_findings(&project, &[finding]);
}

#[test]
fn an_end_without_a_beginning_is_malformed() {
    let project = Project::sound().append(DOCUMENT, "\nSRS_A_01_002: [ more **]**\n");
    assert_findings(&project, &["docs/srs/a.md:3: error[malformed-requirement]: `**]**` ends no requirement"]);
}

#[test]
fn an_id_stands_once_in_all_documents() {
    let project = Project::sound().file("docs/srs/b.md", "# B\n\n- **SRS_A_01_001: [** again **]**\n");
    assert_findings(&project, &["docs/srs/b.md:3: error[duplicate-id]: SRS_A_01_001 is already at docs/srs/a.md:1"]);
}

#[rstest]
#[case("Codes_SRS_A_01_001 and more", "Codes_SRS_A_01_001 and more")]
#[case("Codes_SRS_A_01_001, SRS_A_01_001", "SRS_A_01_001")]
fn a_list_of_tags_holds_only_tags(#[case] comment: &str, #[case] entry: &str) {
    let project = Project::sound().append(CODE, &format!("// {comment}\nfn b() {{}}\n"));
    let finding = format!(
        "crates/a/src/lib.rs:3: error[malformed-tag]: `{entry}` among the tags is none; tags are separated by commas"
    );
    assert_findings(&project, &[&finding]);
}

#[test]
fn a_tag_names_a_requirement() {
    let project = Project::sound().append(CODE, "// Codes_SRS_A_01_002\nfn b() {}\n");
    assert_findings(&project, &["crates/a/src/lib.rs:3: error[unknown-id]: no document has SRS_A_01_002"]);
}

#[rstest]
#[case::the_end_of_the_file("// Codes_SRS_A_01_001\n")]
#[case::an_import("// Codes_SRS_A_01_001\nuse std::fmt;\n")]
#[case::an_item_below_a_blank_line("// Codes_SRS_A_01_001\n\nfn b() {}\n")]
#[case::an_impl("struct S; impl S { // Codes_SRS_A_01_001\n}\n")]
fn a_tag_above_nothing_is_an_orphan(#[case] text: &str) {
    let project = Project::sound().append(CODE, text);
    let finding = "crates/a/src/lib.rs:3: error[orphan-tag]: \
                   the tag of SRS_A_01_001 stands neither directly above an item nor inside one";
    assert_findings(&project, &[finding]);
}

#[rstest]
#[case::a_test(CODE, "// Codes_SRS_A_01_001\n#[test]\nfn b() {}\n", "b")]
#[case::a_statement_of_a_test(CODE, "#[test] fn b() {\n// Codes_SRS_A_01_001\n}\n", "b")]
#[case::a_helper_in_a_test_module(CODE, "#[cfg(test)] mod tests {\n// Codes_SRS_A_01_001\nfn b() {} }\n", "tests::b")]
#[case::a_helper_in_a_folder_of_tests("crates/a/tests/common.rs", "\n\n\n// Codes_SRS_A_01_001\nfn b() {}\n", "b")]
fn tests_are_no_code(#[case] path: &str, #[case] text: &str, #[case] name: &str) {
    let project = Project::sound();
    let project = if path == CODE { project.append(path, text) } else { project.file(path, text) };
    let line = if text.starts_with("//") { 3 } else { 4 };
    let finding = format!(
        "{path}:{line}: error[code-tag-on-test]: SRS_A_01_001 is tagged as coded on `{name}`, which is test code"
    );
    assert_findings(&project, &[&finding]);
}

#[rstest]
#[case::code(CODE, "// Tests_SRS_A_01_001\npub fn b() {}\n")]
#[case::a_helper_of_unit_tests(UNIT, "\n// Tests_SRS_A_01_001\nfn b() {}\n")]
#[case::a_helper_of_integration_tests(INTEGRATION, "\n// Tests_SRS_A_01_001\nfn b() {}\n")]
fn code_is_no_test(#[case] path: &str, #[case] text: &str) {
    let project = Project::sound().append(path, text);
    let line = if path == CODE { 3 } else { 5 };
    let finding =
        format!("{path}:{line}: error[test-tag-on-code]: SRS_A_01_001 is tagged as tested on `b`, which is no test");
    assert_findings(&project, &[&finding]);
}

#[rstest]
#[case(CODE, "not-coded", "no code is tagged with it")]
#[case(UNIT, "not-unit-tested", "no unit test is tagged with it")]
#[case(INTEGRATION, "not-integration-tested", "no integration test is tagged with it")]
fn a_requirement_has_code_and_both_kinds_of_tests(#[case] path: &str, #[case] kind: &str, #[case] lack: &str) {
    let project = Project::sound().file(path, "");
    assert_findings(&project, &[&format!("docs/srs/a.md:1: error[{kind}]: SRS_A_01_001: {lack}")]);
}

#[rstest]
#[case("")]
#[case("reason = \"  \"\n")]
fn a_waiver_gives_its_reason(#[case] reason: &str) {
    let waiver = format!("[[exception]]\nid = \"SRS_A_01_001\"\nmissing = [\"unit\"]\n{reason}");
    let project = Project::sound().file(UNIT, "").file(EXCEPTIONS, &waiver);
    let finding =
        "docs/srs/exceptions.toml:2: error[waiver-without-reason]: the waiver of SRS_A_01_001 gives no reason";
    assert_findings(&project, &[finding]);
}

#[test]
fn a_waiver_names_a_requirement() {
    let waiver = "[[exception]]\nid = \"SRS_A_01_002\"\nmissing = [\"unit\"]\nreason = \"r\"\n";
    let project = Project::sound().file(EXCEPTIONS, waiver);
    assert_findings(&project, &["docs/srs/exceptions.toml:2: error[waiver-unknown-id]: no document has SRS_A_01_002"]);
}

#[rstest]
#[case("code", "crates/a/src/lib.rs:1")]
#[case("unit", "crates/a/tests/unit.rs:1")]
#[case("integration", "tests/integration.rs:1")]
fn a_waiver_of_what_exists_is_not_needed(#[case] aspect: &str, #[case] present: &str) {
    let waiver = format!("[[exception]]\nid = \"SRS_A_01_001\"\nmissing = [\"{aspect}\"]\nreason = \"r\"\n");
    let finding = format!(
        "docs/srs/exceptions.toml:2: error[waiver-not-needed]: \
         SRS_A_01_001 needs no waiver for {aspect}: it is at {present}"
    );
    assert_findings(&Project::sound().file(EXCEPTIONS, &waiver), &[&finding]);
}

#[test]
fn a_second_waiver_of_the_same_is_not_needed() {
    let waiver = "[[exception]]\nid = \"SRS_A_01_001\"\nmissing = [\"unit\"]\nreason = \"r\"\n";
    let project = Project::sound().file(UNIT, "").file(EXCEPTIONS, &waiver.repeat(2));
    let finding = "docs/srs/exceptions.toml:6: error[waiver-not-needed]: \
                   SRS_A_01_001 needs no waiver for unit: it is waived at docs/srs/exceptions.toml:2";
    assert_findings(&project, &[finding]);
}

#[test]
fn a_waiver_of_nothing_is_not_needed() {
    let waiver = "[[exception]]\nid = \"SRS_A_01_001\"\nmissing = []\nreason = \"r\"\n";
    let finding = "docs/srs/exceptions.toml:2: error[waiver-not-needed]: the waiver of SRS_A_01_001 waives nothing";
    assert_findings(&Project::sound().file(EXCEPTIONS, waiver), &[finding]);
}

#[test]
fn a_waiver_excuses_what_is_missing() {
    let waiver =
        "[[exception]]\nid = \"SRS_A_01_001\"\nmissing = [\"code\", \"unit\", \"integration\"]\nreason = \"r\"\n";
    let project = Project::sound().file(CODE, "").file(UNIT, "").file(INTEGRATION, "").file(EXCEPTIONS, waiver);
    assert_findings(&project, &[]);
}

// The places where a tag may stand. If the report does not understand the tag, the project lacks the requirement.

#[rstest]
#[case::among_attributes("/// Doc.\n// Codes_SRS_A_01_001\n#[must_use]\npub fn a() -> u8 { 0 }")]
#[case::among_attributes_of_an_impl("struct S;\n/// Doc.\n// Codes_SRS_A_01_001\n#[allow(unused)]\nimpl S {}")]
#[case::not_for_tests("// Codes_SRS_A_01_001\n#[cfg(not(test))]\nfn a() {}")]
#[case::also_for_tests("// Codes_SRS_A_01_001\n#[cfg(any(test, unix))]\nfn a() {}")]
#[case::below_a_module_of_tests("#[cfg(test)]\nmod tests {}\n// Codes_SRS_A_01_001\nfn a() {}")]
#[case::above_doc_comments("// Codes_SRS_A_01_001\n/// Doc.\npub fn a() {}")]
#[case::above_other_comments("// Codes_SRS_A_01_001\n// Why.\npub fn a() {}")]
#[case::a_method("struct S; impl S {\n    // Codes_SRS_A_01_001\n    fn a(&self) {} }")]
#[case::an_impl("struct S;\n// Codes_SRS_A_01_001\nimpl S {}")]
#[case::a_trait_method("trait T {\n    // Codes_SRS_A_01_001\n    fn a(&self); }")]
#[case::a_variant("enum E {\n    A,\n    // Codes_SRS_A_01_001\n    B }")]
#[case::a_constant("// Codes_SRS_A_01_001\nconst A: u8 = 0;")]
#[case::a_match_arm("fn a(x: u8) { match x {\n    0 => {}\n    // Codes_SRS_A_01_001\n    _ => {} } }")]
#[case::behind_a_statement("fn a() {\n    b(); // Codes_SRS_A_01_001\n}\nfn b() {}")]
#[case::behind_an_item("pub fn a() {} // Codes_SRS_A_01_001\n#[test]\nfn b() {}")]
#[case::in_a_macro("thread_local! {\n    // Codes_SRS_A_01_001\n    static A: u8 = 0;\n}")]
fn a_code_tag_attaches_to(#[case] code: &str) {
    assert_findings(&Project::sound().file(CODE, code), &[]);
}

#[rstest]
#[case::in_a_module("#[cfg(test)]\nmod tests {\n    // Tests_SRS_A_01_001\n    #[test]\n    fn a() {}\n}")]
#[case::rstest("// Tests_SRS_A_01_001\n#[rstest]\n#[case(1)]\nfn a(#[case] x: u8) {}")]
#[case::another_runtime("// Tests_SRS_A_01_001\n#[tokio::test]\nasync fn a() {}")]
#[case::proptest(
    "proptest! {\n    #![c(d(1))]\n    // Tests_SRS_A_01_001\n    #[test]\n    fn a(x in 0..9, y: u8) {}\n}"
)]
#[case::above_proptest("// Tests_SRS_A_01_001\nproptest! { #[test] fn a(x in 0..9) {} }")]
#[case::in_the_body("#[test]\nfn a() {\n    // Tests_SRS_A_01_001\n    assert!(true);\n}")]
#[case::in_a_body_in_a_macro("proptest! { #[test]\nfn a(x in 0..9) {\n    // Tests_SRS_A_01_001\n    b();\n} }")]
#[case::of_a_macro_by_example("macro_rules! m { ($n:ident) => {\n// Tests_SRS_A_01_001\n#[test]\nfn $n() {}\n} }")]
#[case::several("// Tests_SRS_A_01_001, Tests_SRS_A_01_001,\n// Tests_SRS_A_01_001\n#[test]\nfn a() {}")]
fn a_test_tag_attaches_to_a_test(#[case] test: &str) {
    assert_findings(&Project::sound().file(UNIT, test), &[]);
}

#[test]
fn a_tag_attaches_to_the_innermost_item() {
    let text = "#[test]\nfn a() {\n    fn b() {\n        // Tests_SRS_A_01_001\n    }\n}\n";
    let finding = "crates/a/tests/more.rs:4: error[test-tag-on-code]: \
                   SRS_A_01_001 is tagged as tested on `a::b`, which is no test";
    assert_findings(&Project::sound().file("crates/a/tests/more.rs", text), &[finding]);
}

#[test]
fn a_function_between_two_tests_of_a_macro_is_no_test() {
    let text =
        "proptest! { #[test]\nfn a(x in 0..9) {}\n// Tests_SRS_A_01_001\nfn b(x in 0..9) {}\n#[test] fn c() {} }";
    let project = Project::sound().file("crates/a/tests/more.rs", text);
    let finding = "crates/a/tests/more.rs:3: error[test-tag-on-code]: \
                   SRS_A_01_001 is tagged as tested on `proptest!::b`, which is no test";
    assert_findings(&project, &[finding]);
}

#[test]
fn a_test_in_src_is_a_unit_test() {
    let test = "#[cfg(test)]\nmod tests {\n    // Tests_SRS_A_01_001\n    #[test]\n    fn a() {}\n}\n";
    assert_findings(&Project::sound().file(UNIT, "").append(CODE, test), &[]);
}

#[rstest]
#[case::a_string("const B: &str = \"\n// Codes_SRS_A_01_002\n\";\n")]
#[case::a_sentence("// As Codes_SRS_A_01_002 wants it.\nfn b() {}\n")]
fn what_only_mentions_a_tag_is_none(#[case] text: &str) {
    assert_findings(&Project::sound().append(CODE, text), &[]);
}

#[rstest]
#[case("crates/a/tests/fixtures/b.rs")]
#[case("tests/target/b.rs")]
#[case("xtask/src/b.rs")]
fn fixtures_and_build_output_are_not_read(#[case] path: &str) {
    assert_findings(&Project::sound().file(path, "// Codes_SRS_A_01_002\nfn b() {}\n"), &[]);
}

// Input that no report can be made of.

/// What a project without settings is told.
const ADVICE: &str = "; there is no srs.toml to say where the documents are, and `srs-report init` writes one";

#[track_caller]
fn assert_unusable(project: &Project, expected: &str) {
    let Report { status, stdout, stderr } = project.report(&[]);
    assert_eq!(stderr.replace(&format!("{}/", project.0.path().display()), ""), format!("error: {expected}\n"));
    assert_eq!((status, stdout.as_str()), (Some(2), ""));
}

#[test]
fn a_project_without_a_folder_of_documents_is_unusable() {
    let expected = format!("no documents in docs/srs: No such file or directory (os error 2){ADVICE}");
    assert_unusable(&Project::empty(), &expected);
}

#[test]
fn a_folder_without_documents_is_unusable() {
    let project = Project::empty().file("docs/srs/a.txt", "");
    assert_unusable(&project, &format!("no documents in docs/srs: it has no .md file{ADVICE}"));
}

#[test]
fn documents_without_a_requirement_are_unusable() {
    let project = Project::empty().file(DOCUMENT, "# A\n");
    let form = "`**ID: [** text **]**`, with an ID like `SRS_[A-Z0-9_]+_[0-9]{2}_[0-9]{3}`";
    assert_unusable(&project, &format!("no requirement in docs/srs: one is written {form}{ADVICE}"));
}

#[rstest]
#[case::not_toml("[[exception]]\nid =\n", 2, "string values must be quoted, expected literal string")]
#[case::not_an_aspect(
    "[[exception]]\nid = \"a\"\nmissing = [\"units\"]\n",
    3,
    "unknown variant `units`, expected one of `code`, `unit`, `integration`"
)]
#[case::not_a_key(
    "[[exception]]\nid = \"a\"\nmissing = []\nwhy = \"b\"\n",
    4,
    "unknown field `why`, expected one of `id`, `missing`, `reason`, `until`"
)]
fn broken_exceptions_are_unusable(#[case] text: &str, #[case] line: usize, #[case] message: &str) {
    let project = Project::sound().file(EXCEPTIONS, text);
    assert_unusable(&project, &format!("{EXCEPTIONS}:{line}: {message}"));
}

#[rstest]
#[case::no_tokens("// Codes_SRS_A_01_001\nfn a() {\n")]
#[case::no_item("// Codes_SRS_A_01_001\nlet a\n")]
fn a_source_that_is_not_rust_costs_one_finding_and_keeps_its_tags(#[case] text: &str) {
    let (status, findings) = Project::sound().file(CODE, text).findings();
    assert_eq!((status, findings.len()), (Some(1), 1), "{findings:?}");
    assert!(findings[0].starts_with("crates/a/src/lib.rs:2: error[not-parsed]: not Rust: "), "{findings:?}");
}
