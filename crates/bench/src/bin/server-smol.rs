//! smol: a task per connection, one thread.

use anyhow::Result;
use bench::pattern::Pattern;
use bench::{Arguments, Role, run_server};
use clap::Parser;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::{Async, Executor, block_on};
use std::future::pending;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let executor = Arc::new(Executor::new());
    thread::spawn({
        let executor = Arc::clone(&executor);
        move || block_on(executor.run(pending::<()>()))
    });
    run_server(move |stream| {
        let (arguments, spawner) = (arguments.clone(), Arc::clone(&executor));
        let buffer = vec![0; arguments.buffer];
        executor.spawn(async move { serve(Async::new(stream)?, buffer, &arguments, &spawner).await }).detach();
        Ok(())
    })
}

async fn serve(
    mut stream: Async<TcpStream>,
    mut buffer: Vec<u8>,
    arguments: &Arguments,
    executor: &Executor<'_>,
) -> io::Result<()> {
    if arguments.role == Role::Echo {
        loop {
            match stream.read(&mut buffer).await? {
                0 => return Ok(()),
                received => stream.write_all(&buffer[..received]).await?,
            }
        }
    }
    let stream = Arc::new(stream);
    if arguments.role == Role::Duplex {
        let (pattern, to) = (Pattern::new(arguments.buffer), Arc::clone(&stream));
        executor.spawn(async move { send_all(&to, &pattern).await }).detach();
    }
    let mut total: u64 = 0;
    loop {
        match (&*stream).read(&mut buffer).await? {
            0 if arguments.role == Role::Sink => return (&*stream).write_all(&total.to_le_bytes()).await,
            0 => return Ok(()),
            received => total += received as u64,
        }
    }
}

/// Returns an error when the peer has gone.
async fn send_all(mut stream: &Async<TcpStream>, pattern: &Pattern) -> io::Result<()> {
    let mut position = 0;
    loop {
        position += stream.write(pattern.from(position, usize::MAX)).await? as u64;
    }
}
