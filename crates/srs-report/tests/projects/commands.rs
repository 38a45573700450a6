//! What is no plain report: `--fix`, `--diff`, `--watch`, `--explain KIND`, csv, `init`, completions, the manual page.

use crate::common::{CODE, ID, Project, Report};
use crate::kinds;
use rstest::rstest;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

fn text_of(project: &Project, path: &str) -> String {
    fs::read_to_string(project.0.path().join(path)).unwrap()
}

#[rstest]
#[case::a_block("/*Codes_SRS_A_01_001: [ old\n   text ]*/", "/*Codes_SRS_A_01_001: [ a shall be. ]*/")]
#[case::line_comments("// Codes_SRS_A_01_001: [ old\n// text ]", "// Codes_SRS_A_01_001: [ a shall be. ]")]
#[case::no_end("/*Codes_SRS_A_01_001: [ old */", "/*Codes_SRS_A_01_001: [ a shall be. ]*/")]
#[case::equal_but_for_marks(
    "/*Codes_SRS_A_01_001: [ `a`   shall be. ]*/",
    "/*Codes_SRS_A_01_001: [ `a`   shall be. ]*/"
)]
fn fix_writes_the_documents_text_into_tags(#[case] before: &str, #[case] after: &str) {
    let project = Project::sound().file(CODE, &format!("{before}\npub fn a() {{}}\n"));
    let report = project.report(&["--fix", "--check"]);
    let count = usize::from(before != after);
    assert!(report.stdout.starts_with(&format!("{count} texts written in {count} files\n")), "{}", report.stdout);
    assert_eq!(text_of(&project, CODE), format!("{after}\npub fn a() {{}}\n"));
    assert_eq!(kinds(project.0.path()), [""; 0]);
}

#[test]
fn fix_does_not_end_a_comment_early() {
    let project = Project::sound()
        .file("docs/srs/a.md", "**SRS_A_01_001: [** `/* a */` shall be. **]**\n")
        .file(CODE, "/*Codes_SRS_A_01_001: [ old ]*/\npub fn a() {}\n")
        .blessed();
    let report = project.report(&["--fix"]);
    assert!(report.stdout.starts_with("0 texts written in 0 files, 1 left to you"), "{}", report.stdout);
    assert_eq!(kinds(project.0.path()), ["crates/a/src/lib.rs:1 text-differs"]);
}

