//! hyper on tokio's current-thread runtime: a task per connection, which says hello.

use anyhow::Result;
use bench::hello::hello;
use bench::{Arguments, run_server};
use clap::Parser;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::future::pending;
use std::thread;
use tokio::net::TcpStream;
use tokio::runtime::Builder;

fn main() -> Result<()> {
    let _ = Arguments::parse();
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let handle = runtime.handle().clone();
    thread::spawn(move || runtime.block_on(pending::<()>()));
    run_server(move |stream| {
        let _entered = handle.enter();
        let stream = TokioIo::new(TcpStream::from_std(stream)?);
        handle.spawn(http1::Builder::new().serve_connection(stream, service_fn(hello)));
        Ok(())
    })
}
