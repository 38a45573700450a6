//! `srs-report --prove --own-tests` and the file that it writes.
#![allow(clippy::unwrap_used, reason = "clippy's allow-unwrap-in-tests does not see the helpers of tests")]

mod common;

use common::{CODE, DOCUMENT, INTEGRATION, Project, UNIT};
use rstest::rstest;
use std::fs;
use std::process::{Command, Stdio};

const PROVEN: &str = "docs/srs/proven.toml";

fn proven(project: &Project) -> String {
    let text = fs::read_to_string(project.0.path().join(PROVEN)).unwrap();
    text.lines().filter(|line| line.starts_with("SRS_")).map(|line| format!("{line}\n")).collect()
}

fn with_proof(entry: &str) -> Project {
    Project::sound().file(PROVEN, &format!("[requirements]\nSRS_A_01_001 = {{ {entry} }}\n"))
}

#[rstest]
#[case::proven("unit = \"noticed\", integration = \"noticed\"", "1 of 1", "1 at", "0 and 0")]
#[case::in_part("unit = \"partly-noticed 1/2\", integration = \"noticed\"", "0 of 1", "1 at", "1 and 0")]
#[case::not_at_all("unit = \"not-noticed\", integration = \"not-tried\"", "0 of 1", "0 at", "0 and 0")]
#[case::nothing_to_notice("unit = \"no-viable-mutant\"", "0 of 1", "0 at", "0 and 0")]
fn the_report_has_the_sum(#[case] entry: &str, #[case] unit: &str, #[case] integration: &str, #[case] partly: &str) {
    let project = with_proof(entry);
    let line = format!(
        "{unit} requirements are proven by mutation at unit level, {integration} integration level; in part {partly} more"
    );
    for format in ["text", "markdown", "html"] {
        let report = project.report(&["--format", format]);
        assert!(report.stdout.contains(&line), "{format}: {}", report.stdout);
    }
    let explained = project.report(&["--explain", "SRS_A_01_001"]).stdout;
    assert!(explained.contains("its own tests: unit "), "{explained}");
}

#[test]
fn a_project_without_the_file_has_no_sum_and_no_finding() {
    let report = Project::sound().report(&[]);
    assert_eq!(report.status, Some(0));
    assert!(!report.stdout.contains("proven by mutation"), "{}", report.stdout);
}

#[test]
fn a_lost_proof_with_a_reason_is_accepted() {
    let lost = "unit = \"not-noticed\", integration = \"noticed\", lost = [\"unit\"]";
    let (status, findings) = with_proof(lost).findings();
    assert_eq!((status, findings.len()), (Some(1), 1), "{findings:?}");
    let (status, findings) = with_proof(&format!("{lost}, reason = \"It is shown by eye.\"")).findings();
    assert_eq!((status, findings.len()), (Some(0), 0), "{findings:?}");
}

#[test]
fn an_absent_test_with_a_reason_is_accepted() {
    let absent = "unit = \"noticed\", integration = \"noticed\", absent = [\"a::unit b\"]";
    assert_eq!(with_proof(absent).findings().0, Some(1));
    assert_eq!(with_proof(&format!("{absent}, reason = \"A model checker runs it.\"")).findings().0, Some(0));
}

#[test]
fn a_word_that_is_no_verdict_is_unusable() {
    let report = with_proof("unit = \"proven\"").report(&[]);
    assert_eq!(report.status, Some(2));
    assert_eq!(report.stderr, "error: docs/srs/proven.toml:2: `proven` is no verdict\n");
}

#[test]
fn blessing_gives_every_requirement_an_entry_and_keeps_what_is_proven() {
    let project = with_proof("unit = \"noticed\"")
        .append(PROVEN, "SRS_A_01_009 = { unit = \"noticed\" }\n")
        .file(DOCUMENT, "**SRS_A_01_001: [** a **]**\n\n**SRS_A_01_002: [** b **]**\n")
        .blessed();
    let expected = "SRS_A_01_001 = { unit = \"noticed\" }\n\
                    SRS_A_01_002 = { unit = \"not-tried\", integration = \"not-tried\" }\n";
    assert_eq!(proven(&project), expected);
}

