//! Follows `mod name;` from the roots of cargo's targets: which files are compiled, as which modules, and which only for
//! tests.

use super::comments::tokens;
use super::packages::Packages;
use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};

/// What a file says about modules.
#[derive(Debug, Default)]
pub(in crate::sources) struct Scan {
    declarations: Vec<Declaration>,
    /// The file begins with `#![cfg(test)]`.
    only_tests: bool,
}

#[derive(Debug)]
struct Declaration {
    /// The modules around it in its file, and its own name. Empty for `include!`.
    names: Vec<String>,
    /// `#[path = "…"]`
    path: Option<String>,
    only_tests: bool,
}

/// Where the modules put a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sources) struct Declared {
    /// `a::b`; empty in the root of a target.
    pub(in crate::sources) module: String,
    pub(in crate::sources) only_tests: bool,
}

/// The declared files by their paths from the root.
#[derive(Debug, Default)]
pub(in crate::sources) struct ModuleTree {
    files: HashMap<String, Declared>,
}

impl Scan {
    pub(in crate::sources) fn of(text: &str) -> Self {
        let mut scan = Self::default();
        if !["mod ", "mod\t", "mod\n", "include!", "cfg(test)"].iter().any(|it| text.contains(it)) {
            return scan;
        }
        let mut reader = Reader { tokens: tokens(text), attributes: Vec::new(), scope: Vec::new() };
        while let Some(token) = reader.tokens.next() {
            reader.see(token, &mut scan);
        }
        scan
    }
}

struct Reader<'t, I: Iterator<Item = &'t str>> {
    tokens: I,
    /// The attributes of the next item, without blanks.
    attributes: Vec<String>,
    /// For each open brace: the module that it opens, and whether it is only for tests.
    scope: Vec<Option<(String, bool)>>,
}

impl<'t, I: Iterator<Item = &'t str>> Reader<'t, I> {
    fn see(&mut self, token: &str, scan: &mut Scan) {
        match token {
            "#" => self.attribute(scan),
            "mod" => self.module(scan),
            "include" => self.include(scan),
            "{" => {
                self.scope.push(None);
                self.attributes.clear();
            }
            "}" => {
                self.scope.pop();
                self.attributes.clear();
            }
            // What may stand between an attribute and `mod`.
            "pub" | "(" | ")" | "crate" | "super" | "self" | "in" | ":" => {}
            _ => self.attributes.clear(),
        }
    }

    fn attribute(&mut self, scan: &mut Scan) {
        let mut is_inner = false;
        let mut depth = 0_usize;
        let mut text = String::new();
        for token in self.tokens.by_ref() {
            match token {
                "!" if depth == 0 => is_inner = true,
                "[" => depth += 1,
                "]" => depth = depth.saturating_sub(1),
                _ => text += token,
            }
            if depth == 0 && token != "!" {
                break;
            }
        }
        if is_inner {
            scan.only_tests |= self.scope.is_empty() && is_for_tests(&text);
        } else {
            self.attributes.push(text);
        }
    }

    fn module(&mut self, scan: &mut Scan) {
        let Some(mut name) = self.tokens.next() else { return };
        if name == "r" {
            self.tokens.next();
            name = self.tokens.next().unwrap_or_default();
        }
        let attributes = std::mem::take(&mut self.attributes);
        let only_tests = attributes.iter().any(|it| is_for_tests(it));
        match self.tokens.next() {
            Some("{") => self.scope.push(Some((name.to_owned(), only_tests))),
            Some(";") => {
                let around = self.scope.iter().flatten();
                let names = around.clone().map(|(name, _)| name.clone()).chain([name.to_owned()]).collect();
                let only_tests = only_tests || around.clone().any(|(_, only_tests)| *only_tests);
                let path = attributes.iter().find_map(|it| path_of(it));
                scan.declarations.push(Declaration { names, path, only_tests });
            }
            _ => {}
        }
    }

    /// `include!("…")`
    fn include(&mut self, scan: &mut Scan) {
        if self.tokens.next() == Some("!") && self.tokens.next().is_some() {
            let path = self.tokens.next().and_then(|it| Some(it.strip_prefix('"')?.strip_suffix('"')?.to_owned()));
            if path.is_some() {
                scan.declarations.push(Declaration { names: Vec::new(), path, only_tests: false });
            }
        }
    }
}

/// Whether it is `cfg(test)`, alone or with other conditions.
fn is_for_tests(attribute: &str) -> bool {
    let Some(conditions) = attribute.strip_prefix("cfg(") else { return false };
    let holds = |word| conditions.split(|it: char| !it.is_alphanumeric() && it != '_').any(|it| it == word);
    holds("test") && !holds("not") && !holds("any")
}

/// The text of `path="…"`.
fn path_of(attribute: &str) -> Option<String> {
    let (before, rest) = attribute.split_once("path=\"")?;
    let is_whole = before.is_empty() || before.ends_with(',');
    is_whole.then(|| rest.split('"').next().unwrap_or_default().to_owned())
}

