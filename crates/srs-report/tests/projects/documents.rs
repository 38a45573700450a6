//! Documents: every place of an id is a requirement, a mention or a finding.

use crate::common::{Project, Report};
use crate::{kinds, only_code};
use rstest::rstest;

/// The ids and texts of a document's requirements, and the lines with a finding about it.
fn read(settings: &str, document: &str) -> (Vec<String>, Vec<u64>) {
    let project = only_code(settings).file("docs/srs/a.md", document);
    let report = crate::json(project.0.path(), &[]);
    let rows = report["documents"][0]["requirements"].as_array().unwrap().iter();
    let texts = rows.map(|row| format!("{}={}", &row["id"].as_str().unwrap()[9..], row["text"].as_str().unwrap()));
    let is_about_form = |kind: &str| kind.starts_with("malformed-");
    let findings = report["findings"].as_array().unwrap().iter();
    let lines =
        findings.filter(|it| is_about_form(it["kind"].as_str().unwrap())).map(|it| it["line"].as_u64().unwrap());
    (texts.collect(), lines.collect())
}

#[rstest]
#[case::no_blank_behind_the_opening("**SRS_A_01_001: [**Text.**]**", &["001=Text."])]
#[case::more_blanks("** SRS_A_01_001 : [ **  Text.  ** ] **", &["001=Text."])]
#[case::no_blank_before_the_bracket("**SRS_A_01_001:[** Text. **]**", &["001=Text."])]
#[case::four_blanks("    **SRS_A_01_001: [** Text. **]**", &["001=Text."])]
#[case::a_cell("| a | b |\n|---|---|\n| c | **SRS_A_01_001: [** Te\\|xt. **]** |", &["001=Te|xt."])]
#[case::a_heading("## **SRS_A_01_001: [** Text. **]**", &["001=Text."])]
#[case::a_quotation("> **SRS_A_01_001: [** Text\n> goes on. **]**", &["001=Text goes on."])]
#[case::a_nested_list("1. a\n   - b\n     * **SRS_A_01_001: [** Text. **]**", &["001=Text."])]
#[case::a_bullet_with_continuation("* **SRS_A_01_001: [** Text\n  goes on. **]**\n* b", &["001=Text goes on."])]
#[case::two_in_a_line("**SRS_A_01_001: [** A. **]** **SRS_A_01_002: [** B. **]**", &["001=A.", "002=B."])]
#[case::html("<td>\n**SRS_A_01_001: [** Text. **]**\n</td>", &["001=Text."])]
#[case::entities("**SRS_A_01_001: [** a &lt; b, `c&d`, Vec<u8> **]**", &["001=a < b, `c&d`, Vec<u8>"])]
#[case::a_link("**SRS_A_01_001: [** as [b](c.md#d) **]**", &["001=as b (c.md#d)"])]
#[case::a_reference("**SRS_A_01_001: [** as [b] **]**\n\n[b]: c.md", &["001=as b (c.md)"])]
#[case::an_image("**SRS_A_01_001: [** as ![b](c.png) **]**", &["001=as b (c.png)"])]
#[case::a_byte_order_mark("\u{feff}**SRS_A_01_001: [** Text. **]**", &["001=Text."])]
#[case::windows_line_ends("**SRS_A_01_001: [** Text\r\ngoes on. **]**\r\n", &["001=Text goes on."])]
fn a_requirement_is_read_in(#[case] document: &str, #[case] expected: &[&str]) {
    let (texts, findings) = read("", document);
    assert_eq!(texts, expected);
    assert_eq!(findings, [0; 0]);
}

#[rstest]
#[case::a_cell("| SRS_A_01_009 | Text. |")]
#[case::a_heading("### SRS_A_01_009 Text")]
#[case::a_bold_id("**SRS_A_01_009** Text")]
#[case::a_bracket_that_is_not_bold("**SRS_A_01_009:** [ Text ]")]
#[case::escaped_lines("SRS\\_A\\_01\\_009: text")]
#[case::a_sentence("It is as SRS_A_01_009 says.")]
#[case::a_longer_number("See SRS_A_01_0011.")]
#[case::another_prefix("See XSRS_A_01_001.")]
#[case::inline_code("See `SRS_A_01_009`.")]
#[case::a_comment("<!-- SRS_A_01_009 -->")]
fn an_id_that_no_document_defines_is_a_finding(#[case] line: &str) {
    let (texts, findings) = read("", &format!("**SRS_A_01_001: [** One. **]**\n\n{line}\n"));
    assert_eq!((texts.len(), findings), (1, vec![3]), "{line}");
}

