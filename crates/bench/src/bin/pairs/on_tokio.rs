//! A task for each end, on tokio's current-thread runtime.

use crate::{Arguments, Trips};
use anyhow::Result;
use bench::pattern::Pattern;
use std::future::pending;
use std::io;
use std::thread;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::Builder;

pub(crate) fn start(arguments: &Arguments, trips: &'static [Trips]) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let message = Pattern::new(arguments.size).from(0, arguments.size).to_vec();
    for trips in trips {
        let (mut one, two) = runtime.block_on(async { UnixStream::pair() })?;
        let (first, second) = (message.clone(), message.clone());
        runtime.spawn(async move {
            one.write_all(&first).await?;
            exchange(one, first, Some(trips)).await
        });
        runtime.spawn(exchange(two, second, None));
    }
    thread::spawn(move || runtime.block_on(pending::<()>()));
    Ok(())
}

async fn exchange(mut stream: UnixStream, message: Vec<u8>, trips: Option<&'static Trips>) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let mut filled = 0;
        while filled < message.len() {
            filled += stream.read(&mut buffer[filled..]).await?;
        }
        assert!(buffer[..filled] == message, "wrong bytes came");
        if let Some(trips) = trips {
            trips.count();
        }
        stream.write_all(&buffer[..filled]).await?;
    }
}
