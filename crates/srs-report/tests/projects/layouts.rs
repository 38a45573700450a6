//! Projects with levels, ids and tags of their own.

use crate::common::Project;
use crate::{evidence, kinds};
use rstest::rstest;

fn project(settings: &str, document: &str) -> Project {
    Project::empty().file("srs.toml", settings).file("docs/srs/a.md", document)
}

#[test]
fn levels_have_any_number_and_any_name() {
    let settings =
        "[levels]\ncode = [\"src/**\"]\nfast = [\"**/*_fast.rs\"]\ne2e = [\"e2e\"]\nmanual = [\"manual/*.py\"]\n";
    let project = project(settings, "**SRS_A_01_001: [** One. **]**\n")
        .file("src/a.rs", "// Codes_SRS_A_01_001\nfn a() {}\n")
        .file("src/a_fast.rs", "// Tests_SRS_A_01_001\n#[test]\nfn b() {}\n")
        .file("e2e/c.rs", "// Tests_SRS_A_01_001\n#[test]\nfn c() {}\n")
        .file("manual/d.py", "")
        .blessed();
    assert_eq!(evidence(project.0.path()), ["SRS_A_01_001 code: a; e2e: c; fast: b"]);
    let report = project.report(&["--check"]);
    assert!(
        report.stdout.contains("SRS_A_01_001: no test of the level `manual` is tagged with it"),
        "{}",
        report.stdout
    );
    assert!(report.stdout.contains("1 requirements: code 1, fast 1, e2e 1, manual 0 (1 missing)"), "{}", report.stdout);
}

#[rstest]
#[case::any_test("required = [\"code\", \"test\"]", &[])]
#[case::no_test("required = [\"code\"]", &[])]
#[case::one_level("required = [\"code\", \"integration\"]", &["docs/srs/a.md:1 not-integration-tested"])]
#[case::every_level("", &["docs/srs/a.md:1 not-integration-tested"])]
fn a_project_says_what_is_required(#[case] settings: &str, #[case] expected: &[&str]) {
    let project = project(settings, "**SRS_A_01_001: [** One. **]**\n")
        .file("crates/a/src/lib.rs", "// Codes_SRS_A_01_001\nfn a() {}\n// Tests_SRS_A_01_001\n#[test]\nfn b() {}\n")
        .blessed();
    assert_eq!(kinds(project.0.path()), expected);
}

#[test]
fn a_waiver_may_be_about_tests_of_any_level() {
    let waiver = "[[exception]]\nid = \"SRS_A_01_001\"\nmissing = [\"test\"]\nreason = \"r\"\n";
    let project = project("required = [\"code\", \"test\"]", "**SRS_A_01_001: [** One. **]**\n")
        .file("crates/a/src/lib.rs", "// Codes_SRS_A_01_001\nfn a() {}\n")
        .file("docs/srs/exceptions.toml", waiver)
        .blessed();
    assert_eq!(kinds(project.0.path()), [""; 0]);
    let project = project.append("crates/a/src/lib.rs", "// Tests_SRS_A_01_001\n#[test]\nfn b() {}\n");
    assert_eq!(kinds(project.0.path()), ["docs/srs/exceptions.toml:2 waiver-not-needed"]);
}

#[test]
fn a_level_may_stand_in_the_word_of_the_tag() {
    let settings = "[tags]\nintegration = [\"Integrates_\", \"IntTests_\"]\n";
    let code = "// Codes_SRS_A_01_001\nfn a() {}\n// Tests_SRS_A_01_001\n#[test]\nfn b() {}\n\
                // IntTests_SRS_A_01_001\n#[test]\nfn c() {}\n";
    let project = project(settings, "**SRS_A_01_001: [** One. **]**\n").file("crates/a/src/lib.rs", code).blessed();
    assert_eq!(evidence(project.0.path()), ["SRS_A_01_001 code: a; integration: c; unit: b"]);
    assert_eq!(kinds(project.0.path()), [""; 0]);
}

#[rstest]
#[case::slashes("REQ/[a-z]+/[0-9]+", "REQ/door/1")]
#[case::umlauts("ANFORDERUNG_[A-ZÄÖÜ]+_[0-9]+", "ANFORDERUNG_TÜR_1")]
#[case::tildes("req~[a-z-]+~[0-9]+", "req~door-opens~1")]
#[case::no_prefix("[A-Z]+-[0-9]+", "DOOR-12")]
#[case::alternatives("(?:REQ|NFR)\\\\.[0-9]+", "NFR.7")]
fn an_id_has_any_form(#[case] pattern: &str, #[case] id: &str) {
    let settings = format!("id = \"{pattern}\"\nrequired = [\"code\"]\n[tags]\ncode = \"Impl \"\ntest = \"Test \"\n");
    let project = project(&settings, &format!("**{id}: [** One. **]**\n"))
        .file("crates/a/src/lib.rs", &format!("// Impl {id}\nfn a() {{}}\n"))
        .blessed();
    assert_eq!(evidence(project.0.path()), [format!("{id} code: a")]);
    assert_eq!(kinds(project.0.path()), [""; 0]);
}

