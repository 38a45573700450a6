//! Listeners and connects of the library. A connection that both ends know becomes a connection of the program.

use super::acts::Act;
use super::ledger::Ticket;
use super::net_kernel::NetSys;
use super::operation::call;
use super::panics::panic_quietly;
use super::simulation::{Place, PortOf, Simulation};
use async_socket_linux::AsyncSocketLinux;
use async_socket_net::sys::Errno;
use async_socket_net::{AcceptError, Accepted, ConnectError, Connecting, Connector, ListenError, Listener};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::mem;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};
use test_doubles::with_memory;

/// The most connects that are under way at a time.
const MOST_CONNECTS: usize = 40;

/// The most ends that wait for the other end of their connection. The other ends of some never come.
const MOST_HALVES: usize = 100;

/// The longest time that a connect is given, in milliseconds.
const LONGEST: u64 = 2_000;

/// The state of listeners and connects.
pub(super) struct Net {
    pub(super) sys: NetSys,
    listening: Mutex<Option<Listening>>,
    /// Where the last listener listened.
    address: Mutex<Option<SocketAddr>>,
    connects: Mutex<Vec<Under>>,
    halves: Mutex<HashMap<SocketAddr, Half>>,
    /// Draws for callbacks, which have no seed of their own.
    drawn: AtomicU64,
    /// A listener was stopped, so a connect may be refused.
    was_stopped: AtomicBool,
}

struct Listening {
    listener: Listener<PortOf, NetSys>,
    /// The listener was dropped, or its stop is over.
    over: Arc<AtomicBool>,
}

/// A connect that is under way.
struct Under {
    connecting: Connecting<PortOf, NetSys>,
    is_dropped: Arc<AtomicBool>,
}

/// One end of a connection whose other end has not come yet.
struct Half {
    is_client: bool,
    descriptor: OwnedFd,
}

impl Net {
    pub(super) fn new(sys: NetSys) -> Self {
        Self {
            sys,
            listening: Mutex::default(),
            address: Mutex::default(),
            connects: Mutex::default(),
            halves: Mutex::default(),
            drawn: AtomicU64::new(0),
            was_stopped: AtomicBool::new(false),
        }
    }

    fn random(&self, simulation: &Simulation) -> fastrand::Rng {
        fastrand::Rng::with_seed(simulation.program.seed ^ self.drawn.fetch_add(1, SeqCst).rotate_left(20))
    }
}

/// Connects, cancels a connect, or does something with the listener.
pub(super) fn act_on_net(simulation: &Arc<Simulation>, random: &mut fastrand::Rng) {
    let acts = simulation.program.acts;
    if !acts.has(Act::Connect) {
        return;
    }
    match random.u8(..20) {
        0 if acts.has(Act::StopListener) => stop(simulation, random),
        1 => {
            if let Some(listening) = &*simulation.net.listening.lock() {
                listening.listener.resume();
            }
        }
        2..5 if acts.has(Act::CancelConnect) => {
            let mut connects = simulation.net.connects.lock();
            let any = random.usize(..connects.len().max(1));
            let any = if connects.is_empty() { None } else { Some(connects.swap_remove(any)) };
            drop(connects);
            any.into_iter().for_each(cancel);
        }
        _ => connect(simulation, random),
    }
    if simulation.net.listening.lock().is_none() && !simulation.finishing.load(SeqCst) {
        listen(simulation, random);
    }
}

fn connect(simulation: &Arc<Simulation>, random: &mut fastrand::Rng) {
    let net = &simulation.net;
    let Some(address) = *net.address.lock() else { return };
    // No program listens on port 1.
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let targets = if random.u8(..4) == 0 { vec![nobody, address] } else { vec![address] };
    // Some have hardly any time.
    let longest = if random.u8(..8) == 0 { 2 } else { LONGEST };
    let within = Duration::from_micros(random.u64(..longest * 1000));
    let is_dropped = Arc::new(AtomicBool::new(false));
    let dialled = Dialled {
        simulation: Arc::clone(simulation),
        ticket: Arc::default(),
        is_dropped: Arc::clone(&is_dropped),
        begun: Instant::now(),
        within,
    };
    let ticket = Arc::clone(&dialled.ticket);
    simulation.ledger.accepted.fetch_add(1, SeqCst);
    ticket.accepted(&simulation.ledger);
    let port = simulation.any_port(random);
    let connector = Connector::new().syscalls(net.sys.clone()).stagger(Duration::from_millis(random.u64(..20)));
    let connecting = call(|| connector.connect_on(port, targets, within, move |outcome| dialled.done(outcome)));
    if random.u8(..20) == 0 && simulation.program.acts.has(Act::CancelConnect) {
        return cancel(Under { connecting, is_dropped });
    }
    let mut connects = net.connects.lock();
    connects.push(Under { connecting, is_dropped });
    let oldest = if connects.len() > MOST_CONNECTS { Some(connects.swap_remove(0)) } else { None };
    drop(connects);
    oldest.into_iter().for_each(|oldest| {
        if simulation.program.acts.has(Act::CancelConnect) { cancel(oldest) } else { oldest.connecting.detach() }
    });
}

