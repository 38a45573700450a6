//! The language of a file, by its extension.

use crate::config::Config;

/// How a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Rust,
    C,
    /// A header, which is C++ if it looks like it.
    CHeader,
    Cpp,
    Plain(Syntax),
}

/// The comments of a language that has no parser here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    /// `// …` and `/* … */`
    Slashes,
    /// `# …`
    Hashes,
    /// `-- …` and `/* … */`
    Dashes,
}

const SLASHES: [&str; 24] = [
    "go", "ts", "tsx", "mts", "cts", "js", "jsx", "mjs", "cjs", "cs", "java", "kt", "kts", "swift", "scala", "dart",
    "zig", "groovy", "gradle", "php", "proto", "m", "mm", "v",
];
const HASHES: [&str; 20] = [
    "py", "pyi", "rb", "sh", "bash", "zsh", "pl", "pm", "r", "jl", "ex", "exs", "ps1", "tcl", "cmake", "mk", "nim",
    "robot", "feature", "awk",
];
const DASHES: [&str; 9] = ["sql", "lua", "hs", "adb", "ads", "vhd", "vhdl", "elm", "e"];

/// Files that hold text or data, in which a tag is an example or a mention.
const NOT_SOURCES: [&str; 31] = [
    "md", "markdown", "txt", "rst", "adoc", "html", "htm", "xml", "json", "toml", "yml", "yaml", "ini", "cfg", "conf",
    "csv", "tsv", "lock", "log", "svg", "css", "scss", "pdf", "png", "jpg", "gif", "ico", "diff", "patch", "in",
    "supp",
];

/// Whether `srs.toml` may name the language.
pub(crate) fn is_language(name: &str) -> bool {
    by_name(name).is_some()
}

fn by_name(name: &str) -> Option<Language> {
    Some(match name {
        "rust" => Language::Rust,
        "c" => Language::C,
        "cpp" => Language::Cpp,
        "slashes" => Language::Plain(Syntax::Slashes),
        "hashes" => Language::Plain(Syntax::Hashes),
        "dashes" => Language::Plain(Syntax::Dashes),
        _ => return None,
    })
}

/// The language of a file; `None` if it is not known.
pub(super) fn of(path: &str, config: &Config) -> Option<Language> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.rsplit_once('.').map_or(name, |(_, extension)| extension);
    if let Some(name) = config.languages.get(extension) {
        return by_name(name);
    }
    let extension = if extension == "C" { "cc".to_owned() } else { extension.to_ascii_lowercase() };
    Some(match extension.as_str() {
        "rs" => Language::Rust,
        "c" => Language::C,
        "h" => Language::CHeader,
        "cpp" | "hpp" | "cc" | "cxx" | "c++" | "hh" | "hxx" | "h++" | "inl" | "ipp" | "tpp" | "ixx" | "cppm" => {
            Language::Cpp
        }
        "makefile" | "gnumakefile" => Language::Plain(Syntax::Hashes),
        other if SLASHES.contains(&other) => Language::Plain(Syntax::Slashes),
        other if HASHES.contains(&other) => Language::Plain(Syntax::Hashes),
        other if DASHES.contains(&other) => Language::Plain(Syntax::Dashes),
        _ => return None,
    })
}

/// Whether a file of no known language may still be a source.
pub(super) fn may_be_source(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').is_none_or(|(_, extension)| !NOT_SOURCES.contains(&extension.to_ascii_lowercase().as_str()))
}

/// Whether a header uses what only C++ has.
pub(super) fn is_cpp(text: &str) -> bool {
    ["class ", "namespace ", "template <", "template<", "public:", "private:"].iter().any(|word| text.contains(word))
}
