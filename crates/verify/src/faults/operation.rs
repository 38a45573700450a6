//! Sends and receives, and their callbacks.

use super::actor::act_inside;
use super::kernel::Defect;
use super::ledger::{Account, Ticket};
use super::message::{HEAD, message};
use super::outcome::{not_sent, received, sent};
use super::simulation::{End, Simulation};
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

/// How deep acts of callbacks may lead to further acts: a chain without end would never be over.
const LONGEST_CHAIN: u32 = 40;

/// How many operations of one end may wait.
const MOST_PENDING: i64 = 40;

/// An operation, as its callback has it.
pub(super) struct Operation {
    pub(super) simulation: Arc<Simulation>,
    pub(super) end: Weak<End>,
    pub(super) account: Arc<Account>,
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
    fn new(simulation: &Arc<Simulation>, end: &Arc<End>, length: usize, random: &mut fastrand::Rng) -> Box<Self> {
        Box::new(Self {
            simulation: Arc::clone(simulation),
            end: Arc::downgrade(end),
            account: Arc::clone(&end.account),
            ticket: Arc::default(),
            length,
            seed: random.u64(..),
            chain: CHAIN.get(),
        })
    }

    /// What every callback does: it is noted, checked, and goes on with acts of its own.
    pub(super) fn run(self: Box<Self>, returned: usize, settle: impl FnOnce(&Self)) {
        let (account, ledger) = (&self.account, &self.simulation.ledger);
        account.running.fetch_add(1, SeqCst);
        if account.closed.load(SeqCst) {
            ledger.violation("a callback began after close had returned");
        }
        self.ticket.called(ledger);
        ledger.called_back.fetch_add(1, SeqCst);
        if returned != self.length {
            ledger.violation(format!("{returned} bytes of buffers came back of {}", self.length));
        }
        settle(&self);
        self.spoil();
        if self.chain < LONGEST_CHAIN && !self.simulation.finishing.load(SeqCst) {
            let before = CHAIN.replace(self.chain + 1);
            let mut random = fastrand::Rng::with_seed(self.seed);
            act_inside(&self.simulation, &self, &mut random);
            CHAIN.set(before);
        }
        account.pending.fetch_sub(1, SeqCst);
        account.running.fetch_sub(1, SeqCst);
    }
}

impl Operation {
    /// Does what a injected defect would.
    fn spoil(&self) {
        if self.simulation.sys.is_spoiled(Defect::LeaksMemory) {
            mem::forget(vec![0_u8; 16 * 1024]);
        }
        while self.simulation.sys.is_spoiled(Defect::NeverReturns) {
            thread::sleep(Duration::MAX);
        }
        if self.simulation.sys.is_spoiled(Defect::CallsBackLate) {
            let account = Arc::clone(&self.account);
            account.running.fetch_add(1, SeqCst);
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(20));
                account.running.fetch_sub(1, SeqCst);
            });
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        self.ticket.dropped(&self.simulation.ledger);
    }
}

/// Sends a message.
pub(super) fn send(simulation: &Arc<Simulation>, end: &Arc<End>, random: &mut fastrand::Rng) {
    let account = &end.account;
    if account.pending.load(SeqCst) > MOST_PENDING {
        return;
    }
    let body = if random.u8(..20) == 0 { random.usize(..50_000) } else { random.usize(..600) };
    let bytes = message(account.outgoing.next_number(), body);
    let operation = Operation::new(simulation, end, bytes.len(), random);
    let ticket = Arc::clone(&operation.ticket);
    begin(account, &account.outgoing.sends_pending);
    let refused = if random.bool() {
        let spoiled = spoiled(simulation);
        call(|| end.socket.send_async(bytes, move |completion| sent(operation, &completion, spoiled, Vec::len)))
            .map_err(|refused| (refused.error, refused.returned.len()))
    } else {
        let list = split(bytes, random);
        let length = |list: &Vec<Vec<u8>>| list.iter().map(Vec::len).sum();
        call(|| end.socket.send_async(list, move |completion| sent(operation, &completion, false, length)))
            .map_err(|refused| (refused.error, length(&refused.returned)))
    };
    let Err((error, returned)) = refused else {
        simulation.ledger.accepted.fetch_add(1, SeqCst);
        return ticket.accepted(&simulation.ledger);
    };
    note_refusal(simulation, &ticket, returned == body + HEAD);
    not_sent(simulation, account, error);
    account.outgoing.sends_pending.fetch_sub(1, SeqCst);
    account.pending.fetch_sub(1, SeqCst);
}

/// Receives whatever comes.
pub(super) fn receive(simulation: &Arc<Simulation>, end: &Arc<End>, random: &mut fastrand::Rng) {
    let account = &end.account;
    if account.pending.load(SeqCst) > MOST_PENDING {
        return;
    }
    let length = random.usize(1..6_000);
    let operation = Operation::new(simulation, end, length, random);
    let ticket = Arc::clone(&operation.ticket);
    begin(account, &account.receives_pending);
    let refused = if random.bool() {
        let (buffer, spoiled) = (vec![0_u8; length], spoiled(simulation));
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
        simulation.ledger.accepted.fetch_add(1, SeqCst);
        return ticket.accepted(&simulation.ledger);
    };
    note_refusal(simulation, &ticket, returned == length);
    match error {
        ReceiveError::OutOfMemory => drop(simulation.ledger.without_memory.fetch_add(1, SeqCst)),
        ReceiveError::NotOpen { .. } => account.cut(),
        error => simulation.ledger.violation(format!("a receive was refused: {error}")),
    }
    account.receives_pending.fetch_sub(1, SeqCst);
    account.pending.fetch_sub(1, SeqCst);
}

/// A call of the library, at times without memory; its callback gets memory whatever happens.
fn call<T>(call: impl FnOnce() -> T) -> T {
    if SCARCE.get() { without_memory(call) } else { call() }
}

fn begin(account: &Account, kind: &std::sync::atomic::AtomicI64) {
    account.pending.fetch_add(1, SeqCst);
    kind.fetch_add(1, SeqCst);
}

fn spoiled(simulation: &Simulation) -> bool {
    simulation.sys.is_spoiled(Defect::DropsCompletions)
}

fn note_refusal(simulation: &Simulation, ticket: &Ticket, whole: bool) {
    simulation.ledger.refused.fetch_add(1, SeqCst);
    ticket.refused(&simulation.ledger);
    if !whole {
        simulation.ledger.violation("a refused call did not give the buffers back");
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
