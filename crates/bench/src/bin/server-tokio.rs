//! tokio: a task per connection. It uses the current-thread runtime, or the multi-threaded one for more than one
//! thread.

use anyhow::Result;
use bench::pattern::Pattern;
use bench::{Arguments, Role, run_server};
use clap::Parser;
use std::future::pending;
use std::io;
use std::thread;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = match arguments.threads {
        1 => Builder::new_current_thread().enable_io().build()?,
        threads => Builder::new_multi_thread().worker_threads(threads).enable_io().build()?,
    };
    let handle = runtime.handle().clone();
    thread::spawn(move || runtime.block_on(pending::<()>()));
    run_server(move |stream| {
        let arguments = arguments.clone();
        let mut buffer = vec![0; arguments.buffer];
        if arguments.role == Role::Echo {
            // As in the server on async-socket-futures, the task's own block holds all that it uses.
            let _entered = handle.enter();
            let mut stream = TcpStream::from_std(stream)?;
            handle.spawn(async move {
                loop {
                    match stream.read(&mut buffer).await? {
                        0 => return io::Result::Ok(()),
                        received => stream.write_all(&buffer[..received]).await?,
                    }
                }
            });
        } else {
            handle.spawn(async move { serve(TcpStream::from_std(stream)?, buffer, &arguments).await });
        }
        Ok(())
    })
}

async fn serve(stream: TcpStream, mut buffer: Vec<u8>, arguments: &Arguments) -> io::Result<()> {
    let (mut from, mut to) = stream.into_split();
    if arguments.role == Role::Duplex {
        let pattern = Pattern::new(arguments.buffer);
        tokio::spawn(async move {
            let mut position = 0;
            loop {
                match to.write(pattern.from(position, usize::MAX)).await {
                    Ok(sent) => position += sent as u64,
                    Err(_) => return,
                }
            }
        });
        while from.read(&mut buffer).await? > 0 {}
        return Ok(());
    }
    let mut total: u64 = 0;
    loop {
        match from.read(&mut buffer).await? {
            0 => return to.write_all(&total.to_le_bytes()).await,
            received => total += received as u64,
        }
    }
}
