//! The options of `srs-report`.

use super::render::Format;
use clap::{Args as _, ValueEnum as _};
use clap_complete::Shell;
use std::path::PathBuf;

/// The command line.
#[derive(Debug, Default, clap::Args)]
#[command(disable_help_subcommand = true, subcommand_negates_reqs = true)]
pub struct Args {
    /// The project to report on, if it is not the one here; its `srs.toml` says where things are
    #[arg(long, value_name = "DIR", global = true)]
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
    /// Show one requirement whole, or what a kind of finding means
    #[arg(long, value_name = "ID|KIND", conflicts_with = "check")]
    pub(super) explain: Option<String>,
    /// Compare with an earlier revision: what came, what went, what broke, as Markdown
    #[arg(long, value_name = "BASE", conflicts_with_all = ["bless", "fix", "explain", "check", "prove"])]
    pub(super) diff: Option<String>,
    /// Report again whenever a file changes
    #[arg(long, conflicts_with_all = ["bless", "fix", "run", "prove", "output"])]
    pub(super) watch: bool,
    /// How to write the report
    #[arg(long, value_enum, default_value = "text")]
    pub(super) format: Format,
    /// Write the report to a file
    #[arg(long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Run the tests with cargo-nextest, or with the command of `srs.toml`, and join their results
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
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

/// What is no report.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Look at the project, write an `srs.toml` for it, and say why
    Init,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

impl Args {
    /// The ids that were named.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.explain.iter().chain(&self.only).map(String::as_str)
    }
}

/// The program's command line.
fn command() -> clap::Command {
    let about = "Traces requirements to their code, their tests and the results of the tests";
    let formats: Vec<&str> = Format::value_variants().iter().map(|format| format.name()).collect();
    let after = format!(
        "The exit status is 0 without findings, 1 with findings, and 2 if there is no report to make.\n\
         Formats: {}. The settings are in srs.toml; `srs-report init` writes one.",
        formats.join(", ")
    );
    let command = Args::augment_args(clap::Command::new("srs-report"));
    command.version(env!("CARGO_PKG_VERSION")).about(about).after_help(after)
}

/// The completion script of a shell.
pub(super) fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "srs-report", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The manual page, as roff.
pub(super) fn manual() -> anyhow::Result<String> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command()).render(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}
