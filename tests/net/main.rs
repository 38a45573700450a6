//! Listeners, connectors and name look-up on real sockets.

mod connect;
mod failed_port;
mod listen;
mod names;
mod tracker;
mod without_descriptors;

use async_socket_net::{AcceptError, Accepted};
use integration_tests::call::{Inbox, Outbox};

/// What an accept callback got.
type Outcome = Result<Accepted, AcceptError>;

/// An accept callback that leaves everything in an inbox.
fn into_inbox() -> (impl FnMut(Outcome) + Clone + Send + 'static, Inbox<Outcome>) {
    let (done, accepted): (Outbox<Outcome>, _) = integration_tests::inbox();
    (move |outcome| done.put(outcome), accepted)
}
