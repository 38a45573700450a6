//! The places where connections live while a program is played, and their ends.

use super::kernel::{Defect, SimPort, Sys};
use super::ledger::{Account, Ledger};
use super::plain::Plain;
use super::program::Program;
use async_socket_linux::{AsyncSocket, AsyncSocketLinux, OpenResult};
use parking_lot::Mutex;
use socket2::{SockRef, Socket as RawSocket};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::Sender;
use test_doubles::FaultySyscalls;

/// What a program is played with.
pub(super) struct Simulation {
    pub(super) program: Program,
    pub(super) sys: Sys,
    pub(super) ledger: Ledger,
    /// Each connection has two neighbours.
    pub(super) places: Vec<Mutex<Place>>,
    /// Callbacks act no more.
    pub(super) finishing: AtomicBool,
    ports: Vec<SimPort>,
    listener: Mutex<TcpListener>,
    /// Who closes what a callback let go of and must not close itself.
    reaper: Mutex<Option<Sender<Place>>>,
}

/// One end of a connection, or none.
#[derive(Clone, Default)]
pub(super) enum Place {
    #[default]
    Empty,
    Library(Arc<End>),
    Plain(Arc<Plain>),
}

/// An end that the library serves.
pub(super) struct End {
    pub(super) socket: AsyncSocketLinux<SimPort, Sys>,
    pub(super) account: Arc<Account>,
}

impl Drop for End {
    /// The socket is dropped after this; nothing it had waiting is lost, but what was sent need not arrive.
    fn drop(&mut self) {
        self.account.cut();
    }
}

impl Simulation {
    pub(super) fn new(program: &Program, defect: Option<Defect>, reaper: Sender<Place>) -> Self {
        let sys = Sys::new(FaultySyscalls::with_seed(program.faults, program.seed), defect);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener on loopback");
        let ports = (0..program.ports).map(|_| until_ok(|| SimPort::create(&sys))).collect();
        Self {
            program: program.clone(),
            sys,
            ledger: Ledger::default(),
            places: (0..program.connections * 2).map(|_| Mutex::default()).collect(),
            finishing: AtomicBool::new(false),
            ports,
            listener: Mutex::new(listener),
            reaper: Mutex::new(Some(reaper)),
        }
    }

    /// Who is at a place now.
    pub(super) fn at(&self, place: usize) -> Place {
        self.places[place].lock().clone()
    }

    /// Opens a connection and leaves its ends at two neighbouring places. Gives back who was there before.
    pub(super) fn connect(&self, pair: usize, random: &mut fastrand::Rng) -> [Place; 2] {
        let places = [pair * 2, pair * 2 + 1];
        let [mine, yours] = self.descriptors(random);
        let [one, two] = Account::pair(places, !self.program.calm).map(Arc::new);
        let other = if random.u8(..10) < 3 {
            Place::Plain(Arc::new(Plain::new(yours, two, random.u8(..10) < 2)))
        } else {
            self.end(yours, two, random)
        };
        let new = [self.end(mine, one, random), other];
        let mut new = new.into_iter();
        places.map(|place| std::mem::replace(&mut *self.places[place].lock(), new.next().unwrap_or_default()))
    }

    /// Hands something over that must not be dropped in a callback.
    pub(super) fn leave_to_reaper(&self, place: Place) {
        if let Some(reaper) = &*self.reaper.lock() {
            let _ = reaper.send(place);
        }
    }

    /// Nobody is left any more.
    pub(super) fn dismiss_reaper(&self) {
        self.reaper.lock().take();
    }

    fn end(&self, descriptor: OwnedFd, account: Arc<Account>, random: &mut fastrand::Rng) -> Place {
        self.ledger.sockets.fetch_add(1, SeqCst);
        let port = self.ports[random.usize(..self.ports.len())].clone();
        let socket = AsyncSocketLinux::create_with(port, self.sys.clone(), descriptor);
        let end = Arc::new(End { socket, account });
        // Now and then one is used before it is open.
        if self.program.calm || random.u8(..20) > 0 {
            until_ok(|| end.socket.open_async(|result| assert_eq!(result, OpenResult::Ok)));
        } else {
            end.account.cut();
        }
        Place::Library(end)
    }

    /// A connected pair, by TCP over loopback or not, with narrow buffers or not.
    fn descriptors(&self, random: &mut fastrand::Rng) -> [OwnedFd; 2] {
        let pair: [OwnedFd; 2] = if random.u8(..10) < 3 {
            let listener = self.listener.lock();
            let one = TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
            let (two, _) = listener.accept().expect("the connection");
            [one.into(), two.into()]
        } else {
            let (one, two) = UnixStream::pair().expect("a socket pair");
            [one.into(), two.into()]
        };
        for descriptor in &pair {
            let socket: SockRef<'_> = SockRef::from(descriptor);
            RawSocket::set_nonblocking(&socket, true).expect("O_NONBLOCK");
            if random.bool() {
                socket.set_send_buffer_size(8 * 1024).expect("SO_SNDBUF");
                socket.set_recv_buffer_size(8 * 1024).expect("SO_RCVBUF");
            }
        }
        pair
    }
}

/// Tries again what a fault has made fail.
fn until_ok<T, E: std::fmt::Debug>(mut attempt: impl FnMut() -> Result<T, E>) -> T {
    for _ in 0..1000 {
        if let Ok(value) = attempt() {
            return value;
        }
    }
    attempt().expect("works one time in a thousand")
}
