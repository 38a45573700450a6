//! An echo server and a load generator that verifies every byte, in one program.
//!
//! ```text
//! echo                        serves and drives itself for 5 seconds, then says how it went
//! echo --listen ADDR          a server, until Ctrl-C
//! echo --connect ADDR         drives an echo server, ours or anybody's
//! ```
//!
//! Read `server` first: the callback of a receive sends, and the callback of that send receives. `client` does the same
//! in the other order, and measures the time. The other modules are `args`, `descriptors`, `pattern` and `report`.
//!
//! Exit status: 0 if all went well, 1 if a byte came back wrong or a connection failed, 2 if the program could not
//! start. Set `RUST_LOG=async_socket_linux=debug` to see the library's log.

mod args;
mod client;
mod descriptors;
mod pattern;
mod report;
mod server;

use anyhow::Context as _;
use args::{Args, Mode};
use async_socket_linux::ExecutionEngine;
use client::Plan;
use server::Server;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use tracing_subscriber::EnvFilter;

/// The program could not start. The reason is on stderr.
const NOT_STARTED: u8 = 2;

fn main() -> ExitCode {
    let args = match args::parse() {
        Ok(args) => args,
        Err(exit_code) => return exit_code,
    };
    tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).with_writer(std::io::stderr).init();
    run(&args).unwrap_or_else(|error| {
        report::complain(format_args!("{error:#}"));
        ExitCode::from(NOT_STARTED)
    })
}

fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let interrupted = watch_for_ctrl_c()?;
    let engine = || ExecutionEngine::builder().threads(args.threads).build().context("no completion port");
    match args.mode()? {
        Mode::Listen(addresses) => {
            descriptors::raise_limit();
            let server = Server::start(listen(&addresses)?, engine()?)?;
            report::listening(server.address(), args.threads);
            while !interrupted.load(Ordering::Relaxed) {
                thread::park();
            }
            report::served(&server.stop());
            Ok(ExitCode::SUCCESS)
        }
        Mode::Connect(addresses) => {
            descriptors::ensure(args.connections, args.threads)?;
            let plan = Plan::from(args);
            let streams = client::connect(&addresses, plan.connections)?;
            report::driving(streams.address, &plan);
            client::drive(streams, &engine()?, &plan, &interrupted).map(|outcome| report::outcome(&outcome))
        }
        Mode::SelfDriving => {
            descriptors::ensure(2 * args.connections, 2 * args.threads)?;
            let plan = Plan::from(args);
            let server = Server::start(listen(&[(Ipv4Addr::LOCALHOST, 0).into()])?, engine()?)?;
            let streams = client::connect(&[server.address()], plan.connections)?;
            report::serving_and_driving(streams.address, &plan);
            let outcome = client::drive(streams, &engine()?, &plan, &interrupted)?;
            server.stop();
            Ok(report::outcome(&outcome))
        }
    }
}

fn listen(addresses: &[SocketAddr]) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addresses).with_context(|| format!("cannot listen on {}", report::list(addresses)))
}

/// The first Ctrl-C ends the program in order. The second ends it at once.
fn watch_for_ctrl_c() -> anyhow::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let (ours, main_thread) = (Arc::clone(&interrupted), thread::current());
    ctrlc::set_handler(move || {
        if ours.swap(true, Ordering::Relaxed) {
            process::exit(130);
        }
        main_thread.unpark();
    })
    .context("no handler for Ctrl-C")?;
    Ok(interrupted)
}
