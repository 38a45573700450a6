//! The echo server: one library socket per accepted connection, which answers until the end.

use async_socket_linux::{
    AsyncSocket, AsyncSocketLinux, ExecutionEngine, ReceiveCompletion, ReceiveResult, SendCompletion, SendResult,
};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};

/// Several, so that closed connections do not use up the ports.
const LISTENERS: usize = 4;

const BUFFER: usize = 16 * 1024;

type Connections = Mutex<HashMap<u64, Arc<AsyncSocketLinux>>>;

pub(super) struct Server {
    addresses: Vec<SocketAddr>,
    threads: Vec<JoinHandle<()>>,
    connections: Arc<Connections>,
}

impl Server {
    pub(super) fn start(engine: &ExecutionEngine, stop: &Arc<AtomicBool>) -> std::io::Result<Self> {
        let connections = Arc::new(Connections::default());
        let listeners: Vec<_> = (0..LISTENERS).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
        let accept = |(number, listener): (usize, TcpListener)| {
            let (engine, stop, connections) = (engine.clone(), Arc::clone(stop), Arc::clone(&connections));
            thread::spawn(move || {
                let mut next = (number as u64) << 48;
                for stream in listener.incoming().flatten() {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    next += 1;
                    serve(&engine, stream, next, &connections);
                }
            })
        };
        let threads = listeners.into_iter().enumerate().map(accept).collect();
        Ok(Self { addresses, threads, connections })
    }

    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Once `stop` is set.
    pub(super) fn stop(self) {
        for address in &self.addresses {
            // Accept returns once more.
            let _ = TcpStream::connect(address);
        }
        for thread in self.threads {
            let _ = thread.join();
        }
        let all = std::mem::take(&mut *self.connections.lock());
        drop(all);
    }
}

/// One connection, as its callbacks have it.
struct Echo {
    number: u64,
    socket: Weak<AsyncSocketLinux>,
    connections: Arc<Connections>,
}

fn serve(engine: &ExecutionEngine, stream: TcpStream, number: u64, connections: &Arc<Connections>) {
    let _ = stream.set_nodelay(true);
    if stream.set_nonblocking(true).is_err() {
        return;
    }
    let Ok(socket) = AsyncSocketLinux::create(Some(engine), stream.into()) else { return };
    let socket = Arc::new(socket);
    if socket.open_async(|_| {}).is_err() {
        return;
    }
    connections.lock().insert(number, Arc::clone(&socket));
    let echo = Echo { number, socket: Arc::downgrade(&socket), connections: Arc::clone(connections) };
    receive(Box::new(echo), vec![0; BUFFER]);
}

fn receive(echo: Box<Echo>, buffer: Vec<u8>) {
    let Some(socket) = echo.socket.upgrade() else { return };
    let _ = socket.receive_async(buffer, move |completion: ReceiveCompletion<Vec<u8>>| {
        if completion.result != ReceiveResult::Ok {
            return end(&echo);
        }
        let mut bytes = completion.buffers;
        bytes.truncate(completion.bytes_received as usize);
        send(echo, bytes);
    });
}

fn send(echo: Box<Echo>, bytes: Vec<u8>) {
    let Some(socket) = echo.socket.upgrade() else { return };
    let (number, connections) = (echo.number, Arc::clone(&echo.connections));
    let sent = socket.send_async(bytes, move |completion: SendCompletion<Vec<u8>>| {
        if completion.result != SendResult::Ok {
            return end(&echo);
        }
        let mut buffer = completion.buffers;
        buffer.resize(BUFFER, 0);
        receive(echo, buffer);
    });
    if sent.is_err() {
        forget(number, &connections);
    }
}

fn end(echo: &Echo) {
    forget(echo.number, &echo.connections);
}

/// Drops the socket, perhaps in its own callback, and never while the table is locked.
fn forget(number: u64, connections: &Connections) {
    let socket = connections.lock().remove(&number);
    drop(socket);
}