fn cancel(Under { connecting, is_dropped }: Under) {
    is_dropped.store(true, SeqCst);
    call(|| connecting.cancel());
}

/// The callback of a connect.
struct Dialled {
    simulation: Arc<Simulation>,
    ticket: Arc<Ticket>,
    is_dropped: Arc<AtomicBool>,
    begun: Instant,
    within: Duration,
}

impl Dialled {
    fn done(self, outcome: Result<AsyncSocketLinux<PortOf>, ConnectError>) {
        with_memory(|| {
            let simulation = &self.simulation;
            self.ticket.called(&simulation.ledger);
            simulation.ledger.called_back.fetch_add(1, SeqCst);
            match outcome {
                Ok(socket) => {
                    simulation.happened.note(Act::Connect);
                    if let Some((address, descriptor)) = take_apart(simulation, socket, true) {
                        meet(simulation, address, Half { is_client: true, descriptor });
                    }
                }
                Err(error) => self.check(&error),
            }
            panic_at_times(simulation);
        });
    }

    /// Checks that the connect could end so.
    fn check(&self, error: &ConnectError) {
        let simulation = &self.simulation;
        let (calm, lost) = (simulation.program.calm, simulation.has_lost_a_port());
        let legal = match error {
            ConnectError::Cancelled => {
                simulation.happened.note(Act::CancelConnect);
                self.is_dropped.load(SeqCst)
            }
            ConnectError::TimedOut { .. } => self.begun.elapsed() >= self.within,
            ConnectError::Failed { attempts } => {
                simulation.happened.note(Act::FailedConnect);
                let full =
                    attempts.iter().any(|it| it.source.raw_os_error() == Some(Errno::ADDRNOTAVAIL.raw_os_error()));
                attempts.iter().count() > 0 && (!calm || full || simulation.net.was_stopped.load(SeqCst))
            }
            // The port's own system calls fail at times, and a thread may have no memory.
            ConnectError::Open(_) | ConnectError::Port(_) => !calm || lost,
            _ => false,
        };
        if !legal {
            simulation.ledger.violation(format!("a connect ended as {error:?}"));
        }
    }
}

impl Drop for Dialled {
    fn drop(&mut self) {
        self.ticket.dropped(&self.simulation.ledger);
    }
}

/// The client's address and the descriptor of a new socket. Takes the descriptor back with `into_fd`.
fn take_apart(
    simulation: &Simulation,
    socket: AsyncSocketLinux<PortOf>,
    is_client: bool,
) -> Option<(SocketAddr, OwnedFd)> {
    let address = if is_client { socket.local_addr() } else { socket.peer_addr() };
    match socket.into_fd() {
        // The peer may be gone already.
        Ok(descriptor) => Some((address.ok()?, descriptor)),
        Err(refused) => {
            if !simulation.has_lost_a_port() {
                simulation.ledger.violation(format!("a new socket keeps its descriptor: {}", refused.error));
            }
            None
        }
    }
}

/// An end of a connection has come. If the other end is there, a place of the program gets the connection.
fn meet(simulation: &Arc<Simulation>, client: SocketAddr, half: Half) {
    if simulation.finishing.load(SeqCst) {
        return;
    }
    let mut halves = simulation.net.halves.lock();
    let other = halves.remove(&client);
    let (mine, yours) = match other {
        Some(other) if other.is_client != half.is_client => (half.descriptor, other.descriptor),
        // The kernel has given the address to another client.
        stale => {
            if halves.len() < MOST_HALVES {
                halves.insert(client, half);
            }
            drop(halves);
            return drop(stale);
        }
    };
    drop(halves);
    simulation.happened.note(Act::Accept);
    let mut random = simulation.net.random(simulation);
    let pair = random.usize(..simulation.places.len()) / 2;
    let is_empty = || [pair * 2, pair * 2 + 1].iter().all(|place| matches!(simulation.at(*place), Place::Empty));
    if simulation.program.calm && !is_empty() {
        return;
    }
    let old = simulation.connect_with(pair, [mine, yours], &mut random);
    old.into_iter().for_each(|old| simulation.leave_to_reaper(old));
}

