//! Two connections and the bytes between them.
//!
//! Each direction is a circle of two callbacks with one buffer. When one side finishes, the other side's sending half is shut
//! down behind what was sent, and the other direction goes on. Only the callbacks keep a session alive: when both directions
//! are over, the last reference is dropped, which closes both sockets.

use async_socket_linux::{AsyncSocket as _, AsyncSocketLinux, EndReason, Slice};
use async_socket_net::{Tracked, Tracker};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The bytes of each direction's buffer.
const BUFFER: usize = 64 * 1024;

/// What all sessions did.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) refused: AtomicU64,
    pub(crate) to_servers: AtomicU64,
    pub(crate) to_clients: AtomicU64,
}

pub(crate) struct Session {
    client: AsyncSocketLinux,
    server: AsyncSocketLinux,
    totals: Arc<Totals>,
    /// Counts the session as open.
    tracked: OnceLock<Tracked>,
}

/// Where the bytes go.
#[derive(Debug, Clone, Copy)]
enum Direction {
    ToServer,
    ToClient,
}

impl Session {
    pub(crate) fn begin(
        client: AsyncSocketLinux,
        server: AsyncSocketLinux,
        idle: Duration,
        tracker: &Tracker,
        totals: Arc<Totals>,
    ) {
        for socket in [&client, &server] {
            if let Err(error) = socket.set_idle_timeout(Some(idle)) {
                tracing::warn!(%error, "no idle time-out");
            }
        }
        let session = Arc::new(Self { client, server, totals, tracked: OnceLock::new() });
        let weak = Arc::downgrade(&session);
        let tracked = tracker.track(move || weak.upgrade().into_iter().for_each(|session| session.cut()));
        let _first = session.tracked.set(tracked);
        pass(Arc::clone(&session), Direction::ToServer, vec![0; BUFFER]);
        pass(session, Direction::ToClient, vec![0; BUFFER]);
    }

    fn ends(&self, direction: Direction) -> (&AsyncSocketLinux, &AsyncSocketLinux, &AtomicU64) {
        match direction {
            Direction::ToServer => (&self.client, &self.server, &self.totals.to_servers),
            Direction::ToClient => (&self.server, &self.client, &self.totals.to_clients),
        }
    }

    /// Ends both connections. Their operations come back as closed, and their callbacks start nothing new.
    fn cut(&self) {
        for socket in [&self.client, &self.server] {
            // It may be closed already.
            let _ = socket.close_async(|| ());
        }
    }
}

/// Receives, and sends on what came.
fn pass(session: Arc<Session>, direction: Direction, buffer: Vec<u8>) {
    let ours = Arc::clone(&session);
    let (from, ..) = ours.ends(direction);
    let received = from.receive_async(buffer, move |received| match received.reason {
        EndReason::Completed => send_on(session, direction, received.into_slice()),
        // Behind what was sent. The peer's other half may go on.
        EndReason::PeerFinished => {
            if session.ends(direction).1.shutdown_async(|_| ()).is_err() {
                session.cut();
            }
        }
        reason => {
            tracing::debug!(%reason, ?direction, "session ends");
            session.cut();
        }
    });
    if received.is_err() {
        ours.cut();
    }
}

fn send_on(session: Arc<Session>, direction: Direction, bytes: Slice<Vec<u8>>) {
    let ours = Arc::clone(&session);
    let (_, to, _) = ours.ends(direction);
    let sent = to.send_async(bytes, move |sent| {
        let (.., total) = session.ends(direction);
        total.fetch_add(u64::from(sent.bytes_sent), Ordering::Relaxed);
        if sent.reason == EndReason::Completed {
            pass(session, direction, sent.buffers.into_inner());
        } else {
            session.cut();
        }
    });
    if sent.is_err() {
        ours.cut();
    }
}