fn git(project: &Project, args: &[&str]) {
    let config = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"];
    let output = Command::new("git").current_dir(project.0.path()).args(config).args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn diff_says_what_a_change_adds_loses_and_breaks() {
    let project = Project::sound();
    git(&project, &["init", "-q"]);
    git(&project, &["add", "-A"]);
    git(&project, &["commit", "-q", "-m", "a"]);
    let unchanged = project.report(&["--diff", "HEAD"]);
    assert_eq!((unchanged.status, unchanged.stderr.as_str()), (Some(0), ""));
    assert_eq!(unchanged.stdout, "# Requirements since `HEAD`\n\n1 requirements, now 1; 0 findings, now 0.\n");
    let project = project
        .file(
            "docs/srs/a.md",
            "# A\n\n**SRS_A_01_001: [** `a` shall not be. **]**\n\n**SRS_A_01_002: [** More. **]**\n",
        )
        .file(CODE, "pub fn a() {}\n");
    let report = project.report(&["--diff", "HEAD"]);
    assert_eq!(report.status, Some(1));
    for part in [
        "1 requirements, now 2; 0 findings, now ",
        "\n## New findings\n\n- `docs/srs/a.md:3`: **text-changed**: SRS_A_01_001",
        "\n## Lost evidence\n\n- SRS_A_01_001: code\n",
        "\n## Changed texts\n\n- SRS_A_01_001\n  - was: `a` shall be.\n  - is: `a` shall not be.\n",
        "\n## New requirements\n\n- SRS_A_01_002 (missing): More.\n",
    ] {
        assert!(report.stdout.contains(part), "{part}: {}", report.stdout);
    }
    let Report { status, stderr, .. } = project.report(&["--diff", "nowhere"]);
    assert_eq!((status, stderr.lines().count()), (Some(2), 1), "{stderr}");
    assert!(stderr.starts_with("error: git has no files of `nowhere`: "), "{stderr}");
}

#[test]
fn csv_has_a_line_per_requirement() {
    let project = Project::sound().file("docs/srs/a.md", "**SRS_A_01_001: [** \"a\", as it is. **]**\n").blessed();
    let report = project.report(&["--format", "csv"]);
    let lines: Vec<&str> = report.stdout.split("\r\n").collect();
    assert_eq!(lines[0], "id,status,document,line,text,code,unit,integration,findings");
    let places = "crates/a/src/lib.rs:1,crates/a/tests/unit.rs:1,tests/integration.rs:1,";
    assert_eq!(lines[1], format!("SRS_A_01_001,traced,docs/srs/a.md,1,\"\"\"a\"\", as it is.\",{places}"));
}

#[test]
fn a_kind_of_finding_is_explained() {
    let report = Project::empty().report(&["--explain", "orphan-tag"]);
    let expected = "orphan-tag\n  A tag stands above no item and inside none.\n  To mend it: put it directly above a function, \
                    a test or a type, or into a function's body.\n";
    assert_eq!((report.status, report.stdout.as_str()), (Some(0), expected));
}

#[rstest]
#[case::c("devdoc/a.md", "**SRS_A_01_001: [** One. **]**\n", "src/a.c", "preset = \"c-build-tools\"")]
#[case::open_fast_trace("doc/a.md", "`req~a~1`\n\nOne.\n", "src/A.java", "preset = \"openfasttrace\"")]
#[case::other_ids("spec/a.md", "**REQ-1: [** One. **]**\n", "lib/a.py", "id = 'REQ\\-[0-9]+'")]
#[case::other_folders("spec/a.md", "**SRS_A_01_001: [** One. **]**\n", "lib/a.py", "code = [\"lib\"]")]
fn init_writes_settings_that_fit(#[case] document: &str, #[case] text: &str, #[case] source: &str, #[case] line: &str) {
    let project = Project::empty().file(document, text).file(source, "").file("tests/t.py", "");
    let report = project.report(&["init"]);
    assert_eq!((report.status, report.stderr.as_str()), (Some(0), ""));
    let settings = text_of(&project, "srs.toml");
    assert!(settings.lines().any(|it| it == line), "{settings}");
    assert!(report.stdout.ends_with(&settings), "{}", report.stdout);
    let report = project.report(&["--check"]);
    assert_eq!((report.status, report.stderr.as_str()), (Some(1), ""), "{settings}");
    let again = project.report(&["init"]);
    assert!(again.stderr.ends_with("srs.toml is there already\n"), "{}", again.stderr);
}

#[test]
fn shells_and_manuals_know_the_options() {
    for args in [["completions", "bash"].as_slice(), &["completions", "zsh"], &["completions", "fish"], &["man"]] {
        let report = Project::empty().report(args);
        assert_eq!((report.status, report.stderr.as_str()), (Some(0), ""));
        assert!(report.stdout.contains("explain") && report.stdout.contains("srs-report"), "{args:?}");
    }
}

#[test]
fn watch_reports_again_when_a_file_changes() {
    let project = Project::sound();
    let mut watcher = Command::new(env!("CARGO_BIN_EXE_srs-report"))
        .args(["--check", "--watch", "--root"])
        .arg(project.0.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(watcher.stderr.take().unwrap()).lines();
    let waits = |line: std::io::Result<String>| line.unwrap().starts_with("srs-report: waiting for a change in ");
    assert!(told.by_ref().any(waits));
    fs::write(project.0.path().join(CODE), "pub fn a() {}\n").unwrap();
    assert!(told.by_ref().any(waits));
    watcher.kill().unwrap();
    let output = watcher.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("no findings\n"), "{stdout}");
    assert!(stdout.ends_with("1 finding\n") && stdout.contains(&format!("error[not-coded]: {ID}")), "{stdout}");
}

#[test]
fn the_project_is_the_nearest_folder_around_with_settings() {
    let project = Project::sound().file("srs.toml", "").file("crates/a/src/deep/README.md", "");
    let mut command = Command::new(env!("CARGO_BIN_EXE_srs-report"));
    let output = command.current_dir(project.0.path().join("crates/a/src/deep")).arg("--check").output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().ends_with("no findings\n"));
}
