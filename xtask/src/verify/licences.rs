//! Checks the licences and the origins of our dependencies.

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use spdx::{Expression, Licensee};

/// Each of these lets a program that links the library have its own licence.
const ALLOWED: [&str; 11] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Zlib",
];

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The output of `cargo metadata`.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// `None` of what lies in this repository.
    source: Option<String>,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    req: String,
    path: Option<String>,
}

/// Returns the number of packages. Fails with the first that we may not use.
pub(crate) fn check(metadata: &str) -> anyhow::Result<usize> {
    let metadata: Metadata = serde_json::from_str(metadata).context("cannot read what cargo metadata says")?;
    let allowed = ALLOWED.map(|name| Licensee::parse(name).expect("a licence"));
    for package in &metadata.packages {
        package.check(&allowed).with_context(|| format!("{} {}", package.name, package.version))?;
    }
    Ok(metadata.packages.len())
}

impl Package {
    fn check(&self, allowed: &[Licensee]) -> anyhow::Result<()> {
        let license = self.license.as_deref().context("names no licence")?;
        // Some write `MIT/Apache-2.0`, which means either.
        let expression = Expression::parse_mode(license, spdx::ParseMode::LAX)?;
        let accepted = expression.evaluate(|wanted| allowed.iter().any(|licensee| licensee.satisfies(wanted)));
        ensure!(accepted, "{license} is none of those that xtask/src/verify/licences.rs allows");
        if let Some(source) = &self.source {
            ensure!(source == CRATES_IO, "comes from {source}");
            return Ok(());
        }
        let any = self.dependencies.iter().find(|it| it.req == "*" && it.path.is_none());
        ensure!(any.is_none(), "takes any version of {}", any.map_or("", |it| &it.name));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(license: &str, source: &str, requirement: &str) -> Result<usize, String> {
        let dependency = serde_json::json!({ "name": "b", "req": requirement, "path": null });
        let package = serde_json::json!({
            "name": "a",
            "version": "1.0.0",
            "license": license,
            "source": (!source.is_empty()).then_some(source),
            "dependencies": [dependency],
        });
        check(&serde_json::json!({ "packages": [package] }).to_string()).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn one_of_the_allowed_licences_is_enough() {
        for license in ["MIT", "MIT/Apache-2.0", "GPL-2.0-only OR MIT", "(MIT OR Apache-2.0) AND Unicode-3.0"] {
            assert_eq!(checked(license, CRATES_IO, "1"), Ok(1), "{license}");
        }
        for license in ["GPL-3.0-only", "MIT AND GPL-2.0-only", "Apache-2.0 WITH Bison-exception-2.2"] {
            let error = checked(license, CRATES_IO, "1").expect_err(license);
            assert!(error.contains("a 1.0.0: ") && error.contains("allows"), "{error}");
        }
    }

    #[test]
    fn packages_come_from_crates_io_or_from_here() {
        assert_eq!(checked("MIT", "", "1"), Ok(1));
        assert!(checked("MIT", "git+https://example.org/a", "1").expect_err("git").contains("comes from git+"));
    }

    #[test]
    fn our_own_packages_ask_for_versions() {
        assert!(checked("MIT", "", "*").expect_err("any version").contains("any version of b"));
        assert_eq!(checked("MIT", CRATES_IO, "*"), Ok(1), "how others depend is their own affair");
    }
}