#[test]
fn a_tag_may_have_something_before_and_behind_its_id() {
    let settings =
        "id = \"REQ-[0-9]+\"\nrequired = [\"code\"]\n[tags]\ncode = \"[impl \"\ntest = \"[test \"\nsuffix = \"]\"\n";
    let project = project(settings, "**REQ-1: [** One. **]**\n\n**REQ-2: [** Two. **]**\n")
        .file("crates/a/src/lib.rs", "// [impl REQ-1], [impl REQ-2]\nfn a() {}\n")
        .blessed();
    assert_eq!(evidence(project.0.path()), ["REQ-1 code: a", "REQ-2 code: a"]);
}

#[test]
fn families_of_ids_have_rules_of_their_own() {
    let settings = "[[family]]\nid = \"SYS-[0-9]+\"\nrequired = [\"integration\"]\n\n[[family]]\nid = \"SW-[0-9]+\"\n\
                    required = [\"code\", \"unit\"]\n[family.tags]\ncode = \"does \"\ntest = \"shows \"\n";
    let project = project(settings, "**SYS-1: [** One. **]**\n\n**SW-1: [** Two. **]**\n\n**SW-2: [** Three. **]**\n")
        .file("crates/a/src/lib.rs", "// does SW-1\nfn a() {}\n// shows SW-1\n#[test]\nfn b() {}\n")
        .file("tests/c.rs", "// Tests_SYS-1\n#[test]\nfn c() {}\n")
        .blessed();
    assert_eq!(evidence(project.0.path()), ["SYS-1 integration: c", "SW-1 code: a; unit: b", "SW-2"]);
    assert_eq!(kinds(project.0.path()), ["docs/srs/a.md:5 not-coded", "docs/srs/a.md:5 not-unit-tested"]);
}

#[test]
fn what_is_excluded_is_not_read() {
    let settings = "exclude = [\"crates/b\", \"docs/srs/old.md\"]\nrequired = [\"code\"]\n";
    let project = project(settings, "**SRS_A_01_001: [** One. **]**\n")
        .file("docs/srs/old.md", "**SRS_A_01_001: [** Again. **]**\n")
        .file("crates/a/src/lib.rs", "// Codes_SRS_A_01_001\nfn a() {}\n")
        .file("crates/b/src/lib.rs", "// Codes_SRS_B_01_001\nfn b() {}\n")
        .blessed();
    assert_eq!(kinds(project.0.path()), [""; 0]);
}

#[test]
fn open_fast_trace_needs_nothing_but_a_preset() {
    let document = "# Design\n\n## The door closes\n`dsn~door-closes~1`\n\nThe door closes by itself\nand softly.\n\n\
                    Covers:\n- `req~door-closes~1`\n\nNeeds: impl, utest\n";
    let project = Project::empty()
        .file("srs.toml", "preset = \"openfasttrace\"\n")
        .file("doc/spec/requirements.md", "# Requirements\n\n`req~door-closes~1`\n\nA door closes.\n\nNeeds: dsn\n")
        .file("doc/spec/design.md", document)
        .file("src/main/Door.java", "class Door {\n    // [impl->dsn~door-closes~1]\n    void close() {\n    }\n}\n")
        .file(
            "src/test/DoorTest.java",
            "class DoorTest {\n    // [utest->dsn~door-closes~1]\n    void closes() {\n    }\n}\n",
        );
    let expected = ["dsn~door-closes~1 code: close; unit: closes", "req~door-closes~1"];
    assert_eq!(evidence(project.0.path()), expected);
    assert_eq!(kinds(project.0.path()), [""; 0]);
    let report = project.report(&["--explain", "dsn~door-closes~1"]);
    assert!(report.stdout.contains("The door closes by itself and softly."), "{}", report.stdout);
    let project = project.file("doc/spec/design.md", &document.replace("- `req~door-closes~1`\n", ""));
    assert_eq!(kinds(project.0.path()), ["doc/spec/requirements.md:3 not-covered"]);
}

#[rstest]
#[case::no_preset("preset = \"cobol\"\n", "srs.toml:1: there is no preset `cobol`: c-build-tools, openfasttrace")]
#[case::no_level(
    "required = [\"code\", \"e2e\"]\n",
    "srs.toml:1: `e2e` cannot be required: code, unit, integration, test"
)]
#[case::no_word("[tags]\ncodes = \"a\"\n", "srs.toml:2: `codes` is `code`, `test`, `suffix` or a level")]
#[case::no_language(
    "[languages]\nx = \"cobol\"\n",
    "srs.toml:2: there is no language `cobol`: rust, c, cpp, slashes, hashes, dashes"
)]
#[case::an_empty_id("id = \"[0-9]*\"\n", "srs.toml:1: `id` matches the empty text; an id is for example `REQ-[0-9]+`")]
#[case::a_level_called_test(
    "[levels]\ntest = [\"a\"]\n",
    "srs.toml:2: a level has another name than `test` and `suffix`"
)]
fn settings_that_make_no_sense_are_told_in_one_line(#[case] settings: &str, #[case] message: &str) {
    let report = project(settings, "**SRS_A_01_001: [** One. **]**\n").report(&[]);
    assert_eq!((report.status, report.stderr), (Some(2), format!("error: {message}\n")));
}
