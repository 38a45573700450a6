//! Finds the cargo package, the test binary and the module of a file.

use crate::toml_file;
use serde::Deserialize;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The names under which nextest finds the tests of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Home {
    /// `None` outside of cargo packages.
    pub(crate) package: Option<Arc<str>>,
    /// nextest's name of the test binary, if only one binary contains the file.
    pub(crate) binary: Option<Arc<str>>,
    /// `a::b` for `src/a/b.rs`; empty in the binary's root.
    pub(crate) module: String,
}

/// The packages of a project. Each is read when it is first needed.
#[derive(Debug)]
pub(in crate::sources) struct Packages {
    root: PathBuf,
    known: HashMap<PathBuf, Option<Arc<Package>>>,
}

#[derive(Debug)]
struct Package {
    name: Arc<str>,
    folder: PathBuf,
    tests: Vec<Target>,
    /// The root files of other targets, where the manifest names them.
    roots: Vec<PathBuf>,
}

#[derive(Deserialize, Default)]
struct Manifest {
    package: Option<Name>,
    #[serde(default)]
    test: Vec<Target>,
    lib: Option<Root>,
    #[serde(default)]
    bin: Vec<Root>,
    #[serde(default)]
    example: Vec<Root>,
    #[serde(default)]
    bench: Vec<Root>,
}

#[derive(Deserialize)]
struct Root {
    path: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

#[derive(Debug, Deserialize, Clone)]
struct Target {
    name: String,
    path: Option<String>,
}

impl Packages {
    pub(in crate::sources) fn of(root: &Path) -> Self {
        Self { root: root.to_owned(), known: HashMap::new() }
    }

    pub(in crate::sources) fn home(&mut self, file: &Path) -> anyhow::Result<Home> {
        Ok(match file.parent() {
            Some(folder) => self.package(folder)?.map_or_else(Home::default, |package| package.home(file)),
            None => Home::default(),
        })
    }

    /// Whether a file is the root of one of cargo's targets. [`Packages::home`] was asked for the file before.
    pub(in crate::sources) fn is_target_root(&self, file: &Path) -> bool {
        let package = file.parent().and_then(|folder| self.known.get(folder)?.as_ref());
        package.is_some_and(|package| package.is_target_root(file))
    }

    /// The package that a folder lies in.
    fn package(&mut self, folder: &Path) -> anyhow::Result<Option<Arc<Package>>> {
        if let Some(known) = self.known.get(folder) {
            return Ok(known.clone());
        }
        let package = match self.manifest(folder)? {
            Some(package) => Some(Arc::new(package)),
            None if folder == self.root => None,
            None => match folder.parent() {
                Some(parent) => self.package(parent)?,
                None => None,
            },
        };
        self.known.insert(folder.to_owned(), package.clone());
        Ok(package)
    }

    fn manifest(&self, folder: &Path) -> anyhow::Result<Option<Package>> {
        let path = folder.strip_prefix(&self.root).unwrap_or(folder).join("Cargo.toml");
        let manifest: Option<(Manifest, _)> = toml_file::read(&self.root, &path.to_string_lossy())?;
        let Some((manifest, _)) = manifest else { return Ok(None) };
        let Manifest { package: Some(Name { name }), test, lib, bin, example, bench } = manifest else {
            return Ok(None);
        };
        let roots = lib.into_iter().chain(bin).chain(example).chain(bench).filter_map(|root| root.path).collect();
        Ok(Some(Package { name: name.into(), folder: folder.to_owned(), tests: test, roots }))
    }
}

impl Target {
    /// The module of a file in this target. The file is the root itself, or lies beside a root that is called
    /// `main.rs`.
    fn module(&self, file: &Path) -> Option<String> {
        let root = Path::new(self.path.as_deref()?);
        if file == root {
            return Some(String::new());
        }
        let folder = root.parent().filter(|_| root.ends_with("main.rs"))?;
        let below: Vec<&str> = file.strip_prefix(folder).ok()?.iter().filter_map(|part| part.to_str()).collect();
        Some(module_of(&below))
    }
}

impl Package {
    fn home(&self, file: &Path) -> Home {
        let path = file.strip_prefix(&self.folder).unwrap_or(file);
        let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
        let target = self.tests.iter().find_map(|it| Some((it, it.module(&file_of(&parts))?)));
        let (binary, module) = match (target, parts.as_slice()) {
            (Some((target, module)), _) => (Some(format!("{}::{}", self.name, target.name)), module),
            (None, ["src", "bin", ..]) => (None, String::new()),
            (None, ["src", rest @ ..]) => (None, module_of(rest)),
            (None, [kind @ ("tests" | "examples" | "benches"), file]) => (Some(self.binary(kind, file)), String::new()),
            (None, [kind @ ("tests" | "examples" | "benches"), folder, rest @ ..])
                if self.folder.join(kind).join(folder).join("main.rs").is_file() =>
            {
                (Some(self.binary(kind, folder)), module_of(rest))
            }
            (None, ["tests", rest @ ..]) => (None, module_of(rest)),
            (None, rest) => (None, module_of(rest)),
        };
        Home { package: Some(Arc::clone(&self.name)), binary: binary.map(Into::into), module }
    }

