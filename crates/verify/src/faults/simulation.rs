//! The places of the connections while a program is played, and the ends of the connections.

use super::acts::{Act, Happened};
use super::kernel::{Defect, Lost, PortSys, Sys};
use super::ledger::{Account, Ledger};
use super::net::Net;
use super::net_kernel::NetSys;
use super::operation::{SCARCE, call};
use super::plain::Plain;
use super::program::Program;
use super::stack;
use super::timers::Timers;
use async_socket_linux::{AsyncSocket, AsyncSocketLinux, FreshStream, OpenResult, SocketState};
use completion_port::CompletionPort;
use parking_lot::Mutex;
use socket2::{SockRef, Socket as RawSocket};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::Sender;
use test_doubles::FaultySyscalls;

/// The ports of a program.
pub(super) type PortOf = CompletionPort<PortSys>;

/// The state of a played program.
pub(super) struct Simulation {
    pub(super) program: Program,
    pub(super) sys: Sys,
    pub(super) ledger: Ledger,
    /// Each connection has two neighbours.
    pub(super) places: Vec<Mutex<Place>>,
    /// Callbacks act no more.
    pub(super) finishing: AtomicBool,
    pub(super) happened: Happened,
    /// Grows with each act of a thread.
    pub(super) acted: AtomicUsize,
    pub(super) timers: Timers,
    pub(super) net: Net,
    ports: Vec<(PortOf, PortSys)>,
    /// A port has lost its descriptors, or no port may lose any.
    lost: AtomicBool,
    listener: Mutex<TcpListener>,
    /// The thread that drops the ends that a callback must not drop itself.
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
    pub(super) socket: AsyncSocketLinux<PortOf, Sys>,
    pub(super) account: Arc<Account>,
}

impl Drop for End {
    /// The socket is dropped after this. Its waiting operations are called back, but sent bytes need not arrive.
    fn drop(&mut self) {
        self.account.cut();
    }
}

impl Simulation {
    pub(super) fn new(program: &Program, defect: Option<Defect>, reaper: Sender<Place>) -> Self {
        let sys = Sys::new(FaultySyscalls::with_seed(program.faults, program.seed), defect);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener on loopback");
        let port = |_| {
            let own = PortSys::new(&sys);
            (until_ok(|| CompletionPort::create_with(own.clone())), own)
        };
        let ports = (0..program.ports).map(port).collect();
        Self {
            program: program.clone(),
            ledger: Ledger::default(),
            places: (0..program.connections * 2).map(|_| Mutex::default()).collect(),
            finishing: AtomicBool::new(false),
            happened: Happened::default(),
            acted: AtomicUsize::new(0),
            timers: Timers::default(),
            net: Net::new(NetSys::new(sys.faulty.clone())),
            sys,
            ports,
            lost: AtomicBool::new(!program.acts.has(Act::LosePort)),
            listener: Mutex::new(listener),
            reaper: Mutex::new(Some(reaper)),
        }
    }

    /// The current end at a place.
    pub(super) fn at(&self, place: usize) -> Place {
        self.places[place].lock().clone()
    }

    /// Opens a connection and puts its ends at two neighbouring places. Returns the earlier ends of these places.
    pub(super) fn connect(&self, pair: usize, random: &mut fastrand::Rng) -> [Place; 2] {
        let descriptors = self.descriptors(random);
        self.connect_with(pair, descriptors, random)
    }

    /// [`connect`](Self::connect) with the descriptors of a new connection.
    pub(super) fn connect_with(
        &self,
        pair: usize,
        descriptors: [OwnedFd; 2],
        random: &mut fastrand::Rng,
    ) -> [Place; 2] {
        let places = [pair * 2, pair * 2 + 1];
        let [mine, yours] = set_up(descriptors, random);
        let serial = self.ledger.ends.fetch_add(2, SeqCst);
        let ports = [(); 2].map(|()| random.usize(..self.ports.len()));
        let [one, two] = Account::pair(places, [serial, serial + 1], ports, !self.program.calm).map(Arc::new);
        let other = if random.u8(..10) < 3 {
            Place::Plain(Arc::new(Plain::new(yours, two, random.u8(..10) < 2)))
        } else {
            self.end(yours, two, random)
        };
        let new = [self.end(mine, one, random), other];
        let mut new = new.into_iter();
        places.map(|place| std::mem::replace(&mut *self.places[place].lock(), new.next().unwrap_or_default()))
    }

