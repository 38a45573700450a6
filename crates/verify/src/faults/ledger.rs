//! Notes the accepted operations, the callbacks, and the bytes that must arrive.

use super::message::{Number, Parser};
use super::stack;
use completion_port::OperationId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering::SeqCst};
use std::thread::{self, ThreadId};

/// One program's totals, and what went wrong.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) called_back: AtomicU64,
    pub(super) without_memory: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) sockets: AtomicU64,
    /// The number of ends made, the library's and plain ones.
    pub(super) ends: AtomicU64,
    pub(super) failed: AtomicBool,
    violations: Mutex<Vec<String>>,
}

impl Ledger {
    /// Notes a broken promise. The ledger keeps only the first few.
    pub(super) fn violation(&self, what: impl Into<String>) {
        let mut violations = self.violations.lock();
        if violations.len() < 5 {
            violations.push(what.into());
        }
        self.failed.store(true, SeqCst);
    }

    pub(super) fn violations(&self) -> Vec<String> {
        self.violations.lock().clone()
    }
}

/// One direction of a connection. Both ends share it.
#[derive(Debug, Default)]
pub(super) struct Stream {
    senders: Mutex<HashMap<ThreadId, Number>>,
    parser: Mutex<Parser>,
    pub(super) sent: AtomicU64,
    /// The bytes that may have gone out besides: those of sends whose buffer panicked on the port thread.
    pub(super) unsure: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) sends_pending: AtomicI64,
    /// A send stopped half-way: nothing more comes.
    pub(super) stopped: AtomicBool,
    /// The sender has asked for a shutdown, so the end of the stream is no sign of a break.
    pub(super) shuts: AtomicBool,
    /// The connection was closed or broken, so that sent bytes need not arrive.
    pub(super) cut: AtomicBool,
}

impl Stream {
    /// The number of the calling thread's next message.
    pub(super) fn next_number(&self) -> Number {
        let mut senders = self.senders.lock();
        let sender = u16::try_from(senders.len()).expect("few threads");
        let next = senders.entry(thread::current().id()).or_insert(Number { sender, sequence: 0 });
        let number = *next;
        next.sequence += 1;
        number
    }

    /// It was not sent after all.
    pub(super) fn take_number_back(&self) {
        if let Some(next) = self.senders.lock().get_mut(&thread::current().id()) {
            next.sequence -= 1;
        }
    }

    pub(super) fn receive(&self, bytes: &[u8], ledger: &Ledger) {
        self.received.fetch_add(bytes.len() as u64, SeqCst);
        ledger.bytes.fetch_add(bytes.len() as u64, SeqCst);
        if let Err(wrong) = self.parser.lock().feed(bytes) {
            ledger.violation(wrong);
        }
    }

    /// Whether no more bytes can arrive, or none have to.
    pub(super) fn is_settled(&self) -> bool {
        let arrived = || self.sent.load(SeqCst) == self.received.load(SeqCst);
        self.cut.load(SeqCst) || (self.sends_pending.load(SeqCst) == 0 && arrived())
    }

    /// Checks that all bytes have arrived. Call it when no more can arrive.
    pub(super) fn check_whole(&self, ledger: &Ledger) {
        let (sent, received) = (self.sent.load(SeqCst), self.received.load(SeqCst));
        if self.cut.load(SeqCst) {
            return;
        }
        if received < sent {
            ledger.violation(format!("{received} bytes arrived of {sent} that were sent"));
        }
        if !self.stopped.load(SeqCst) && !self.parser.lock().is_between_messages() {
            ledger.violation("the stream ends within a message");
        }
    }

    /// Checks that no more bytes arrived than were sent. Call it when every send has reported its bytes.
    pub(super) fn check_no_more(&self, ledger: &Ledger) {
        let (sent, received) = (self.sent.load(SeqCst), self.received.load(SeqCst));
        if received > sent + self.unsure.load(SeqCst) {
            ledger.violation(format!("{received} bytes arrived, more than the {sent} that were sent"));
        }
    }
}