/// A workspace of small functions, some with good tests and some with bad ones.
fn workspace() -> Project {
    let manifest = |name: &str, rest: &str| {
        format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n{rest}")
    };
    let code = "#![no_std]\n// Codes_SRS_A_01_001\npub fn add(a: u8, b: u8) -> u8 { a + b }\n\
                // Codes_SRS_A_01_002\npub fn sub(a: u8, b: u8) -> u8 { a - b }\n\
                // Codes_SRS_A_01_003\npub fn turns(n: u8) -> u8 { let mut i = 0; while i < n { i += 1; } i }\n\
                // Codes_SRS_A_01_004\npub const fn three() -> u8 { 1 + 2 }\n\
                // Codes_SRS_A_01_005\npub fn lock() -> Odd { Odd { f: 1 } }\npub struct Odd { pub f: u8 }\n\
                pub type Handle = *mut u8;\n\
                // Codes_SRS_A_01_006\npub unsafe extern \"C\" fn same(a: Handle) -> Handle { a }\n\
                pub fn sort(a: u8) -> u8 {\n    // Codes_SRS_A_01_007\n    if a > 9 {\n        return 1;\n    }\n    \
                match a {\n        // Codes_SRS_A_01_008\n        3 => 4,\n        _ => 5,\n    }\n}\n";
    let unit = "// Tests_SRS_A_01_001\n#[test]\nfn adds() { assert_eq!(a::add(2, 3), 5); }\n\
                // Tests_SRS_A_01_002\n#[test]\nfn calls_sub() { let _ = a::sub(9, 1); }\n\
                // Says of its neighbour what that does not say itself.\n#[test]\nfn subtracts() { assert_eq!(a::sub(9, 1), 8); }\n\
                // Tests_SRS_A_01_003\n#[test]\nfn goes_on() { assert_eq!(a::turns(3), 3); }\n\
                // Tests_SRS_A_01_004\n#[test]\nfn is_three() { assert_eq!(a::three(), 3); }\n\
                // Tests_SRS_A_01_005\n#[test]\nfn locks() { assert_eq!(a::lock().f, 1); }\n\
                // Tests_SRS_A_01_006\n#[test]\nfn passes_on() { assert!(!unsafe { a::same(&mut 1) }.is_null()); }\n\
                // Tests_SRS_A_01_007\n#[test]\nfn nine() { assert_eq!((a::sort(9), a::sort(10)), (5, 1)); }\n\
                // Tests_SRS_A_01_008\n#[test]\nfn two() { assert_eq!(a::sort(2), 5); }\n";
    let integration = "// Tests_SRS_A_01_001, Tests_SRS_A_01_003, Tests_SRS_A_01_004, Tests_SRS_A_01_005\n#[test]\nfn is_positive() { assert!(a::add(2, 3) > 2); }\n\
                       // Tests_SRS_A_01_002\n#[test]\n#[ignore]\nfn is_never_run() { assert_eq!(a::sub(9, 1), 8); }\n";
    let ids = (1..=8).map(|number| format!("**SRS_A_01_00{number}: [** {number} **]**\n\n")).collect::<String>();
    Project::empty()
        .file("Cargo.toml", "[workspace]\nmembers = [\"crates/a\", \"tests\"]\nresolver = \"2\"\n")
        .file("crates/a/Cargo.toml", &manifest("a", ""))
        .file(
            "tests/Cargo.toml",
            &manifest("house", "[lib]\npath = \"lib.rs\"\n[dependencies]\na = { path = \"../crates/a\" }\n[[test]]\nname = \"integration\"\npath = \"integration.rs\"\n"),
        )
        .file("tests/lib.rs", "")
        .file(DOCUMENT, &ids)
        .file(CODE, code)
        .file(UNIT, unit)
        .file(INTEGRATION, integration)
        .blessed()
}

/// Needs cargo-mutants, as `--own-tests` does; CI installs it at night.
#[test]
fn own_tests_prove_what_they_notice_and_nothing_else() {
    let mutants =
        Command::new("cargo").args(["mutants", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !mutants.is_ok_and(|status| status.success()) {
        let report = workspace().report(&["--prove", "--own-tests"]);
        assert_eq!(report.stderr, "error: --own-tests needs cargo-mutants: cargo install --locked cargo-mutants\n");
        return;
    }
    let project = workspace();
    let prove = |more: &[&str]| {
        let report = project.report(&[&["--prove", "--own-tests", "--check", "--limit", "2"], more].concat());
        assert!(
            report.stdout.contains("error[proof-of-no-test]: SRS_A_01_002: "),
            "{}{}",
            report.stdout,
            report.stderr
        );
        report
    };

    // Leaves time for only the build, which finds the mutants that do not compile.
    prove(&["--minutes", "0"]);
    let untried = "unit = \"not-tried\", integration = \"not-tried\"";
    assert!(proven(&project).contains(&format!("SRS_A_01_001 = {{ {untried} }}")), "{}", proven(&project));
    assert!(!proven(&project).contains("noticed"), "{}", proven(&project));

    let first = prove(&[]);

    // The mutants of a function return another value or use another operator. Only the constant function needs a build
    // of its own. No replacement of an `Odd` compiles, but
    // a null pointer replaces the handle. A tag above a part of a function counts what breaks the part, and the test of
    // 007 would not notice what breaks the other part.
    let expected = "\
SRS_A_01_001 = { unit = \"noticed\", integration = \"partly-noticed 3/4\" }
SRS_A_01_002 = { unit = \"not-noticed\", integration = \"not-tried\", absent = [\"house::integration is_never_run\"] }
SRS_A_01_003 = { unit = \"noticed\", integration = \"not-noticed\" }
SRS_A_01_004 = { unit = \"noticed\", integration = \"not-noticed\" }
SRS_A_01_005 = { unit = \"reached\", integration = \"not-noticed\" }
SRS_A_01_006 = { unit = \"noticed\" }
SRS_A_01_007 = { unit = \"noticed\" }
SRS_A_01_008 = { unit = \"not-noticed\" }
";
    assert_eq!(proven(&project), expected, "{}", first.stderr);
    assert!(
        first.stdout.contains("5 of 8 requirements are proven by mutation at unit level, 0 at"),
        "{}",
        first.stdout
    );

    let second = prove(&[]);
    assert!(second.stderr.contains(" 0 of "), "nothing has changed, so nothing is tried: {}", second.stderr);
    assert_eq!(proven(&project), expected);

    // The test no longer notices anything: its proof is lost, and the other proofs stay.
    let unit = fs::read_to_string(project.0.path().join(UNIT)).unwrap();
    fs::write(project.0.path().join(UNIT), unit.replace("assert_eq!(a::add(2, 3), 5)", "a::add(2, 3)")).unwrap();
    let third = prove(&["--only", "SRS_A_01_001"]);
    assert!(
        third.stdout.contains("error[proof-lost]: SRS_A_01_001: its unit tests noticed more once"),
        "{}",
        third.stdout
    );
    let lines: Vec<String> = proven(&project).lines().map(str::to_owned).collect();
    assert!(lines[0].contains("lost = [\"unit\"]"), "{}", lines[0]);
    assert_eq!(lines[1..], expected.lines().collect::<Vec<_>>()[1..]);
}
