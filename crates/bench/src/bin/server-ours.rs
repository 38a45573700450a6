//! `async-socket-linux`, default settings: the process-wide port, or an engine of several.

use anyhow::Result;
use async_socket_linux::ExecutionEngine;
use bench::{Arguments, ours, run_server};
use clap::Parser;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let several = (arguments.threads > 1).then(|| ExecutionEngine::builder().threads(arguments.threads).build());
    let engine = several.transpose()?;
    run_server(move |stream| ours::serve(engine.as_ref(), stream.into(), &arguments))
}
