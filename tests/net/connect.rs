//! Connecting: to addresses, lists and Unix sockets, and every way in which that ends.

use crate::{accept_queue, bound, closed};
use async_socket_linux::sys::Errno;
use async_socket_linux::{AsyncSocketLinux, ExecutionEngine};
use async_socket_net::sys::{Credentials, Kernel as NetCalls, ListenerKind, NetSyscalls};
use async_socket_net::{
    Address, ConnectError, ConnectErrorKind, Connecting, Connector, Family, Listener, SocketOption, SocketOptions,
    ToTarget, UnixAddress, connect,
};
use integration_tests::call::{Inbox, engine, received, round_trip};
use integration_tests::process::{alone, descriptors, is_child, run_child, this_thread};
use integration_tests::{LIMIT, eventually, inbox, receive, send_now, within};
use nix::sys::socket::{getsockopt, sockopt};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub(crate) type Outcome = Result<AsyncSocketLinux, ConnectError>;

pub(crate) fn start(engine: &ExecutionEngine, to: impl ToTarget, within: Duration) -> (Connecting, Inbox<Outcome>) {
    let (done, outcome) = inbox();
    (connect(engine, to, within, move |it| done.put(it)), outcome)
}

/// An address whose backlog is full, so that a connect to it stays in progress. The sockets keep it full.
pub(crate) fn silent() -> (SocketAddr, Vec<Socket>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("set-up");
    listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().expect("set-up").into()).expect("set-up");
    listener.listen(0).expect("set-up");
    let address = listener.local_addr().expect("set-up");
    let mut sockets = vec![listener];
    for _ in 0..3 {
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("set-up");
        client.set_nonblocking(true).expect("set-up");
        let _ = client.connect(&address);
        sockets.push(client);
    }
    let address = address.as_socket().expect("set-up");
    // The kernel may finish the handshake on another processor.
    eventually("the backlog is full", || accept_queue(address) > 0);
    (address, sockets)
}

// Tests_SRS_ASYNC_SOCKET_NET_01_030, Tests_SRS_ASYNC_SOCKET_NET_01_041, Tests_SRS_ASYNC_SOCKET_NET_01_050
#[test]
fn a_connect_gives_an_open_socket_on_the_ports_thread() {
    let engine = engine(1);
    let (listener, address) = bound();
    let (done, outcome) = inbox();
    let connecting = connect(&engine, address, LIMIT, move |it| done.put((this_thread(), it)));

    let (mut peer, _) = listener.accept().unwrap();
    let (thread, socket) = outcome.only();

    assert_ne!(thread, this_thread());
    assert!(connecting.is_over());
    let socket = socket.unwrap();
    send_now(&socket, b"hello");
    let mut bytes = [0; 5];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
    let pending = receive(&socket, vec![0; 5]);
    peer.write_all(b"there").unwrap();
    assert_eq!(received(&pending.only()), b"there");
}

