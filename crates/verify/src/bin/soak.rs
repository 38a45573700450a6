//! Thousands of connections that come and go; see [`verify::soak`].

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use verify::memory::Balance;
use verify::soak;

#[global_allocator]
static ALLOCATOR: Balance = Balance;

/// Lets thousands of connections come and go, and checks that the process's resources stay flat
#[derive(Parser)]
struct Cli {
    /// For how long
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Clients at a time
    #[arg(long, default_value_t = 2_000)]
    connections: usize,
    /// Where the picture goes
    #[arg(long, default_value = "target/verify")]
    folder: PathBuf,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match soak::run(Duration::from_secs(cli.seconds), cli.connections, &cli.folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
