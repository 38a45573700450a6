//! Which callbacks are on a thread's stack, and what a thread in these may close.
//!
//! A close waits for the callbacks of that socket on other threads, so callbacks that close each other's sockets can wait
//! for each other for ever. A program keeps one of two rules, each of which excludes that:
//!
//! * *In order:* a thread closes no socket that is older than one whose callback it is in. So along a chain of threads that
//!   wait for each other the sockets get younger, and a chain that ends where it began is about a single socket: the
//!   library promises that callbacks of one socket can close it at the same time.
//! * *On one thread:* a port thread that is only in callbacks of sockets of its own port closes any of these. Callbacks on
//!   other threads close at most their own socket, and only if they are in no callback of another one. So what a port
//!   thread waits for waits for no other socket.

use super::acts::Act;
use super::ledger::Account;
use super::simulation::{End, Simulation};
use completion_port::is_port_thread;
use std::cell::{Cell, RefCell};
use std::sync::{Arc, Weak};

/// A callback that runs.
struct Frame {
    account: Arc<Account>,
    end: Weak<End>,
    /// It is a send's, and runs inside that call.
    in_send_call: bool,
}

thread_local! {
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
    /// The thread is in `send_async`, and has not been called back since.
    static IN_SEND_CALL: Cell<bool> = const { Cell::new(false) };
}

/// A callback on the stack, until this is dropped.
pub(super) struct OnStack {
    in_send_call: bool,
}

/// Notes that a callback begins.
pub(super) fn enter(account: &Arc<Account>, end: &Weak<End>) -> OnStack {
    let in_send_call = IN_SEND_CALL.replace(false);
    let frame = Frame { account: Arc::clone(account), end: Weak::clone(end), in_send_call };
    FRAMES.with_borrow_mut(|frames| frames.push(frame));
    OnStack { in_send_call }
}

impl Drop for OnStack {
    fn drop(&mut self) {
        // What it refers to is dropped only after the borrow has ended.
        let frame = FRAMES.with_borrow_mut(Vec::pop);
        drop(frame);
        IN_SEND_CALL.set(self.in_send_call);
    }
}

/// Makes a call of `send_async`.
pub(super) fn in_send_call<T>(call: impl FnOnce() -> T) -> T {
    let before = IN_SEND_CALL.replace(true);
    let result = call();
    IN_SEND_CALL.set(before);
    result
}

/// A call of `send_async` has panicked.
pub(super) fn leave_send_call() {
    IN_SEND_CALL.set(false);
}

/// Whether the thread is in no callback.
pub(super) fn is_empty() -> bool {
    FRAMES.with_borrow(Vec::is_empty)
}

/// Whether the thread is in a callback that a send runs inside its call.
pub(super) fn is_in_inline_send() -> bool {
    FRAMES.with_borrow(|frames| frames.last().is_some_and(|frame| frame.in_send_call))
}

/// How many callbacks of this end the thread is in.
pub(super) fn depth(account: &Account) -> i64 {
    FRAMES.with_borrow(|frames| frames.iter().filter(|frame| frame.account.serial == account.serial).count() as i64)
}

/// The end whose callback is below the one that runs, if it is another's.
pub(super) fn below() -> Option<Arc<End>> {
    FRAMES.with_borrow(|frames| {
        let [.., below, top] = &frames[..] else { return None };
        if below.account.serial == top.account.serial { None } else { below.end.upgrade() }
    })
}

/// Whether the thread may close an end now, by the rule of the program.
pub(super) fn may_close(simulation: &Simulation, account: &Account) -> bool {
    let on_one_thread = simulation.program.acts.has(Act::DestroyEachOther);
    FRAMES.with_borrow(|frames| {
        frames.iter().all(|Frame { account: inside, .. }| {
            if !on_one_thread {
                account.serial >= inside.serial
            } else if is_port_thread() {
                account.port == inside.port
            } else {
                account.serial == inside.serial
            }
        })
    })
}
