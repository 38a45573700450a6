//! The room and its members.
//!
//! A member is kept alive by the room's table and by the callback of its one receive. Invariant: no lock is held while a socket is
//! sent to, closed or dropped, because these run callbacks that take the lock.

use anyhow::Context as _;
use async_socket_linux::{AsyncSocket as _, AsyncSocketLinux, EndReason, ExecutionEngine, SendError};
use async_socket_net::{Accepted, Address, Listener, SocketOptions, Tracked, Tracker};
use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The bytes of a receive, and the longest line.
const LINE: usize = 4096;

/// When a member has to go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// After so long without a byte from it.
    pub(crate) idle: Duration,
    /// When so many bytes wait to be sent to it.
    pub(crate) queue: usize,
}

/// An open chat.
pub(crate) struct Chat {
    engine: ExecutionEngine,
    listener: Listener,
    room: Arc<Room>,
}

struct Room {
    rules: Rules,
    tracker: Tracker,
    members: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    present: HashMap<u64, Arc<Member>>,
    next: u64,
}

struct Member {
    number: u64,
    name: String,
    socket: AsyncSocketLinux,
    /// Counts the member as open until it is dropped.
    _tracked: Tracked,
}

impl Chat {
    pub(crate) fn open(engine: &ExecutionEngine, listener: TcpListener, rules: Rules) -> anyhow::Result<Self> {
        let room = Arc::new(Room { rules, tracker: Tracker::new(), members: Mutex::default() });
        let ours = Arc::clone(&room);
        let builder = Listener::builder().options(SocketOptions::new().no_delay(true));
        let listener = builder.listen(engine, listener, move |accepted| {
            let entered = accepted.map_err(anyhow::Error::new).and_then(|accepted| ours.enter(accepted));
            if let Err(error) = entered {
                tracing::warn!(error = format!("{error:#}"), "nobody entered");
            }
        });
        Ok(Self { engine: engine.clone(), listener: listener.context("cannot accept")?, room })
    }

    pub(crate) fn address(&self) -> &Address {
        self.listener.local_address()
    }

    /// Lets nobody in any more, says good-bye, and waits until all have left or are cut off. Returns how many were.
    pub(crate) fn end(self, grace: Duration) -> usize {
        drop(self.listener);
        self.room.say("* good-bye\n", None);
        for member in self.room.present() {
            // Behind the good-bye. The client sees the end of the stream, and closes.
            let _ = member.socket.shutdown_async(|_| ());
        }
        let (done, finished) = channel();
        let port = self.engine.completion_port();
        let started = self.room.tracker.finish(&port, grace, move |how| done.send(how.cut_off).unwrap_or_default());
        started.ok().and_then(|()| finished.recv().ok()).unwrap_or(0)
    }
}

impl Room {
    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn present(&self) -> Vec<Arc<Member>> {
        self.members().present.values().cloned().collect()
    }

    fn enter(self: &Arc<Self>, accepted: Accepted) -> anyhow::Result<()> {
        let name = accepted.peer().to_string();
        let socket = accepted.open()?;
        socket.set_high_water_mark(Some(self.rules.queue))?;
        let member = Arc::new_cyclic(|member: &std::sync::Weak<Member>| {
            let member = member.clone();
            let tracked = self.tracker.track(move || member.upgrade().into_iter().for_each(|member| member.cut()));
            let number = self.take_number();
            Member { number, name, socket, _tracked: tracked }
        });
        self.members().present.insert(member.number, Arc::clone(&member));
        self.say(&format!("* {} is here\n", member.name), Some(member.number));
        self.listen_to(&member, Vec::new(), vec![0; LINE]);
        Ok(())
    }

    fn take_number(&self) -> u64 {
        let mut members = self.members();
        members.next += 1;
        members.next
    }

    /// Receives a member's next bytes. `begun` is a line of which the end has not come yet.
    fn listen_to(self: &Arc<Self>, member: &Arc<Member>, begun: Vec<u8>, buffer: Vec<u8>) {
        let (room, who) = (Arc::clone(self), Arc::clone(member));
        let listening =
            member.socket.receive_async_within(buffer, self.rules.idle, move |received| match received.reason {
                EndReason::Completed => match room.hear(&who, begun, received.received()) {
                    Some(begun) => room.listen_to(&who, begun, received.buffers),
                    None => room.leave(&who, "wrote a line that is too long"),
                },
                EndReason::PeerFinished => room.leave(&who, "has left"),
                EndReason::TimedOut => room.leave(&who, "has fallen asleep"),
                reason => room.leave(&who, &format!("is gone: {reason}")),
            });
        if listening.is_err() {
            self.leave(member, "is gone");
        }
    }

    /// Says the lines that are complete. Returns the beginning of the next, unless it is too long.
    fn hear(&self, member: &Member, begun: Vec<u8>, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut line = begun;
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(part);
            if line.len() > LINE {
                return None;
            }
            if line.ends_with(b"\n") {
                self.say(&format!("{}: {}", member.name, String::from_utf8_lossy(&line)), Some(member.number));
                line.clear();
            }
        }
        Some(line)
    }

    /// Sends a line to all but one. The bytes are shared, not copied.
    fn say(&self, line: &str, but_for: Option<u64>) {
        let bytes: Arc<[u8]> = line.as_bytes().into();
        for member in self.present() {
            if Some(member.number) == but_for {
                continue;
            }
            let sent = member.socket.send_async(Arc::clone(&bytes), |_| ());
            if sent.is_err_and(|refused| matches!(refused.error, SendError::TooMuchQueued { .. })) {
                tracing::info!(member = member.name, "too slow");
                // Its receive ends as closed, and takes it out of the table.
                member.cut();
            }
        }
    }

    fn leave(&self, member: &Member, why: &str) {
        let left = self.members().present.remove(&member.number);
        if left.is_some() {
            member.cut();
            self.say(&format!("* {} {why}\n", member.name), None);
        }
    }
}

impl Member {
    fn cut(&self) {
        // It may be closed already.
        let _ = self.socket.close_async(|| ());
    }
}