#[rstest]
#[case::a_mention("See SRS_A_01_001, **SRS_A_01_001** and `Codes_SRS_A_01_001`.")]
#[case::an_emphasised_mention("See _SRS_A_01_001_.")]
#[case::fenced_code("```\n**SRS_A_01_009: [** An example. **]**\n```")]
#[case::inline_code("Write `**SRS_A_01_009: [** text **]**`.")]
fn a_mention_and_an_example_are_neither_requirement_nor_finding(#[case] line: &str) {
    let (texts, findings) = read("", &format!("**SRS_A_01_001: [** One. **]**\n\n{line}\n"));
    assert_eq!((texts.len(), findings), (1, vec![]), "{line}");
}

#[test]
fn a_requirement_may_spread_over_blocks_if_the_project_says_so() {
    let document = "**SRS_A_01_001: [** do:\n\n- a\n- b\n\nand c. **]**\n";
    let (texts, findings) = read("", document);
    assert_eq!((texts, findings), (vec!["001=do:".to_owned()], vec![1, 6]));
    let (texts, findings) = read("spread = true", document);
    assert_eq!((texts, findings), (vec!["001=do: - a - b and c.".to_owned()], vec![]));
}

#[test]
fn an_opening_that_is_not_ended_keeps_the_next_requirement() {
    let document = "**SRS_A_01_001: [** A.\n\n**SRS_A_01_002: [** B. **]**\n";
    for settings in ["", "spread = true"] {
        let (texts, findings) = read(settings, document);
        assert_eq!((texts, findings), (vec!["001=A.".to_owned(), "002=B.".to_owned()], vec![1]));
    }
}

#[test]
fn a_requirement_is_switched_off_by_a_prefix_that_the_project_names() {
    let document = "**SRS_A_01_001: [** One. **]**\n\n**OLD_SRS_A_01_002: [** Two. **]**\n";
    assert_eq!(read("", document).1, [3]);
    assert_eq!(read("disabled = [\"OLD_\"]", document), (vec!["001=One.".to_owned()], vec![]));
}

#[test]
fn a_document_may_mention_the_ids_of_another_project_that_is_named() {
    let document = "**SRS_A_01_001: [** As SRS_OTHER_01_007. **]**\n";
    assert_eq!(read("", document).1, [1]);
    assert_eq!(read("disabled = [\"SRS_OTHER_\"]", document).1, [0; 0]);
}

#[test]
fn documents_lie_in_folders_below_and_where_patterns_say() {
    let project = only_code("documents = [\"spec\", \"*/notes/*.md\"]")
        .file("spec/deep/a.md", "**SRS_A_01_001: [** One. **]**\n")
        .file("x/notes/b.md", "**SRS_B_01_001: [** Two. **]**\n")
        .file("x/other/c.md", "**SRS_C_01_001: [** Three. **]**\n");
    let report = Report::of(project.0.path(), &[]);
    let documents: Vec<&str> = report.stdout.lines().filter(|line| line.contains("requirements: code")).collect();
    assert_eq!(documents.len(), 2, "{}", report.stdout);
    assert!(documents[0].starts_with("spec/deep/a.md:") && documents[1].starts_with("x/notes/b.md:"));
}

#[test]
fn a_document_that_is_not_utf8_is_read_and_a_finding() {
    let project = only_code("");
    std::fs::write(project.0.path().join("docs/srs/b.md"), b"**SRS_A_01_002: [** \xfcber **]**\n").unwrap();
    assert!(kinds(project.0.path()).contains(&"docs/srs/b.md:1 unreadable-file".to_owned()));
    let report = project.report(&["--explain", "SRS_A_01_002"]);
    assert!(report.stdout.contains("\u{fffd}ber"), "{}", report.stdout);
}

#[test]
fn a_project_without_settings_is_told_how_to_get_them() {
    let report = Project::empty().file("README.md", "# A\n").report(&[]);
    assert_eq!(report.status, Some(2));
    assert!(report.stderr.contains("there is no srs.toml") && report.stderr.contains("srs-report init"));
}
