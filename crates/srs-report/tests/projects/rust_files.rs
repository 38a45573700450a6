//! Rust files: what makes a test, what is test code, and which files cargo compiles.

use crate::common::Project;
use crate::{evidence, kinds};
use rstest::rstest;

fn package(settings: &str) -> Project {
    Project::empty()
        .file("srs.toml", &format!("required = [\"code\", \"test\"]\n{settings}"))
        .file("docs/srs/a.md", "**SRS_A_01_001: [** One. **]**\n")
        .file("crates/a/Cargo.toml", "[package]\nname = \"a\"\n")
        .blessed()
}

#[rstest]
#[case::quickcheck("#[quickcheck]")]
#[case::property_test("#[property_test]")]
#[case::gtest("#[gtest]")]
#[case::test_matrix("#[test_matrix([1, 2])]")]
#[case::wasm("#[wasm_bindgen_test]")]
#[case::conditional("#[cfg_attr(not(miri), test)]")]
#[case::conditional_of_a_runtime("#[cfg_attr(a, tokio::test)]")]
#[case::named("#[door_test(quick)]")]
#[case::named_with_its_path("#[house::roof(1)]")]
fn an_attribute_makes_a_test(#[case] attribute: &str) {
    let code = format!("// Codes_SRS_A_01_001\npub fn a() {{}}\n// Tests_SRS_A_01_001\n{attribute}\nfn b() {{}}\n");
    let project = package("[tests]\nattributes = [\"door_*\", \"house::roof\"]\n").file("crates/a/src/lib.rs", &code);
    assert_eq!(evidence(project.0.path()), ["SRS_A_01_001 code: a; unit: b"]);
    assert_eq!(kinds(project.0.path()), [""; 0]);
}

#[test]
fn a_macro_may_make_tests() {
    let code = "// Codes_SRS_A_01_001\npub fn a() {}\n// Tests_SRS_A_01_001\ndoor_tests! { one, two }\n";
    let project = package("[tests]\nmacros = [\"door_tests\"]\n").file("crates/a/src/lib.rs", code);
    assert_eq!(evidence(project.0.path()), ["SRS_A_01_001 code: a; unit: door_tests!"]);
}

#[rstest]
#[case::a_file_for_tests("mod b;\n", "#![cfg(test)]\n")]
#[case::a_module_for_tests("#[cfg(test)]\nmod b;\n", "")]
#[case::a_module_inside_one("#[cfg(all(test, unix))]\nmod c { #[path = \"../b.rs\"] mod b; }\n", "")]
fn code_of_a_file_for_tests_is_test_code(#[case] declaration: &str, #[case] head: &str) {
    let project = package("")
        .file("crates/a/src/lib.rs", &format!("{declaration}// Codes_SRS_A_01_001\npub fn a() {{}}\n"))
        .file("crates/a/src/b.rs", &format!("{head}\n// Codes_SRS_A_01_001\nfn b() {{}}\n"));
    let findings = kinds(project.0.path());
    assert!(
        findings.iter().any(|it| it.starts_with("crates/a/src/b.rs:") && it.ends_with(" code-tag-on-test")),
        "{findings:?}"
    );
}

#[test]
fn a_file_that_no_module_declares_is_a_finding() {
    let project = package("")
        .file("crates/a/src/lib.rs", "mod b;\n#[path = \"other/d.rs\"]\nmod c;\n// mod f;\n")
        .file("crates/a/src/b.rs", "mod e;\n// Codes_SRS_A_01_001\npub fn b() {}\n")
        .file("crates/a/src/other/d.rs", "// Codes_SRS_A_01_001\npub fn d() {}\n")
        .file("crates/a/src/b/e.rs", "// Tests_SRS_A_01_001\n#[test]\nfn e() {}\n")
        .file("crates/a/src/bin/tool.rs", "// Codes_SRS_A_01_001\nfn main() {}\n")
        .file("crates/a/src/f.rs", "// Codes_SRS_A_01_001\npub fn f() {}\n");
    assert_eq!(kinds(project.0.path()), ["crates/a/src/f.rs:1 undeclared-file"]);
}

#[test]
fn cargo_targets_have_roots_where_the_manifest_says() {
    let manifest =
        "[package]\nname = \"a\"\n[lib]\npath = \"src/door.rs\"\n[[bin]]\nname = \"b\"\npath = \"src/key.rs\"\n";
    let project = package("")
        .file("crates/a/Cargo.toml", manifest)
        .file("crates/a/src/door.rs", "mod hinge;\n// Codes_SRS_A_01_001\npub fn a() {}\n")
        .file("crates/a/src/key.rs", "// Codes_SRS_A_01_001\nfn main() {}\n")
        .file("crates/a/src/hinge.rs", "// Tests_SRS_A_01_001\n#[test]\nfn b() {}\n");
    assert_eq!(kinds(project.0.path()), [""; 0]);
}

#[test]
fn functions_of_other_languages_are_items() {
    let code = "unsafe extern \"C\" {\n    // Codes_SRS_A_01_001\n    fn door_open(key: i32) -> i32;\n}\n\
                // Tests_SRS_A_01_001\n#[test]\nfn b() {}\n";
    let project = package("").file("crates/a/src/lib.rs", code);
    assert_eq!(evidence(project.0.path()), ["SRS_A_01_001 code: door_open; unit: b"]);
}

#[rstest]
#[case::a_block("/* Codes_SRS_A_01_001 */\n#[inline]\npub fn a() {}")]
#[case::a_doc_comment("/// Codes_SRS_A_01_001\npub fn a() {}")]
#[case::a_line_of_a_doc_comment("/// Opens.\n/// Codes_SRS_A_01_001\n/// Always.\npub fn a() {}")]
#[case::a_doc_block("/** Codes_SRS_A_01_001 */\npub fn a() {}")]
#[case::a_doc_comment_below_an_attribute("#[inline]\n/// Codes_SRS_A_01_001\npub fn a() {}")]
#[case::a_block_in_a_body("pub fn a() {\n    /* Codes_SRS_A_01_001 */\n}")]
fn every_kind_of_comment_holds_tags(#[case] code: &str) {
    let test = "// Tests_SRS_A_01_001\n#[test]\nfn b() {}\n";
    let project = package("").file("crates/a/src/lib.rs", &format!("{code}\n{test}"));
    assert_eq!(evidence(project.0.path()), ["SRS_A_01_001 code: a; unit: b"]);
    assert_eq!(kinds(project.0.path()), [""; 0]);
}

#[test]
fn every_rust_test_may_need_a_tag() {
    let code = "// Codes_SRS_A_01_001\npub fn a() {}\n// Tests_SRS_A_01_001\n#[test]\nfn b() {}\n#[test]\nfn c() {}\n\
                // no-srs: it shows nothing.\n#[test]\nfn d() {}\nproptest! { #[test]\nfn e(x in 0..9) {} }\n";
    let project = package("untagged_tests = true\n").file("crates/a/src/lib.rs", code);
    let expected = ["crates/a/src/lib.rs:7 untagged-test", "crates/a/src/lib.rs:12 untagged-test"];
    assert_eq!(kinds(project.0.path()), expected);
}
