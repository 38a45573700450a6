//! What can be wrong with a project's tracing, and where it is.

use std::fmt;
use std::path::Path;
use std::rc::Rc;

/// One thing that is wrong, shown as `file:line: error[kind]: message`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Finding {
    pub(super) location: Location,
    pub(super) kind: Kind,
    pub(super) message: String,
}

impl Finding {
    pub(super) fn new(location: &Location, kind: Kind, message: String) -> Self {
        Self { location: location.clone(), kind, message }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: error[{}]: {}", self.location, self.kind.name(), self.message)
    }
}

/// The kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A document starts or ends a requirement in another form than `**SRS_…: [** text **]**`.
    MalformedRequirement,
    /// An id stands twice in the documents.
    DuplicateId,
    /// A list of tags holds something that is no tag.
    MalformedTag,
    /// A tag names an id that no document has.
    UnknownId,
    /// A tag stands over nothing and in nothing.
    OrphanTag,
    /// A `Codes_` tag is on a test.
    CodeTagOnTest,
    /// A `Tests_` tag is on something that is no test.
    TestTagOnCode,
    /// No code has the requirement's tag.
    NotCoded,
    /// No unit test has the requirement's tag.
    NotUnitTested,
    /// No integration test has the requirement's tag.
    NotIntegrationTested,
    /// A waiver does not say why.
    WaiverWithoutReason,
    /// A waiver names an id that no document has.
    WaiverUnknownId,
    /// A waiver excuses the lack of something that exists, that another waiver excuses already, or nothing.
    WaiverNotNeeded,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::MalformedRequirement => "malformed-requirement",
            Self::DuplicateId => "duplicate-id",
            Self::MalformedTag => "malformed-tag",
            Self::UnknownId => "unknown-id",
            Self::OrphanTag => "orphan-tag",
            Self::CodeTagOnTest => "code-tag-on-test",
            Self::TestTagOnCode => "test-tag-on-code",
            Self::NotCoded => "not-coded",
            Self::NotUnitTested => "not-unit-tested",
            Self::NotIntegrationTested => "not-integration-tested",
            Self::WaiverWithoutReason => "waiver-without-reason",
            Self::WaiverUnknownId => "waiver-unknown-id",
            Self::WaiverNotNeeded => "waiver-not-needed",
        }
    }
}

/// A line of a file; the path is relative to the project's root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Location {
    pub(super) path: Rc<str>,
    pub(super) line: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path, self.line)
    }
}

/// How `path` is shown: relative to `root`, if it lies in it.
pub(super) fn relative(root: &Path, path: &Path) -> Rc<str> {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into()
}

/// Finds the line (from 1) of a byte offset.
pub(super) struct Lines {
    ends: Vec<usize>,
}

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        Self { ends: text.match_indices('\n').map(|(offset, _)| offset).collect() }
    }

    pub(super) fn line(&self, offset: usize) -> usize {
        self.ends.partition_point(|&end| end < offset) + 1
    }
}
