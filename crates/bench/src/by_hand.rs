//! A connection that reacts to readiness, shared by the servers on bare epoll and on mio.
//!
//! A short read means that the socket is drained, unless the event reported the end of the stream. So neither server
//! asks the kernel for `EAGAIN` after a short read.

use crate::pattern::Pattern;
use crate::{Arguments, Role};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::ops::Range;
use std::os::fd::AsFd;

/// A connection over any kind of stream.
#[derive(Debug)]
pub struct Connection<S> {
    /// The stream.
    pub stream: S,
    role: Role,
    buffer: Box<[u8]>,
    /// The received bytes that are not sent back yet.
    unsent: Range<usize>,
    received: u64,
    source: Option<(Pattern, u64)>,
}

impl<S: AsFd> Connection<S> {
    /// A connection that nothing has happened on.
    pub fn new(stream: S, arguments: &Arguments) -> Self {
        let source = (arguments.role == Role::Duplex).then(|| (Pattern::new(arguments.buffer), 0));
        let buffer = vec![0; arguments.buffer].into_boxed_slice();
        Self { stream, role: arguments.role, buffer, unsent: 0..0, received: 0, source }
    }

    /// Does all work that is possible now. `ended` means that the event reported the end of the stream. Returns whether
    /// the connection lives on.
    #[inline]
    pub fn on_ready(&mut self, ended: bool) -> bool {
        match self.role {
            Role::Echo => self.echo(ended),
            Role::Sink => self.receive_all(ended),
            Role::Duplex => self.receive_all(ended) && self.send_all(),
        }
    }

    /// Whether the connection has bytes to send.
    pub fn wants_to_send(&self) -> bool {
        !self.unsent.is_empty() || self.source.is_some()
    }

    fn echo(&mut self, ended: bool) -> bool {
        loop {
            while !self.unsent.is_empty() {
                match send(&self.stream, &self.buffer[self.unsent.clone()], SendFlags::NOSIGNAL) {
                    Ok(sent) => self.unsent.start += sent,
                    Err(Errno::AGAIN) => return true,
                    Err(Errno::INTR) => {}
                    Err(_) => return false,
                }
            }
            let short = self.unsent.end > 0 && self.unsent.end < self.buffer.len();
            self.unsent = 0..0;
            if short && !ended {
                return true;
            }
            match recv(&self.stream, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((_, 0)) => return false,
                Ok((_, received)) => self.unsent = 0..received,
                Err(Errno::AGAIN) => return true,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }

    fn receive_all(&mut self, ended: bool) -> bool {
        loop {
            match recv(&self.stream, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((_, 0)) => {
                    let _ = send(&self.stream, &self.received.to_le_bytes(), SendFlags::NOSIGNAL);
                    return false;
                }
                Ok((_, received)) => {
                    self.received += received as u64;
                    if received < self.buffer.len() && !ended {
                        return true;
                    }
                }
                Err(Errno::AGAIN) => return true,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }

    fn send_all(&mut self) -> bool {
        let Some((pattern, position)) = &mut self.source else { return true };
        loop {
            match send(&self.stream, pattern.from(*position, usize::MAX), SendFlags::NOSIGNAL) {
                Ok(sent) => *position += sent as u64,
                Err(Errno::AGAIN) => return true,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }
}
