//! Tags, the items they belong to, and the names of tests.

use super::rust::Home;
use crate::config::Word;
use crate::finding::Location;
use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

/// One id of one tag comment.
#[derive(Debug)]
pub(crate) struct Tag {
    pub(crate) word: Word,
    pub(crate) id: String,
    /// The level of its test, as an index into the levels of the project.
    pub(crate) level: usize,
    pub(crate) level_name: Arc<str>,
    pub(crate) location: Location,
    pub(crate) target: Option<Arc<Target>>,
    pub(crate) quote: Option<Quote>,
}

/// The requirement's text as a tag quotes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quote {
    pub(crate) text: String,
    /// The bytes between the brackets; `None` if the file is not UTF-8.
    pub(crate) range: Option<Range<usize>>,
}

/// The item a tag is attached to.
#[derive(Debug)]
pub(crate) struct Target {
    /// The name with the modules and types around it: `tests::it_works`.
    pub(crate) name: String,
    pub(crate) is_test: bool,
    /// Whether it is a test or exists only for tests.
    pub(crate) is_test_code: bool,
    /// The item's lines, its attributes included.
    pub(crate) lines: RangeInclusive<usize>,
    pub(crate) test: TestName,
}

/// The runner's name of a test.
#[derive(Debug, Default)]
pub(crate) struct TestName {
    pub(crate) home: Home,
    /// The names with their modules, as the runner prints them after the binary. A macro may hold several tests.
    pub(crate) names: Vec<String>,
    /// Whether a name may stand for several tests: `name::case_1`.
    pub(crate) is_parametrised: bool,
    /// The least number of tests, if there is only one name.
    pub(crate) cases: usize,
    /// The names of its file and its folder, after which a runner may call all tests in them.
    pub(crate) places: Vec<String>,
}

impl TestName {
    /// Whether this is the test `name` of the runner's `binary`, which is empty if the runner names no binaries.
    pub(crate) fn is(&self, binary: &str, name: &str) -> bool {
        self.is_in(binary) && self.names.iter().any(|own| self.covers(own, name))
    }

    /// May the test be in this binary?
    pub(crate) fn is_in(&self, binary: &str) -> bool {
        match (&self.home.binary, &self.home.package) {
            (Some(own), _) => binary.is_empty() || **own == *binary,
            (None, Some(package)) => binary.is_empty() || package_of(binary) == &**package,
            (None, None) => true,
        }
    }

    fn covers(&self, own: &str, name: &str) -> bool {
        let below = || name.strip_prefix(own).is_some_and(|rest| rest.starts_with("::"));
        own == name || (self.is_parametrised && below())
    }
}

impl fmt::Display for TestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Home { package, binary, .. } = &self.home;
        if let Some(place) = binary.as_ref().or(package.as_ref()) {
            write!(f, "{place} ")?;
        }
        f.write_str(&self.names.join(", "))
    }
}

/// `package` of `package::target`.
pub(crate) fn package_of(binary: &str) -> &str {
    binary.split("::").next().unwrap_or(binary)
}
