//! `cargo xtask interop`: other people's clients, servers and libraries over `async-socket-futures`, and with the examples of
//! `async-socket-net`.
//!
//! The tests are a package of their own, `interop/`, outside the workspace, because they have many dependencies. This file
//! lists them, installs the programs that they need, and runs them; docs/reliability.md reports what they saw. A new test is
//! a file in `interop/tests` and a row of [`TESTS`].

use crate::verify::licences;
use crate::verify::run::{Run, tests_passed};
use crate::verify::tools::{Tool, oldest_rust};
use anyhow::{Context as _, bail};
use clap::builder::PossibleValuesParser;
use rustix::process::geteuid;
use std::path::Path;
use std::time::{Duration, Instant};
use xshell::cmd;

/// A test and what it needs.
struct Test {
    /// That of its file, with dashes.
    name: &'static str,
    /// The claim that a pass supports.
    shows: &'static str,
    needs: &'static [Package],
}

/// A package of Debian, and a file that it has.
struct Package {
    name: &'static str,
    file: &'static str,
}

const CURL: Package = Package { name: "curl", file: "/usr/bin/curl" };

const TESTS: &[Test] = &[
    Test {
        name: "hyper-server",
        shows: "hyper serves HTTP/1.1 and HTTP/2 to curl, wrk and h2load, and to clients that are slow or vanish",
        needs: &[
            CURL,
            Package { name: "wrk", file: "/usr/bin/wrk" },
            Package { name: "nghttp2-client", file: "/usr/bin/h2load" },
        ],
    },
    Test {
        name: "hyper-client",
        shows: "hyper is a client of nginx and of itself",
        needs: &[Package { name: "nginx-light", file: "/usr/sbin/nginx" }],
    },
    Test {
        name: "axum",
        shows: "axum's router serves on our ports, and `axum::serve` takes our listener",
        needs: &[CURL],
    },
    Test {
        name: "websocket",
        shows: "async-tungstenite talks with Python's websockets, as a server and as a client",
        needs: &[Package { name: "python3-websockets", file: "/usr/lib/python3/dist-packages/websockets/__init__.py" }],
    },
    Test {
        name: "redis",
        shows: "the crate redis talks with redis-server",
        needs: &[Package { name: "redis-server", file: "/usr/bin/redis-server" }],
    },
    Test {
        name: "postgres",
        shows: "tokio-postgres talks with PostgreSQL",
        needs: &[Package { name: "postgresql", file: "/usr/lib/postgresql" }],
    },
    Test {
        name: "examples",
        shows: "socat, nc and curl use the proxy and the file server of async-socket-net",
        needs: &[
            CURL,
            Package { name: "netcat-openbsd", file: "/usr/bin/nc.openbsd" },
            Package { name: "socat", file: "/usr/bin/socat" },
        ],
    },
];

/// How long a test may take beside building and its loads.
const LIMIT: Duration = Duration::from_secs(1200);

/// How long building may take.
const BUILD_LIMIT: Duration = Duration::from_secs(1200);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The tests to run; all if there is none
    #[arg(value_name = "NAME", value_parser = PossibleValuesParser::new(TESTS.iter().map(|test| test.name)))]
    names: Vec<String>,
    /// How long each load lasts
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Print what there is
    #[arg(long, conflicts_with_all = ["names", "check"])]
    list: bool,
    /// Run nothing; check the format, clippy, the licences and the oldest Rust
    #[arg(long, conflicts_with = "names")]
    check: bool,
}

/// Runs the chosen tests, all of them even if one fails.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if args.list {
        TESTS.iter().for_each(print);
        return Ok(());
    }
    if args.check {
        return check();
    }
    let chosen =
        || TESTS.iter().filter(|test| args.names.is_empty() || args.names.iter().any(|name| name == test.name));
    provide(chosen().flat_map(|test| test.needs))?;
    let build = start("interop-build", BUILD_LIMIT)?;
    println!("interop: building; the log is {}", build.log().display());
    build.succeeds(build.command("cargo test --locked --manifest-path interop/Cargo.toml --no-run"))?;
    let failed: Vec<&str> = chosen().filter(|test| !test.passes(args.seconds)).map(|test| test.name).collect();
    if !failed.is_empty() {
        bail!("interop: {} failed", failed.join(", "));
    }
    Ok(())
}

fn print(test: &Test) {
    let needs: Vec<&str> = test.needs.iter().map(|package| package.name).collect();
    println!("{:14} {}", test.name, test.shows);
    println!("{:14} needs {}", "", needs.join(", "));
}

/// A run whose commands build in a folder of their own, because they have other features than those of the workspace.
fn start(log: &str, limit: Duration) -> anyhow::Result<Run> {
    let run = Run::new(log, false, None)?.until(Instant::now() + limit);
    run.shell.set_var("CARGO_TARGET_DIR", run.target("interop"));
    Ok(run)
}

