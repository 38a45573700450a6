//! `async-socket-linux` on the process-wide port, with the counts of every connection on. A program of its own, because the
//! compiler leaves the counts out of one that uses none.

use anyhow::Result;
use bench::{Arguments, ours, run_server};
use clap::Parser;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    run_server(move |stream| ours::serve_counting(stream.into(), &arguments))
}