// Tests_SRS_ASYNC_SOCKET_NET_01_031
#[test]
fn unix_sockets_are_reached_by_path_and_by_abstract_name() {
    let engine = engine(1);
    let folder = std::env::temp_dir().join(format!("async-socket-net-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("socket");
    let by_path = UnixListener::bind(&path).unwrap();
    let name = format!("async-socket-net-connect-{}", std::process::id());
    let abstract_address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let by_name = UnixListener::bind_addr(&abstract_address).unwrap();
    let check = |listener: &UnixListener, outcome: Inbox<Outcome>| {
        let socket = outcome.only().unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        send_now(&socket, b"x");
        peer.read_exact(&mut [0]).unwrap();
    };

    let (_connecting, outcome) = start(&engine, path.as_path(), LIMIT);
    check(&by_path, outcome);
    let (_connecting, outcome) = start(&engine, abstract_address, LIMIT);
    check(&by_name, outcome);
    let (_connecting, outcome) = start(&engine, UnixAddress::of_abstract_name(&name).unwrap(), LIMIT);
    check(&by_name, outcome);

    std::fs::remove_dir_all(&folder).unwrap();
    let (_connecting, outcome) = start(&engine, path.as_path(), LIMIT);
    assert_eq!(outcome.only().unwrap_err().kind(), ConnectErrorKind::Refused);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_031, Tests_SRS_ASYNC_SOCKET_NET_01_045
#[test]
fn a_text_without_a_port_ends_the_connect_with_an_error_that_shows_it() {
    let (_connecting, outcome) = start(&engine(1), "no port", LIMIT);

    let error = outcome.only().unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::InvalidTarget);
    assert!(error.to_string().contains("\"no port\""), "{error}");
}

// Tests_SRS_ASYNC_SOCKET_NET_01_044, Tests_SRS_ASYNC_SOCKET_NET_01_045
#[test]
fn when_every_address_refuses_the_error_has_each_attempt() {
    let engine = engine(1);
    let addresses = [closed(), closed(), closed()];

    let (_connecting, outcome) = start(&engine, addresses, LIMIT);

    let error = outcome.only().unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::Refused);
    let tried: Vec<_> = error.attempts().iter().map(|attempt| attempt.address.as_inet().unwrap()).collect();
    assert_eq!(tried, addresses);
    let text = error.to_string();
    assert!(
        addresses.iter().all(|address| text.contains(&format!("{address}: connect: Connection refused"))),
        "{text}"
    );
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::ConnectionRefused);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_045
#[test]
fn an_address_without_a_route_is_unreachable() {
    let engine = engine(1);
    // The discard prefix of RFC 6666 has no route on a machine without a default route, and none on a loopback either.
    let address: SocketAddr = "[100::1]:9".parse().unwrap();
    let plainly = Socket::new(Domain::IPV6, Type::STREAM, None).and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.connect(&address.into())
    });
    let Some(nix::libc::ENETUNREACH | nix::libc::EHOSTUNREACH) = plainly.unwrap_err().raw_os_error() else {
        eprintln!("this machine has a route to {address} or no IPv6: nothing to see");
        return;
    };

    let (_connecting, outcome) = start(&engine, address, LIMIT);

    assert_eq!(outcome.only().unwrap_err().kind(), ConnectErrorKind::Unreachable);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_038
#[test]
fn after_a_refusal_the_next_address_is_tried_at_once() {
    let engine = engine(1);
    let (listener, address) = bound();
    let (done, outcome) = inbox();
    let connector = Connector::new().stagger(LIMIT);
    let began = Instant::now();

    let _connecting = connector.connect(&engine, [closed(), address], LIMIT, move |it| done.put(it));

    let _socket = outcome.only().unwrap();
    assert!(began.elapsed() < LIMIT / 2);
    listener.accept().unwrap();
}

// Tests_SRS_ASYNC_SOCKET_NET_01_038
#[test]
fn after_a_refusal_beside_a_silent_address_the_next_is_tried_at_once() {
    const STAGGER: Duration = Duration::from_secs(1);
    let engine = engine(1);
    let (silent, _full) = silent();
    let (listener, address) = bound();
    let (done, outcome) = inbox();
    let connector = Connector::new().stagger(STAGGER);
    let began = Instant::now();

    let _connecting = connector.connect(&engine, [silent, closed(), address], LIMIT, move |it| done.put(it));

    let _socket = outcome.only().unwrap();
    let took = began.elapsed();
    assert!((STAGGER..2 * STAGGER).contains(&took), "{took:?}");
    listener.accept().unwrap();
}

