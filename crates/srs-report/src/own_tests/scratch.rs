//! A copy of the project for the mutants, with its own sources and its own build output.

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use walkdir::{DirEntry, WalkDir};

/// The copy.
#[derive(Debug)]
pub(super) struct Scratch {
    pub(super) tree: PathBuf,
    build: PathBuf,
    /// For each package id of cargo, the package's name and folder.
    packages: HashMap<String, (String, PathBuf)>,
}

/// Test binaries in cargo's terms: by package, and by kind and name.
#[derive(Debug, Default)]
pub(super) struct Targets {
    pub(super) packages: BTreeSet<String>,
    pub(super) tests: BTreeSet<String>,
    pub(super) libraries: bool,
}

/// A test binary.
#[derive(Debug, Clone)]
pub(super) struct Binary {
    /// nextest's name.
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// The folder in which cargo starts it.
    pub(super) folder: PathBuf,
}

/// The outcome of a build.
#[derive(Debug)]
pub(super) enum Built {
    Binaries(Vec<Binary>),
    /// The files and lines that the compiler rejects, and the first message.
    Errors(Vec<(String, usize)>, String),
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    manifest_path: PathBuf,
}

impl Scratch {
    /// Makes the copy, or updates the copy of an earlier run. `changed` has the texts of the changed files.
    pub(super) fn of(root: &Path, folder: &Path, changed: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let tree = folder.join("tree");
        let mut wanted = BTreeSet::new();
        for entry in WalkDir::new(root).into_iter().filter_entry(|entry| !is_output(entry)) {
            let entry = entry?;
            let path = entry.path().strip_prefix(root)?;
            if entry.file_type().is_file() {
                wanted.insert(path.to_owned());
                let new = match path.to_str().and_then(|path| changed.get(path)) {
                    Some(text) => text.clone().into_bytes(),
                    None => fs::read(entry.path()).with_context(|| format!("cannot read {}", path.display()))?,
                };
                write_if_changed(&tree.join(path), &new)?;
            }
        }
        // Cargo could find files that the project no longer has.
        for entry in WalkDir::new(&tree).into_iter().filter_entry(|entry| !is_output(entry)) {
            let entry = entry?;
            if entry.file_type().is_file() && !wanted.contains(entry.path().strip_prefix(&tree)?) {
                fs::remove_file(entry.path())?;
            }
        }
        let metadata = Command::new("cargo")
            .current_dir(&tree)
            .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
            .stdin(Stdio::null())
            .output()
            .context("cannot start cargo metadata")?;
        let Metadata { packages } = serde_json::from_slice(&metadata.stdout).context("cannot read cargo metadata")?;
        let folder_of = |package: &Package| package.manifest_path.parent().map(Path::to_owned).unwrap_or_default();
        let packages = packages.iter().map(|it| (it.id.clone(), (it.name.clone(), folder_of(it)))).collect();
        Ok(Self { tree, build: folder.join("build"), packages })
    }

    /// Writes a file of the copy.
    pub(super) fn write(&self, path: &str, text: &str) -> anyhow::Result<()> {
        write_if_changed(&self.tree.join(path), text.as_bytes())
    }

    /// Builds test binaries.
    pub(super) fn build(&self, targets: &Targets) -> anyhow::Result<Built> {
        let mut command = Command::new("cargo");
        command.current_dir(&self.tree).args(["test", "--no-run", "--all-features", "--message-format=json"]);
        for package in &targets.packages {
            command.args(["--package", package]);
        }
        for test in &targets.tests {
            command.args(["--test", test]);
        }
        if targets.libraries {
            command.arg("--lib");
        }
        command.env("CARGO_TARGET_DIR", &self.build).env("CARGO_INCREMENTAL", "1");
        let output = command.stdin(Stdio::null()).output().context("cannot start cargo test")?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        let messages: Vec<Value> = stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        if output.status.success() {
            return Ok(Built::Binaries(messages.iter().filter_map(|message| self.binary(message)).collect()));
        }
        let errors = messages.iter().map(|message| &message["message"]).filter(|it| it["level"] == "error");
        let errors: Vec<&Value> = errors.collect();
        let Some(first) = errors.first() else {
            bail!("cargo test does not build: {}", String::from_utf8_lossy(&output.stderr).trim_end());
        };
        let places = errors.iter().flat_map(|error| places(error)).collect();
        Ok(Built::Errors(places, first["rendered"].as_str().unwrap_or_default().to_owned()))
    }

    fn binary(&self, message: &Value) -> Option<Binary> {
        let path = PathBuf::from(message["executable"].as_str()?);
        let (package, folder) = self.packages.get(message["package_id"].as_str()?)?;
        let target = &message["target"];
        let name = match target["kind"][0].as_str()? {
            "test" => format!("{package}::{}", target["name"].as_str()?),
            "bin" | "example" | "bench" => return None,
            _ => package.clone(),
        };
        Some(Binary { name, path, folder: folder.clone() })
    }
}

/// The lines of the copy that an error is about. The error of a macro is about the line that calls the macro.
fn places(error: &Value) -> Vec<(String, usize)> {
    let mut places = Vec::new();
    let spans = error["spans"].as_array().into_iter().flatten();
    for span in spans.filter(|span| span["is_primary"] == true) {
        let mut span = span;
        loop {
            if let (Some(file), Some(line)) = (span["file_name"].as_str(), span["line_start"].as_u64()) {
                places.push((file.to_owned(), usize::try_from(line).unwrap_or_default()));
            }
            span = &span["expansion"]["span"];
            if span.is_null() {
                break;
            }
        }
    }
    places
}

/// Whether the entry is build output or git's own: a folder, or in a worktree a file.
fn is_output(entry: &DirEntry) -> bool {
    entry.depth() > 0 && [OsStr::new("target"), OsStr::new(".git")].contains(&entry.file_name())
}

/// Leaves an unchanged file alone, because cargo builds every rewritten file again.
fn write_if_changed(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    if fs::read(path).is_ok_and(|before| before == text) {
        return Ok(());
    }
    let folder = path.parent().context("a file has a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
