//! An echo server on `async-socket-linux`, default settings, one thread.

use anyhow::Result;
use async_socket_linux::{AsyncSocket, AsyncSocketLinux, IoBuf, IoBufMut, ReceiveResult, SendResult};
use bench::{BUFFER_BYTES, ECHOED, run_server};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// One buffer for both directions: received into whole, sent from as far as it was filled.
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

fn main() -> Result<()> {
    run_server("async-socket-linux", |stream: TcpStream| {
        let socket = Arc::new(AsyncSocketLinux::create(None, stream.into())?);
        socket.open_async(|_| {})?;
        receive(&socket, EchoBuffer { bytes: vec![0; BUFFER_BYTES].into_boxed_slice(), filled: 0 });
        Ok(())
    })
}

fn receive(socket: &Arc<AsyncSocketLinux>, buffer: EchoBuffer) {
    let next = Arc::clone(socket);
    let _ = socket.receive_async(buffer, move |completion| {
        if completion.result == ReceiveResult::Ok {
            ECHOED.fetch_add(1, Ordering::Relaxed);
            let mut buffer = completion.buffers;
            buffer.filled = completion.bytes_received as usize;
            send(&next, buffer);
        }
    });
}

fn send(socket: &Arc<AsyncSocketLinux>, buffer: EchoBuffer) {
    let next = Arc::clone(socket);
    let _ = socket.send_async(buffer, move |completion| {
        if completion.result == SendResult::Ok {
            receive(&next, completion.buffers);
        }
    });
}
