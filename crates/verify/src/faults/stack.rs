//! The callbacks on each thread's stack, and the sockets that a thread may close inside them.
//!
//! A close waits for the callbacks of its socket on other threads. So callbacks that close each other's sockets can
//! wait for each other for ever. A program keeps one of two rules, and each rule excludes that:
//!
//! * *In order:* a thread closes no socket that is older than one whose callback it is in. Along a chain of threads that
//!   wait for each other, the sockets therefore get younger. So a chain that ends where it began is about a single socket.
//!   The library promises that callbacks of one socket can close it at the same time.
//! * *On one thread:* a port thread may close any socket of its own port if it is only in callbacks of such sockets. On
//!   other threads a callback closes only its own socket, and only if the thread is in no callback of another one. So the
//!   callback that a port thread waits for waits for no other socket.

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
    /// The callback is a send's, and it runs inside that call.
    in_send_call: bool,
}

thread_local! {
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
    /// The thread is in `send_async` and has not been called back since.
    static IN_SEND_CALL: Cell<bool> = const { Cell::new(false) };
}

/// Keeps a callback on the stack until it is dropped.
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
        // Drops the frame only after the borrow has ended.
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

/// The number of callbacks of this end that the thread is in.
pub(super) fn depth(account: &Account) -> i64 {
    FRAMES.with_borrow(|frames| frames.iter().filter(|frame| frame.account.serial == account.serial).count() as i64)
}

/// The end of the callback below the running one, if the two callbacks are of different ends.
pub(super) fn below() -> Option<Arc<End>> {
    FRAMES.with_borrow(|frames| {
        let [.., below, top] = &frames[..] else { return None };
        if below.account.serial == top.account.serial { None } else { below.end.upgrade() }
    })
}

/// Whether the program's rule lets the thread close an end now.
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
