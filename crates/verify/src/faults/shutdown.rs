//! Shutting the sending half down, and the idle time-out of an end.

use super::acts::Act;
use super::operation::{Limits, Operation, begin, call, note_refusal};
use super::outcome::shut;
use super::simulation::{End, Simulation};
use super::stack;
use async_socket_linux::{SendError, TimeoutError};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// The longest idle time-out, in milliseconds. The library rounds it up to a multiple of 8.
const LONGEST_IDLE: u64 = 60;

/// Shuts the sending half of an end down. It is an operation like a send without a byte.
pub(super) fn shut_down(simulation: &Arc<Simulation>, end: &Arc<End>, random: &mut fastrand::Rng) {
    let account = &end.account;
    if !simulation.program.acts.has(Act::Shutdown) {
        return;
    }
    let operation = Operation::new(simulation, end, 0, Limits::default(), random);
    let ticket = operation.ticket();
    begin(account, &account.outgoing.sends_pending);
    account.outgoing.shuts.store(true, SeqCst);
    let done = move |completion| shut(operation, &completion);
    match stack::in_send_call(|| call(|| end.socket.shutdown_async(done))) {
        Ok(_) => {
            simulation.ledger.accepted.fetch_add(1, SeqCst);
            return ticket.accepted(&simulation.ledger);
        }
        Err(error) => {
            note_refusal(simulation, &ticket, true);
            match error {
                SendError::ShutDown | SendError::StreamBroken => {}
                SendError::OutOfMemory { .. } => drop(simulation.ledger.without_memory.fetch_add(1, SeqCst)),
                SendError::NotOpen { .. } | SendError::Os { .. } | SendError::Disconnected { .. } => account.cut(),
                SendError::PortFailed if simulation.has_lost_a_port() => account.cut(),
                error => simulation.ledger.violation(format!("a shutdown was refused: {error}")),
            }
        }
    }
    account.outgoing.sends_pending.fetch_sub(1, SeqCst);
    account.pending.fetch_sub(1, SeqCst);
}

/// Sets, changes or removes the idle time-out of an end.
pub(super) fn set_idle_timeout(simulation: &Simulation, end: &End, random: &mut fastrand::Rng) {
    if !simulation.program.acts.has(Act::IdleTimeout) {
        return;
    }
    let timeout = (random.u8(..3) > 0).then(|| Duration::from_millis(random.u64(1..LONGEST_IDLE)));
    if timeout.is_some() {
        end.account.may_idle.store(true, SeqCst);
    }
    match call(|| end.socket.set_idle_timeout(timeout)) {
        Ok(()) => {}
        Err(TimeoutError::OutOfMemory) => drop(simulation.ledger.without_memory.fetch_add(1, SeqCst)),
        Err(TimeoutError::NotOpen { .. }) => {}
        Err(error) => simulation.ledger.violation(format!("no time-out: {error}")),
    }
}
