//! mio, one thread.

use anyhow::Result;
use bench::by_hand::Connection;
use bench::{Arguments, run_server};
use clap::Parser;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Connections that the serving thread has not registered yet. The token of each is its descriptor's number.
type Arrived = Arc<Mutex<Vec<(usize, Box<Connection<TcpStream>>)>>>;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let poll = Poll::new()?;
    let registry = poll.registry().try_clone()?;
    let arrived = Arrived::default();
    thread::spawn({
        let arrived = Arc::clone(&arrived);
        move || serve(poll, &arrived)
    });
    run_server(move |stream| {
        let token = usize::try_from(stream.as_raw_fd())?;
        let mut connection = Box::new(Connection::new(TcpStream::from_std(stream), &arguments));
        let mut arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register(&mut connection.stream, Token(token), Interest::READABLE | Interest::WRITABLE)?;
        arrived.push((token, connection));
        Ok(())
    })
}

fn serve(mut poll: Poll, arrived: &Arrived) {
    let mut connections: Vec<Option<Box<Connection<TcpStream>>>> = Vec::new();
    let mut events = Events::with_capacity(512);
    loop {
        if poll.poll(&mut events, None).is_err() {
            continue;
        }
        for event in &events {
            let Token(token) = event.token();
            if connections.get(token).is_none_or(Option::is_none) {
                let mut arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner);
                for (token, connection) in arrived.drain(..) {
                    connections.resize_with(connections.len().max(token + 1), || None);
                    connections[token] = Some(connection);
                }
            }
            let Some(connection) = &mut connections[token] else { continue };
            if !connection.on_ready(event.is_read_closed() || event.is_error()) {
                let _ = poll.registry().deregister(&mut connection.stream);
                connections[token] = None;
            }
        }
    }
}
