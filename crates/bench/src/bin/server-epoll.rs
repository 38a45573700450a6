//! The yardstick: bare epoll on one thread. It is edge-triggered, or one-shot and re-armed after each event.

use anyhow::Result;
use bench::by_hand::Connection;
use bench::{Arguments, run_server};
use clap::Parser;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Connections that the serving thread has not registered yet. The token of each is its descriptor's number.
type Arrived = Arc<Mutex<Vec<(usize, Box<Connection<TcpStream>>)>>>;

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    arguments: Arguments,
    /// Arm a descriptor for one event at a time.
    #[arg(long)]
    one_shot: bool,
}

const EDGES: EventFlags = EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);
const ONCE: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ONESHOT);
const END: EventFlags = EventFlags::RDHUP.union(EventFlags::HUP).union(EventFlags::ERR);

fn main() -> Result<()> {
    let Options { arguments, one_shot } = Options::parse();
    let epoll = Arc::new(epoll::create(CreateFlags::CLOEXEC)?);
    let arrived = Arrived::default();
    thread::spawn({
        let (epoll, arrived) = (Arc::clone(&epoll), Arc::clone(&arrived));
        move || serve(&epoll, &arrived, one_shot)
    });
    run_server(move |stream| {
        let token = usize::try_from(stream.as_raw_fd())?;
        let connection = Box::new(Connection::new(stream, &arguments));
        let mut arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner);
        let interest = if one_shot { once(&connection) } else { EDGES };
        epoll::add(&*epoll, &connection.stream, EventData::new_u64(token as u64), interest)?;
        arrived.push((token, connection));
        Ok(())
    })
}

/// The events that a connection is armed for.
fn once(connection: &Connection<TcpStream>) -> EventFlags {
    if connection.wants_to_send() { ONCE | EventFlags::OUT } else { ONCE }
}

fn serve(epoll: &OwnedFd, arrived: &Arrived, one_shot: bool) {
    let mut connections: Vec<Option<Box<Connection<TcpStream>>>> = Vec::new();
    let mut events: Vec<Event> = Vec::with_capacity(512);
    loop {
        events.clear();
        if epoll::wait(epoll, rustix::buffer::spare_capacity(&mut events), None).is_err() {
            continue;
        }
        for event in &events {
            #[allow(clippy::cast_possible_truncation, reason = "we made it of a usize")]
            let token = event.data.u64() as usize;
            if connections.get(token).is_none_or(Option::is_none) {
                let mut arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner);
                for (token, connection) in arrived.drain(..) {
                    connections.resize_with(connections.len().max(token + 1), || None);
                    connections[token] = Some(connection);
                }
            }
            let Some(connection) = &mut connections[token] else { continue };
            let flags = event.flags;
            if connection.on_ready(flags.intersects(END)) {
                if one_shot {
                    let _ = epoll::modify(epoll, &connection.stream, event.data, once(connection));
                }
            } else {
                let _ = epoll::delete(epoll, &connection.stream);
                connections[token] = None;
            }
        }
    }
}
