//! A server that answers lines, until Ctrl-C. Try it with `nc`.
//!
//! ```text
//! lines                    serves on a free port of 127.0.0.1
//! lines 0.0.0.0:7000       serves on a given address
//! ```
//!
//! Exit status: 0 after Ctrl-C, 1 if something failed, 2 for a wrong command line.

use async_socket_futures::{Listener, Stream, block_on, spawn_local, timeout};
use futures_util::future::{Either, select};
use futures_util::{AsyncBufReadExt, AsyncReadExt, io::BufReader};
use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

/// A client that is silent for so long is cut off.
const SILENCE: Duration = Duration::from_secs(60);
/// A client may send so many bytes, so that a line without an end is no danger.
const BYTES: u64 = 1 << 20;

/// Reads lines and answers each.
async fn serve(stream: Stream) -> io::Result<()> {
    let (mut lines, mut line) = (BufReader::new(&stream).take(BYTES), String::new());
    while timeout(SILENCE, lines.read_line(&mut line)).await?? > 0 {
        stream.write_all(format!("you said {line}").as_bytes()).await?;
        line.clear();
    }
    Ok(())
}

/// Serves until Ctrl-C, which makes a stream readable.
fn run(address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let (mut pressed, stop) = UnixStream::pair()?;
    ctrlc::set_handler(move || drop(pressed.write(b"!")))?;
    block_on(async {
        let listener = Listener::bind(address)?;
        println!("lines: listening on {}; Ctrl-C ends it", listener.local_addr()?);
        let (stop, mut byte) = (Stream::new(stop)?, [0]);
        let mut stopped = stop.read(&mut byte);
        while let Either::Left((stream, _)) = select(pin!(listener.accept()), &mut stopped).await {
            drop(spawn_local(serve(stream?))?);
        }
        Ok(())
    })?
}

fn main() -> ExitCode {
    start(std::env::args().skip(1))
}

/// Runs the program with a command line.
pub(crate) fn start(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let (address, more) = (arguments.next(), arguments.next());
    let address = match address.as_deref() {
        Some("-h" | "--help") => {
            println!(
                "Answers lines until Ctrl-C.\n\nUsage: lines [ADDRESS]\n\nADDRESS is 127.0.0.1:0 if it is not given."
            );
            return ExitCode::SUCCESS;
        }
        address => address.unwrap_or("127.0.0.1:0").parse(),
    };
    let (Ok(address), None) = (address, more) else {
        eprintln!("lines: it takes one address, for instance 127.0.0.1:7000 (--help says more)");
        return ExitCode::from(2);
    };
    match run(address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lines: {error}");
            ExitCode::FAILURE
        }
    }
}
