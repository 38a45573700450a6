//! Passes TCP connections on to another address.
//!
//! ```text
//! proxy --to example.org:80                           on a free port of 127.0.0.1
//! proxy --to 127.0.0.1:5432 --listen 0.0.0.0:6432     on a given address
//! ```
//!
//! Read `session` first: the callback of a receive sends to the other side, and the callback of that send receives again. So at
//! most one buffer waits in each direction, and a slow reader slows the writer down.
//!
//! Exit status: 0 after Ctrl-C, 2 if the program could not start.

mod server;
mod session;
#[path = "../shared/mod.rs"]
mod shared;

use anyhow::Context as _;
use async_socket_linux::ExecutionEngine;
use async_socket_net::{Target, ToTarget as _};
use clap::Parser;
use server::{Plan, Proxy};
use shared::{number, say, seconds};
use std::net::TcpListener;
use std::process::ExitCode;
use std::time::Duration;

/// Passes TCP connections on to another address.
#[derive(Debug, Parser)]
#[command(name = "proxy", version)]
struct Args {
    /// Where to connect to for each client
    #[arg(long, value_name = "HOST:PORT", value_parser = target)]
    to: Target,
    /// Where to accept clients; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: String,
    /// How long a connect may take, the look-up of the host included
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    connect_within: Duration,
    /// A connection on which nothing moves for so long is closed
    #[arg(long, value_name = "S", default_value = "300", value_parser = seconds)]
    idle: Duration,
    /// How long open connections may go on after Ctrl-C
    #[arg(long, value_name = "S", default_value = "5", value_parser = seconds)]
    grace: Duration,
    /// Threads
    #[arg(long, value_name = "N", default_value = "1", value_parser = number::<1, 256>)]
    threads: usize,
}

fn main() -> ExitCode {
    shared::run("proxy", run)
}

fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let ctrl_c = shared::ctrl_c()?;
    let engine = ExecutionEngine::builder().threads(args.threads).build().context("no completion port")?;
    let listener = TcpListener::bind(&args.listen).with_context(|| format!("cannot listen on {}", args.listen))?;
    let plan = Plan { to: args.to.clone(), connect_within: args.connect_within, idle: args.idle };
    let proxy = Proxy::start(&engine, listener, plan)?;
    say(format_args!("proxy: listening on {}; Ctrl-C ends it", proxy.address()));
    let _ = ctrl_c.recv();
    let served = proxy.end(args.grace);
    say(format_args!(
        "connections  {}, {} cut off, {} not passed on",
        served.connections, served.cut_off, served.refused
    ));
    say(format_args!("data         {} bytes to servers, {} bytes to clients", served.to_servers, served.to_clients));
    Ok(ExitCode::SUCCESS)
}

fn target(text: &str) -> Result<Target, String> {
    text.to_target().map_err(|error| error.to_string())
}
