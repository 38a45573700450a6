//! The parsers of `srs-report`: for arbitrary files they make a report or an error, and never panic.
//!
//! An input is the text of the project's files, one after the other, between lines that say `===`.

#![no_main]

use clap::Parser;
use libfuzzer_sys::fuzz_target;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const SEPARATOR: &str = "\n===\n";

/// The files of a project, in the order of an input.
const FILES: [&str; 11] = [
    "docs/srs/a.md",
    "crates/a/src/lib.rs",
    "crates/a/tests/unit.rs",
    "docs/srs/exceptions.toml",
    "docs/decisions.md",
    RESULTS,
    "mutants.out/outcomes.json",
    "mutants.out/log",
    "crates/a/src/b.c",
    "crates/a/src/c.py",
    "srs.toml",
];
const RESULTS: &str = "results.xml";

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: srs_report::Args,
}

fuzz_target!(|input: String| {
    let project = TempDir::with_prefix_in("fuzz-", memory()).expect("a folder");
    let root = project.path();
    let texts = input.split(SEPARATOR);
    for (file, text) in FILES.iter().zip(texts) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().expect("in a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    report(root, &["--format", "json"]);
    report(root, &["--check"]);
    if root.join(RESULTS).exists() {
        report(root, &["--results", &root.join(RESULTS).display().to_string(), "--format", "html"]);
        report(root, &["--mutants", &root.join("mutants.out").display().to_string()]);
    }
});

fn report(root: &Path, args: &[&str]) {
    let (root, output) = (root.display().to_string(), root.join("report").display().to_string());
    let fixed = ["srs-report", "--root", &root, "--output", &output];
    let cli = Cli::try_parse_from(fixed.iter().chain(args)).expect("the arguments are right");
    let _ = srs_report::run(&cli.args, Path::new("."));
}

/// Files that need no disk.
fn memory() -> &'static Path {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory } else { Path::new("/tmp") }
}