    /// Hands over an end that a callback must not drop.
    pub(super) fn leave_to_reaper(&self, place: Place) {
        if let Some(reaper) = &*self.reaper.lock() {
            let _ = reaper.send(place);
        }
    }

    /// Ends the reaper after it has dropped all ends that it was given.
    pub(super) fn dismiss_reaper(&self) {
        self.reaper.lock().take();
    }

    fn end(&self, mut descriptor: OwnedFd, account: Arc<Account>, random: &mut fastrand::Rng) -> Place {
        self.ledger.sockets.fetch_add(1, SeqCst);
        let (port, calls) = &self.ports[account.port];
        if random.u8(..4) == 0 {
            // As a connector does. The first operation makes the `epoll_ctl`.
            let fresh =
                || AsyncSocketLinux::open_fresh_with(port.clone(), self.sys.clone(), descriptor, FreshStream::Other);
            match call(fresh) {
                Ok(socket) => return Place::Library(Arc::new(End { socket, account })),
                Err(refused) => descriptor = refused.returned.expect("the descriptor comes back"),
            }
        }
        let socket = AsyncSocketLinux::create_with(port.clone(), self.sys.clone(), descriptor);
        let end = Arc::new(End { socket, account });
        // Now and then a program uses a socket before it is open.
        let opens = self.program.calm || random.u8(..20) > 0;
        if !opens || !self.open(&end, calls) {
            end.account.cut();
        }
        Place::Library(end)
    }

    /// Opens a socket, unless its port has lost its descriptors.
    fn open(&self, end: &End, calls: &PortSys) -> bool {
        let opened = Arc::new(AtomicU64::new(0));
        let try_open = || {
            let opened = Arc::clone(&opened);
            end.socket.open_async(move |result| {
                opened.fetch_add(if result == OpenResult::Ok { 1 } else { 1 << 32 }, SeqCst);
            })
        };
        let is_open = until(|| {
            let is_open = call(try_open).is_ok();
            // The next try gets memory.
            SCARCE.set(false);
            is_open || calls.has_lost()
        });
        let is_open = is_open && end.socket.state() == SocketState::Open;
        if !is_open && !calls.has_lost() {
            self.ledger.violation("a socket could not be opened in a thousand times");
        }
        let calls_back = opened.load(SeqCst);
        if calls_back != u64::from(is_open) {
            self.ledger
                .violation(format!("is open: {is_open}, but the callback of the open ran {calls_back:#x} times"));
        }
        is_open
    }

    /// Whether any port has lost its descriptors.
    pub(super) fn has_lost_a_port(&self) -> bool {
        self.ports.iter().any(|(_, calls)| calls.has_lost())
    }

    /// The system calls of each port.
    pub(super) fn calls_of_ports(&self) -> Vec<PortSys> {
        self.ports.iter().map(|(_, calls)| calls.clone()).collect()
    }

    /// Drops a reference in a callback. If the callback may not drop the last one, the reaper gets it.
    pub(super) fn let_go(&self, end: Arc<End>) {
        if stack::may_close(self, &end.account) { drop(end) } else { self.leave_to_reaper(Place::Library(end)) }
    }

    /// Closes descriptors of one port, as far as the port can tell. At most one port loses its descriptors.
    pub(super) fn lose_a_port(&self, random: &mut fastrand::Rng) {
        if !self.lost.swap(true, SeqCst) {
            let (_, calls) = &self.ports[random.usize(..self.ports.len())];
            calls.lose(if random.bool() { Lost::Epoll } else { Lost::Eventfd });
            self.happened.note(Act::LosePort);
        }
    }

    /// A connected pair: TCP over loopback or not.
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
        pair
    }

    /// A port, perhaps one that has lost its descriptors.
    pub(super) fn any_port(&self, random: &mut fastrand::Rng) -> PortOf {
        self.ports[random.usize(..self.ports.len())].0.clone()
    }
}

/// Makes both ends non-blocking, and gives some narrow buffers.
fn set_up(pair: [OwnedFd; 2], random: &mut fastrand::Rng) -> [OwnedFd; 2] {
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

/// Repeats an attempt until no fault makes it fail.
fn until_ok<T, E: std::fmt::Debug>(mut attempt: impl FnMut() -> Result<T, E>) -> T {
    let mut last = attempt();
    until(|| {
        let is_ok = last.is_ok();
        if !is_ok {
            last = attempt();
        }
        is_ok
    });
    last.expect("works one time in a thousand")
}

/// Tries up to a thousand times.
fn until(mut attempt: impl FnMut() -> bool) -> bool {
    (0..1000).any(|_| attempt())
}
