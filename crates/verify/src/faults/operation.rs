//! Sends and receives, and their callbacks.

use super::actor::act_inside;
use super::acts::Act;
use super::buffer::{Buffer, split, two};
use super::kernel::{Defect, take_sent};
use super::ledger::{Account, Ticket};
use super::message::message;
use super::outcome::{TRANSIENT, broken_off, not_sent, received, sent};
use super::panics::panic_quietly;
use super::simulation::{End, Simulation};
use super::stack;
use async_socket_linux::{
    AsyncSocket, Cancel, EndReason, IoBufs, IoBufsMut, ReceiveCompletion, ReceiveError, Refused, SendCompletion,
    SendError,
};
use completion_port::OperationId;
use std::cell::Cell;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};
use test_doubles::{with_memory, without_memory};

thread_local! {
    /// The next calls of this thread get no memory.
    pub(super) static SCARCE: Cell<bool> = const { Cell::new(false) };
}

/// The longest chain of callbacks that follow from each other. An unbounded chain would never end.
const LONGEST_CHAIN: u32 = 40;

/// The most operations of one end that may wait.
const MOST_PENDING: i64 = 40;

/// An operation, as its callback has it.
pub(super) struct Operation {
    pub(super) simulation: Arc<Simulation>,
    pub(super) end: Weak<End>,
    pub(super) account: Arc<Account>,
    ticket: Arc<Ticket>,
    /// The number of lent bytes.
    pub(super) length: usize,
    seed: u64,
    chain: u32,
    pub(super) limits: Limits,
}

/// The reasons for which an operation may end, besides those that its end has.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limits {
    /// When the call was made, and the time that it gave the operation.
    deadline: Option<(Instant, Duration)>,
    /// A lent buffer panics or changes.
    misbehaves: bool,
}

/// The longest deadline, in milliseconds.
const LONGEST_DEADLINE: u64 = 30;

impl Limits {
    /// A few operations have a deadline, if the program may give one.
    fn of(simulation: &Simulation, act: Act, shape: Shape, random: &mut fastrand::Rng) -> Self {
        let has_deadline = simulation.program.acts.has(act) && random.u8(..10) == 0;
        let within = |random: &mut fastrand::Rng| Duration::from_micros(random.u64(..LONGEST_DEADLINE * 1000));
        Self {
            deadline: has_deadline.then(|| (Instant::now(), within(random))),
            misbehaves: matches!(shape, Shape::Misbehaving | Shape::MisbehavingList),
        }
    }

    fn within(self) -> Option<Duration> {
        self.deadline.map(|(_, within)| within)
    }
}

thread_local! {
    static CHAIN: Cell<u32> = const { Cell::new(0) };
}

impl Operation {
    pub(super) fn new(
        simulation: &Arc<Simulation>,
        end: &Arc<End>,
        length: usize,
        limits: Limits,
        random: &mut fastrand::Rng,
    ) -> Box<Self> {
        Box::new(Self {
            simulation: Arc::clone(simulation),
            end: Arc::downgrade(end),
            account: Arc::clone(&end.account),
            ticket: Arc::default(),
            length,
            seed: random.u64(..),
            chain: CHAIN.get(),
            limits,
        })
    }

    pub(super) fn ticket(&self) -> Arc<Ticket> {
        Arc::clone(&self.ticket)
    }

    /// Checks that there was a reason for this end.
    pub(super) fn check_reason(&self, reason: EndReason, deadline: Act) {
        let (account, simulation) = (&self.account, &self.simulation);
        let legal = match reason {
            EndReason::Cancelled => account.cancels.load(SeqCst),
            EndReason::TimedOut => {
                let is_over = |(begun, within): (Instant, Duration)| begun.elapsed() >= within;
                let by_deadline = self.limits.deadline.is_some_and(is_over);
                simulation.happened.note(if by_deadline { deadline } else { Act::IdleTimeout });
                by_deadline || account.may_idle.load(SeqCst)
            }
            // A close notes first that it begins.
            EndReason::Closed => account.outgoing.cut.load(SeqCst),
            EndReason::BuffersChanged | EndReason::BufferPanicked => self.limits.misbehaves,
            EndReason::StreamBroken => deadline == Act::SendDeadline,
            _ => true,
        };
        if !legal {
            simulation.ledger.violation(format!("an operation ended as {reason:?}, for no reason that there was"));
        }
    }