    fn is_target_root(&self, file: &Path) -> bool {
        let path = file.strip_prefix(&self.folder).unwrap_or(file);
        let is_named = self
            .roots
            .iter()
            .map(PathBuf::as_path)
            .chain(self.tests.iter().filter_map(|it| it.path.as_deref().map(Path::new)));
        let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
        let is_usual = matches!(
            parts.as_slice(),
            ["build.rs"]
                | ["src", "lib.rs" | "main.rs"]
                | ["src", "bin", _]
                | ["src", "bin", _, "main.rs"]
                | ["tests" | "examples" | "benches", _]
                | ["tests" | "examples" | "benches", _, "main.rs"]
        );
        is_usual || is_named.into_iter().any(|root| root == path)
    }

    fn binary(&self, kind: &str, file: &str) -> String {
        let (name, target) = (&self.name, file.trim_end_matches(".rs"));
        match kind {
            "tests" => format!("{name}::{target}"),
            "examples" => format!("{name}::example/{target}"),
            _ => format!("{name}::bench/{target}"),
        }
    }
}

fn file_of(parts: &[&str]) -> PathBuf {
    parts.iter().collect()
}

fn module_of(parts: &[&str]) -> String {
    let (file, folders) = parts.split_last().unwrap_or((&"", &[]));
    let stem = file.trim_end_matches(".rs");
    let own = (!matches!(stem, "lib" | "main" | "mod")).then_some(stem);
    folders.iter().copied().chain(own).collect::<Vec<_>>().join("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(file: &str) -> (Option<String>, String) {
        let target = |name: &str, path: &str| Target { name: name.to_owned(), path: Some(path.to_owned()) };
        let tests = vec![target("open", "open.rs"), target("deep", "a/deep.rs"), target("b", "b/main.rs")];
        let package = Package { name: "p".into(), folder: "/r/p".into(), tests, roots: Vec::new() };
        let home = package.home(&Path::new("/r/p").join(file));
        (home.binary.as_deref().map(str::to_owned), home.module)
    }

    #[test]
    fn a_file_has_the_name_that_nextest_gives_its_tests() {
        for (file, binary, module) in [
            ("src/lib.rs", None, ""),
            ("src/a/mod.rs", None, "a"),
            ("src/a/b.rs", None, "a::b"),
            ("src/bin/tool.rs", None, ""),
            ("tests/unit.rs", Some("p::unit"), ""),
            ("examples/echo.rs", Some("p::example/echo"), ""),
            ("tests/common/mod.rs", None, "common"),
            ("open.rs", Some("p::open"), ""),
            ("a/deep.rs", Some("p::deep"), ""),
            ("b/main.rs", Some("p::b"), ""),
            ("b/receive.rs", Some("p::b"), "receive"),
        ] {
            assert_eq!(home(file), (binary.map(str::to_owned), module.to_owned()), "{file}");
        }
    }
}
