//! Connections that come and go: connect, have one byte echoed, shut down, and wait until the server has closed too.

use crate::Arguments;
use crate::window::Window;
use anyhow::{Result, ensure};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, recv, send, shutdown, sockopt};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::Instant;

struct Visit {
    fd: OwnedFd,
    since: Instant,
    echoed: bool,
}

pub(crate) fn run(arguments: &Arguments, window: &mut Window) -> Result<()> {
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut made = 0;
    let mut visits = Vec::new();
    for slot in 0..arguments.connections {
        visits.push(visit(arguments, &epoll, slot, &mut made)?);
    }
    let mut events: Vec<Event> = Vec::with_capacity(512);
    let limit = arguments.messages.map_or(u64::MAX, |messages| messages * arguments.connections as u64);
    while made < limit && window.goes_on(Instant::now())? {
        events.clear();
        let patience = Some(&rustix::event::Timespec { tv_sec: 20, tv_nsec: 0 });
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), patience)?;
        ensure!(!events.is_empty(), "nothing came back for 20 s");
        for event in &events {
            let slot = usize::try_from(event.data.u64())?;
            if visits[slot].goes_on(u8::try_from(slot % 251)?)? {
                continue;
            }
            window.count_message(visits[slot].since.elapsed())?;
            window.count_bytes(1);
            visits[slot] = visit(arguments, &epoll, slot, &mut made)?;
        }
    }
    Ok(())
}

/// Binds to one of many addresses, because an address has a limited number of ports and keeps a used port for a minute.
fn visit(arguments: &Arguments, epoll: &OwnedFd, slot: usize, made: &mut u64) -> Result<Visit> {
    let since = Instant::now();
    let fd = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    let host = u8::try_from(1 + *made % 200)?;
    *made += 1;
    rustix::net::bind(&fd, &SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, host), 0))?;
    rustix::net::connect(&fd, &arguments.address)?;
    sockopt::set_tcp_nodelay(&fd, true)?;
    rustix::io::ioctl_fionbio(&fd, true)?;
    send(&fd, &[u8::try_from(slot % 251)?], SendFlags::NOSIGNAL)?;
    epoll::add(epoll, &fd, EventData::new_u64(slot as u64), EventFlags::IN | EventFlags::RDHUP | EventFlags::ET)?;
    Ok(Visit { fd, since, echoed: false })
}

impl Visit {
    /// Whether the server has not closed yet.
    fn goes_on(&mut self, byte: u8) -> Result<bool> {
        let mut bytes = [0; 8];
        loop {
            match recv(&self.fd, &mut bytes[..], RecvFlags::empty()) {
                Ok((_, 0)) => {
                    ensure!(self.echoed, "the server closed before it echoed");
                    return Ok(false);
                }
                Ok((_, received)) => {
                    ensure!(!self.echoed && bytes[..received] == [byte], "wrong bytes came back");
                    self.echoed = true;
                    shutdown(&self.fd, rustix::net::Shutdown::Write)?;
                }
                Err(Errno::AGAIN) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
