//! Tiny projects in temporary folders, and the report on them.
#![allow(unreachable_pub, dead_code, reason = "each test binary uses its part of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

pub const DOCUMENT: &str = "docs/srs/a.md";
pub const EXCEPTIONS: &str = "docs/srs/exceptions.toml";
pub const CODE: &str = "crates/a/src/lib.rs";
pub const UNIT: &str = "crates/a/tests/unit.rs";
pub const INTEGRATION: &str = "tests/integration.rs";
/// A sound project names its requirement so.
pub const ID: &str = "SRS_A_01_001";

/// A file of the crate's `fixtures`.
pub fn fixture(path: &str) -> PathBuf {
    Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("fixtures").join(path)
}

/// A project in a temporary folder.
pub struct Project(pub TempDir);

impl Project {
    pub fn empty() -> Self {
        Self(TempDir::new().unwrap())
    }

    /// One requirement, coded and tested.
    pub fn sound() -> Self {
        Self::empty()
            .file(DOCUMENT, "**SRS_A_01_001: [** `a` shall be. **]**\n")
            .file(CODE, "// Codes_SRS_A_01_001\npub fn a() {}\n")
            .file(UNIT, "// Tests_SRS_A_01_001\n#[test]\nfn a_is() {}\n")
            .file(INTEGRATION, "// Tests_SRS_A_01_001\n#[test]\nfn a_is() {}\n")
            .blessed()
    }

    /// Accepts the requirements as they are.
    pub fn blessed(self) -> Self {
        let report = self.report(&["--bless"]);
        assert_eq!((report.status, report.stderr.as_str()), (Some(0), ""));
        self
    }

    pub fn file(self, path: &str, text: &str) -> Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// Adds to a file that is there.
    pub fn append(self, path: &str, text: &str) -> Self {
        let before = fs::read_to_string(self.0.path().join(path)).unwrap();
        self.file(path, &(before + text))
    }

    pub fn report(&self, args: &[&str]) -> Report {
        Report::of(self.0.path(), args)
    }

    /// The status and the findings.
    pub fn findings(&self) -> (Option<i32>, Vec<String>) {
        let report = self.report(&["--check"]);
        assert_eq!(report.stderr, "");
        let findings = report.stdout.lines().filter(|line| line.contains(": error[")).map(str::to_owned).collect();
        (report.status, findings)
    }
}

pub struct Report {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Report {
    pub fn of(root: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_srs-report"));
        let Output { status, stdout, stderr } = command.arg("--root").arg(root).args(args).output().unwrap();
        let [stdout, stderr] = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
        Self { status: status.code(), stdout, stderr }
    }
}
