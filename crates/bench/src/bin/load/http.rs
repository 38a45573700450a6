//! HTTP/1.1 requests, one under way on each connection. All responses have the length of the first.

use crate::Arguments;
use crate::window::Window;
use anyhow::{Context as _, Result, bail, ensure};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

struct Client {
    stream: TcpStream,
    /// When the request under way was sent.
    since: Instant,
    /// How much of its response has come.
    received: usize,
}

pub(crate) fn run(arguments: &Arguments, window: &mut Window) -> Result<()> {
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut clients = Vec::new();
    let mut length = 0;
    for index in 0..arguments.connections {
        let mut stream = TcpStream::connect(arguments.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        length = first_response(&mut stream)?;
        stream.set_nonblocking(true)?;
        epoll::add(&epoll, &stream, EventData::new_u64(index as u64), EventFlags::IN | EventFlags::ET)?;
        clients.push(Client { stream, since: Instant::now(), received: 0 });
    }
    window.connected();
    clients.iter_mut().try_for_each(Client::send)?;
    let mut buffer = vec![0; 64 * 1024];
    let mut events: Vec<Event> = Vec::with_capacity(512);
    while window.goes_on(Instant::now())? {
        events.clear();
        let patience = Some(&Timespec { tv_sec: 20, tv_nsec: 0 });
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), patience)?;
        ensure!(!events.is_empty(), "nothing came back for 20 s");
        for event in &events {
            let client = &mut clients[usize::try_from(event.data.u64())?];
            if client.has_response(&mut buffer, length, window)? {
                window.count_message(client.since.elapsed())?;
                client.send()?;
            }
        }
    }
    Ok(())
}

/// Has one request answered. Returns the length of the response.
fn first_response(stream: &mut TcpStream) -> Result<usize> {
    stream.write_all(REQUEST)?;
    let mut response = Vec::new();
    loop {
        let mut part = [0; 4096];
        let count = stream.read(&mut part)?;
        ensure!(count > 0, "the server closed the connection");
        response.extend(&part[..count]);
        let text = std::str::from_utf8(&response).context("the response is text")?.to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            ensure!(head.starts_with("http/1.1 200"), "the response is not 200: {head}");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.context("the response has a length")?.parse()?;
            if body.len() == length {
                return Ok(response.len());
            }
        }
    }
}

impl Client {
    fn send(&mut self) -> Result<()> {
        self.since = Instant::now();
        self.received = 0;
        let sent = send(&self.stream, REQUEST, SendFlags::NOSIGNAL)?;
        ensure!(sent == REQUEST.len(), "there is room for a request when the last one was answered");
        Ok(())
    }

    /// Receives what there is. Returns whether the response is complete.
    fn has_response(&mut self, buffer: &mut [u8], length: usize, window: &mut Window) -> Result<bool> {
        match recv(&self.stream, &mut *buffer, RecvFlags::empty()) {
            Ok((_, 0)) => bail!("the server closed the connection"),
            Ok((_, count)) => {
                ensure!(self.received > 0 || buffer.starts_with(b"HTTP/1.1 200"), "the response is not 200");
                self.received += count;
                window.count_bytes(count);
            }
            Err(Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
        ensure!(self.received <= length, "the response is too long");
        Ok(self.received == length)
    }
}