/// One end: its operations and callbacks, and its two streams.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) place: usize,
    /// The serial number. Later ends have higher ones.
    pub(super) serial: u64,
    /// The port of the end, if the end is the library's.
    pub(super) port: usize,
    pub(super) incoming: Arc<Stream>,
    pub(super) outgoing: Arc<Stream>,
    pub(super) pending: AtomicI64,
    pub(super) receives_pending: AtomicI64,
    /// The id of the receive that was accepted last.
    pub(super) latest: Mutex<Option<OperationId>>,
    /// The id of the send that was queued last.
    pub(super) latest_send: Mutex<Option<OperationId>>,
    /// An operation was or is being cancelled.
    pub(super) cancels: AtomicBool,
    /// An idle time-out was or is being set.
    pub(super) may_idle: AtomicBool,
    /// The sending half has been shut down.
    pub(super) shut: AtomicBool,
    pub(super) running: AtomicI64,
    /// A thread is about to close it.
    closing: AtomicBool,
    /// Another thread is about to close it too.
    contested: AtomicBool,
    /// A close that was not contested has returned.
    pub(super) closed: AtomicBool,
}

impl Account {
    /// The accounts of both ends. `gaps` says whether a send may fail before its first byte.
    pub(super) fn pair(places: [usize; 2], serials: [u64; 2], ports: [usize; 2], gaps: bool) -> [Self; 2] {
        let stream = || Arc::new(Stream { parser: Mutex::new(Parser::new(gaps)), ..Stream::default() });
        let (there, back) = (stream(), stream());
        let account = |index: usize, incoming: &Arc<Stream>, outgoing: &Arc<Stream>| Self {
            place: places[index],
            serial: serials[index],
            port: ports[index],
            incoming: Arc::clone(incoming),
            outgoing: Arc::clone(outgoing),
            pending: AtomicI64::new(0),
            receives_pending: AtomicI64::new(0),
            latest: Mutex::new(None),
            latest_send: Mutex::new(None),
            cancels: AtomicBool::new(false),
            may_idle: AtomicBool::new(false),
            shut: AtomicBool::new(false),
            running: AtomicI64::new(0),
            closing: AtomicBool::new(false),
            contested: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        };
        [account(0, &back, &there), account(1, &there, &back)]
    }

    /// Notes a close. Returns whether it is the first.
    pub(super) fn begins_to_close(&self) -> bool {
        self.cut();
        let first = !self.closing.swap(true, SeqCst);
        if !first {
            self.contested.store(true, SeqCst);
        }
        first
    }

    /// Checks a close that has returned: apart from the calling thread's own callbacks, no callback runs. If no other
    /// thread can call (`alone`), no operation waits.
    pub(super) fn has_closed(&self, how: &str, alone: bool, ledger: &Ledger) {
        // Another thread may have closed the end too, even inside one of its callbacks.
        if self.contested.load(SeqCst) {
            return;
        }
        self.closed.store(true, SeqCst);
        let (pending, running) = (self.pending.load(SeqCst), self.running.load(SeqCst) - stack::depth(self));
        if running != 0 || (alone && pending != 0) {
            ledger.violation(format!("{how} returned while {pending} operations waited and {running} callbacks ran"));
        }
    }

    /// The connection is over or may be.
    pub(super) fn cut(&self) {
        self.incoming.cut.store(true, SeqCst);
        self.outgoing.cut.store(true, SeqCst);
    }
}

/// One operation, as its caller and its callback see it. In the end both must agree.
#[derive(Debug, Default)]
pub(super) struct Ticket(AtomicU8);

const ACCEPTED: u8 = 1;
const CALLED: u8 = 2;
const DROPPED: u8 = 4;

impl Ticket {
    /// The call returned `Ok`.
    pub(super) fn accepted(&self, ledger: &Ledger) {
        if self.0.fetch_or(ACCEPTED, SeqCst) & (CALLED | DROPPED) == DROPPED {
            ledger.violation("an operation was accepted, but its callback dropped");
        }
    }

    /// The call returned `Err`.
    pub(super) fn refused(&self, ledger: &Ledger) {
        if self.0.load(SeqCst) & CALLED != 0 {
            ledger.violation("an operation was refused and called back");
        }
    }

    pub(super) fn called(&self, ledger: &Ledger) {
        if self.0.fetch_or(CALLED, SeqCst) & CALLED != 0 {
            ledger.violation("an operation was called back twice");
        }
    }

    pub(super) fn dropped(&self, ledger: &Ledger) {
        if self.0.fetch_or(DROPPED, SeqCst) & (ACCEPTED | CALLED) == ACCEPTED {
            ledger.violation("the callback of an accepted operation was dropped without being called");
        }
    }
}
