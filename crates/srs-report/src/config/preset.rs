//! The settings that a project begins with: those of this workspace, or a preset for another custom.

use super::Style;

/// Settings before `srs.toml` changes them.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) documents: &'static [&'static str],
    pub(super) exclude: &'static [&'static str],
    pub(super) skipped: &'static [&'static str],
    pub(super) id: &'static str,
    /// What a tag claims, and the text directly before its id.
    pub(super) tags: &'static [(&'static str, &'static str)],
    pub(super) suffix: &'static str,
    pub(super) disabled: &'static [&'static str],
    pub(super) levels: &'static [(&'static str, &'static [&'static str])],
    /// Every level if the list is empty.
    pub(super) required: &'static [&'static str],
    pub(super) spread: bool,
    /// Whether a project without a snapshot is at fault.
    pub(super) needs_snapshot: bool,
    pub(super) style: Style,
    pub(super) functions: &'static str,
    pub(super) names: &'static [&'static str],
    pub(super) without_submodules: bool,
}

/// The names of the presets.
pub(super) const NAMES: [&str; 2] = ["c-build-tools", "openfasttrace"];

/// The preset of a name.
pub(super) fn of(name: &str) -> Option<Base> {
    match name {
        "c-build-tools" => Some(C_BUILD_TOOLS),
        "openfasttrace" => Some(OPEN_FAST_TRACE),
        _ => None,
    }
}

const NAMES_OF_TESTS: &[&str] = &["{name}", "{class}::{name}", "{class}.{name}"];

/// A workspace of cargo packages.
pub(super) const CARGO: Base = Base {
    documents: &["docs/srs"],
    exclude: &[],
    skipped: &["target", "fixtures"],
    id: super::ID,
    tags: &[("code", "Codes_"), ("test", "Tests_")],
    suffix: "",
    disabled: &[],
    levels: &[
        ("code", &["crates/*/src", "crates/*/examples"]),
        ("unit", &["crates/*/tests"]),
        ("integration", &["tests"]),
    ],
    required: &[],
    spread: false,
    needs_snapshot: true,
    style: Style::Brackets,
    functions: "^(test|spec|should)_",
    names: NAMES_OF_TESTS,
    without_submodules: false,
};

/// C libraries with documents in `devdoc` and tests in `*_ut` and `*_int`. The texts stand at the code, so there is
/// something to compare with even without a snapshot.
const C_BUILD_TOOLS: Base = Base {
    documents: &["**/devdoc"],
    skipped: &[],
    exclude: &["**/deps", "**/build", "**/cmake", "**/cmake_*"],
    disabled: &["NON_"],
    levels: &[("code", &["**"]), ("unit", &["**/*_ut"]), ("integration", &["**/*_int"])],
    required: &["code", "test"],
    spread: true,
    needs_snapshot: false,
    names: &["{name}", "{class}::{name}", "{class}.{name}", "{file}"],
    without_submodules: true,
    ..CARGO
};

/// `OpenFastTrace`'s specification items and tags: `` `req~login~1` `` and `[impl->req~login~1]`.
const OPEN_FAST_TRACE: Base = Base {
    documents: &["doc", "docs", "spec", "**/doc", "**/docs"],
    skipped: &[],
    exclude: &["**/target", "**/build", "**/node_modules"],
    id: r"[a-zA-Z]+~[\p{L}0-9_][\p{L}0-9_.-]*~[0-9]+",
    tags: &[("code", "[impl->"), ("unit", "[utest->"), ("integration", "[itest->"), ("system", "[stest->")],
    suffix: "]",
    levels: &[
        ("code", &["**"]),
        ("unit", &["**/test", "**/tests"]),
        ("integration", &["**/itest", "**/it"]),
        ("system", &["**/stest"]),
    ],
    required: &["code"],
    needs_snapshot: false,
    style: Style::OpenFastTrace,
    ..CARGO
};
