//! C, C++ and languages that are read by their comments.

use crate::common::Project;
use crate::{evidence, kinds, only_code};
use rstest::rstest;

/// A project in the style of C build tools, with these requirements' texts.
fn c_project(texts: &[&str]) -> Project {
    let requirement = |(number, text): (usize, &&str)| format!("**SRS_A_01_{:03}: [** {text} **]**\n\n", number + 1);
    let document: String = texts.iter().enumerate().map(requirement).collect();
    Project::empty()
        .file("srs.toml", "preset = \"c-build-tools\"\nrequired = [\"code\"]\n")
        .file("devdoc/a.md", &document)
}

#[rstest]
#[case::above_a_function("/*Codes_SRS_A_01_001: [ One. ]*/\nint f(void)\n{\n    return 1;\n}\n", "f")]
#[case::above_a_function_with_a_blank_line("/*Codes_SRS_A_01_001*/\n\nint f(void) { return 1; }\n", "f")]
#[case::in_a_function("int f(void)\n{\n    // Codes_SRS_A_01_001: [ One. ]\n    return 1;\n}\n", "f")]
#[case::behind_code("int f(void)\n{\n    return 1; /* Codes_SRS_A_01_001 */\n}\n", "f")]
#[case::above_a_macro("/*Codes_SRS_A_01_001*/\n#define M(x) x\n", "M")]
#[case::in_a_macro("#define M(x) do { \\\n    /*Codes_SRS_A_01_001: [ One. ]*/ \\\n    f(x); \\\n} while (0)\n", "M")]
#[case::above_a_declaration("/*Codes_SRS_A_01_001*/\nextern int f(int a);\n", "f")]
#[case::above_a_mockable("/*Codes_SRS_A_01_001*/\nMOCKABLE_FUNCTION(, int, f, int, a);\n", "MOCKABLE_FUNCTION")]
#[case::above_a_table("/*Codes_SRS_A_01_001*/\nstatic const char* const table[] =\n{\n    \"a\"\n};\n", "table")]
#[case::in_a_table("static const int table[] =\n{\n    1, /*Codes_SRS_A_01_001*/\n    2\n};\n", "table")]
#[case::above_a_type("/*Codes_SRS_A_01_001*/\ntypedef struct A_TAG { int b; } A;\n", "A")]
#[case::above_a_member("typedef struct A_TAG\n{\n    /*Codes_SRS_A_01_001*/\n    int b;\n} A;\n", "A::b")]
#[case::above_an_enumerator("enum E\n{\n    A,\n    /*Codes_SRS_A_01_001*/\n    B\n};\n", "E::B")]
#[case::above_a_condition("/*Codes_SRS_A_01_001*/\n#ifdef X\nint f(void) { return 1; }\n#endif\n", "f")]
#[case::in_a_function_of_two_heads(
    "#ifdef X\nint f(void) {\n#else\nint f(int a) {\n#endif\n/*Codes_SRS_A_01_001*/\n}\n",
    "f"
)]
#[case::above_a_macro_alone(
    "/*Codes_SRS_A_01_001*/\nDEFINE_ENUM(A, A_VALUES)\nint f(void) { return 1; }\n",
    "DEFINE_ENUM"
)]
#[case::above_what_no_parser_knows(
    "/*Codes_SRS_A_01_001*/\ntypedef struct DEPRECATED_WITH_NOTE(\"a\") {\n  int b;\n} A;\n",
    "DEPRECATED_WITH_NOTE"
)]
#[case::in_extern_c(
    "#ifdef __cplusplus\nextern \"C\" {\n#endif\n/*Codes_SRS_A_01_001*/\nint f(void);\n#ifdef __cplusplus\n}\n#endif\n",
    "f"
)]
fn a_c_tag_attaches_to(#[case] code: &str, #[case] item: &str) {
    let project = c_project(&["One."]).file("src/a.c", code);
    assert_eq!(evidence(project.0.path()), [format!("SRS_A_01_001 code: {item}")]);
    assert_eq!(kinds(project.0.path()), [""; 0]);
}

#[rstest]
#[case::several_in_one("/* Codes_SRS_A_01_001: [ One, [a] two. ], Codes_SRS_A_01_002: [ Three. ] */")]
#[case::over_several_lines("/*Codes_SRS_A_01_001: [ One,\n *   [a] two. ]\n * Codes_SRS_A_01_002: [ Three. ]*/")]
#[case::line_comments("// Codes_SRS_A_01_001: [ One,\n// [a] two. ]\n// Codes_SRS_A_01_002: [ Three. ]")]
#[case::without_blanks("/*Codes_SRS_A_01_001:[One, [a] two.]*/\n/*Codes_SRS_A_01_002:[Three.]*/")]
fn several_tags_with_texts_are_read(#[case] comment: &str) {
    let project = c_project(&["`One`, [a] **two**.", "Three."]).file("src/a.c", &format!("{comment}\nint f(void);\n"));
    assert_eq!(evidence(project.0.path()), ["SRS_A_01_001 code: f", "SRS_A_01_002 code: f"]);
    assert_eq!(kinds(project.0.path()), [""; 0]);
}

