//! Both ends of every pair on one port of ours.

use crate::{Arguments, Trips};
use anyhow::Result;
use async_socket_linux::{AsyncSocket, AsyncSocketLinux, ExecutionEngine, IoBuf, IoBufMut, ReceiveResult, SendResult};
use bench::pattern::Pattern;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// One end: a socket and its message. The end that sends first also counts round trips.
struct End {
    socket: AsyncSocketLinux,
    message: Vec<u8>,
    trips: Option<&'static Trips>,
}

/// A receive may fill all of it; a send takes the filled part.
struct Buffer {
    bytes: Box<[u8]>,
    filled: usize,
}

impl IoBuf for Buffer {
    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }
}

impl IoBufMut for Buffer {
    fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[self.filled..]
    }
}

pub(crate) fn start(arguments: &Arguments, trips: &'static [Trips]) -> Result<()> {
    let engine = ExecutionEngine::builder().threads(arguments.threads).build()?;
    let message = Pattern::new(arguments.size).from(0, arguments.size).to_vec();
    let mut pairs = Vec::new();
    for _ in 0..arguments.pairs {
        pairs.push(UnixStream::pair()?);
    }
    let (ones, twos): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    // Each socket takes the engine's next port. All odd ends come first, so that an even end gets the port of its peer
    // if the number of ports divides the number of pairs.
    let end = |stream: UnixStream, trips| -> Result<Arc<End>> {
        let socket = AsyncSocketLinux::create(Some(&engine), stream.into())?;
        socket.open_async(|_| {})?;
        Ok(Arc::new(End { socket, message: message.clone(), trips }))
    };
    let twos = twos.into_iter().map(|two| end(two, None)).collect::<Result<Vec<_>>>()?;
    let ones = ones.into_iter().zip(trips).map(|(one, trips)| end(one, Some(trips))).collect::<Result<Vec<_>>>()?;
    let buffer = || Buffer { bytes: vec![0; 64 * 1024].into_boxed_slice(), filled: 0 };
    twos.iter().for_each(|two| receive(two, buffer()));
    for one in &ones {
        let mut first = buffer();
        first.bytes[..arguments.size].copy_from_slice(&message);
        first.filled = arguments.size;
        send(one, first);
    }
    Ok(())
}

fn receive(end: &Arc<End>, buffer: Buffer) {
    let next = Arc::clone(end);
    let _ = end.socket.receive_async(buffer, move |completion| {
        assert!(completion.result == ReceiveResult::Ok, "no end goes away");
        let mut buffer = completion.buffers;
        buffer.filled += completion.bytes_received as usize;
        if buffer.filled < next.message.len() {
            return receive(&next, buffer);
        }
        assert!(buffer.as_slice() == next.message, "wrong bytes came");
        if let Some(trips) = next.trips {
            trips.count();
        }
        send(&next, buffer);
    });
}

fn send(end: &Arc<End>, buffer: Buffer) {
    let next = Arc::clone(end);
    let _ = end.socket.send_async(buffer, move |completion| {
        assert!(completion.result == SendResult::Ok, "no end goes away");
        let mut buffer = completion.buffers;
        buffer.filled = 0;
        receive(&next, buffer);
    });
}
