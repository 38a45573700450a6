//! A generated C repository in the style of C build tools: documents in `*/devdoc`, sources with quoted texts, tests in
//! `tests/*_ut` and `tests/*_int`, another project in `deps`. Every count is known before.

use crate::common::{Project, Report};
use crate::{json, kinds};
use std::fmt::Write as _;

const SIDES: [&str; 3] = ["common", "linux", "win32"];
const MODULES: usize = 12;
const PER_MODULE: usize = 10;

/// A requirement's number within its module decides how it is written.
fn text(module: usize, number: usize) -> (String, String) {
    let marked = format!("If `arg` is `NULL`, `mod{module}_f{number}` shall fail & return a value > 0.");
    let plain = marked.replace('`', "");
    (marked, plain)
}

fn document(module: usize) -> String {
    let mut text_of = format!("# mod{module}\n\n```c\nMOCKABLE_FUNCTION(, int, mod{module}_f0, void*, arg);\n```\n\n");
    for number in 0..PER_MODULE {
        let id = format!("SRS_MOD{module}_07_{number:03}");
        let (text, _) = text(module, number);
        let line = match number % 4 {
            0 => format!("**{id}: [** {text} **]**\n\n"),
            1 => format!("**{id}: [**{text}**]**\n\n"),
            2 => format!("- **{id}: [** {text} **]**\n\n"),
            _ => format!("    - **{id}: [** {text} **]**\n\n"),
        };
        text_of += &line;
    }
    text_of + "**NON_SRS_MOD_07_999: [** It is switched off. **]**\n"
}

fn source(module: usize) -> String {
    let mut code =
        "#include <stdlib.h>\n#include \"mod.h\"\n\nMU_DEFINE_ENUM_STRINGS(RESULT, RESULT_VALUES)\n\n".to_owned();
    for number in 0..PER_MODULE {
        let id = format!("SRS_MOD{module}_07_{number:03}");
        let (_, text) = text(module, number);
        let tag = match number % 3 {
            0 => format!("/*Codes_{id}: [ {text} ]*/"),
            1 => format!("// Codes_{id}: [ {text} ]"),
            _ => format!("/*Codes_{id}: [ {} ]*/", text.replace(" shall", "\n        shall")),
        };
        write!(code, "int mod{module}_f{number}(void* arg)\n{{\n    if (arg == NULL)\n    {{\n        {tag}\n        return 1;\n    }}\n    return 0;\n}}\n\n").unwrap();
    }
    code
}

fn tests(module: usize, suite: &str, numbers: impl Iterator<Item = usize>) -> String {
    let mut code = format!(
        "#include \"testrunnerswitcher.h\"\n\nBEGIN_TEST_SUITE({suite})\n\nTEST_SUITE_INITIALIZE(init)\n{{\n}}\n\n"
    );
    for number in numbers {
        let id = format!("SRS_MOD{module}_07_{number:03}");
        let (_, text) = text(module, number);
        let head = if number == 1 {
            format!("PARAMETERIZED_TEST_FUNCTION(test_{number}, ARGS(int, a), CASE((0), x), CASE((1), y))")
        } else {
            format!("TEST_FUNCTION(test_{number})")
        };
        write!(code, "/*Tests_{id}: [ {text} ]*/\n{head}\n{{\n    ASSERT_ARE_NOT_EQUAL(int, 0, mod{module}_f{number}(NULL));\n}}\n\n").unwrap();
    }
    code + &format!("END_TEST_SUITE({suite})\n")
}

fn generated() -> Project {
    let mut project = Project::empty()
        .file("srs.toml", "preset = \"c-build-tools\"\n")
        .file("deps/other/devdoc/other.md", "**SRS_OTHER_01_001: [** Of another project. **]**\n")
        .file("deps/other/src/other.c", "/*Codes_SRS_OTHER_01_001: [ Of another project. ]*/\nint other(void);\n")
        .file(".gitmodules", "[submodule \"x\"]\n\tpath = extern/x\n\turl = https://example.org/x\n")
        .file("extern/x/src/x.c", "/*Codes_SRS_X_01_001*/\nint x(void);\n");
    for module in 0..MODULES {
        let side = SIDES[module % SIDES.len()];
        let (ut, int) = (format!("mod{module}_ut"), format!("mod{module}_int"));
        project = project
            .file(&format!("{side}/devdoc/mod{module}_requirements.md"), &document(module))
            .file(&format!("{side}/src/mod{module}.c"), &source(module))
            .file(&format!("{side}/tests/{ut}/{ut}.c"), &tests(module, &ut, 0..PER_MODULE))
            .file(&format!("{side}/tests/{int}/{int}.c"), &tests(module, &int, (0..PER_MODULE).step_by(2)));
    }
    project
}

#[test]
fn the_counts_of_a_c_repository_are_exact() {
    let project = generated();
    assert_eq!(kinds(project.0.path()), [""; 0]);
    let report = json(project.0.path(), &[]);
    let documents = report["documents"].as_array().unwrap();
    let rows: Vec<_> = documents.iter().flat_map(|it| it["requirements"].as_array().unwrap()).collect();
    let count = |aspect: &str| rows.iter().map(|row| row["evidence"][aspect].as_array().unwrap().len()).sum::<usize>();
    let all = MODULES * PER_MODULE;
    assert_eq!((documents.len(), rows.len()), (MODULES, all));
    assert_eq!((count("code"), count("unit"), count("integration")), (all, all, all / 2));
    assert_eq!(report["tags"], 2 * all + all / 2);
    assert!(rows.iter().all(|row| row["status"] == "traced"));
}

#[test]
fn every_way_of_running_a_c_repository_s_tests_joins() {
    let project = generated();
    let mut suite = String::new();
    for module in 0..MODULES {
        write!(suite, "<testcase name=\"mod{module}_ut\" classname=\"mod{module}_ut\"/><testcase name=\"mod{module}_int\" classname=\"mod{module}_int\"/>").unwrap();
    }
    let project = project.file("ctest.xml", &format!("<testsuite name=\"Linux-c\">{suite}</testsuite>"));
    let results = project.0.path().join("ctest.xml");
    let Report { stdout, .. } = project.report(&["--check", "--results", results.to_str().unwrap()]);
    assert!(stdout.ends_with(&format!("requirements: {} proven\nno findings\n", MODULES * PER_MODULE)), "{stdout}");
}