#[rstest]
#[case::macro_utils("TEST_FUNCTION(t) { }", "t")]
#[case::macro_utils_with_cases("PARAMETERIZED_TEST_FUNCTION(t, ARGS(int, a), CASE((1), one)) { }", "t")]
#[case::gtest("TEST(Suite, t) { }", "t")]
#[case::gtest_fixture("TEST_F(Suite, t) { }", "t")]
#[case::gtest_parameter("TEST_P(Suite, t) { }", "t")]
#[case::unity("void test_t(void) { }", "test_t")]
#[case::check("START_TEST(t)\n{\n}\nEND_TEST", "t")]
#[case::catch2("TEST_CASE(\"t works\", \"[tag]\") { }", "t works")]
#[case::criterion("Test(suite, t) { }", "t")]
#[case::testrunnerswitcher("CTEST_FUNCTION(t) { }", "t")]
#[case::own_macro("MY_TEST(t) { }", "t")]
#[case::own_function("static void t_works(void) { }", "t_works")]
fn a_test_is_known_by_its_framework(#[case] test: &str, #[case] name: &str) {
    let settings = "preset = \"c-build-tools\"\n[tests]\nmacros = [\"MY_*\"]\nfunctions = \"^test_|_works$\"\n";
    let project =
        c_project(&["One."]).file("srs.toml", settings).file("src/a.c", "/*Codes_SRS_A_01_001*/\nint f(void);\n").file(
            "tests/a_ut/a_ut.c",
            &format!("BEGIN_TEST_SUITE(a)\n/*Tests_SRS_A_01_001: [ One. ]*/\n{test}\nEND_TEST_SUITE(a)\n"),
        );
    assert_eq!(evidence(project.0.path()), [format!("SRS_A_01_001 code: f; unit: {name}")]);
    assert_eq!(kinds(project.0.path()), [""; 0]);
}

#[test]
fn a_helper_of_tests_is_no_test() {
    let project = c_project(&["One."])
        .file("src/a.c", "/*Codes_SRS_A_01_001*/\nint f(void);\n")
        .file("tests/a_ut/a_ut.c", "/*Tests_SRS_A_01_001*/\nstatic void setup(void) { }\n");
    assert_eq!(kinds(project.0.path()), ["tests/a_ut/a_ut.c:1 test-tag-on-code"]);
}

#[rstest]
#[case("a.h")]
#[case("a.hpp")]
#[case("a.cpp")]
#[case("a.cc")]
#[case("a.cxx")]
#[case("a.inl")]
fn cpp_has_classes_namespaces_and_templates(#[case] file: &str) {
    let code = "namespace n {\nclass A {\npublic:\n    // Codes_SRS_A_01_001\n    void f() { }\n};\n\
                // Codes_SRS_A_01_002\ntemplate <typename T> T g(T a) { return a; }\n}\n";
    let project = c_project(&["One.", "Two."]).file(&format!("src/{file}"), code);
    assert_eq!(evidence(project.0.path()), ["SRS_A_01_001 code: n::A::f", "SRS_A_01_002 code: n::g"]);
}

#[test]
fn every_test_needs_a_tag_only_if_the_project_says_so() {
    let tests = "/*Tests_SRS_A_01_001*/\nTEST_FUNCTION(a) { }\nTEST_FUNCTION(b) { }\n// no-srs\nTEST_FUNCTION(c) { }\n\
                 TEST_FUNCTION(d)\n{\n    // Tests_SRS_A_01_001\n}\n";
    let project =
        c_project(&["One."]).file("src/a.c", "/*Codes_SRS_A_01_001*/\nint f(void);\n").file("tests/a_ut/a_ut.c", tests);
    assert_eq!(kinds(project.0.path()), [""; 0]);
    let project = project.append("srs.toml", "untagged_tests = true\n");
    assert_eq!(kinds(project.0.path()), ["tests/a_ut/a_ut.c:3 untagged-test"]);
}

#[rstest]
#[case::python("a.py", "# Codes_SRS_A_01_001\ndef f(x):\n    pass\n")]
#[case::python_inside("a.py", "def f(x):\n    # Codes_SRS_A_01_001\n    pass\n")]
#[case::go("a.go", "// Codes_SRS_A_01_001\nfunc f(x int) int {\n}\n")]
#[case::typescript("a.ts", "/* Codes_SRS_A_01_001 */\nexport function f(x: number) {\n}\n")]
#[case::csharp("A.cs", "class A\n{\n    // Codes_SRS_A_01_001\n    public void f(int x)\n    {\n    }\n}\n")]
#[case::java("A.java", "class A {\n    // Codes_SRS_A_01_001\n    @Override\n    public int f(int x) {\n    }\n}\n")]
fn other_languages_are_read_by_their_comments(#[case] file: &str, #[case] code: &str) {
    let project = only_code("[levels]\ncode = [\"src\"]\n").file(&format!("src/{file}"), code).blessed();
    assert_eq!(evidence(project.0.path()), ["SRS_A_01_001 code: f"]);
    assert_eq!(kinds(project.0.path()), [""; 0]);
}

#[test]
fn a_test_tag_makes_a_test_where_no_parser_knows_better() {
    let project = only_code("[levels]\ncode = [\"src\"]\nunit = [\"**/*_test.go\"]\n")
        .file("src/a.go", "// Codes_SRS_A_01_001\nfunc F() {\n}\n")
        .file("src/a_test.go", "// Tests_SRS_A_01_001\nfunc TestF(t *testing.T) {\n}\n")
        .blessed();
    assert_eq!(evidence(project.0.path()), ["SRS_A_01_001 code: F; unit: TestF"]);
}
