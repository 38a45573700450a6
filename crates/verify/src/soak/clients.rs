//! Clients on the library's sockets. They connect, exchange messages of mixed sizes, and leave with a FIN or a RST.

use super::samples::Counters;
use async_socket_linux::{AsyncSocket, AsyncSocketLinux, ExecutionEngine, ReceiveCompletion, ReceiveResult};
use integration_tests::wire::{PatternChecker, pattern};
use parking_lot::Mutex;
use socket2::SockRef;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The number of threads that drive the clients.
const DRIVERS: u64 = 2;

/// The acts of each thread per millisecond.
const ACTS: usize = 3;

/// The sizes of messages.
const SIZES: [usize; 5] = [1, 100, 1_500, 16 * 1024, 100 * 1024];

#[derive(Clone)]
pub(super) struct Clients {
    places: Arc<Vec<Mutex<Option<Arc<Client>>>>>,
    engine: ExecutionEngine,
    addresses: Vec<SocketAddr>,
    alive: Arc<AtomicUsize>,
    counters: Arc<Counters>,
}

struct Client {
    socket: AsyncSocketLinux,
    busy: AtomicBool,
    sent: AtomicUsize,
    checker: Mutex<PatternChecker>,
    alive: Arc<AtomicUsize>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Clients {
    pub(super) fn new(
        engine: &ExecutionEngine,
        addresses: &[SocketAddr],
        count: usize,
        counters: &Arc<Counters>,
    ) -> Self {
        Self {
            places: Arc::new((0..count).map(|_| Mutex::new(None)).collect()),
            engine: engine.clone(),
            addresses: addresses.to_vec(),
            alive: Arc::default(),
            counters: Arc::clone(counters),
        }
    }

    pub(super) fn alive(&self) -> usize {
        self.alive.load(Ordering::Relaxed)
    }

    pub(super) fn start(&self, stop: &Arc<AtomicBool>) -> Vec<JoinHandle<()>> {
        let driver = |seed| {
            let (this, stop) = (self.clone(), Arc::clone(stop));
            thread::spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                while !stop.load(Ordering::Relaxed) {
                    (0..ACTS).for_each(|_| this.act(&mut random));
                    thread::sleep(Duration::from_millis(1));
                }
            })
        };
        (0..DRIVERS).map(driver).collect()
    }

    pub(super) fn close_all(&self) {
        for place in self.places.iter() {
            let client = place.lock().take();
            drop(client);
        }
    }

    fn act(&self, random: &mut fastrand::Rng) {
        let place = &self.places[random.usize(..self.places.len())];
        let client = place.lock().clone();
        let Some(client) = client else {
            let client = self.connect(random);
            let old = std::mem::replace(&mut *place.lock(), client);
            return drop(old);
        };
        // One in twenty goes, busy or not.
        if random.u8(..20) == 0 {
            let old = place.lock().take();
            drop(old);
        } else if !client.busy.swap(true, Ordering::AcqRel) {
            exchange(&client, SIZES[random.usize(..SIZES.len())], &self.counters);
        }
    }

    fn connect(&self, random: &mut fastrand::Rng) -> Option<Arc<Client>> {
        let stream = TcpStream::connect(self.addresses[random.usize(..self.addresses.len())]).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_nonblocking(true).ok()?;
        // A third of them leave with a RST.
        if random.u8(..3) == 0 {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).ok()?;
            self.counters.resets.fetch_add(1, Ordering::Relaxed);
        }
        let socket = AsyncSocketLinux::create(Some(&self.engine), stream.into()).ok()?;
        self.alive.fetch_add(1, Ordering::Relaxed);
        self.counters.connections.fetch_add(1, Ordering::Relaxed);
        let (busy, sent, checker) = (AtomicBool::new(false), AtomicUsize::new(0), Mutex::default());
        let client = Arc::new(Client { socket, busy, sent, checker, alive: Arc::clone(&self.alive) });
        client.socket.open_async(|_| {}).ok()?;
        Some(client)
    }
}

/// One message and its echo.
fn exchange(client: &Arc<Client>, size: usize, counters: &Arc<Counters>) {
    let position = client.sent.fetch_add(size, Ordering::Relaxed);
    let echo = Box::new(Echo {
        client: Arc::downgrade(client),
        until: position + size,
        began: Instant::now(),
        counters: Arc::clone(counters),
    });
    receive(echo, vec![0; size.min(32 * 1024)]);
    let _ = client.socket.send_async(pattern(position, size), |_| {});
}

/// An echo that is awaited.
struct Echo {
    client: Weak<Client>,
    until: usize,
    began: Instant,
    counters: Arc<Counters>,
}

fn receive(echo: Box<Echo>, buffer: Vec<u8>) {
    let Some(client) = echo.client.upgrade() else { return };
    let _ = client.socket.receive_async(buffer, move |completion: ReceiveCompletion<Vec<u8>>| {
        if completion.result == ReceiveResult::Ok {
            received(echo, completion);
        }
    });
}

fn received(echo: Box<Echo>, completion: ReceiveCompletion<Vec<u8>>) {
    let Some(client) = echo.client.upgrade() else { return };
    let mut checker = client.checker.lock();
    checker.check(&completion.buffers[..completion.bytes_received as usize]);
    let done = checker.position() >= echo.until;
    drop(checker);
    echo.counters.bytes.fetch_add(completion.bytes_received.into(), Ordering::Relaxed);
    if done {
        echo.counters.exchanged(echo.began.elapsed());
        client.busy.store(false, Ordering::Release);
    } else {
        receive(echo, completion.buffers);
    }
}
