//! The results of operations, from their calls and completions, and a check that each result is allowed.

use super::acts::Act;
use super::ledger::Account;
use super::operation::Operation;
use super::simulation::Simulation;
use async_socket_linux::{EndReason, ReceiveCompletion, ReceiveResult, SendCompletion, SendError, SendResult};
use std::sync::atomic::Ordering::SeqCst;
use test_doubles::with_memory;

/// Errors of memory or of the kernel's limits. They leave the connection as it is.
pub(super) const TRANSIENT: [i32; 3] = [nix::libc::ENOMEM, nix::libc::ENOBUFS, nix::libc::ENOSPC];

/// Notes the effect of a refused send on the stream.
pub(super) fn not_sent(simulation: &Simulation, account: &Account, error: SendError) {
    let bytes_sent = match error {
        SendError::OutOfMemory { bytes_sent } => {
            simulation.ledger.without_memory.fetch_add(1, SeqCst);
            bytes_sent
        }
        SendError::Disconnected { bytes_sent, .. } => {
            account.cut();
            bytes_sent
        }
        SendError::Os { os_error, bytes_sent } => {
            if !TRANSIENT.contains(&os_error) {
                account.cut();
            }
            bytes_sent
        }
        SendError::NotOpen { .. } => {
            account.cut();
            0
        }
        SendError::StreamBroken => 0,
        SendError::ShutDown if account.outgoing.shuts.load(SeqCst) => 0,
        SendError::PortFailed if simulation.has_lost_a_port() => {
            account.cut();
            0
        }
        SendError::BuffersChanged { bytes_sent } => bytes_sent,
        error => return simulation.ledger.violation(format!("a send was refused: {error}")),
    };
    broken_off(account, bytes_sent.into());
}

/// Notes that a send stopped after some bytes, or before the first.
pub(super) fn broken_off(account: &Account, bytes_sent: u64) {
    account.outgoing.sent.fetch_add(bytes_sent, SeqCst);
    if bytes_sent > 0 {
        account.outgoing.stopped.store(true, SeqCst);
    } else {
        account.outgoing.take_number_back();
    }
}

fn note_sent(account: &Account, bytes: u32) {
    account.outgoing.sent.fetch_add(u64::from(bytes), SeqCst);
}

pub(super) fn sent<B>(
    operation: Box<Operation>,
    completion: &SendCompletion<B>,
    spoiled: bool,
    length: impl Fn(&B) -> usize,
) {
    with_memory(|| {
        if spoiled {
            return drop(operation);
        }
        operation.run(length(&completion.buffers), |operation| {
            let (account, whole) = (&operation.account, completion.bytes_sent as usize == operation.length);
            note_sent(account, completion.bytes_sent);
            operation.check_reason(completion.reason, Act::SendDeadline);
            match (completion.result, completion.os_error()) {
                (SendResult::Ok, None) if whole => {}
                // A send that broke the stream makes the library abandon the sends behind it. The connection goes on.
                (SendResult::Abandoned, None) => {}
                (SendResult::Error, Some(errno)) if TRANSIENT.contains(&errno) => {}
                // The bytes that went out are known, and the connection goes on.
                (SendResult::Error, None) if completion.reason == EndReason::TimedOut => {}
                (SendResult::Error, None) => {
                    let missing = operation.length as u64 - u64::from(completion.bytes_sent);
                    account.outgoing.unsure.fetch_add(missing, SeqCst);
                    account.cut();
                }
                (SendResult::Error | SendResult::Abandoned, _) => account.cut(),
                outcome => {
                    let length = operation.length;
                    operation.simulation.ledger.violation(format!("a send of {length} ended as {outcome:?}"));
                }
            }
            if !whole && completion.bytes_sent > 0 {
                account.outgoing.stopped.store(true, SeqCst);
            }
            account.outgoing.sends_pending.fetch_sub(1, SeqCst);
        });
    });
}

/// Notes how a shutdown ended.
pub(super) fn shut(operation: Box<Operation>, completion: &SendCompletion<()>) {
    with_memory(|| {
        operation.run(0, |operation| {
            let (account, simulation) = (&operation.account, &operation.simulation);
            operation.check_reason(completion.reason, Act::SendDeadline);
            match (completion.result, completion.os_error()) {
                (SendResult::Ok, None) => {
                    simulation.happened.note(Act::Shutdown);
                    account.shut.store(true, SeqCst);
                }
                (SendResult::Abandoned, None) => {}
                (SendResult::Error, None) if completion.reason == EndReason::TimedOut => {}
                (SendResult::Error | SendResult::Abandoned, _) => account.cut(),
                outcome => simulation.ledger.violation(format!("a shutdown ended as {outcome:?}")),
            }
            account.outgoing.sends_pending.fetch_sub(1, SeqCst);
        });
    });
}

fn is_end_of_shut_stream(account: &Account, reason: EndReason) -> bool {
    reason == EndReason::PeerFinished && account.incoming.shuts.load(SeqCst)
}

pub(super) fn received<B>(
    operation: Box<Operation>,
    completion: &ReceiveCompletion<B>,
    bytes: &[u8],
    returned: usize,
    spoiled: bool,
) {
    with_memory(|| {
        if spoiled {
            return drop(operation);
        }
        operation.run(returned, |operation| {
            let (account, ledger) = (&operation.account, &operation.simulation.ledger);
            operation.check_reason(completion.reason, Act::ReceiveDeadline);
            match (completion.result, completion.os_error()) {
                (ReceiveResult::Ok, None) if !bytes.is_empty() => account.incoming.receive(bytes, ledger),
                // It took no byte, and the connection goes on.
                (ReceiveResult::Abandoned, None) if completion.reason == EndReason::Cancelled && bytes.is_empty() => {}
                (ReceiveResult::Error, None) if completion.reason == EndReason::TimedOut && bytes.is_empty() => {}
                // What the peer sent before its shutdown must still arrive, or have arrived.
                (ReceiveResult::Abandoned, None) if is_end_of_shut_stream(account, completion.reason) => {}
                (ReceiveResult::Error, Some(errno)) if TRANSIENT.contains(&errno) => {}
                (ReceiveResult::Abandoned | ReceiveResult::Error, _) if bytes.is_empty() => {
                    if operation.simulation.program.calm && !account.incoming.cut.load(SeqCst) {
                        let outcome = (completion.result, completion.os_error());
                        ledger.violation(format!("a receive ended as {outcome:?} on a connection that is well"));
                    }
                    account.cut();
                }
                outcome => ledger.violation(format!("a receive of {} bytes ended as {outcome:?}", bytes.len())),
            }
            account.receives_pending.fetch_sub(1, SeqCst);
        });
    });
}