/// Starts a listener, if a port takes it.
fn listen(simulation: &Arc<Simulation>, random: &mut fastrand::Rng) {
    let over = Arc::new(AtomicBool::new(false));
    let (mine, is_over) = (Arc::clone(simulation), Arc::clone(&over));
    let accepted = move |outcome| {
        with_memory(|| {
            if is_over.load(SeqCst) {
                mine.ledger.violation("a callback of a listener began after its end");
            }
            accepted(&mine, outcome);
        });
    };
    let (port, bound) =
        (simulation.any_port(random), TcpListener::bind("127.0.0.1:0").expect("a listener on loopback"));
    let address = bound.local_addr().expect("its address");
    match call(|| Listener::builder().syscalls(simulation.net.sys.clone()).listen_on(port, bound, accepted)) {
        Ok(listener) => {
            let mut listening = simulation.net.listening.lock();
            if listening.is_none() {
                *simulation.net.address.lock() = Some(address);
                *listening = Some(Listening { listener, over });
            } else {
                // Another thread was faster. No client knows this one.
                drop(listening);
                end(simulation, Listening { listener, over }, random);
            }
        }
        Err(ListenError::Port { .. }) => drop(simulation.ledger.refused.fetch_add(1, SeqCst)),
        Err(error) => simulation.ledger.violation(format!("a listener did not start: {error:?}")),
    }
}

/// The callback of a listener.
fn accepted(simulation: &Arc<Simulation>, outcome: Result<Accepted<PortOf, NetSys>, AcceptError>) {
    let calm = simulation.program.calm;
    match outcome {
        Ok(accepted) => {
            let Some(client) = accepted.peer().as_inet() else {
                return simulation.ledger.violation("a client without an address");
            };
            let mut random = simulation.net.random(simulation);
            let descriptor = if random.bool() {
                Some(accepted.into_descriptor())
            } else {
                match accepted.open() {
                    Ok(socket) => take_apart(simulation, socket, false).map(|(_, descriptor)| descriptor),
                    Err(error) if calm && !simulation.has_lost_a_port() => {
                        return simulation.ledger.violation(format!("an accepted socket did not open: {error}"));
                    }
                    Err(_) => None,
                }
            };
            if let Some(descriptor) = descriptor {
                meet(simulation, client, Half { is_client: false, descriptor });
            }
            // A listener is dropped in its own callback.
            if simulation.program.acts.has(Act::StopListener) && random.u8(..50) == 0 {
                stop(simulation, &mut random);
            }
        }
        Err(AcceptError::Paused { .. }) if !calm => simulation.happened.note(Act::PauseListener),
        Err(AcceptError::Client { .. } | AcceptError::Options { .. }) if !calm => {}
        Err(AcceptError::Lost { .. }) if simulation.has_lost_a_port() => {}
        Err(error) => simulation.ledger.violation(format!("accept ended as {error:?}")),
    }
    panic_at_times(simulation);
}

fn panic_at_times(simulation: &Simulation) {
    let may = simulation.program.acts.has(Act::CallbackPanic) && !simulation.finishing.load(SeqCst);
    if may && simulation.net.random(simulation).u8(..50) == 0 {
        simulation.happened.note(Act::CallbackPanic);
        panic_quietly();
    }
}

/// Ends the listener. The next act starts another.
fn stop(simulation: &Arc<Simulation>, random: &mut fastrand::Rng) {
    let listening = simulation.net.listening.lock().take();
    if let Some(listening) = listening {
        simulation.net.was_stopped.store(true, SeqCst);
        end(simulation, listening, random);
    }
}

fn end(simulation: &Arc<Simulation>, Listening { listener, over }: Listening, random: &mut fastrand::Rng) {
    let is_over = Arc::clone(&over);
    simulation.happened.note(Act::StopListener);
    if random.bool() {
        let stopped = Stopped { simulation: Arc::clone(simulation), ticket: Arc::default(), over };
        simulation.ledger.accepted.fetch_add(1, SeqCst);
        stopped.ticket.accepted(&simulation.ledger);
        call(|| listener.stop(move || stopped.done()));
    }
    call(|| drop(listener));
    is_over.store(true, SeqCst);
}

/// The callback of a stop.
struct Stopped {
    simulation: Arc<Simulation>,
    ticket: Arc<Ticket>,
    over: Arc<AtomicBool>,
}

impl Stopped {
    fn done(self) {
        self.over.store(true, SeqCst);
        self.ticket.called(&self.simulation.ledger);
        self.simulation.ledger.called_back.fetch_add(1, SeqCst);
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.ticket.dropped(&self.simulation.ledger);
    }
}

/// Ends the listener and every connect. Call it when no thread acts any more.
pub(super) fn end_all(simulation: &Arc<Simulation>) {
    let connects = mem::take(&mut *simulation.net.connects.lock());
    connects.into_iter().for_each(cancel);
    let listening = simulation.net.listening.lock().take();
    if let Some(listening) = listening {
        // A connect that was detached may still be under way.
        simulation.net.was_stopped.store(true, SeqCst);
        let mut random = simulation.net.random(simulation);
        end(simulation, listening, &mut random);
    }
    let halves = mem::take(&mut *simulation.net.halves.lock());
    drop(halves);
}
