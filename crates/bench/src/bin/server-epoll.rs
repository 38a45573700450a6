//! The yardstick: an echo server on bare edge-triggered epoll, one thread, nothing else.

use anyhow::Result;
use bench::{BUFFER_BYTES, ECHOED, run_server};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread;

struct Connection {
    fd: OwnedFd,
    buffer: Box<[u8]>,
    /// What of the buffer is received and not sent back yet.
    unsent: std::ops::Range<usize>,
}

type Connections = Arc<Mutex<Vec<Option<Box<Connection>>>>>;

fn main() -> Result<()> {
    let epoll = Arc::new(epoll::create(CreateFlags::CLOEXEC)?);
    let arrived = Connections::default();
    thread::spawn({
        let (epoll, arrived) = (Arc::clone(&epoll), Arc::clone(&arrived));
        move || serve(&epoll, &arrived)
    });
    run_server("bare epoll", move |stream: TcpStream| {
        let fd = OwnedFd::from(stream);
        let mut arrived = arrived.lock().expect("no thread panics");
        let data = EventData::new_u64(arrived.len() as u64);
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&*epoll, &fd, data, interest)?;
        let buffer = vec![0; BUFFER_BYTES].into_boxed_slice();
        arrived.push(Some(Box::new(Connection { fd, buffer, unsent: 0..0 })));
        Ok(())
    })
}

fn serve(epoll: &OwnedFd, arrived: &Connections) {
    let mut connections: Vec<Option<Box<Connection>>> = Vec::new();
    let mut events: Vec<Event> = Vec::with_capacity(512);
    loop {
        events.clear();
        if epoll::wait(epoll, rustix::buffer::spare_capacity(&mut events), None).is_err() {
            continue;
        }
        for event in &events {
            let index = usize::try_from(event.data.u64()).expect("we made it of a usize");
            if index >= connections.len() || connections[index].is_none() {
                let mut arrived = arrived.lock().expect("no thread panics");
                connections.resize_with(arrived.len().max(connections.len()), || None);
                if let Some(connection) = arrived[index].take() {
                    connections[index] = Some(connection);
                }
            }
            let Some(connection) = &mut connections[index] else { continue };
            if !connection.echo() {
                connections[index] = None;
            }
        }
    }
}

impl Connection {
    /// Echoes what is there. Whether the connection lives on.
    fn echo(&mut self) -> bool {
        loop {
            while !self.unsent.is_empty() {
                let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
                match send(&self.fd, &self.buffer[self.unsent.clone()], flags) {
                    Ok(sent) => self.unsent.start += sent,
                    Err(Errno::AGAIN) => return true,
                    Err(Errno::INTR) => {}
                    Err(_) => return false,
                }
            }
            match recv(&self.fd, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return false,
                Ok((_, received)) => {
                    ECHOED.fetch_add(1, Ordering::Relaxed);
                    self.unsent = 0..received;
                    if received < self.buffer.len() {
                        // A short read has drained the socket: no need to be told EAGAIN.
                        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
                        if let Ok(sent) = send(&self.fd, &self.buffer[..received], flags) {
                            self.unsent.start = sent;
                            if self.unsent.is_empty() {
                                return true;
                            }
                        }
                    }
                }
                Err(Errno::AGAIN) => return true,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }
}
