//! The servers' work on `async-socket-linux`, with callbacks, lent buffers and default settings.

use crate::pattern::Pattern;
use crate::{Arguments, Role};
use anyhow::Result;
use async_socket_linux::{
    AsyncSocket, AsyncSocketLinux, BufferPool, ExecutionEngine, IoBuf, IoBufMut, ReceiveResult, SendResult,
};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// Serves a connection on a port of `engine`, as `arguments` ask.
///
/// # Errors
/// If the socket cannot be created or opened.
pub fn serve(engine: Option<&ExecutionEngine>, stream: OwnedFd, arguments: &Arguments) -> Result<()> {
    let socket = Arc::new(AsyncSocketLinux::create(engine, stream)?);
    socket.open_async(|_| {})?;
    let bytes = vec![0; arguments.buffer].into_boxed_slice();
    match arguments.role {
        Role::Echo => echo(&socket, EchoBuffer { bytes, filled: 0 }),
        Role::Sink => receive_all(&socket, bytes, 0),
        Role::Duplex => {
            receive_all(&socket, bytes, 0);
            send_all(&socket, Chunk { pattern: Pattern::new(arguments.buffer), position: 0 });
        }
    }
    Ok(())
}

/// Echoes a connection's bytes with an idle time-out, through the buffers of `pool` if there is one.
///
/// # Errors
/// If the socket cannot be opened, or there is no memory.
pub fn serve_with_idle_timeout(
    stream: OwnedFd,
    arguments: &Arguments,
    pool: Option<&BufferPool>,
    idle: Duration,
) -> Result<()> {
    let socket = Arc::new(AsyncSocketLinux::open(None, stream)?);
    socket.set_idle_timeout(Some(idle))?;
    match pool {
        Some(pool) => echo_pooled(&socket, pool),
        None => echo(&socket, EchoBuffer { bytes: vec![0; arguments.buffer].into_boxed_slice(), filled: 0 }),
    }
    Ok(())
}

/// Echoes a connection's bytes, and counts them.
///
/// # Errors
/// If the socket cannot be opened, or there is no memory.
pub fn serve_counting(stream: OwnedFd, arguments: &Arguments) -> Result<()> {
    let socket = Arc::new(AsyncSocketLinux::open(None, stream)?);
    socket.set_metrics(true)?;
    echo(&socket, EchoBuffer { bytes: vec![0; arguments.buffer].into_boxed_slice(), filled: 0 });
    Ok(())
}

/// Echoes a connection's bytes through the buffers of `pool`.
///
/// # Errors
/// If the socket cannot be created or opened.
pub fn serve_pooled(engine: Option<&ExecutionEngine>, stream: OwnedFd, pool: &BufferPool) -> Result<()> {
    let socket = Arc::new(AsyncSocketLinux::create(engine, stream)?);
    socket.open_async(|_| {})?;
    echo_pooled(&socket, pool);
    Ok(())
}

fn echo_pooled(socket: &Arc<AsyncSocketLinux>, pool: &BufferPool) {
    let (next, again) = (Arc::clone(socket), pool.clone());
    let _ = socket.receive_pooled_async(pool, move |completion| {
        if let Some(buffer) = completion.buffer {
            let socket = Arc::clone(&next);
            let _ = socket.send_async(buffer, move |sent| {
                drop(sent);
                echo_pooled(&next, &again);
            });
        }
    });
}

/// One buffer for both directions: a receive may fill all of it; a send takes the filled part.
struct EchoBuffer {
    bytes: Box<[u8]>,
    filled: usize,
}

impl IoBuf for EchoBuffer {
    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }
}

impl IoBufMut for EchoBuffer {
    fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

/// Starts one receive of the echo. A refused call drops its callback, and with it the last reference to the socket.
fn echo(socket: &Arc<AsyncSocketLinux>, buffer: EchoBuffer) {
    let next = Arc::clone(socket);
    let _ = socket.receive_async(buffer, move |completion| {
        if completion.result == ReceiveResult::Ok {
            let mut buffer = completion.buffers;
            buffer.filled = completion.bytes_received as usize;
            echo_back(&next, buffer);
        }
    });
}

fn echo_back(socket: &Arc<AsyncSocketLinux>, buffer: EchoBuffer) {
    let next = Arc::clone(socket);
    let _ = socket.send_async(buffer, move |completion| {
        if completion.result == SendResult::Ok {
            echo(&next, completion.buffers);
        }
    });
}

fn receive_all(socket: &Arc<AsyncSocketLinux>, buffer: Box<[u8]>, received: u64) {
    let next = Arc::clone(socket);
    let _ = socket.receive_async(buffer, move |completion| {
        if completion.result == ReceiveResult::Ok {
            receive_all(&next, completion.buffers, received + u64::from(completion.bytes_received));
        } else if completion.result == ReceiveResult::Abandoned {
            let _ = next.send_async(received.to_le_bytes(), |_| {});
        }
    });
}

/// The bytes of the pattern that the server sends next.
struct Chunk {
    pattern: Pattern,
    position: u64,
}

impl IoBuf for Chunk {
    fn as_slice(&self) -> &[u8] {
        self.pattern.from(self.position, usize::MAX)
    }
}

fn send_all(socket: &Arc<AsyncSocketLinux>, chunk: Chunk) {
    let next = Arc::clone(socket);
    let _ = socket.send_async(chunk, move |completion| {
        if completion.result == SendResult::Ok {
            let mut chunk = completion.buffers;
            chunk.position += chunk.as_slice().len() as u64;
            send_all(&next, chunk);
        }
    });
}