    /// The common part of all callbacks: notes that the callback runs, checks its result, and does an act.
    pub(super) fn run(self: Box<Self>, returned: usize, settle: impl FnOnce(&Self)) {
        let (account, ledger) = (&self.account, &self.simulation.ledger);
        let _on_stack = stack::enter(account, &self.end);
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
        let mut random = fastrand::Rng::with_seed(self.seed);
        let acts = !self.simulation.finishing.load(SeqCst);
        if self.chain < LONGEST_CHAIN && acts {
            let before = CHAIN.replace(self.chain + 1);
            act_inside(&self.simulation, &self, &mut random);
            CHAIN.set(before);
        }
        account.pending.fetch_sub(1, SeqCst);
        account.running.fetch_sub(1, SeqCst);
        if acts && self.simulation.program.acts.has(Act::CallbackPanic) && random.u8(..100) == 0 {
            self.simulation.happened.note(Act::CallbackPanic);
            panic_quietly();
        }
    }
}

impl Operation {
    /// Injects the defects of this operation.
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
    if stack::is_in_inline_send() {
        simulation.happened.note(Act::SendInSendCallback);
    }
    let body = if random.u8(..20) == 0 { random.usize(..50_000) } else { random.usize(..600) };
    let bytes = message(account.outgoing.next_number(), body);
    let length = bytes.len();
    let shape = Shape::of(simulation, random);
    let limits = Limits::of(simulation, Act::SendDeadline, shape, random);
    let within = limits.within();
    let operation = Operation::new(simulation, end, length, limits, random);
    let ticket = operation.ticket();
    begin(account, &account.outgoing.sends_pending);
    take_sent();
    let is_shut = account.shut.load(SeqCst);
    let refused = match shape {
        Shape::One => {
            let spoiled = spoiled(simulation);
            let sent = move |completion: SendCompletion<_>| sent(operation, &completion, spoiled, Vec::len);
            attempt(|| send_lent(end, within, bytes, sent), Vec::len)
        }
        Shape::List => {
            let list = split(bytes, random);
            let sent = move |completion: SendCompletion<_>| sent(operation, &completion, false, length_of_list);
            attempt(|| send_lent(end, within, list, sent), length_of_list)
        }
        Shape::Misbehaving => {
            let buffer = Buffer::new(simulation, bytes, random);
            let sent = move |completion: SendCompletion<_>| sent(operation, &completion, false, length_of_one);
            attempt(|| send_lent(end, within, buffer, sent), length_of_one)
        }
        Shape::MisbehavingList => {
            let list = two(Buffer::new(simulation, bytes, random), random);
            let sent = move |completion: SendCompletion<_>| sent(operation, &completion, false, length_of_two);
            attempt(|| send_lent(end, within, list, sent), length_of_two)
        }
    };
    match refused {
        Ok(id) => {
            simulation.ledger.accepted.fetch_add(1, SeqCst);
            ticket.accepted(&simulation.ledger);
            if is_shut {
                simulation.ledger.violation("a send was accepted after a shutdown");
            }
            if id.is_some() {
                *account.latest_send.lock() = id;
            }
            return;
        }
        Err(Some((error, returned))) => {
            note_refusal(simulation, &ticket, returned == length);
            not_sent(simulation, account, error);
        }
        // The call does not report the bytes that went out, but the system calls do.
        Err(None) => {
            stack::leave_send_call();
            note_refusal(simulation, &ticket, true);
            broken_off(account, take_sent());
        }
    }
    account.outgoing.sends_pending.fetch_sub(1, SeqCst);
    account.pending.fetch_sub(1, SeqCst);
}

