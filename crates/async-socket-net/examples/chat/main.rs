//! A chat room for any client that sends lines, `nc` for instance.
//!
//! ```text
//! chat                                a room on a free port of 127.0.0.1
//! chat --listen 0.0.0.0:7000          a room on a given address
//! ```
//!
//! Read `room` first: each line that a member sends is sent to all others. A member that reads too slowly is cut off when too
//! much waits for it; one that says nothing for long is asked to leave. Ctrl-C says good-bye, and ends when all have left.
//!
//! Exit status: 0 after Ctrl-C, 2 if the program could not start.

mod room;
#[path = "../shared/mod.rs"]
mod shared;

use anyhow::Context as _;
use async_socket_linux::ExecutionEngine;
use clap::Parser;
use room::{Chat, Rules};
use shared::{number, say, seconds};
use std::net::TcpListener;
use std::process::ExitCode;
use std::time::Duration;

/// A chat room for any client that sends lines.
#[derive(Debug, Parser)]
#[command(name = "chat", version)]
struct Args {
    /// Where to accept members; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: String,
    /// A member that says nothing for so long is asked to leave
    #[arg(long, value_name = "S", default_value = "300", value_parser = seconds)]
    idle: Duration,
    /// A member for which so much waits is cut off
    #[arg(long, value_name = "BYTES", default_value = "1048576", value_parser = number::<1024, { 1 << 30 }>)]
    queue: usize,
    /// How long members may take to leave after Ctrl-C
    #[arg(long, value_name = "S", default_value = "5", value_parser = seconds)]
    grace: Duration,
    /// Threads
    #[arg(long, value_name = "N", default_value = "1", value_parser = number::<1, 256>)]
    threads: usize,
}

fn main() -> ExitCode {
    shared::run("chat", run)
}

fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let ctrl_c = shared::ctrl_c()?;
    let engine = ExecutionEngine::builder().threads(args.threads).build().context("no completion port")?;
    let listener = TcpListener::bind(&args.listen).with_context(|| format!("cannot listen on {}", args.listen))?;
    let chat = Chat::open(&engine, listener, Rules { idle: args.idle, queue: args.queue })?;
    say(format_args!("chat: listening on {}; Ctrl-C ends it", chat.address()));
    let _ = ctrl_c.recv();
    let cut_off = chat.end(args.grace);
    say(format_args!("chat: over, {cut_off} members cut off"));
    Ok(ExitCode::SUCCESS)
}
