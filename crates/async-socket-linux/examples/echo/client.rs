//! The client: drives an echo server, and checks every byte that comes back.
//!
//! Each connection is a [`Conversation`]. It sends a message, receives until all of it is back, looks at the clock, and
//! sends the next. It is moved from callback to callback inside the receive's closure, so it needs no lock.
//!
//! A conversation ends when it is dropped. [`drive`] notices when the last one is gone.

use crate::pattern::{self, Pattern};
use crate::report::Progress;
use anyhow::Context as _;
use async_socket_linux::{
    AsyncSocket as _, AsyncSocketLinux, ExecutionEngine, ReceiveCompletion, ReceiveResult, SendResult,
};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// The most bytes that one receive takes. A longer message comes back in several receives.
const MAX_BUFFER_SIZE: usize = 64 * 1024;

/// How long to wait for the server to accept the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a server may be silent before the client gives up.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often the driver looks up.
const TICK: Duration = Duration::from_millis(50);

/// The longest latency that is recorded. Longer ones count as this.
const LATENCY_DIGITS: u8 = 3;
const MAX_LATENCY: Duration = Duration::from_secs(3600);

/// What to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) connections: usize,
    pub(crate) size: usize,
    pub(crate) duration: Duration,
    pub(crate) threads: usize,
}

/// How it went.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) elapsed: Duration,
    pub(crate) totals: Totals,
    /// In nanoseconds.
    pub(crate) latencies: Histogram<u64>,
    pub(crate) connections: usize,
    pub(crate) failed: usize,
    pub(crate) first_failure: Option<String>,
}

/// Sums over all connections.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) wrong: u64,
}

/// Connections that were let in.
pub(crate) struct Streams {
    pub(crate) address: SocketAddr,
    streams: Vec<TcpStream>,
}

/// Opens `count` connections to the first address that answers.
pub(crate) fn connect(addresses: &[SocketAddr], count: usize) -> anyhow::Result<Streams> {
    let mut addresses = addresses;
    let mut streams = Vec::with_capacity(count);
    while streams.len() < count {
        let mut tried = Err(io::ErrorKind::AddrNotAvailable.into());
        for (index, address) in addresses.iter().enumerate() {
            tried = TcpStream::connect_timeout(address, CONNECT_TIMEOUT);
            if tried.is_ok() {
                addresses = &addresses[index..=index];
                break;
            }
        }
        let stream = tried.with_context(|| match streams.len() {
            0 => format!("cannot connect to {}", crate::report::list(addresses)),
            before => format!("cannot connect to {} after {before} connections", crate::report::list(addresses)),
        })?;
        stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
        stream.set_nonblocking(true).context("cannot set the non-blocking mode")?;
        streams.push(stream);
    }
    Ok(Streams { address: addresses[0], streams })
}

/// Drives the server until the time is over or `interrupted` is set. Returns when every message is back.
pub(crate) fn drive(
    streams: Streams,
    engine: &ExecutionEngine,
    plan: &Plan,
    interrupted: &Arc<AtomicBool>,
) -> anyhow::Result<Outcome> {
    let recorders = (0..engine.threads()).map(|_| new_histogram().map(Mutex::new));
    let recorders = recorders.collect::<anyhow::Result<Vec<_>>>()?;
    let connections = streams.streams.into_iter().map(|stream| Connection::open(stream, engine));
    let connections = connections.collect::<anyhow::Result<Vec<_>>>()?;
    let pattern = Pattern::new(plan.size);
    let begin = Instant::now();
    let run = Arc::new(Run { pattern, end: begin + plan.duration, interrupted: Arc::clone(interrupted), recorders });

    // Nothing is ever sent on this channel. It closes when the last conversation has ended.
    let (going_on, all_over) = mpsc::channel();
    for (index, connection) in connections.iter().enumerate() {
        Conversation::start(index, connection, &run, &going_on);
    }
    drop(going_on);

    let totals = || connections.iter().map(|connection| connection.totals()).sum::<Totals>();
    let mut progress = Progress::new(plan.duration);
    let mut last_heard = (0, begin);
    while let Err(RecvTimeoutError::Timeout) = all_over.recv_timeout(TICK) {
        let (now, totals) = (Instant::now(), totals());
        progress.update(now - begin, &totals);
        if totals.bytes != last_heard.0 {
            last_heard = (totals.bytes, now);
        } else if now - last_heard.1 > PATIENCE {
            for connection in &connections {
                connection.end(Err(format!("no answer for {} s", PATIENCE.as_secs())));
            }
        }
    }
    let (elapsed, totals) = (begin.elapsed(), totals());
    progress.finish(elapsed, &totals);

    let mut latencies = new_histogram()?;
    for recorder in &run.recorders {
        latencies.add(&*recorder.lock())?;
    }
    let mut failures = connections.iter().filter_map(|connection| connection.failure()).peekable();
    let first_failure = failures.peek().cloned();
    Ok(Outcome { elapsed, totals, latencies, connections: connections.len(), failed: failures.count(), first_failure })
}

/// What the conversations share.
struct Run {
    pattern: Pattern,
    end: Instant,
    interrupted: Arc<AtomicBool>,
    /// One recorder per thread of the engine. The engine spreads its sockets over its threads in turn, and the
    /// connections use the recorders in the same order. So no two threads ever use the same recorder.
    recorders: Vec<Mutex<Histogram<u64>>>,
}