/// Starts a receive.
pub(super) fn receive(simulation: &Arc<Simulation>, end: &Arc<End>, random: &mut fastrand::Rng) {
    let account = &end.account;
    if account.pending.load(SeqCst) > MOST_PENDING {
        return;
    }
    let length = random.usize(2..6_000);
    let shape = Shape::of(simulation, random);
    let limits = Limits::of(simulation, Act::ReceiveDeadline, shape, random);
    let within = limits.within();
    let operation = Operation::new(simulation, end, length, limits, random);
    let ticket = operation.ticket();
    // The operation of the running callback has left the slot. The other receives wait behind it.
    if stack::is_empty() && account.running.load(SeqCst) > 0 && account.receives_pending.load(SeqCst) > 1 {
        simulation.happened.note(Act::AddBesideBacklog);
    }
    begin(account, &account.receives_pending);
    let bytes = vec![0_u8; length];
    let refused = match shape {
        Shape::One => {
            let spoiled = spoiled(simulation);
            let received = move |completion: ReceiveCompletion<Vec<u8>>| {
                let bytes = &completion.buffers[..completion.bytes_received as usize];
                received(operation, &completion, bytes, completion.buffers.len(), spoiled);
            };
            attempt(|| receive_lent(end, within, bytes, received), Vec::len)
        }
        Shape::List => {
            let list = split(bytes, random);
            let received = move |completion: ReceiveCompletion<Vec<Vec<u8>>>| {
                let whole = with_memory(|| completion.buffers.concat());
                received(operation, &completion, &whole[..completion.bytes_received as usize], whole.len(), false);
            };
            attempt(|| receive_lent(end, within, list, received), length_of_list)
        }
        Shape::Misbehaving | Shape::MisbehavingList => {
            let buffer = Buffer::new(simulation, bytes, random);
            let received = move |completion: ReceiveCompletion<Buffer>| {
                let bytes = &completion.buffers.bytes[..completion.bytes_received as usize];
                received(operation, &completion, bytes, completion.buffers.bytes.len(), false);
            };
            attempt(|| receive_lent(end, within, buffer, received), length_of_one)
        }
    };
    match refused {
        Ok(id) => {
            simulation.ledger.accepted.fetch_add(1, SeqCst);
            *account.latest.lock() = Some(id);
            ticket.accepted(&simulation.ledger);
            if random.u8(..16) == 0 {
                cancel(simulation, end);
            }
            return;
        }
        Err(None) => note_refusal(simulation, &ticket, true),
        Err(Some((error, returned))) => {
            note_refusal(simulation, &ticket, returned == length);
            match error {
                ReceiveError::OutOfMemory => drop(simulation.ledger.without_memory.fetch_add(1, SeqCst)),
                ReceiveError::NotOpen { .. } => account.cut(),
                ReceiveError::Os { os_error } if TRANSIENT.contains(&os_error) => {}
                ReceiveError::PortFailed if simulation.has_lost_a_port() => account.cut(),
                error => simulation.ledger.violation(format!("a receive was refused: {error}")),
            }
        }
    }
    account.receives_pending.fetch_sub(1, SeqCst);
    account.pending.fetch_sub(1, SeqCst);
}

/// [`send_async`](AsyncSocket::send_async), perhaps with a deadline.
fn send_lent<B: IoBufs>(
    end: &End,
    within: Option<Duration>,
    buffers: B,
    done: impl FnOnce(SendCompletion<B>) + Send + 'static,
) -> Result<Option<OperationId>, Refused<B, SendError>> {
    in_send_call(|| match within {
        Some(within) => end.socket.send_async_within(buffers, within, done),
        None => end.socket.send_async(buffers, done),
    })
}

