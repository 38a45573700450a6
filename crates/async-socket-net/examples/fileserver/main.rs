//! Serves the files of a folder over HTTP/1.1, one request for each connection.
//!
//! ```text
//! fileserver public                            on a free port of 127.0.0.1
//! curl http://127.0.0.1:PORT/picture.png       fetches public/picture.png
//! ```
//!
//! Read `connection` first: it receives a request, and then sends a piece of the file from the callback of the piece before. So a
//! connection holds one piece, however large the file and however slow the client is. Pieces are read on the port's thread: the
//! example is for local disks.
//!
//! Exit status: 0 after Ctrl-C, 2 if the program could not start.

mod connection;
mod request;
#[path = "../shared/mod.rs"]
mod shared;

use anyhow::{Context as _, ensure};
use async_socket_linux::ExecutionEngine;
use clap::Parser;
use connection::{FileServer, Limits};
use shared::{number, say, seconds};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Serves the files of a folder over HTTP/1.1.
#[derive(Debug, Parser)]
#[command(name = "fileserver", version)]
struct Args {
    /// The folder
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// Where to accept clients; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: String,
    /// How long a request may take to arrive
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    request: Duration,
    /// A client that takes nothing for so long is cut off
    #[arg(long, value_name = "S", default_value = "30", value_parser = seconds)]
    idle: Duration,
    /// How long transfers may go on after Ctrl-C
    #[arg(long, value_name = "S", default_value = "5", value_parser = seconds)]
    grace: Duration,
    /// Threads
    #[arg(long, value_name = "N", default_value = "1", value_parser = number::<1, 256>)]
    threads: usize,
}

fn main() -> ExitCode {
    shared::run("fileserver", run)
}

fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let ctrl_c = shared::ctrl_c()?;
    let folder = args.folder.canonicalize().with_context(|| format!("cannot use {}", args.folder.display()))?;
    ensure!(folder.is_dir(), "{} is no folder", folder.display());
    let engine = ExecutionEngine::builder().threads(args.threads).build().context("no completion port")?;
    let listener = TcpListener::bind(&args.listen).with_context(|| format!("cannot listen on {}", args.listen))?;
    let server = FileServer::start(&engine, listener, folder, Limits { request: args.request, idle: args.idle })?;
    say(format_args!("fileserver: http://{}/; Ctrl-C ends it", server.address()));
    let _ = ctrl_c.recv();
    let (served, cut_off) = server.end(args.grace);
    say(format_args!("fileserver: {served} requests, {cut_off} cut off"));
    Ok(ExitCode::SUCCESS)
}
