//! hyper on async-socket-futures: a task per connection, which says hello.

use anyhow::Result;
use async_socket_futures::{Engine, Stream};
use bench::hello::hello;
use bench::{Arguments, run_server};
use clap::Parser;
use hyper::server::conn::http1;
use hyper::service::service_fn;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let engine = Engine::builder().threads(arguments.threads).build()?;
    let mut ports = (0..engine.threads()).cycle();
    run_server(move |stream| {
        let port = ports.next().unwrap_or_default();
        let stream = Stream::on(engine.port(port), stream)?;
        drop(engine.spawn_on(port, http1::Builder::new().serve_connection(stream, service_fn(hello))));
        Ok(())
    })
}