impl Run {
    fn is_over(&self, now: Instant) -> bool {
        now >= self.end || self.interrupted.load(Ordering::Relaxed)
    }

    fn record(&self, connection: usize, latency: Duration) {
        self.recorders[connection % self.recorders.len()].lock().saturating_record(nanoseconds(latency));
    }
}

/// A socket, and what is counted on it.
struct Connection {
    socket: AsyncSocketLinux,
    messages: AtomicU64,
    bytes: AtomicU64,
    wrong: AtomicU64,
    ending: OnceLock<Result<(), String>>,
}

impl Connection {
    fn open(stream: TcpStream, engine: &ExecutionEngine) -> anyhow::Result<Arc<Self>> {
        let socket = AsyncSocketLinux::create(Some(engine), stream.into()).context("cannot create a socket")?;
        socket.open_async(|_| {}).context("cannot open a socket")?;
        Ok(Arc::new(Self {
            socket,
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            wrong: AtomicU64::new(0),
            ending: OnceLock::new(),
        }))
    }

    /// Ends the conversation. Only the first result is kept.
    fn end(&self, ending: Result<(), String>) {
        let _ = self.ending.set(ending);
        self.socket.close();
    }

    fn failure(&self) -> Option<String> {
        match self.ending.get() {
            Some(ending) => ending.clone().err(),
            None => Some("it broke off".to_owned()),
        }
    }

    fn totals(&self) -> Totals {
        Totals {
            messages: self.messages.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            wrong: self.wrong.load(Ordering::Relaxed),
        }
    }

    fn send(self: Arc<Self>, message: &'static [u8]) {
        let connection = Arc::clone(&self);
        let accepted = self.socket.send_async(message, move |sent| {
            if sent.result != SendResult::Ok {
                connection.end(Err(reason(sent.os_error())));
            }
        });
        if let Err(refused) = accepted {
            self.end(Err(refused.to_string()));
        }
    }
}

/// The exchange of messages on one connection.
struct Conversation {
    index: usize,
    connection: Arc<Connection>,
    run: Arc<Run>,
    /// The number of the current message, and its part that has not come back yet.
    number: u64,
    missing: &'static [u8],
    sent_at: Instant,
    /// Dropping this tells the driver that the conversation is over.
    _going_on: Sender<Infallible>,
}

impl Conversation {
    fn start(index: usize, connection: &Arc<Connection>, run: &Arc<Run>, going_on: &Sender<Infallible>) {
        let message = run.pattern.message(index, 0);
        let conversation = Box::new(Self {
            index,
            connection: Arc::clone(connection),
            run: Arc::clone(run),
            number: 0,
            missing: message,
            sent_at: Instant::now(),
            _going_on: going_on.clone(),
        });
        conversation.exchange(vec![0; message.len().min(MAX_BUFFER_SIZE)]);
    }

    /// Starts to receive and then sends the message. In this order, because the message may be larger than the network
    /// can hold.
    fn exchange(self: Box<Self>, buffer: Vec<u8>) {
        let (connection, message) = (Arc::clone(&self.connection), self.missing);
        self.receive(buffer);
        connection.send(message);
    }

    fn receive(self: Box<Self>, buffer: Vec<u8>) {
        let connection = Arc::clone(&self.connection);
        if let Err(refused) = connection.socket.receive_async(buffer, move |received| self.received(received)) {
            connection.end(Err(refused.to_string()));
        }
    }

    fn received(mut self: Box<Self>, received: ReceiveCompletion<Vec<u8>>) {
        if received.result != ReceiveResult::Ok {
            return self.connection.end(Err(reason(received.os_error())));
        }
        self.check(received.received());
        if !self.missing.is_empty() {
            return self.receive(received.buffers);
        }

        let now = Instant::now();
        self.connection.messages.fetch_add(1, Ordering::Relaxed);
        self.run.record(self.index, now - self.sent_at);
        if self.run.is_over(now) {
            return self.connection.end(Ok(()));
        }
        self.number += 1;
        self.missing = self.run.pattern.message(self.index, self.number);
        self.sent_at = now;
        self.exchange(received.buffers);
    }

    fn check(&mut self, received: &[u8]) {
        let (expected, missing) = self.missing.split_at(received.len().min(self.missing.len()));
        self.missing = missing;
        self.connection.bytes.fetch_add(received.len() as u64, Ordering::Relaxed);
        let wrong = pattern::wrong_bytes(received, expected);
        if wrong > 0 {
            self.connection.wrong.fetch_add(wrong as u64, Ordering::Relaxed);
        }
    }
}

impl std::iter::Sum for Totals {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            messages: sum.messages + one.messages,
            bytes: sum.bytes + one.bytes,
            wrong: sum.wrong + one.wrong,
        })
    }
}

/// With all the memory it will ever need.
fn new_histogram() -> anyhow::Result<Histogram<u64>> {
    Histogram::new_with_max(nanoseconds(MAX_LATENCY), LATENCY_DIGITS).context("no histogram")
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn reason(os_error: Option<i32>) -> String {
    match os_error {
        Some(errno) => io::Error::from_raw_os_error(errno).to_string(),
        None => "the server closed the connection".to_owned(),
    }
}