/// Installs the packages that are absent, which only root may. Fails with the command for it otherwise.
fn provide<'a>(needed: impl Iterator<Item = &'a Package>) -> anyhow::Result<()> {
    let mut all: Vec<&Package> = needed.collect();
    all.sort_by_key(|package| package.name);
    all.dedup_by_key(|package| package.name);
    let missing: Vec<&str> = all.iter().filter(|it| !Path::new(it.file).exists()).map(|it| it.name).collect();
    let names: Vec<&str> = all.iter().map(|package| package.name).collect();
    let state =
        if missing.is_empty() { "all are there".to_owned() } else { format!("missing: {}", missing.join(", ")) };
    println!("interop: needs the packages {}; {state}", names.join(", "));
    if missing.is_empty() {
        return Ok(());
    }
    if !geteuid().is_root() {
        bail!("install what is missing: sudo apt-get install --no-install-recommends {}", missing.join(" "));
    }
    let run = start("interop-install", LIMIT)?;
    println!("interop: installing them; the log is {}", run.log().display());
    let install = || {
        let packages = missing.iter();
        cmd!(run.shell, "apt-get install --yes --no-install-recommends {packages...}")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .quiet()
    };
    // The list of packages may be absent or old.
    if !run.printed(install())?.ok {
        run.succeeds(run.command("apt-get update"))?;
        run.succeeds(install())?;
    }
    let absent = all.iter().find(|package| !Path::new(package.file).exists());
    absent.map_or(Ok(()), |it| bail!("the package {} is installed and has no {}", it.name, it.file))
}

impl Test {
    /// Runs it and prints what it saw.
    fn passes(&self, seconds: u64) -> bool {
        let begun = Instant::now();
        let outcome = self.run(seconds);
        let time = begun.elapsed().as_secs();
        match &outcome {
            Ok(text) => {
                println!("{}: {} tests passed, {time} s", self.name, tests_passed(text));
                sights(text).for_each(|sight| println!("    {sight}"));
            }
            Err(error) => println!("{}: FAILED after {time} s: {error:#}", self.name),
        }
        outcome.is_ok()
    }

    fn run(&self, seconds: u64) -> anyhow::Result<String> {
        // Three loads at most.
        let run = start(&format!("interop-{}", self.name), LIMIT + Duration::from_secs(3 * seconds))?;
        let file = self.name.replace('-', "_");
        let line = format!(
            "cargo test --locked --manifest-path interop/Cargo.toml --test {file} -- --test-threads=1 --nocapture"
        );
        run.succeeds(run.command(&line).env("INTEROP_SECONDS", seconds.to_string()))
    }
}

/// What a test says that it saw.
fn sights(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("saw: "))
}

/// What CI checks of the workspace's packages, for this one.
fn check() -> anyhow::Result<()> {
    let run = start("interop-check", BUILD_LIMIT)?;
    Tool::OldestRust.provide(&run)?;
    let rust = oldest_rust(&run)?;
    let manifest = "--manifest-path interop/Cargo.toml";
    run.succeeds(run.command(&format!("cargo fmt {manifest} --check")))?;
    run.succeeds(run.command(&format!("cargo clippy --locked {manifest} --all-targets -- -D warnings")))?;
    // Cargo downloads nothing for other systems.
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata =
        run.read(&format!("cargo metadata --format-version 1 --locked {manifest} --filter-platform {target}"))?;
    let packages = licences::check(&metadata)?;
    run.succeeds(run.command(&format!("cargo +{rust} check --locked {manifest} --all-targets")))
        .with_context(|| format!("Rust {rust}, which `rust-version` promises"))?;
    println!("interop: formatted, no warning of clippy, {packages} packages may be used, builds with Rust {rust}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;
    use std::fs;

    #[test]
    fn what_a_test_saw_is_printed() {
        let text = "running 1 test\ntest a ... \nsaw: curl: 1 GiB\nok\nI saw: nothing\n";
        assert_eq!(sights(text).collect::<Vec<_>>(), ["curl: 1 GiB"]);
    }

    #[test]
    fn every_file_of_tests_has_a_row() {
        let folder = workspace::root().unwrap().join("interop/tests");
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut files: Vec<String> =
            files.filter_map(|name| Some(name.strip_suffix(".rs")?.replace('_', "-"))).collect();
        let mut rows: Vec<&str> = TESTS.iter().map(|test| test.name).collect();
        files.sort_unstable();
        rows.sort_unstable();
        assert_eq!(files, rows);
    }

    #[test]
    fn docs_reliability_has_a_row_for_every_test() {
        let document = include_str!("../../docs/reliability.md");
        for test in TESTS {
            let begin = format!("| `{}` |", test.name);
            assert!(document.lines().any(|line| line.starts_with(&begin)), "docs/reliability.md lacks {begin}");
        }
    }

    #[test]
    fn the_nightly_workflow_installs_every_package() {
        let workflow = include_str!("../../.github/workflows/nightly.yml");
        let install = workflow.lines().find(|line| line.contains("nginx")).expect("it installs packages");
        for package in TESTS.iter().flat_map(|test| test.needs) {
            assert!(install.split_whitespace().any(|word| word == package.name), "it lacks {}", package.name);
        }
        assert!(workflow.contains("- run: cargo xtask interop --check\n"));
        assert!(workflow.contains("- run: cargo xtask interop\n"));
    }

    #[test]
    fn the_package_promises_the_same_rust_as_the_workspace() {
        let version = |text: &str| text.lines().find(|line| line.starts_with("rust-version = ")).map(str::to_owned);
        let ours = version(include_str!("../../Cargo.toml"));
        assert!(ours.is_some());
        assert_eq!(version(include_str!("../../interop/Cargo.toml")), ours);
    }
}
