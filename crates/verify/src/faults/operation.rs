//! Sends and receives, and their call-backs.

use super::actor::act_inside;
use super::books::{Book, Ticket};
use super::frame::{HEAD, frame};
use super::kernel::Defect;
use super::outcome::{not_sent, received, sent};
use super::world::{End, World};
use async_socket_linux::{AsyncSocket, ReceiveCompletion, ReceiveError};
use std::cell::Cell;
use std::mem;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;
use test_doubles::without_memory;

thread_local! {
    /// The next calls of this thread get no memory.
    pub(super) static SCARCE: Cell<bool> = const { Cell::new(false) };
}

/// How deep acts of call-backs may lead to further acts: a chain without end would never be over.
const LONGEST_CHAIN: u32 = 40;

/// How many operations of one end may wait.
const MOST_PENDING: i64 = 40;

/// An operation, as its call-back has it.
pub(super) struct Operation {
    pub(super) world: Arc<World>,
    pub(super) end: Weak<End>,
    pub(super) book: Arc<Book>,
    ticket: Arc<Ticket>,
    /// What was lent: how many bytes.
    pub(super) length: usize,
    seed: u64,
    chain: u32,
}

thread_local! {
    static CHAIN: Cell<u32> = const { Cell::new(0) };
}

impl Operation {
    fn new(world: &Arc<World>, end: &Arc<End>, length: usize, random: &mut fastrand::Rng) -> Box<Self> {
        Box::new(Self {
            world: Arc::clone(world),
            end: Arc::downgrade(end),
            book: Arc::clone(&end.book),
            ticket: Arc::default(),
            length,
            seed: random.u64(..),
            chain: CHAIN.get(),
        })
    }

    /// What every call-back does: it is noted, checked, and goes on with acts of its own.
    pub(super) fn run(self: Box<Self>, returned: usize, settle: impl FnOnce(&Self)) {
        let (book, ledger) = (&self.book, &self.world.ledger);
        book.running.fetch_add(1, SeqCst);
        if book.closed.load(SeqCst) {
            ledger.violation("a call-back began after close had returned");
        }
        self.ticket.called(ledger);
        ledger.called_back.fetch_add(1, SeqCst);
        if returned != self.length {
            ledger.violation(format!("{returned} bytes of buffers came back of {}", self.length));
        }
        settle(&self);
        self.spoil();
        if self.chain < LONGEST_CHAIN && !self.world.finishing.load(SeqCst) {
            let before = CHAIN.replace(self.chain + 1);
            let mut random = fastrand::Rng::with_seed(self.seed);
            act_inside(&self.world, &self, &mut random);
            CHAIN.set(before);
        }
        book.pending.fetch_sub(1, SeqCst);
        book.running.fetch_sub(1, SeqCst);
    }
}

impl Operation {
    /// Does what a planted defect would.
    fn spoil(&self) {
        if self.world.sys.is_spoiled(Defect::LeaksMemory) {
            mem::forget(vec![0_u8; 16 * 1024]);
        }
        while self.world.sys.is_spoiled(Defect::NeverReturns) {
            thread::sleep(Duration::MAX);
        }
        if self.world.sys.is_spoiled(Defect::CallsBackLate) {
            let book = Arc::clone(&self.book);
            book.running.fetch_add(1, SeqCst);
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(20));
                book.running.fetch_sub(1, SeqCst);
            });
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        self.ticket.dropped(&self.world.ledger);
    }
}

