//! Accepts clients, connects to the server for each, and ends in order.

use crate::session::{Session, Totals};
use anyhow::Context as _;
use async_socket_linux::ExecutionEngine;
use async_socket_net::{Accepted, Address, Connector, Listener, SocketOptions, Target, Tracker};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::time::Duration;

/// What to do with each client.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) to: Target,
    pub(crate) connect_within: Duration,
    pub(crate) idle: Duration,
}

/// A proxy that runs.
pub(crate) struct Proxy {
    listener: Listener,
    shared: Arc<Shared>,
}

struct Shared {
    engine: ExecutionEngine,
    connector: Connector,
    plan: Plan,
    tracker: Tracker,
    totals: Arc<Totals>,
}

/// What it did.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) connections: u64,
    pub(crate) cut_off: usize,
    pub(crate) refused: u64,
    pub(crate) to_servers: u64,
    pub(crate) to_clients: u64,
}

impl Proxy {
    pub(crate) fn start(engine: &ExecutionEngine, listener: TcpListener, plan: Plan) -> anyhow::Result<Self> {
        let options = SocketOptions::new().no_delay(true);
        let connector = Connector::new().options(options.clone());
        let (tracker, totals) = (Tracker::new(), Arc::default());
        let shared = Arc::new(Shared { engine: engine.clone(), connector, plan, tracker, totals });
        let ours = Arc::clone(&shared);
        let listener = Listener::builder().options(options).listen(engine, listener, move |accepted| {
            match accepted {
                Ok(client) => ours.pass_on(client),
                // A pause ends by itself, and the log has it.
                Err(error) => tracing::warn!(%error, "not accepted"),
            }
        });
        Ok(Self { listener: listener.context("cannot accept")?, shared })
    }

    pub(crate) fn address(&self) -> &Address {
        self.listener.local_address()
    }

    /// Accepts no more, gives what is open some time, and cuts off the rest.
    pub(crate) fn end(self, grace: Duration) -> Served {
        let connections = self.listener.metrics().accepted;
        drop(self.listener);
        let (done, finished) = channel();
        let port = self.shared.engine.completion_port();
        let started = self.shared.tracker.finish(&port, grace, move |how| done.send(how.cut_off).unwrap_or_default());
        let cut_off = started.ok().and_then(|()| finished.recv().ok()).unwrap_or(0);
        let totals = &self.shared.totals;
        Served {
            connections,
            cut_off,
            refused: totals.refused.load(Ordering::Relaxed),
            to_servers: totals.to_servers.load(Ordering::Relaxed),
            to_clients: totals.to_clients.load(Ordering::Relaxed),
        }
    }
}

impl Shared {
    /// What the client sends meanwhile waits in the kernel. If there is no server, the client's connection is closed.
    fn pass_on(&self, client: Accepted) {
        let (tracker, totals, idle) = (self.tracker.clone(), Arc::clone(&self.totals), self.plan.idle);
        let (to, within) = (self.plan.to.clone(), self.plan.connect_within);
        let connecting = self.connector.connect(&self.engine, to, within, move |server| {
            let opened = server.map_err(anyhow::Error::new).and_then(|server| Ok((client.open()?, server)));
            match opened {
                Ok((client, server)) => Session::begin(client, server, idle, &tracker, totals),
                Err(error) => {
                    totals.refused.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(error = format!("{error:#}"), "not passed on");
                }
            }
        });
        connecting.detach();
    }
}
