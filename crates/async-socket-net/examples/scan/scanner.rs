//! Connects to many ports, a limited number at a time.
//!
//! Invariant: each of the chains that `start` begins has one connect under way, or has found no port left.

use async_socket_linux::ExecutionEngine;
use async_socket_net::{ConnectError, ConnectErrorKind, Connector};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What to scan.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) address: IpAddr,
    pub(crate) ports: RangeInclusive<u16>,
    /// How many connects at a time.
    pub(crate) at_once: usize,
    /// How long each may take.
    pub(crate) within: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    pub(crate) tried: usize,
    pub(crate) open: Vec<u16>,
    /// Connects that ended neither with a connection nor with a refusal.
    pub(crate) failed: Vec<(u16, ConnectError)>,
}

/// A scan that is under way.
#[derive(Debug)]
pub(crate) struct Scan {
    outcomes: Receiver<(u16, Result<(), ConnectError>)>,
}

/// What the chains share.
struct Chains {
    engine: ExecutionEngine,
    connector: Connector,
    address: IpAddr,
    within: Duration,
    left: Mutex<RangeInclusive<u16>>,
}

impl Scan {
    pub(crate) fn start(engine: &ExecutionEngine, plan: Plan) -> Self {
        let (report, outcomes) = channel();
        let chains = Arc::new(Chains {
            engine: engine.clone(),
            connector: Connector::new(),
            address: plan.address,
            within: plan.within,
            left: Mutex::new(plan.ports),
        });
        for _ in 0..plan.at_once {
            connect_to_next(&chains, report.clone());
        }
        Self { outcomes }
    }

    /// Waits until the last chain has dropped its end of the channel.
    pub(crate) fn wait(self) -> Scanned {
        let mut scanned = Scanned::default();
        for (port, outcome) in self.outcomes {
            scanned.tried += 1;
            match outcome {
                Ok(()) => scanned.open.push(port),
                Err(error) if error.kind() == ConnectErrorKind::Refused => {}
                Err(error) => scanned.failed.push((port, error)),
            }
        }
        scanned.open.sort_unstable();
        scanned
    }
}

/// Goes on with the next port, inside the callback of the one before. The stack does not grow, because no connect ends inside
/// its call.
fn connect_to_next(chains: &Arc<Chains>, report: Sender<(u16, Result<(), ConnectError>)>) {
    let next = chains.left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let Some(port) = next else { return };
    let (address, within) = ((chains.address, port), chains.within);
    let next = Arc::clone(chains);
    let connecting = chains.connector.connect(&chains.engine, address, within, move |outcome| {
        // Dropping the socket closes the connection.
        let _ = report.send((port, outcome.map(drop)));
        connect_to_next(&next, report);
    });
    connecting.detach();
}
