//! What can go to other threads, and into other errors.

use async_socket_net::{
    AcceptError, Accepted, ConnectError, Connecting, Connector, ListenError, Listener, Resolver, Tracked, Tracker,
};
use std::error::Error;

fn is_shared<T: Send + Sync + 'static>() {}

fn is_error<T: Error + Send + Sync + 'static>()
where
    std::io::Error: From<T>,
{
}

#[test]
fn everything_can_be_shared_between_threads_and_errors_become_io_errors() {
    is_shared::<Listener>();
    is_shared::<Accepted>();
    is_shared::<Connector>();
    is_shared::<Connecting>();
    is_shared::<Resolver>();
    is_shared::<Tracker>();
    is_shared::<Tracked>();
    is_error::<AcceptError>();
    is_error::<ListenError>();
    is_error::<ConnectError>();
}
