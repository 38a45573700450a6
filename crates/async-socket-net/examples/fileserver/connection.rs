//! One request and its answer, from the accept to the close.
//!
//! Each step is the callback of the step before, and holds the only reference to the connection. The step that starts nothing
//! new drops it, which closes the socket.

use crate::request::{Answer, LONGEST, answer, is_complete};
use anyhow::Context as _;
use async_socket_linux::{AsyncSocket as _, AsyncSocketLinux, EndReason, ExecutionEngine, IoBuf as _};
use async_socket_net::{Accepted, Address, Listener, Tracked, Tracker};
use std::fs::File;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// The bytes that are read from a file and sent at once.
const PIECE: usize = 128 * 1024;

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// For its request.
    pub(crate) request: Duration,
    /// Without taking a byte.
    pub(crate) idle: Duration,
}

/// A server that runs.
pub(crate) struct FileServer {
    engine: ExecutionEngine,
    listener: Listener,
    shared: Arc<Shared>,
}

struct Shared {
    folder: PathBuf,
    limits: Limits,
    tracker: Tracker,
    served: AtomicU64,
}

struct Connection {
    socket: AsyncSocketLinux,
    shared: Arc<Shared>,
    /// Counts the connection as open until it is dropped.
    _tracked: Tracked,
}

impl FileServer {
    pub(crate) fn start(
        engine: &ExecutionEngine,
        listener: TcpListener,
        folder: PathBuf,
        limits: Limits,
    ) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared { folder, limits, tracker: Tracker::new(), served: AtomicU64::new(0) });
        let ours = Arc::clone(&shared);
        let listener = Listener::new(engine, listener, move |accepted| {
            let begun = accepted.map_err(anyhow::Error::new).and_then(|accepted| Connection::begin(accepted, &ours));
            if let Err(error) = begun {
                tracing::warn!(error = format!("{error:#}"), "not accepted");
            }
        });
        Ok(Self { engine: engine.clone(), listener: listener.context("cannot accept")?, shared })
    }

    pub(crate) fn address(&self) -> &Address {
        self.listener.local_address()
    }

    /// Accepts no more, gives what is open some time, and cuts off the rest. Returns how many requests were answered, and how
    /// many connections were cut off.
    pub(crate) fn end(self, grace: Duration) -> (u64, usize) {
        drop(self.listener);
        let (done, finished) = channel();
        let port = self.engine.completion_port();
        let started = self.shared.tracker.finish(&port, grace, move |how| done.send(how.cut_off).unwrap_or_default());
        let cut_off = started.ok().and_then(|()| finished.recv().ok()).unwrap_or(0);
        (self.shared.served.load(Ordering::Relaxed), cut_off)
    }
}

impl Connection {
    fn begin(accepted: Accepted, shared: &Arc<Shared>) -> anyhow::Result<()> {
        let socket = accepted.open()?;
        socket.set_idle_timeout(Some(shared.limits.idle))?;
        let connection = Arc::new_cyclic(|connection: &std::sync::Weak<Self>| {
            let connection = connection.clone();
            let tracked = shared.tracker.track(move || {
                if let Some(connection) = connection.upgrade() {
                    // It may be closed already.
                    let _ = connection.socket.close_async(|| ());
                }
            });
            Self { socket, shared: Arc::clone(shared), _tracked: tracked }
        });
        connection.receive(Vec::with_capacity(LONGEST), Instant::now() + shared.limits.request);
        Ok(())
    }

    /// Receives more of the request's head, until the time for all of it is over.
    fn receive(self: Arc<Self>, head: Vec<u8>, until: Instant) {
        let (ours, within) = (Arc::clone(&self), until.saturating_duration_since(Instant::now()));
        let receiving = self.socket.receive_async_within(vec![0; LONGEST], within, move |received| {
            if received.reason != EndReason::Completed {
                return tracing::debug!(reason = %received.reason, "no request");
            }
            let mut head = head;
            head.extend_from_slice(received.received());
            if is_complete(&head) {
                let answer = answer(&head, &ours.shared.folder);
                ours.send_head(answer);
            } else if head.len() < LONGEST {
                ours.receive(head, until);
            } else {
                ours.send_head(Answer::Error("431 Request Header Fields Too Large"));
            }
        });
        drop(receiving);
    }

    fn send_head(self: Arc<Self>, answer: Answer) {
        let ours = Arc::clone(&self);
        let sending = self.socket.send_async(answer.head(), move |sent| match (sent.reason, answer) {
            (EndReason::Completed, Answer::File(file, bytes)) => ours.send_piece(file, bytes, vec![0; PIECE]),
            (EndReason::Completed, _) => ours.finish(),
            (reason, _) => tracing::debug!(%reason, "not answered"),
        });
        drop(sending);
    }

    /// Sends the next piece of a file of which `left` bytes are left.
    fn send_piece(self: Arc<Self>, mut file: File, left: u64, mut buffer: Vec<u8>) {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return self.finish();
        }
        let piece = match file.read(&mut buffer[..most]) {
            Ok(bytes) if bytes > 0 => buffer.slice(..bytes),
            // The file has become shorter or unreadable. The client sees that the answer is cut off.
            ended => return tracing::warn!(?ended, left, "file not sent to its end"),
        };
        let Ok(piece) = piece else { return };
        let ours = Arc::clone(&self);
        let sending = self.socket.send_async(piece, move |sent| match sent.reason {
            EndReason::Completed => ours.send_piece(file, left - u64::from(sent.bytes_sent), sent.buffers.into_inner()),
            reason => tracing::debug!(%reason, left, "client gone"),
        });
        drop(sending);
    }

    /// Ends the sending half, and waits until the client has closed. To close at once could reset the connection and lose what
    /// the client has not read yet.
    fn finish(self: Arc<Self>) {
        self.shared.served.fetch_add(1, Ordering::Relaxed);
        if self.socket.shutdown_async(|_| ()).is_ok() {
            self.wait_for_the_end();
        }
    }

    fn wait_for_the_end(self: Arc<Self>) {
        let (ours, within) = (Arc::clone(&self), self.shared.limits.request);
        let receiving = self.socket.receive_async_within(vec![0; 1024], within, move |received| {
            if received.reason == EndReason::Completed {
                ours.wait_for_the_end();
            }
        });
        drop(receiving);
    }
}
