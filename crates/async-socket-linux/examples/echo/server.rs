//! The server: it sends back the bytes that arrive.
//!
//! A connection is a circle of two callbacks. [`Connection::receive`] lends a buffer to the socket; the
//! callback [`echo`](Connection::echo)es the [`Slice`] of it that was filled; the callback of that send
//! receives again into the same buffer. Nothing is copied or allocated on the way round, and no thread waits.
//!
//! Only the callbacks keep a connection alive. When the peer leaves, the receive comes back as abandoned, and its
//! callback starts nothing new. The last reference to the connection is then dropped, which closes the socket.

use crate::report;
use anyhow::Context as _;
use async_socket_linux::{
    AsyncSocket as _, AsyncSocketLinux, ExecutionEngine, ReceiveCompletion, ReceiveResult, SendCompletion, SendResult,
    Slice,
};
use parking_lot::{Condvar, Mutex};
use rustix::net::Shutdown;
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The most bytes that one receive takes.
const BUFFER_SIZE: usize = 64 * 1024;

/// How long the server pauses when it cannot accept a connection.
const PAUSE: Duration = Duration::from_millis(50);

/// One connection.
struct Connection {
    socket: AsyncSocketLinux,
    number: u64,
    messages: AtomicU64,
    bytes: AtomicU64,
    house: Arc<House>,
}

impl Connection {
    fn receive(self: Arc<Self>, buffer: Box<[u8]>) {
        let connection = Arc::clone(&self);
        // A refusal means that the server is closing. The buffer and our references are then dropped.
        let _ = self.socket.receive_async(buffer, move |received| connection.echo(received));
    }

    fn echo(self: Arc<Self>, received: ReceiveCompletion<Box<[u8]>>) {
        if received.result != ReceiveResult::Ok {
            return;
        }
        let connection = Arc::clone(&self);
        // If it is refused the peer is gone.
        let _ = self.socket.send_async(received.into_slice(), move |sent| connection.echoed(sent));
    }

    fn echoed(self: Arc<Self>, sent: SendCompletion<Slice<Box<[u8]>>>) {
        if sent.result != SendResult::Ok {
            return;
        }
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(sent.bytes_sent.into(), Ordering::Relaxed);
        self.receive(sent.buffers.into_inner());
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut register = self.house.register.lock();
        register.open.remove(&self.number);
        register.served.messages += *self.messages.get_mut();
        register.served.bytes += *self.bytes.get_mut();
        if register.open.is_empty() {
            self.house.empty.notify_all();
        }
    }
}

/// The work of a server in its life.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Served {
    pub(crate) connections: u64,
    /// The number of receives. The server does not know where a message ends, so a long message can count several
    /// times.
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

/// What the connections share.
#[derive(Default)]
struct House {
    closing: AtomicBool,
    register: Mutex<Register>,
    empty: Condvar,
}

#[derive(Default)]
struct Register {
    open: HashMap<u64, Weak<Connection>>,
    served: Served,
}

/// A server at work, until it is [stopped](Self::stop).
pub(crate) struct Server {
    address: SocketAddr,
    listener: Arc<TcpListener>,
    house: Arc<House>,
    acceptor: JoinHandle<()>,
}

impl Server {
    /// Accepts connections on a thread of its own. Everything else happens on the threads of `engine`.
    pub(crate) fn start(listener: TcpListener, engine: ExecutionEngine) -> anyhow::Result<Self> {
        let address = listener.local_addr().context("cannot listen")?;
        let listener = Arc::new(listener);
        let house = Arc::new(House::default());
        let acceptor = thread::Builder::new()
            .name("acceptor".to_owned())
            .spawn({
                let (listener, house) = (Arc::clone(&listener), Arc::clone(&house));
                move || house.accept_all(&listener, &engine)
            })
            .context("no thread to accept connections")?;
        Ok(Self { address, listener, house, acceptor })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, closes every connection, and returns when the last one is gone.
    pub(crate) fn stop(self) -> Served {
        self.house.closing.store(true, Ordering::Relaxed);
        // On Linux this makes a blocked `accept` return.
        if let Err(error) = rustix::net::shutdown(&*self.listener, Shutdown::Both) {
            tracing::error!(%error, "the listener could not be shut down");
        }
        if self.acceptor.join().is_err() {
            tracing::error!("the acceptor had panicked");
        }
        // Collected first, because a connection that closes may lock the register to remove itself.
        let open: Vec<_> = self.house.register.lock().open.values().filter_map(Weak::upgrade).collect();
        for connection in open {
            connection.socket.close();
        }
        let mut register = self.house.register.lock();
        while !register.open.is_empty() {
            self.house.empty.wait(&mut register);
        }
        register.served
    }
}

impl House {
    fn accept_all(self: Arc<Self>, listener: &TcpListener, engine: &ExecutionEngine) {
        let mut complained = false;
        loop {
            let admitted = match listener.accept() {
                Ok((stream, _)) => self.admit(stream, engine),
                // It was gone before we came to it.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => Ok(()),
                Err(error) => Err(error.into()),
            };
            if self.closing.load(Ordering::Relaxed) {
                return;
            }
            match admitted {
                Ok(()) => complained = false,
                Err(error) => {
                    // Usually no descriptor is left. Descriptors come back when connections end, so complain once and
                    // wait.
                    if !complained {
                        report::complain(format_args!("cannot accept a connection: {error:#}"));
                    }
                    complained = true;
                    thread::sleep(PAUSE);
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: TcpStream, engine: &ExecutionEngine) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let socket = AsyncSocketLinux::create(Some(engine), stream.into())?;
        socket.open_async(|_| {})?;
        let connection = {
            let mut register = self.register.lock();
            register.served.connections += 1;
            let connection = Arc::new(Connection {
                socket,
                number: register.served.connections,
                messages: AtomicU64::new(0),
                bytes: AtomicU64::new(0),
                house: Arc::clone(self),
            });
            register.open.insert(connection.number, Arc::downgrade(&connection));
            connection
        };
        connection.receive(vec![0; BUFFER_SIZE].into());
        Ok(())
    }
}
