//! Connections that stay: echo with any depth, one-way, and full duplex. In each direction the client checks every
//! byte.

use crate::window::Window;
use crate::{Arguments, Mode};
use anyhow::{Result, bail, ensure};
use bench::pattern::Pattern;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::iter;
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

/// The longest time without an event.
const PATIENCE: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };
/// Every server is asleep after this time, under any tool.
const REST: Duration = Duration::from_micros(300);

pub(crate) struct Client {
    stream: TcpStream,
    kind: Kind,
    /// The pattern position at which this client's bytes begin. It differs between clients.
    seed: u64,
    sent: u64,
    received: u64,
    /// The send times of the messages under way.
    since: VecDeque<Instant>,
}

/// The messages that a client sends.
#[derive(Clone, Copy)]
struct Kind {
    /// Bytes in a message, and messages under way.
    size: u64,
    depth: u64,
    /// Whether its messages are counted.
    counts: bool,
}

/// The traffic beside the counted messages.
const BESIDE: Kind = Kind { size: 64 * 1024, depth: 16, counts: false };

/// The state that all clients share.
struct Load<'a> {
    mode: Mode,
    /// The bytes that each client may send in all, so far.
    limit: u64,
    pattern: Pattern,
    scratch: Vec<u8>,
    events: Vec<Event>,
    window: &'a mut Window,
}

/// Runs until the window ends or every client has had its messages. Returns the clients, still connected.
pub(crate) fn run(arguments: &Arguments, window: &mut Window) -> Result<Vec<Client>> {
    let kind = Kind { size: arguments.size as u64, depth: arguments.depth, counts: true };
    let mut load = Load {
        mode: arguments.mode,
        limit: u64::MAX,
        pattern: Pattern::new(arguments.size.max(64 * 1024)),
        scratch: vec![0; arguments.size.max(256 * 1024)],
        events: Vec::with_capacity(512),
        window,
    };
    let kinds = iter::repeat_n(kind, arguments.connections).chain(iter::repeat_n(BESIDE, arguments.beside));
    let connected = kinds.enumerate().map(|(index, kind)| load.connect(arguments, kind, index));
    let mut clients = connected.collect::<Result<Vec<_>>>()?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    for (index, client) in clients.iter().enumerate() {
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        epoll::add(&epoll, &client.stream, EventData::new_u64(index as u64), interest)?;
    }
    load.window.connected();
    match arguments.messages {
        Some(messages) => load.run_in_step(&epoll, &mut clients, messages, kind.size)?,
        None => {
            while load.window.goes_on(Instant::now())? {
                load.serve(&epoll, &mut clients)?;
            }
        }
    }
    if load.mode == Mode::Send {
        clients.iter_mut().try_for_each(Client::check_count)?;
    }
    Ok(clients)
}

impl Load<'_> {
    /// All clients send one message and wait until all echoes are back and the server sleeps. Then they send the next.
    /// So the server meets the same load under every tool, however slow the tool makes it. The first message went out
    /// when the client connected.
    fn run_in_step(&mut self, epoll: &OwnedFd, clients: &mut [Client], messages: u64, size: u64) -> Result<()> {
        self.window.goes_on(Instant::now())?;
        for message in 1..messages {
            thread::sleep(REST);
            self.limit = message * size;
            for client in &mut *clients {
                self.send(client)?;
            }
            let mut left = clients.len();
            while left > 0 {
                left -= self.serve(epoll, clients)?;
            }
        }
        Ok(())
    }

    /// Waits for events, then receives and sends. Returns the number of clients whose last echo came back in this call.
    fn serve(&mut self, epoll: &OwnedFd, clients: &mut [Client]) -> Result<usize> {
        let mut done = 0;
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        epoll::wait(epoll, rustix::buffer::spare_capacity(&mut events), Some(&PATIENCE))?;
        ensure!(!events.is_empty(), "nothing came back for 20 s");
        for event in &events {
            let client = &mut clients[usize::try_from(event.data.u64())?];
            let was_done = client.received == self.limit;
            self.receive(client)?;
            self.send(client)?;
            done += usize::from(!was_done && client.received == self.limit);
        }
        self.events = events;
        Ok(done)
    }

    /// With an echo server, one message goes there and back, so that both sides are connected and warm.
    fn connect(&self, arguments: &Arguments, kind: Kind, index: usize) -> Result<Client> {
        let mut stream = TcpStream::connect(arguments.address)?;
        stream.set_nodelay(true)?;
        let seed = index as u64 * 7;
        if self.mode == Mode::Echo && arguments.messages != Some(0) {
            let first = self.pattern.from(seed, usize::try_from(kind.size)?);
            let mut back = vec![0; first.len()];
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            stream.write_all(first)?;
            stream.read_exact(&mut back)?;
            ensure!(first == back, "wrong bytes came back");
        }
        stream.set_nonblocking(true)?;
        Ok(Client { stream, kind, seed: seed + kind.size, sent: 0, received: 0, since: VecDeque::new() })
    }

    /// The bytes that the client may send before more have come back.
    fn allowed(&self, client: &Client) -> u64 {
        let until = match self.mode {
            Mode::Echo => (client.received / client.kind.size + client.kind.depth) * client.kind.size,
            Mode::Send | Mode::Duplex | Mode::Churn | Mode::Http => u64::MAX,
        };
        until.min(self.limit).saturating_sub(client.sent)
    }

    fn send(&mut self, client: &mut Client) -> Result<()> {
        loop {
            let allowed = self.allowed(client);
            if allowed == 0 {
                return Ok(());
            }
            let Kind { size, depth, .. } = client.kind;
            let length = usize::try_from(allowed.min(size * depth)).unwrap_or(usize::MAX);
            let bytes = self.pattern.from(client.seed + client.sent, length);
            let now = Instant::now();
            match send(&client.stream, bytes, SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    let begun = (client.sent + sent as u64).div_ceil(size) - client.sent.div_ceil(size);
                    client.sent += sent as u64;
                    if self.mode == Mode::Echo {
                        client.since.extend((0..begun).map(|_| now));
                    } else {
                        self.window.count_bytes(sent);
                    }
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn receive(&mut self, client: &mut Client) -> Result<()> {
        loop {
            let received = match recv(&client.stream, &mut self.scratch[..], RecvFlags::empty()) {
                Ok((_, 0)) => bail!("the server closed the connection"),
                Ok((_, received)) => received,
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let seed = if self.mode == Mode::Duplex { 0 } else { client.seed };
            let right = self.pattern.matches(seed + client.received, &self.scratch[..received]);
            ensure!(right && self.mode != Mode::Send, "wrong bytes came back");
            let before = client.received / client.kind.size;
            client.received += received as u64;
            self.window.count_bytes(received);
            let messages = client.received / client.kind.size - before;
            if self.mode == Mode::Echo {
                ensure!(client.received <= client.sent, "more came back than was sent");
                let now = Instant::now();
                let back = client.since.drain(..usize::try_from(messages)?);
                if client.kind.counts {
                    back.map(|since| now - since).try_for_each(|took| self.window.count_message(took))?;
                }
            }
            if received < self.scratch.len() {
                return Ok(());
            }
        }
    }
}

impl Client {
    /// Shuts the sending side down and compares the byte count that the server reports.
    fn check_count(&mut self) -> Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        self.stream.set_nonblocking(false)?;
        self.stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut count = [0; 8];
        self.stream.read_exact(&mut count)?;
        ensure!(u64::from_le_bytes(count) == self.sent, "bytes were lost");
        Ok(())
    }
}