impl ModuleTree {
    /// Follows the declarations of the scanned files. `root` is the project's.
    pub(in crate::sources) fn of(root: &Path, scans: &BTreeMap<String, Scan>, packages: &Packages) -> Self {
        let mut tree = Self::default();
        let mut open: Vec<(String, Declared, bool)> = Vec::new();
        for path in scans.keys().filter(|path| packages.is_target_root(&root.join(path))) {
            open.push((path.clone(), Declared { module: String::new(), only_tests: false }, true));
        }
        while let Some((path, declared, is_root)) = open.pop() {
            let Some(scan) = scans.get(&path) else { continue };
            let only_tests = declared.only_tests || scan.only_tests;
            let here = Declared { module: declared.module.clone(), only_tests };
            match tree.files.get_mut(&path) {
                // A file of two modules is code if it is in one of them.
                Some(known) if known.only_tests && !only_tests => *known = here,
                Some(_) => continue,
                None => {
                    tree.files.insert(path.clone(), here);
                }
            }
            for declaration in &scan.declarations {
                let module = declared
                    .module
                    .split("::")
                    .filter(|part| !part.is_empty())
                    .chain(declaration.names.iter().map(String::as_str));
                let module = module.collect::<Vec<_>>().join("::");
                let child = Declared { module, only_tests: only_tests || declaration.only_tests };
                let candidates = declaration.files(Path::new(&path), is_root);
                if let Some(file) = candidates.into_iter().find(|file| scans.contains_key(file)) {
                    open.push((file, child, false));
                }
            }
        }
        tree
    }

    pub(in crate::sources) fn get(&self, path: &str) -> Option<&Declared> {
        self.files.get(path)
    }
}

impl Declaration {
    /// The files that may hold the module, from the project's root.
    fn files(&self, file: &Path, is_root: bool) -> Vec<String> {
        let folder = file.parent().unwrap_or(Path::new(""));
        let own = match file.file_stem().and_then(|stem| stem.to_str()) {
            Some(stem) if !is_root && stem != "mod" => folder.join(stem),
            _ => folder.to_owned(),
        };
        let (name, around) = match self.names.split_last() {
            Some((name, around)) => (name.as_str(), around),
            None => ("", [].as_slice()),
        };
        let base = around
            .iter()
            .fold(if around.is_empty() { folder.to_owned() } else { own.clone() }, |it, part| it.join(part));
        if let Some(path) = &self.path {
            return vec![normal(&base.join(path))];
        }
        let base = around.iter().fold(own, |it, part| it.join(part));
        vec![normal(&base.join(format!("{name}.rs"))), normal(&base.join(name).join("mod.rs"))]
    }
}

/// The path without `.` and `..`.
fn normal(path: &Path) -> String {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                parts.pop();
            }
            Component::CurDir => {}
            other => parts.push(other),
        }
    }
    parts.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_found_with_what_is_around_them() {
        let text = "#![allow(a)]\nmod a;\n#[cfg(test)]\npub(crate) mod b;\nmod c { #[path = \"x/y.rs\"] mod d; }\n\
                    // mod e;\n#[cfg(not(test))] mod f;\nconst G: &str = \"mod g;\";\n#[cfg(test)] mod h { mod i; }\n";
        let scan = Scan::of(text);
        let found: Vec<(String, bool)> =
            scan.declarations.iter().map(|it| (it.names.join("::"), it.only_tests)).collect();
        let expected = [("a", false), ("b", true), ("c::d", false), ("f", false), ("h::i", true)];
        assert_eq!(found, expected.map(|(name, only)| (name.to_owned(), only)));
        assert_eq!(scan.declarations[2].path.as_deref(), Some("x/y.rs"));
        assert!(!scan.only_tests);
        assert!(Scan::of("#![cfg(test)]\nfn a() {}").only_tests);
    }

    #[test]
    fn a_module_is_in_the_file_that_the_compiler_looks_in() {
        let files = |file: &str, is_root, names: &[&str], path: Option<&str>| {
            let names = names.iter().map(|&it| it.to_owned()).collect();
            Declaration { names, path: path.map(str::to_owned), only_tests: false }.files(Path::new(file), is_root)
        };
        assert_eq!(files("p/src/lib.rs", true, &["a"], None), ["p/src/a.rs", "p/src/a/mod.rs"]);
        assert_eq!(files("p/src/a.rs", false, &["b"], None), ["p/src/a/b.rs", "p/src/a/b/mod.rs"]);
        assert_eq!(files("p/src/a/mod.rs", false, &["b"], None), ["p/src/a/b.rs", "p/src/a/b/mod.rs"]);
        assert_eq!(files("p/src/a.rs", false, &["b", "c"], None), ["p/src/a/b/c.rs", "p/src/a/b/c/mod.rs"]);
        assert_eq!(files("p/src/a.rs", false, &["b"], Some("../x.rs")), ["p/x.rs"]);
    }
}