// Tests_SRS_ASYNC_SOCKET_NET_01_037, Tests_SRS_ASYNC_SOCKET_NET_01_041
#[test]
fn a_silent_address_gets_250_ms_before_the_next_is_tried_beside_it_and_is_closed_when_that_wins() {
    let _alone = alone();
    if !is_child() {
        return run_child(
            "a_silent_address_gets_250_ms_before_the_next_is_tried_beside_it_and_is_closed_when_that_wins",
            |_| {},
        );
    }
    let engine = engine(1);
    let (silent, _full) = silent();
    let (listener, address) = bound();
    let before = descriptors();
    let began = Instant::now();

    let (_connecting, outcome) = start(&engine, [silent, address], LIMIT);

    let socket = outcome.only().unwrap();
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(250), "{took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(descriptors(), before + 1, "the winner's alone is left");
    listener.accept().unwrap();
    drop(socket);
    assert_eq!(descriptors(), before);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_040, Tests_SRS_ASYNC_SOCKET_NET_01_041
#[test]
fn an_answer_that_comes_late_is_found_by_its_event_and_wins() {
    let engine = engine(1);
    let (never, _full) = silent();
    let (late, sockets) = silent();
    let (done, outcome) = inbox();
    let connector = Connector::new().stagger(Duration::ZERO);
    let _connecting = connector.connect(&engine, [never, late], LIMIT, move |it| done.put(it));
    round_trip(&engine);
    assert!(outcome.is_pending());

    // Makes room in the backlog. One of the kernel's further tries gets through.
    sockets[0].set_nonblocking(true).unwrap();
    let mut ended = None;
    eventually("the connect ends", || {
        let _ = sockets[0].accept();
        ended = outcome.try_next();
        ended.is_some()
    });

    let socket = ended.unwrap().unwrap();
    let descriptor = duplicate(socket.descriptor_number());
    assert_eq!(SockRef::from(&descriptor).peer_addr().unwrap().as_socket(), Some(late));
}

// Tests_SRS_ASYNC_SOCKET_NET_01_043, Tests_SRS_ASYNC_SOCKET_NET_01_044, Tests_SRS_ASYNC_SOCKET_NET_01_045
#[test]
fn a_connect_that_gets_no_answer_times_out_and_names_the_address() {
    let engine = engine(1);
    let (address, _full) = silent();
    let began = Instant::now();

    let (_connecting, outcome) = start(&engine, address, Duration::from_millis(120));

    let error = outcome.only().unwrap_err();
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(120), "{took:?}");
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error:?}");
    assert_eq!(error.kind(), ConnectErrorKind::TimedOut);
    assert_eq!(error.attempts().len(), 1);
    assert_eq!(error.attempts()[0].address.as_inet(), Some(address));
}

