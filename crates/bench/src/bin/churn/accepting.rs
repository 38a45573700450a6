//! Empties a full backlog: each connection is accepted and closed.

use crate::{Moment, Times};
use anyhow::{Context as _, ensure};
use async_socket_net::Listener;
use completion_port::CompletionPort;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, accept_with, bind, getsockname, listen, socket, sockopt::set_socket_linger,
};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// A listening socket with this many connections in its backlog, and their clients.
fn full(connections: usize) -> anyhow::Result<(OwnedFd, Vec<TcpStream>)> {
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&listener, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    listen(&listener, i32::try_from(connections)?)?;
    let address = SocketAddr::try_from(getsockname(&listener)?)?;
    let connect = |_| {
        let client = TcpStream::connect(address).context("the backlog is full: use fewer connections")?;
        // Leaves no TIME_WAIT behind.
        set_socket_linger(&client, Some(Duration::ZERO))?;
        Ok(client)
    };
    Ok((listener, (0..connections).map(connect).collect::<anyhow::Result<_>>()?))
}

pub(crate) fn ours(_: usize, connections: usize) -> anyhow::Result<Times> {
    let (descriptor, clients) = full(connections)?;
    let port = CompletionPort::create()?;
    let (done, accepted) = channel();
    let mut count = 0;
    let began = Moment::now();
    let listener = Listener::builder().listen_on(port, descriptor, move |outcome| {
        drop(outcome);
        count += 1;
        if count == connections {
            let _ = done.send(Moment::now());
        }
    })?;
    let ended = accepted.recv_timeout(Duration::from_secs(20)).context("not all were accepted")?;
    ensure!(listener.metrics().failed_clients == 0 && listener.metrics().pauses == 0);
    drop((listener, clients));
    Ok(ended.since(began))
}

pub(crate) fn bare(_: usize, connections: usize) -> anyhow::Result<Times> {
    let (listener, clients) = full(connections)?;
    rustix::io::ioctl_fionbio(&listener, true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let (done, accepted) = channel();
    let (start, started) = channel::<()>();
    let thread = thread::spawn(move || -> anyhow::Result<()> {
        started.recv()?;
        epoll::add(&epoll, &listener, EventData::new_u64(0), EventFlags::IN | EventFlags::ET)?;
        let (mut events, mut count) = (Vec::with_capacity(64), 0);
        while count < connections {
            epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None)?;
            events.clear();
            loop {
                match accept_with(&listener, FLAGS) {
                    Ok(connection) => drop(connection),
                    Err(Errno::AGAIN) => break,
                    Err(errno) => return Err(errno.into()),
                }
                count += 1;
                if count == connections {
                    done.send(Moment::now())?;
                }
            }
        }
        Ok(())
    });
    let began = Moment::now();
    start.send(())?;
    let ended = accepted.recv_timeout(Duration::from_secs(20)).context("not all were accepted")?;
    thread.join().expect("no panic")?;
    drop(clients);
    Ok(ended.since(began))
}