/// Sends a frame.
pub(super) fn send(world: &Arc<World>, end: &Arc<End>, random: &mut fastrand::Rng) {
    let book = &end.book;
    if book.pending.load(SeqCst) > MOST_PENDING {
        return;
    }
    let body = if random.u8(..20) == 0 { random.usize(..50_000) } else { random.usize(..600) };
    let bytes = frame(book.outgoing.next_number(), body);
    let operation = Operation::new(world, end, bytes.len(), random);
    let ticket = Arc::clone(&operation.ticket);
    begin(book, &book.outgoing.sends_pending);
    let refused = if random.bool() {
        let spoiled = spoiled(world);
        call(|| end.socket.send_async(bytes, move |completion| sent(operation, &completion, spoiled, Vec::len)))
            .map_err(|refused| (refused.error, refused.returned.len()))
    } else {
        let list = split(bytes, random);
        let length = |list: &Vec<Vec<u8>>| list.iter().map(Vec::len).sum();
        call(|| end.socket.send_async(list, move |completion| sent(operation, &completion, false, length)))
            .map_err(|refused| (refused.error, length(&refused.returned)))
    };
    let Err((error, returned)) = refused else {
        world.ledger.accepted.fetch_add(1, SeqCst);
        return ticket.accepted(&world.ledger);
    };
    note_refusal(world, &ticket, returned == body + HEAD);
    not_sent(world, book, error);
    book.outgoing.sends_pending.fetch_sub(1, SeqCst);
    book.pending.fetch_sub(1, SeqCst);
}

/// Receives whatever comes.
pub(super) fn receive(world: &Arc<World>, end: &Arc<End>, random: &mut fastrand::Rng) {
    let book = &end.book;
    if book.pending.load(SeqCst) > MOST_PENDING {
        return;
    }
    let length = random.usize(1..6_000);
    let operation = Operation::new(world, end, length, random);
    let ticket = Arc::clone(&operation.ticket);
    begin(book, &book.receives_pending);
    let refused = if random.bool() {
        let (buffer, spoiled) = (vec![0_u8; length], spoiled(world));
        call(|| {
            end.socket.receive_async(buffer, move |completion: ReceiveCompletion<Vec<u8>>| {
                let bytes = &completion.buffers[..completion.bytes_received as usize];
                received(operation, &completion, bytes, completion.buffers.len(), spoiled);
            })
        })
        .map_err(|refused| (refused.error, refused.returned.len()))
    } else {
        let list = split(vec![0; length], random);
        call(|| {
            end.socket.receive_async(list, move |completion: ReceiveCompletion<Vec<Vec<u8>>>| {
                let whole = completion.buffers.concat();
                received(operation, &completion, &whole[..completion.bytes_received as usize], whole.len(), false);
            })
        })
        .map_err(|refused| (refused.error, refused.returned.iter().map(Vec::len).sum()))
    };
    let Err((error, returned)) = refused else {
        world.ledger.accepted.fetch_add(1, SeqCst);
        return ticket.accepted(&world.ledger);
    };
    note_refusal(world, &ticket, returned == length);
    match error {
        ReceiveError::OutOfMemory => drop(world.ledger.without_memory.fetch_add(1, SeqCst)),
        ReceiveError::NotOpen { .. } => book.cut(),
        error => world.ledger.violation(format!("a receive was refused: {error}")),
    }
    book.receives_pending.fetch_sub(1, SeqCst);
    book.pending.fetch_sub(1, SeqCst);
}

/// A call of the library, at times without memory; its call-back gets memory whatever happens.
fn call<T>(call: impl FnOnce() -> T) -> T {
    if SCARCE.get() { without_memory(call) } else { call() }
}

fn begin(book: &Book, kind: &std::sync::atomic::AtomicI64) {
    book.pending.fetch_add(1, SeqCst);
    kind.fetch_add(1, SeqCst);
}

fn spoiled(world: &World) -> bool {
    world.sys.is_spoiled(Defect::DropsCompletions)
}

fn note_refusal(world: &World, ticket: &Ticket, whole: bool) {
    world.ledger.refused.fetch_add(1, SeqCst);
    ticket.refused(&world.ledger);
    if !whole {
        world.ledger.violation("a refused call did not give the buffers back");
    }
}

/// A list of a few buffers instead of one.
fn split(mut bytes: Vec<u8>, random: &mut fastrand::Rng) -> Vec<Vec<u8>> {
    let mut list = Vec::new();
    while bytes.len() > 1 && list.len() < 5 {
        let tail = bytes.split_off(random.usize(1..bytes.len()));
        list.push(mem::replace(&mut bytes, tail));
    }
    list.push(bytes);
    list
}