/// [`receive_async`](AsyncSocket::receive_async), perhaps with a deadline.
fn receive_lent<B: IoBufsMut>(
    end: &End,
    within: Option<Duration>,
    buffers: B,
    done: impl FnOnce(ReceiveCompletion<B>) + Send + 'static,
) -> Result<OperationId, Refused<B, ReceiveError>> {
    call(|| match within {
        Some(within) => end.socket.receive_async_within(buffers, within, done),
        None => end.socket.receive_async(buffers, done),
    })
}

/// Cancels the receive that was accepted last or the send that was queued last, if it still waits.
pub(super) fn cancel(simulation: &Simulation, end: &End) {
    let acts = simulation.program.acts;
    let send = if acts.has(Act::CancelSend) { end.account.latest_send.lock().take() } else { None };
    end.account.cancels.store(true, SeqCst);
    if let Some(id) = send
        && call(|| end.socket.cancel(id)) == Cancel::Cancelled
    {
        simulation.happened.note(Act::CancelSend);
    }
    let latest = end.account.latest.lock().take();
    if let Some(id) = latest
        && acts.has(Act::Cancel)
        && call(|| end.socket.cancel(id)) == Cancel::Cancelled
    {
        simulation.happened.note(Act::Cancel);
    }
}

/// The form of the lent buffers.
#[derive(Debug, Clone, Copy)]
enum Shape {
    One,
    List,
    Misbehaving,
    MisbehavingList,
}

impl Shape {
    fn of(simulation: &Simulation, random: &mut fastrand::Rng) -> Self {
        let acts = simulation.program.acts;
        let may_misbehave = acts.has(Act::BufferPanic) || acts.has(Act::BufferChange);
        // A panic needs memory.
        if may_misbehave && !SCARCE.get() && !simulation.finishing.load(SeqCst) && random.u8(..20) == 0 {
            return if random.bool() { Self::Misbehaving } else { Self::MisbehavingList };
        }
        if random.bool() { Self::One } else { Self::List }
    }
}

#[expect(clippy::ptr_arg, reason = "called with what was lent")]
fn length_of_list(list: &Vec<Vec<u8>>) -> usize {
    list.iter().map(Vec::len).sum()
}

fn length_of_one(buffer: &Buffer) -> usize {
    buffer.bytes.len()
}

#[expect(clippy::ptr_arg, reason = "called with what was lent")]
fn length_of_two(list: &Vec<Buffer>) -> usize {
    list.iter().map(length_of_one).sum()
}

/// Makes a call. Returns a refusal as its reason and the number of returned bytes. If a buffer panics in the caller,
/// both are absent.
fn attempt<B, I, E>(
    call: impl FnOnce() -> Result<I, Refused<B, E>>,
    length: impl Fn(&B) -> usize,
) -> Result<I, Option<(E, usize)>> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|refused| Some((refused.error, length(&refused.returned)))),
        Err(_) => Err(None),
    }
}

fn in_send_call<T>(send: impl FnOnce() -> T) -> T {
    stack::in_send_call(|| call(send))
}

/// Calls the library, at times without memory. The callback always gets memory.
pub(super) fn call<T>(call: impl FnOnce() -> T) -> T {
    if SCARCE.get() { without_memory(call) } else { call() }
}

pub(super) fn begin(account: &Account, kind: &std::sync::atomic::AtomicI64) {
    account.pending.fetch_add(1, SeqCst);
    kind.fetch_add(1, SeqCst);
}

fn spoiled(simulation: &Simulation) -> bool {
    simulation.sys.is_spoiled(Defect::DropsCompletions)
}

pub(super) fn note_refusal(simulation: &Simulation, ticket: &Ticket, whole: bool) {
    simulation.ledger.refused.fetch_add(1, SeqCst);
    ticket.refused(&simulation.ledger);
    if !whole {
        simulation.ledger.violation("a refused call did not give the buffers back");
    }
}
