//! The options on the command line and in the environment.

use anyhow::Context as _;
use lexopt::ValueExt as _;
use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

pub(super) const HELP: &str = "\
Installs the C library: header, static and shared library, pkg-config file, CMake package, suppression files

Usage: cargo xtask install --prefix DIR [--libdir DIR] [--target TRIPLE] [--uninstall]

Options:
      --prefix DIR     Where to: DIR/include, DIR/lib, DIR/share
      --libdir DIR     Where the libraries go; relative to the prefix if it does not begin with / [default: lib]
      --target TRIPLE  What to build for, as `cargo build --target` has it
      --uninstall      Remove what installations of this and older versions put there
  -h, --help           Print this

Environment:
  DESTDIR              Put in front of every path that is written, but of none that is written down, for packages
  CC, LD, OBJCOPY, AR, NM
                       The tools that join the static library, if not those of these names in lower case
";

#[derive(Debug, PartialEq)]
pub(super) struct Options {
    pub(super) prefix: PathBuf,
    pub(super) libdir: Option<PathBuf>,
    pub(super) target: Option<String>,
    pub(super) destdir: Option<PathBuf>,
    pub(super) uninstall: bool,
}

pub(super) enum Parsed {
    Options(Options),
    Help,
}

impl Options {
    pub(super) fn parse(arguments: impl Iterator<Item = OsString>) -> anyhow::Result<Parsed> {
        use lexopt::Arg::{Long, Short};
        let (mut prefix, mut libdir, mut target, mut uninstall) = (None, None, None, false);
        let mut parser = lexopt::Parser::from_args(arguments);
        while let Some(argument) = parser.next()? {
            match argument {
                Long("prefix") => prefix = Some(PathBuf::from(parser.value()?)),
                Long("libdir") => libdir = Some(PathBuf::from(parser.value()?)),
                Long("target") => target = Some(parser.value()?.string()?),
                Long("uninstall") => uninstall = true,
                Long("help") | Short('h') => return Ok(Parsed::Help),
                _ => return Err(argument.unexpected()).context("see cargo xtask install --help"),
            }
        }
        let prefix = prefix.context("--prefix DIR is missing; see cargo xtask install --help")?;
        let destdir = env::var_os("DESTDIR").filter(|destdir| !destdir.is_empty()).map(PathBuf::from);
        Ok(Parsed::Options(Self { prefix, libdir, target, destdir, uninstall }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn parse(line: &[&str]) -> anyhow::Result<Parsed> {
        Options::parse(line.iter().map(OsString::from))
    }

    #[test]
    fn every_option_is_taken_from_the_command_line() {
        let line = ["--prefix=/opt/a b", "--libdir", "lib64", "--target", "x86_64-unknown-linux-musl", "--uninstall"];
        let Ok(Parsed::Options(options)) = parse(&line) else { panic!("refused") };
        assert_eq!(options.prefix, PathBuf::from("/opt/a b"));
        assert_eq!(options.libdir, Some(PathBuf::from("lib64")));
        assert_eq!(options.target.as_deref(), Some("x86_64-unknown-linux-musl"));
        assert!(options.uninstall);
    }

    #[rstest]
    #[case::no_prefix(&["--uninstall"], "--prefix")]
    #[case::no_value(&["--prefix"], "--prefix")]
    #[case::unknown(&["--prefix", "/x", "--prefixx"], "--prefixx")]
    #[case::stray(&["--prefix", "/x", "y"], "\"y\"")]
    fn a_wrong_command_line_is_refused_by_name(#[case] line: &[&str], #[case] named: &str) {
        let Err(error) = parse(line) else { panic!("accepted") };
        assert!(format!("{error:#}").contains(named), "{error:#}");
    }

    #[test]
    fn help_is_given_without_a_prefix() {
        assert!(matches!(parse(&["-h"]), Ok(Parsed::Help)));
        assert!(matches!(parse(&["--help"]), Ok(Parsed::Help)));
    }
}
