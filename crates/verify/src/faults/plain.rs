//! A peer without the library. Its system calls do not fail on purpose.

use super::ledger::{Account, Ledger};
use super::message::message;
use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::SockRef;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

pub(super) struct Plain {
    descriptor: OwnedFd,
    pub(super) account: Arc<Account>,
    /// Reads nothing before the end.
    lazy: bool,
    /// The unwritten rest of a message.
    rest: Mutex<Vec<u8>>,
}

impl Plain {
    pub(super) fn new(descriptor: OwnedFd, account: Arc<Account>, lazy: bool) -> Self {
        Self { descriptor, account, lazy, rest: Mutex::default() }
    }

    /// Writes a little and reads a little.
    pub(super) fn transfer_some(&self, random: &mut fastrand::Rng, ledger: &Ledger) {
        if random.bool() {
            let mut rest = self.rest.lock();
            if rest.is_empty() && !self.account.outgoing.stopped.load(SeqCst) {
                // One thread at a time writes, and each thread numbers its own messages.
                *rest = message(self.account.outgoing.next_number(), random.usize(..3_000));
                self.account.outgoing.sends_pending.fetch_add(1, SeqCst);
            }
            let piece = random.usize(..=rest.len());
            self.write(&mut rest, piece);
        } else if !self.lazy {
            self.read(random.usize(1..20_000), ledger);
        }
    }

    /// Writes the rest of a message and reads the available bytes.
    pub(super) fn finish(&self, ledger: &Ledger) {
        let mut rest = self.rest.lock();
        let all = rest.len();
        self.write(&mut rest, all);
        drop(rest);
        self.read(60_000, ledger);
    }

    /// Resets the connection when the peer is dropped, if the connection is TCP.
    pub(super) fn reset_on_close(&self) {
        self.account.cut();
        let _ = SockRef::from(&self.descriptor).set_linger(Some(Duration::ZERO));
    }

    /// Ends one or both directions.
    pub(super) fn shut(&self, how: std::net::Shutdown) {
        self.account.cut();
        let _ = SockRef::from(&self.descriptor).shutdown(how);
    }

    fn write(&self, rest: &mut Vec<u8>, piece: usize) {
        if piece == 0 {
            return;
        }
        match send(self.descriptor.as_fd(), &rest[..piece], SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(sent) => {
                rest.drain(..sent);
                self.account.outgoing.sent.fetch_add(sent as u64, SeqCst);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => {
                rest.clear();
                self.account.outgoing.stopped.store(true, SeqCst);
                self.account.cut();
            }
        }
        if rest.is_empty() {
            self.account.outgoing.sends_pending.fetch_sub(1, SeqCst);
        }
    }

    fn read(&self, room: usize, ledger: &Ledger) {
        let mut buffer = vec![0; room];
        // Two threads that read at once would swap their bytes.
        let _one_at_a_time = self.rest.lock();
        match recv(self.descriptor.as_fd(), &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => self.end(),
            Ok((bytes, _)) => self.account.incoming.receive(&buffer[..bytes], ledger),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.end(),
        }
    }

    fn end(&self) {
        self.account.cut();
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.account.cut();
    }
}
