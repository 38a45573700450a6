//! One connection after the other: each is made, found to be there, and closed.

use crate::{Moment, Times};
use anyhow::Context as _;
use async_socket_net::{ConnectError, Connector};
use completion_port::CompletionPort;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::sockopt::socket_error;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, listen, socket, socket_with};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// A listener that never accepts, because its backlog has room for all. Each round has an address of its own, because the ports
/// of the last one are in `TIME_WAIT`.
fn server(round: usize, connections: usize) -> anyhow::Result<(SocketAddr, OwnedFd)> {
    let octet = u8::try_from(1 + round % 250)?;
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&listener, &SocketAddr::from((Ipv4Addr::new(127, 0, 7, octet), 0)))?;
    listen(&listener, i32::try_from(connections)?)?;
    Ok((SocketAddr::try_from(getsockname(&listener)?)?, listener))
}

pub(crate) fn ours(round: usize, connections: usize) -> anyhow::Result<Times> {
    let (address, _listener) = server(round, connections)?;
    let port = CompletionPort::create()?;
    let (done, ended) = channel();
    let chain = Arc::new(Chain { connector: Connector::new(), port, address });
    let began = Moment::now();
    next(&chain, connections, done);
    ended.recv_timeout(Duration::from_secs(20)).context("not all were connected")??;
    let took = Moment::now().since(began);
    Ok(took)
}

struct Chain {
    connector: Connector,
    port: CompletionPort,
    address: SocketAddr,
}

fn next(chain: &Arc<Chain>, left: usize, done: Sender<Result<(), ConnectError>>) {
    let ours = Arc::clone(chain);
    let connecting =
        chain.connector.connect_on(chain.port.clone(), chain.address, Duration::from_secs(10), move |outcome| {
            match outcome {
                Ok(socket) if left > 1 => {
                    drop(socket);
                    next(&ours, left - 1, done);
                }
                outcome => _ = done.send(outcome.map(drop)),
            }
        });
    connecting.detach();
}

pub(crate) fn bare(round: usize, connections: usize) -> anyhow::Result<Times> {
    let (address, _listener) = server(round, connections)?;
    let client = thread::spawn(move || -> anyhow::Result<Times> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut events = Vec::with_capacity(64);
        let began = Moment::now();
        for _ in 0..connections {
            let socket = socket_with(AddressFamily::INET, SocketType::STREAM, FLAGS, None)?;
            match connect(&socket, &address) {
                Ok(()) => continue,
                Err(Errno::INPROGRESS) => {}
                Err(errno) => return Err(errno.into()),
            }
            epoll::add(&epoll, &socket, EventData::new_u64(0), EventFlags::OUT | EventFlags::ET)?;
            epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None)?;
            events.clear();
            socket_error(&socket)??;
        }
        Ok(Moment::now().since(began))
    });
    let took = client.join().expect("no panic")?;
    Ok(took)
}
