//! async-socket-futures: a task per connection, on an engine with a port per thread.

use anyhow::Result;
use async_socket_futures::{Engine, Stream};
use bench::pattern::Pattern;
use bench::{Arguments, Role, run_server};
use clap::Parser;
use futures_util::AsyncWriteExt;
use std::io;
use std::sync::Arc;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let engine = Engine::builder().threads(arguments.threads).build()?;
    let mut ports = (0..engine.threads()).cycle();
    run_server(move |stream| {
        let port = ports.next().unwrap_or_default();
        let stream = Stream::on(engine.port(port), stream)?;
        let arguments = arguments.clone();
        let mut buffer = vec![0; arguments.buffer];
        if arguments.role == Role::Echo {
            drop(engine.spawn_on(port, async move {
                loop {
                    match stream.read(&mut buffer).await? {
                        0 => return io::Result::Ok(()),
                        received => stream.write_all(&buffer[..received]).await?,
                    }
                }
            }));
        } else {
            drop(engine.spawn_on(port, async move { serve(stream, buffer, &arguments).await }));
        }
        Ok(())
    })
}

async fn serve(stream: Stream, mut buffer: Vec<u8>, arguments: &Arguments) -> io::Result<()> {
    let stream = Arc::new(stream);
    if arguments.role == Role::Duplex {
        let pattern = Pattern::new(arguments.buffer);
        let to = Arc::clone(&stream);
        let sending = async_socket_futures::spawn_local(async move {
            let mut position = 0;
            while let Ok(sent) = (&*to).write(pattern.from(position, usize::MAX)).await {
                position += sent as u64;
            }
        });
        drop(sending.map_err(io::Error::other)?);
        while stream.read(&mut buffer).await? > 0 {}
        return Ok(());
    }
    let mut total: u64 = 0;
    loop {
        match stream.read(&mut buffer).await? {
            0 => return stream.write_all(&total.to_le_bytes()).await,
            received => total += received as u64,
        }
    }
}
