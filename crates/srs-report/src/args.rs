//! The options of `srs-report`.

use super::render::Format;
use std::path::PathBuf;

/// The command line.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The project to report on, if it is not this workspace; its `srs.toml` says where things are
    #[arg(long, value_name = "DIR")]
    pub(super) root: Option<PathBuf>,
    /// The gate: print the findings and the summary, not the table
    #[arg(long, visible_alias = "quiet")]
    pub(super) check: bool,
    /// Accept the requirements' texts as reviewed: rewrite the snapshot
    #[arg(long, conflicts_with_all = ["check", "explain", "run", "results", "mutants", "prove", "output"])]
    pub(super) bless: bool,
    /// Bring the requirement texts that tags quote up to date with the documents
    #[arg(long, conflicts_with_all = ["bless", "explain", "run", "prove"])]
    pub(super) fix: bool,
    /// Show one requirement whole
    #[arg(long, value_name = "ID", conflicts_with = "check")]
    pub(super) explain: Option<String>,
    /// How to write the report
    #[arg(long, value_enum, default_value = "text")]
    pub(super) format: Format,
    /// Write the report to a file
    #[arg(long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Run the tests with cargo-nextest and join their results
    #[arg(long)]
    pub(super) run: bool,
    /// Join results that were made elsewhere: JUnit files
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(super) results: Vec<PathBuf>,
    /// Join what cargo-mutants left in this folder
    #[arg(long, value_name = "DIR", conflicts_with = "prove")]
    pub(super) mutants: Option<PathBuf>,
    /// Run cargo-mutants on the code of the requirements and join what it finds
    #[arg(long)]
    pub(super) prove: bool,
    /// Try each requirement's mutants against its own tests alone, and write the outcome to docs/srs/proven.toml
    #[arg(long, requires = "prove")]
    pub(super) own_tests: bool,
    /// Prove only these requirements
    #[arg(long, value_name = "ID", requires = "prove", value_delimiter = ',')]
    pub(super) only: Vec<String>,
    /// Prove only the code of this package
    #[arg(long = "crate", value_name = "NAME", requires = "prove")]
    pub(super) package: Option<String>,
    /// The number of tests that run at a time [default: half of the processors]
    #[arg(long, value_name = "N", requires = "own_tests")]
    pub(super) jobs: Option<usize>,
    /// The time limit of a test on a mutant, beyond four times its time without one
    #[arg(long, value_name = "SECONDS", requires = "own_tests", default_value_t = 10)]
    pub(super) limit: u64,
    /// Stop trying after this time; the next run goes on from there
    #[arg(long, value_name = "MINUTES", requires = "own_tests")]
    pub(super) minutes: Option<u64>,
}

impl Args {
    /// The ids that were named.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.explain.iter().chain(&self.only).map(String::as_str)
    }
}
