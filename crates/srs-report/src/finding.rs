//! The faults of a project's tracing: where each is and how to mend it.

use std::fmt;
use std::sync::Arc;

/// One fault, shown as `file:line: error[kind]: message` and a line with a hint.
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
        let Self { location, kind, message } = self;
        write!(f, "{location}: error[{}]: {message}\n  hint: {}", kind.name(), kind.hint())
    }
}

macro_rules! kinds {
    ($(#[doc = $doc:literal] $kind:ident = $name:literal, $hint:literal;)*) => {
        /// The kinds of findings.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Kind { $(#[doc = $doc] $kind,)* }

        impl Kind {
            pub(super) const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The kind of a name.
            pub(super) fn of(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| kind.name() == name)
            }

            /// The name between the brackets of the output.
            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// What is wrong, in a sentence.
            pub(super) fn about(self) -> &'static str {
                match self { $(Self::$kind => $doc.trim_ascii(),)* }
            }

            /// The way to mend the fault.
            pub(super) fn hint(self) -> &'static str {
                match self { $(Self::$kind => $hint,)* }
            }
        }
    };
}

kinds! {
    /// A document starts or ends a requirement in another form than `**ID: [** text **]**`, or has an id that no requirement has.
    MalformedRequirement = "malformed-requirement", "write `**ID: [** text **]**` in one paragraph or list item";
    /// A document begins a requirement with an id that does not match the project's pattern.
    MalformedId = "malformed-id", "give it an id that the project's `id` pattern accepts";
    /// An id stands twice in the documents.
    DuplicateId = "duplicate-id", "give one of the two a number that is free";
    /// The text of a requirement has changed since its tags were last reviewed.
    TextChanged = "text-changed", "read its code and tests again (--explain ID), then accept the text with --bless";
    /// The snapshot does not have the requirement yet.
    NotReviewed = "not-reviewed", "review its code and tests (--explain ID), then accept it with --bless";
    /// The snapshot has an id that no document has.
    SnapshotUnknownId = "snapshot-unknown-id", "if the requirement was dropped on purpose, drop its line with --bless";
    /// There is no snapshot.
    NoSnapshot = "no-snapshot", "make it with --bless and commit it";
    /// A comment begins with something like a tag, or a list of tags has an entry that is not a tag.
    MalformedTag = "malformed-tag", "write nothing but tags and commas, and the explanation on a line of its own";
    /// A tag names an id that no document has.
    UnknownId = "unknown-id", "correct the id, or write the requirement";
    /// A tag stands above no item and inside none.
    OrphanTag = "orphan-tag", "put it directly above a function, a test or a type, or into a function's body";
    /// A code tag is on a test.
    CodeTagOnTest = "code-tag-on-test", "use the tests' word, or put the tag on the code itself";
    /// A test tag is on an item that is not a test.
    TestTagOnCode = "test-tag-on-code", "use the code's word, or put the tag on the test itself";
    /// The text behind a tag differs from the text of the requirement in its document.
    TextDiffers = "text-differs", "correct the text at the tag (--fix does), or the document";
    /// A test has no tag. The check is off unless `srs.toml` says `untagged_tests = true`.
    UntaggedTest = "untagged-test", "tag it with the requirement that it shows, or write `no-srs` in a comment above it";
    /// No code has the requirement's tag.
    NotCoded = "not-coded", "tag the code that does it, or waive \"code\" with a reason";
    /// No unit test has the requirement's tag.
    NotUnitTested = "not-unit-tested", "tag the unit test that shows it, or waive \"unit\" with a reason";
    /// No integration test has the requirement's tag.
    NotIntegrationTested = "not-integration-tested", "tag the integration test that shows it, or waive \"integration\" with a reason";
    /// No test of a required level has the requirement's tag, or no test at all if any level suffices.
    NotTested = "not-tested", "tag the test that shows it, or waive it with a reason";
    /// A requirement needs to be covered by another document's, and no requirement there covers it.
    NotCovered = "not-covered", "cover it in the other document, or drop the need";
    /// A waiver does not say why.
    WaiverWithoutReason = "waiver-without-reason", "say why in `reason`";
    /// A waiver names an id that no document has.
    WaiverUnknownId = "waiver-unknown-id", "correct the id, or drop the waiver";
    /// A waiver excuses the lack of an aspect that exists or that another waiver excuses, or it excuses nothing.
    WaiverNotNeeded = "waiver-not-needed", "drop it from `missing`";
    /// A waiver's date is over.
    WaiverExpired = "waiver-expired", "do what it put off, or give it a new `until`";
    /// A file or a folder cannot be read.
    UnreadableFile = "unreadable-file", "mend or remove it, or name it in `exclude`";
    /// A source file has syntax that the parser does not know. Its tags count, without the items they belong to.
    NotParsed = "not-parsed", "correct the syntax, or name the file in `exclude`";
    /// A file of an unknown language has tags.
    UnknownLanguage = "unknown-language", "name its extension in `[languages]` of srs.toml, or the file in `exclude`";
    /// A Rust file has tags, and no module of its package declares it.
    UndeclaredFile = "undeclared-file", "declare it with `mod`, or remove it: cargo does not compile it";
    /// A file, folder or pattern of `srs.toml` matches nothing.
    MatchesNothing = "matches-nothing", "correct it, or remove it";
    /// The file of proofs does not have the requirement yet.
    ProofMissing = "proof-missing", "prove it with --prove --own-tests --only ID, or add it as not-tried with --bless";
    /// The file of proofs has an id that no document has.
    ProofUnknownId = "proof-unknown-id", "if the requirement was dropped on purpose, drop its line with --bless";
    /// Its own tests noticed more mutants once.
    ProofLost = "proof-lost", "mend its tests and prove it again, or say in `reason` why it is accepted";
    /// Its own tests do not notice every mutant, and the file of proofs is said to be complete.
    ProofGap = "proof-gap", "tighten its tests or its tags and prove it again, or say in `reason` why it is accepted";
    /// A tagged test that no test binary runs.
    ProofOfNoTest = "proof-of-no-test", "tag a test that runs at that level and prove the requirement again, or say in `reason` what runs it";
    /// A decision names no requirement and does not say why.
    DecisionWithoutId = "decision-without-id", "name the requirements it is about, or write `none: ` and why there is none";
    /// A tagged test failed.
    TestFailed = "test-failed", "see its output in the run; --explain ID shows what else stands behind the requirement";
    /// Results were given, and a tagged test is not among them.
    TestNotRun = "test-not-run", "run it: ignored and filtered tests prove nothing";
}

/// A line of a file; the path is relative to the project's root.
#[derive(Debug, Default, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Location {
    pub(super) path: Arc<str>,
    pub(super) line: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path, self.line)
    }
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