// Tests_SRS_ASYNC_SOCKET_NET_01_045, Tests_SRS_ASYNC_SOCKET_NET_01_047
#[test]
fn dropping_a_connect_cancels_it_inside_the_drop_and_closes_its_descriptors() {
    let _alone = alone();
    if !is_child() {
        return run_child("dropping_a_connect_cancels_it_inside_the_drop_and_closes_its_descriptors", |_| {});
    }
    let engine = engine(1);
    let (address, _full) = silent();
    let before = descriptors();
    let (connecting, outcome) = start(&engine, address, LIMIT);
    eventually("an attempt is under way", || descriptors() == before + 1);

    drop(connecting);

    let error = outcome.try_next().expect("inside the drop").unwrap_err();
    assert!(matches!(error, ConnectError::Cancelled));
    assert_eq!(error.kind(), ConnectErrorKind::Cancelled);
    assert!(outcome.is_dead());
    assert_eq!(descriptors(), before);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_049
#[test]
fn a_detached_connect_goes_on_without_its_value() {
    let engine = engine(1);
    let (listener, address) = bound();
    let (connecting, outcome) = start(&engine, address, LIMIT);

    connecting.detach();

    let _socket = outcome.only().unwrap();
    listener.accept().unwrap();
}

// Tests_SRS_ASYNC_SOCKET_NET_01_046, Tests_SRS_ASYNC_SOCKET_NET_01_047
#[test]
fn cancels_that_race_with_the_connection_on_four_threads_end_each_connect_once() {
    const ROUNDS: u64 = 2_000;
    let engine = engine(2);
    let (listener, tcp) = bound();
    let name = UnixAddress::of_abstract_name(format!("async-socket-net-races-{}", std::process::id())).unwrap();
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name.abstract_name().unwrap()).unwrap();
    // Closes each connection at once.
    let _tcp = Listener::new(&engine, listener, drop).unwrap();
    let _unix = Listener::new(&engine, UnixListener::bind_addr(&address).unwrap(), drop).unwrap();
    let threads: Vec<_> = (0..4)
        .map(|seed| {
            let (engine, name) = (engine.clone(), name.clone());
            integration_tests::spawn("cancels", move || {
                let mut rng = fastrand::Rng::with_seed(seed);
                let mut connected = 0;
                for _ in 0..ROUNDS {
                    let (connecting, outcome) =
                        if rng.bool() { start(&engine, tcp, LIMIT) } else { start(&engine, name.clone(), LIMIT) };
                    let end = Instant::now() + Duration::from_micros(rng.u64(..150));
                    while Instant::now() < end {
                        std::hint::spin_loop();
                    }
                    drop(connecting);
                    match outcome.only() {
                        Ok(_) => connected += 1,
                        Err(ConnectError::Cancelled) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                connected
            })
        })
        .collect();
    let connected: u64 = threads.into_iter().map(|thread| thread.join_within(3 * LIMIT)).sum();
    assert!((1..4 * ROUNDS).contains(&connected), "both ends are seen: {connected} of {} connected", 4 * ROUNDS);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_039
#[test]
fn options_and_the_local_address_are_set_before_the_connect() {
    let engine = engine(1);
    let (listener, address) = bound();
    let (done, outcome) = inbox();
    let options = SocketOptions::new().no_delay(true).receive_buffer(60_000);
    let connector = Connector::new().options(options).local("127.0.0.2:0".parse::<SocketAddr>().unwrap());

    let _connecting = connector.connect(&engine, address, LIMIT, move |it| done.put(it));

    let socket = outcome.only().unwrap();
    let (_, peer) = listener.accept().unwrap();
    assert_eq!(peer.ip().to_string(), "127.0.0.2");
    let descriptor = duplicate(socket.descriptor_number());
    assert!(getsockopt(&descriptor, sockopt::TcpNoDelay).unwrap());
    // The kernel doubles it.
    assert_eq!(getsockopt(&descriptor, sockopt::RcvBuf).unwrap(), 120_000);
    // The duplicate has its own close-on-exec.
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", socket.descriptor_number())).unwrap();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
    let flags = i32::from_str_radix(flags.trim(), 8).unwrap();
    let both = nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC;
    assert_eq!(flags & both, both, "{flags:o}");
}

/// A duplicate of a descriptor that is known by its number only.
fn duplicate(number: i32) -> OwnedFd {
    let process = pidfd_open(getpid(), PidfdFlags::empty()).expect("pidfd_open");
    pidfd_getfd(process, number, PidfdGetfdFlags::empty()).expect("pidfd_getfd")
}

/// The kernel's calls, and how often `connect` was called.
#[derive(Clone, Default)]
struct CountedConnects(Arc<AtomicUsize>);

impl NetSyscalls for CountedConnects {
    fn listener_kind(&self, fd: BorrowedFd<'_>) -> Result<ListenerKind, Errno> {
        NetCalls.listener_kind(fd)
    }

    fn set_nonblocking(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        NetCalls.set_nonblocking(fd)
    }

    fn accept(&self, fd: BorrowedFd<'_>) -> Result<(OwnedFd, Address), Errno> {
        NetCalls.accept(fd)
    }

    fn socket(&self, family: Family) -> Result<OwnedFd, Errno> {
        NetCalls.socket(family)
    }

    fn bind(&self, fd: BorrowedFd<'_>, address: &Address) -> Result<(), Errno> {
        NetCalls.bind(fd, address)
    }

    fn listen(&self, fd: BorrowedFd<'_>, backlog: i32) -> Result<(), Errno> {
        NetCalls.listen(fd, backlog)
    }

    fn connect(&self, fd: BorrowedFd<'_>, address: &Address) -> Result<(), Errno> {
        self.0.fetch_add(1, Ordering::SeqCst);
        NetCalls.connect(fd, address)
    }

    fn connect_again(&self, fd: BorrowedFd<'_>, address: &Address) -> Result<(), Errno> {
        NetCalls.connect_again(fd, address)
    }

    fn take_error(&self, fd: BorrowedFd<'_>) -> Result<Option<Errno>, Errno> {
        NetCalls.take_error(fd)
    }

    fn set_option(&self, fd: BorrowedFd<'_>, option: SocketOption) -> Result<(), Errno> {
        NetCalls.set_option(fd, option)
    }

    fn local_address(&self, fd: BorrowedFd<'_>) -> Result<Address, Errno> {
        NetCalls.local_address(fd)
    }

    fn peer_credentials(&self, fd: BorrowedFd<'_>) -> Result<Credentials, Errno> {
        NetCalls.peer_credentials(fd)
    }

    fn close(&self, fd: OwnedFd) {
        NetCalls.close(fd);
    }
}

// Tests_SRS_ASYNC_SOCKET_NET_01_042
#[test]
fn a_unix_listener_with_a_full_backlog_is_tried_again_until_it_accepts() {
    let engine = engine(1);
    let name = UnixAddress::of_abstract_name(format!("async-socket-net-full-{}", std::process::id())).unwrap();
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    let std_address = std::os::unix::net::SocketAddr::from_abstract_name(name.abstract_name().unwrap()).unwrap();
    let bytes = [b"\0", std_address.as_abstract_name().unwrap()].concat();
    listener.bind(&socket2::SockAddr::unix(std::ffi::OsStr::from_bytes(&bytes)).unwrap()).unwrap();
    listener.listen(0).unwrap();
    let _first = UnixStream::connect_addr(&std_address).unwrap();

    let tries = CountedConnects::default();
    let (done, outcome) = inbox();
    let began = Instant::now();
    let connector = Connector::new().syscalls(tries.clone());
    let _connecting = connector.connect(&engine, name, LIMIT, move |it| done.put(it));
    eventually("it is tried eight times", || tries.0.load(Ordering::SeqCst) >= 8);
    assert!(began.elapsed() >= Duration::from_millis(1 + 2 + 4 + 8 + 16 + 32 + 64), "{:?}", began.elapsed());
    assert!(outcome.is_pending(), "nothing has ended it");
    let _accepted = listener.accept().unwrap();

    let socket = outcome.only().unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    send_now(&socket, b"x");
    peer.read_exact(&mut [0]).unwrap();
}

// Tests_SRS_ASYNC_SOCKET_NET_01_080
#[test]
fn a_panic_of_the_callback_ends_neither_the_port_nor_other_connects() {
    let engine = engine(1);
    let (listener, address) = bound();
    let connecting = connect(&engine, address, LIMIT, |_| panic!("the panic of this test"));
    listener.accept().unwrap();
    eventually("the first is over", || connecting.is_over());

    let (_connecting, outcome) = start(&engine, address, LIMIT);

    let _socket = outcome.only().unwrap();
}

// Tests_SRS_ASYNC_SOCKET_NET_01_046
#[test]
fn a_connect_keeps_its_port_until_it_ends() {
    let engine = engine(1);
    let (address, _full) = silent();
    let (connecting, outcome) = start(&engine, address, Duration::from_millis(150));

    within("dropping the engine", move || drop(engine));

    assert_eq!(outcome.only().unwrap_err().kind(), ConnectErrorKind::TimedOut);
    drop(connecting);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_030, Tests_SRS_ASYNC_SOCKET_NET_01_047
#[test]
fn a_connect_can_be_started_and_cancelled_inside_the_callback_of_another() {
    let engine = engine(1);
    let (listener, address) = bound();
    let (full, _sockets) = silent();
    let (done, outcomes) = inbox();
    let (inner, on) = (done.clone(), engine.clone());
    let _connecting = connect(&engine, address, LIMIT, move |first| {
        let cancelled = inner.clone();
        drop(connect(&on, full, LIMIT, move |second| {
            cancelled.put(("second", second.map(drop).map_err(|it| it.kind())));
        }));
        inner.put(("first", first.map(drop).map_err(|it| it.kind())));
    });

    assert_eq!(outcomes.take(2), [("second", Err(ConnectErrorKind::Cancelled)), ("first", Ok(()))]);
    listener.accept().unwrap();
    drop(done);
}
