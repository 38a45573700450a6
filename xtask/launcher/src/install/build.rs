//! Builds the library with cargo, and reads from cargo's output which files it built.

use super::archive;
use crate::workspace;
use anyhow::{Context as _, bail};
use serde_json::Value;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use xshell::{Shell, cmd};

/// The files that can be installed.
pub(super) struct Built {
    /// The name of the target in `rustc`.
    pub(super) target: String,
    pub(super) archive: PathBuf,
    /// `None` if the target has no shared libraries. The musl targets have none.
    pub(super) shared: Option<PathBuf>,
}

/// A folder that is removed when this is dropped.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> anyhow::Result<Self> {
        let path = env::temp_dir().join(format!("async-socket-install-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Builds both libraries for a target, or for the one that cargo's settings name.
pub(super) fn library(target: Option<&str>, scratch: &Scratch) -> anyhow::Result<Built> {
    let messages = cargo(target)?;
    let archive = messages.file(".a").context("cargo built no static library")?;
    let shell = Shell::new()?;
    let to = scratch.path().join("libasync_socket.a");
    archive::localise(&shell, &archive, &messages.target, scratch.path(), &to)?;
    let shared = match messages.file(".so") {
        None => None,
        Some(built) => {
            let (objcopy, stripped) = (tool("objcopy"), scratch.path().join("libasync_socket.so"));
            cmd!(shell, "{objcopy} --strip-debug {built} {stripped}").quiet().run()?;
            Some(stripped)
        }
    };
    Ok(Built { target: messages.target, archive: to, shared })
}

/// The program that an environment variable names, as in makefiles. By default it is `name`.
pub(super) fn tool(name: &str) -> String {
    env::var(name.to_uppercase()).ok().filter(|tool| !tool.is_empty()).unwrap_or_else(|| name.to_owned())
}

/// Cargo's messages about a build.
#[derive(Debug, PartialEq)]
struct Messages {
    files: Vec<PathBuf>,
    target: String,
}

fn cargo(target: Option<&str>) -> anyhow::Result<Messages> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(workspace::root()?);
    // Only these two crate types, because cargo does not optimise across crates if it also builds a Rust library.
    cargo.args(["rustc", "--profile", "c-abi", "--package", "async-socket-ffi", "--lib"]);
    cargo.args(["--crate-type", "staticlib,cdylib", "--message-format", "json-render-diagnostics"]);
    if let Some(target) = target {
        cargo.args(["--target", target]);
    }
    let output = cargo.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("cargo could not build the library; nothing is installed");
    }
    Messages::parse(&String::from_utf8(output.stdout)?)
}

impl Messages {
    /// Reads one JSON object per line. Each artifact has the paths of its files. The package's build script puts the
    /// target into a variable.
    fn parse(text: &str) -> anyhow::Result<Self> {
        let (mut files, mut target) = (Vec::new(), None);
        for line in text.lines() {
            let Ok(message) = serde_json::from_str::<Value>(line) else { continue };
            if message["reason"] == "compiler-artifact" && message["target"]["name"] == "async_socket" {
                let names = message["filenames"].as_array().into_iter().flatten();
                files.extend(names.filter_map(Value::as_str).map(PathBuf::from));
            }
            let variables = message["env"].as_array().into_iter().flatten();
            let ours = variables.filter(|variable| variable[0] == "ASYNC_SOCKET_TARGET");
            target = ours.filter_map(|variable| variable[1].as_str()).map(str::to_owned).next_back().or(target);
        }
        Ok(Self { files, target: target.context("cargo does not say what it built for")? })
    }

    fn file(&self, ending: &str) -> Option<PathBuf> {
        self.files.iter().find(|file| file.to_string_lossy().ends_with(ending)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_built_is_read_from_cargos_messages_wherever_it_lies() {
        let text = r#"{"reason":"compiler-artifact","target":{"name":"syn"},"filenames":["/t/libsyn.rlib"]}
{"reason":"build-script-executed","package_id":"x","env":[["OTHER","1"],["ASYNC_SOCKET_TARGET","x86_64-unknown-linux-musl"]]}
{"reason":"build-script-executed","package_id":"y","env":[]}
no message of cargo's
{"reason":"compiler-artifact","target":{"name":"async_socket"},"filenames":["/t a/x86_64-unknown-linux-musl/c-abi/libasync_socket.a"]}
{"reason":"build-finished","success":true}"#;
        let messages = Messages::parse(text).unwrap();
        let archive = PathBuf::from("/t a/x86_64-unknown-linux-musl/c-abi/libasync_socket.a");
        assert_eq!(messages.file(".a"), Some(archive));
        assert_eq!(messages.file(".so"), None);
        assert_eq!(messages.target, "x86_64-unknown-linux-musl");
    }
}
