//! Listening: connections come once each, with their peers' addresses, on the port's thread.

use crate::{accept_queue, assert_refused, bound, into_inbox};
use async_socket_linux::{AsyncSocket, ReceiveResult};
use async_socket_net::{AcceptError, KeepAlive, ListenError, Listener, SocketOption, SocketOptions};
use integration_tests::call::{engine, received, round_trip};
use integration_tests::process::{alone, descriptors, is_child, port_threads, run_child, this_thread};
use integration_tests::wait::comes_true;
use integration_tests::{LIMIT, eventually, inbox, receive, send_now, within};
use nix::sys::socket::{getsockopt, sockopt};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net as unix;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use test_doubles::{with_memory, without_memory};

// Tests_SRS_ASYNC_SOCKET_NET_01_001, Tests_SRS_ASYNC_SOCKET_NET_01_002, Tests_SRS_ASYNC_SOCKET_NET_01_004
#[test]
fn each_connection_comes_once_with_its_peers_address_and_opens_as_a_socket() {
    let engine = engine(2);
    let (listener, address) = bound();
    let (callback, accepted) = into_inbox();
    let duplicate = listener.try_clone().unwrap();
    let listener = Listener::new(&engine, listener, callback).unwrap();
    assert!(rustix::fs::fcntl_getfl(&duplicate).unwrap().contains(rustix::fs::OFlags::NONBLOCK));

    let mut clients: Vec<_> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    let accepted: Vec<_> = accepted.take(100).into_iter().map(Result::unwrap).collect();

    let peers: HashSet<_> = accepted.iter().map(|accepted| accepted.peer().as_inet().unwrap()).collect();
    assert_eq!(peers, clients.iter().map(|client| client.local_addr().unwrap()).collect());
    assert_eq!(listener.metrics().accepted, 100);
    let last = accepted.into_iter().last().unwrap();
    let its_client = clients.iter_mut().find(|it| it.local_addr().ok() == last.peer().as_inet()).unwrap();
    let socket = last.open().unwrap();
    let pending = receive(&socket, vec![0; 8]);
    its_client.write_all(b"ping").unwrap();
    assert_eq!(received(&pending.only()), b"ping");
    send_now(&socket, b"pong");
    let mut answer = [0; 4];
    its_client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"pong");
}

// Tests_SRS_ASYNC_SOCKET_NET_01_004
#[test]
fn connections_of_an_engines_listener_live_on_its_ports_in_turn() {
    let engine = engine(2);
    let (listener, address) = bound();
    let (callback, accepted) = into_inbox();
    let _listener = Listener::new(&engine, listener, callback).unwrap();
    let clients = [TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap()];
    let sockets = [(); 2].map(|()| accepted.next().unwrap().open().unwrap());

    let (done, threads) = inbox();
    for socket in &sockets {
        let done = done.clone();
        socket.receive_async([0; 1], move |_| done.put(this_thread())).map_err(|refused| refused.error).unwrap();
    }
    // The end of a client completes the receive of its connection.
    drop(clients);

    assert_ne!(threads.next(), threads.next());
}

// Tests_SRS_ASYNC_SOCKET_NET_01_003, Tests_SRS_ASYNC_SOCKET_NET_01_006
#[test]
fn an_accepted_descriptor_is_non_blocking_and_close_on_exec_and_has_the_options() {
    let engine = engine(1);
    let (listener, address) = bound();
    let (callback, accepted) = into_inbox();
    let keep_alive = KeepAlive::after(Duration::from_millis(41_500)).every(Duration::from_secs(7)).probes(3);
    let options = SocketOptions::new()
        .no_delay(true)
        .keep_alive(keep_alive)
        .user_timeout(Duration::from_millis(4567))
        .send_buffer(50_000)
        .receive_buffer(60_000);
    let _listener = Listener::builder().options(options).listen(&engine, listener, callback).unwrap();

    let _client = TcpStream::connect(address).unwrap();

    let accepted = accepted.next().unwrap();
    let flags = rustix::fs::fcntl_getfl(&accepted).unwrap();
    assert!(flags.contains(rustix::fs::OFlags::NONBLOCK));
    assert!(rustix::io::fcntl_getfd(&accepted).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    let fd = accepted.as_fd();
    assert!(getsockopt(&fd, sockopt::TcpNoDelay).unwrap());
    assert!(getsockopt(&fd, sockopt::KeepAlive).unwrap());
    assert_eq!(getsockopt(&fd, sockopt::TcpKeepIdle).unwrap(), 42);
    assert_eq!(getsockopt(&fd, sockopt::TcpKeepInterval).unwrap(), 7);
    assert_eq!(getsockopt(&fd, sockopt::TcpKeepCount).unwrap(), 3);
    assert_eq!(getsockopt(&fd, sockopt::TcpUserTimeout).unwrap(), 4567);
    // The kernel doubles both.
    assert_eq!(getsockopt(&fd, sockopt::SndBuf).unwrap(), 100_000);
    assert_eq!(getsockopt(&fd, sockopt::RcvBuf).unwrap(), 120_000);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_006
#[test]
fn a_connection_whose_option_the_kernel_refuses_is_closed_and_reported() {
    let engine = engine(1);
    let (listener, address) = bound();
    let (callback, accepted) = into_inbox();
    // The kernel takes 127 at most.
    let options = SocketOptions::new().keep_alive(KeepAlive::after(Duration::from_secs(1)).probes(128));
    let listener = Listener::builder().options(options).listen(&engine, listener, callback).unwrap();

    for failed in 1..=2 {
        let mut client = TcpStream::connect(address).unwrap();
        let error = accepted.next().unwrap_err();
        let AcceptError::Options { peer, source } = error else { panic!("{error:?}") };
        assert_eq!((peer, source.option), (client.local_addr().ok(), SocketOption::KeepAliveProbes(128)));
        assert_eq!(source.source.raw_os_error(), Some(nix::libc::EINVAL));
        client.set_read_timeout(Some(LIMIT)).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "the connection is closed");
        assert_eq!(listener.metrics().failed_clients, failed);
    }
}

// Tests_SRS_ASYNC_SOCKET_NET_01_007
#[test]
fn a_unix_client_comes_with_its_credentials() {
    let engine = engine(1);
    let name = format!("async-socket-net-{}", std::process::id());
    let address = unix::SocketAddr::from_abstract_name(&name).unwrap();
    let (callback, accepted) = into_inbox();
    let options = SocketOptions::new().no_delay(true).send_buffer(50_000);
    let listener = UnixListener::bind_addr(&address).unwrap();
    let _listener = Listener::builder().options(options).listen(&engine, listener, callback).unwrap();

    let _client = UnixStream::connect_addr(&address).unwrap();

    let accepted = accepted.next().unwrap();
    let credentials = accepted.credentials().unwrap();
    assert_eq!(credentials.process, Some(std::process::id()));
    assert_eq!(credentials.user, rustix::process::geteuid().as_raw());
    assert_eq!(credentials.group, rustix::process::getegid().as_raw());
    assert!(accepted.peer().as_unix().unwrap().is_unnamed());
    assert_eq!(getsockopt(&accepted.as_fd(), sockopt::SndBuf).unwrap(), 100_000);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_002
#[test]
fn unix_clients_with_names_of_every_length_are_accepted_and_named() {
    let engine = engine(1);
    let folder = std::env::temp_dir().join(format!("net-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (callback, accepted) = into_inbox();
    let name = format!("async-socket-net-names-{}", std::process::id());
    let address = unix::SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = Listener::new(&engine, UnixListener::bind_addr(&address).unwrap(), callback).unwrap();
    let to = rustix::net::SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap();
    let room = 108 - folder.as_os_str().len() - 1;
    // The longest fills all 108 bytes and has no terminator.
    for length in [1, room - 1, room] {
        let path = folder.join("x".repeat(length));
        let client =
            rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None).unwrap();
        rustix::net::bind(&client, &rustix::net::SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::connect(&client, &to).unwrap();
        assert_eq!(accepted.next().unwrap().peer().as_unix().unwrap().path(), Some(path.as_path()));
    }
    let client = rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None).unwrap();
    let longest = [b"n".repeat(100), vec![0, 255], name.clone().into_bytes()].concat();
    let longest = &longest[..107];
    rustix::net::bind(&client, &rustix::net::SocketAddrUnix::new_abstract_name(longest).unwrap()).unwrap();
    rustix::net::connect(&client, &to).unwrap();
    assert_eq!(accepted.next().unwrap().peer().as_unix().unwrap().abstract_name(), Some(longest));
    std::fs::remove_dir_all(&folder).unwrap();
}

// Tests_SRS_ASYNC_SOCKET_NET_01_055
#[test]
fn a_callback_that_sleeps_is_the_longest() {
    const NAP: Duration = Duration::from_millis(30);
    let engine = engine(1);
    let (listener, address) = bound();
    let (done, accepted) = inbox();
    let listener = Listener::new(&engine, listener, move |outcome: Result<_, _>| {
        std::thread::sleep(NAP);
        done.put(outcome.is_ok());
    });
    let listener = listener.unwrap();
    listener.set_metrics(true);

    let _client = TcpStream::connect(address).unwrap();

    assert!(accepted.next());
    eventually("the callback is measured", || listener.metrics().longest_callback >= Some(NAP));
}

// Tests_SRS_ASYNC_SOCKET_NET_01_007
#[test]
fn a_tcp_client_has_no_credentials() {
    let engine = engine(1);
    let (listener, address) = bound();
    let (callback, accepted) = into_inbox();
    let _listener = Listener::new(&engine, listener, callback).unwrap();
    let _client = TcpStream::connect(address).unwrap();

    let error = accepted.next().unwrap().credentials().unwrap_err();

    assert_eq!(error.raw_os_error(), Some(nix::libc::ENOPROTOOPT));
}

// Tests_SRS_ASYNC_SOCKET_NET_01_005, Tests_SRS_ASYNC_SOCKET_NET_01_020
#[test]
fn a_listener_per_port_accepts_and_keeps_its_connections_on_its_own_thread() {
    const CLIENTS: usize = 64;
    let engine = engine(3);
    let (done, accepted) = inbox();
    let callback = move |outcome: crate::Outcome| done.put((this_thread(), outcome.unwrap().open().unwrap()));
    let listeners = Listener::per_port(&engine, "127.0.0.1:0".parse().unwrap(), callback).unwrap();
    assert_eq!(listeners.len(), 3);
    let address = listeners[0].local_address().as_inet().unwrap();
    assert_eq!(listeners[0].local_address().to_string(), format!("127.0.0.1:{}", address.port()));

    let mut clients: Vec<_> = (0..CLIENTS).map(|_| TcpStream::connect(address).unwrap()).collect();

    let accepted = accepted.take(CLIENTS);
    let threads: HashSet<_> = accepted.iter().map(|(thread, _)| *thread).collect();
    // Each of 3 listeners gets none of 64 connections with a chance of (2/3)^64, which is 5e-12.
    assert_eq!(threads.len(), 3, "the kernel spreads {CLIENTS} connections over the listeners");
    for client in &mut clients {
        client.write_all(b"x").unwrap();
    }
    for (thread, socket) in &accepted {
        let (done, received) = inbox();
        socket.receive_async([0; 1], move |_| done.put(this_thread())).map_err(|refused| refused.error).unwrap();
        assert_eq!(received.only(), *thread);
    }
    assert_eq!(listeners.iter().map(|listener| listener.metrics().accepted).sum::<u64>(), CLIENTS as u64);
    listeners[0].stop(|| ());
    let accepting: Vec<_> = listeners.iter().map(|listener| listener.metrics().is_accepting).collect();
    assert_eq!(accepting, [false, true, true]);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_001
#[test]
fn what_cannot_be_listened_on_is_refused_with_the_reason() {
    let engine = engine(1);
    let never = integration_tests::NeverCalled::default();
    let refuse = |descriptor: std::os::fd::OwnedFd| {
        let callback = never.callback();
        let mut callback = Some(callback);
        Listener::new(&engine, descriptor, move |outcome| {
            if let Some(callback) = callback.take() {
                callback(outcome);
            }
        })
        .unwrap_err()
    };

    let file = std::fs::File::open("/dev/null").unwrap();
    let (stream, _other) = UnixStream::pair().unwrap();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();

    assert!(matches!(refuse(file.into()), ListenError::NotASocket { .. }));
    assert!(matches!(refuse(stream.into()), ListenError::NotListening));
    assert!(matches!(refuse(udp.into()), ListenError::UnsupportedKind(_)));
}

// Tests_SRS_ASYNC_SOCKET_NET_01_001, Tests_SRS_ASYNC_SOCKET_NET_01_002
#[test]
fn several_listeners_share_a_port_and_end_one_by_one() {
    let engine = engine(1);
    let mut listeners: Vec<_> = (0..3)
        .map(|_| {
            let (listener, address) = bound();
            let (callback, accepted) = into_inbox();
            (Listener::new(&engine, listener, callback).unwrap(), address, accepted)
        })
        .collect();

    while let Some((listener, address, accepted)) = listeners.pop() {
        for (_, address, accepted) in &listeners {
            let client = TcpStream::connect(address).unwrap();
            assert_eq!(accepted.next().unwrap().peer().as_inet(), client.local_addr().ok());
        }
        drop(listener);
        accepted.assert_dead();
        assert_refused(address);
    }
}

// Tests_SRS_ASYNC_SOCKET_NET_01_012
#[test]
fn a_panicking_accept_callback_does_not_leave_a_deaf_listener() {
    let engine = engine(1);
    let (listener, address) = bound();
    let (done, accepted) = inbox();
    let mut calls = 0;
    let _listener = Listener::new(&engine, listener, move |outcome| {
        calls += 1;
        assert!(calls % 2 == 0, "the panic of this test");
        done.put(outcome.unwrap());
    })
    .unwrap();

    let mut clients: Vec<_> = (0..10).map(|_| TcpStream::connect(address).unwrap()).collect();

    let accepted = accepted.take(5);
    for client in &mut clients {
        client.set_read_timeout(Some(LIMIT)).unwrap();
        let kept = accepted.iter().any(|it| it.peer().as_inet() == client.local_addr().ok());
        if !kept {
            assert_eq!(client.read(&mut [0]).unwrap(), 0, "the connection of the panic is closed");
        }
    }
}

// Tests_SRS_ASYNC_SOCKET_NET_01_013
#[test]
fn a_listener_can_be_dropped_inside_its_own_accept_callback_and_its_address_is_free_at_once() {
    let engine = engine(1);
    let (listener, address) = bound();
    let (done, dropped) = inbox();
    let holder = Arc::new(Mutex::new(None::<Listener>));
    let ours = Arc::clone(&holder);
    let listener = Listener::new(&engine, listener, move |outcome| {
        drop(outcome.unwrap());
        let listener = ours.lock().unwrap().take();
        drop(listener.expect("called once"));
        // Unless a child process that another test starts has a copy for a moment.
        done.put(comes_true(LIMIT, || TcpListener::bind(address).is_ok()));
    });
    *holder.lock().unwrap() = Some(listener.unwrap());
    let held = integration_tests::call::hold(&engine);
    let _clients = [TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap()];
    held.release();

    assert!(dropped.only(), "the callback ran once, and the address could be bound inside it");
}

// Tests_SRS_ASYNC_SOCKET_NET_01_013
#[test]
fn dropping_a_listener_closes_its_descriptor_and_waits_for_its_callback() {
    let engine = engine(1);
    let (listener, address) = bound();
    let (gate, barrier) = integration_tests::wait::gate();
    let mut barrier = Some(barrier);
    let ended = Arc::new(AtomicUsize::new(0));
    let ours = Arc::clone(&ended);
    let listener = Listener::new(&engine, listener, move |_| {
        barrier.take().expect("called once").wait();
        ours.store(1, Ordering::SeqCst);
    })
    .unwrap();
    let _client = TcpStream::connect(address).unwrap();
    gate.wait_for_arrival();

    let dropping = integration_tests::spawn("drop", move || drop(listener));
    assert!(dropping.still_runs_after(Duration::from_millis(50)));
    gate.open();
    dropping.join();

    assert_eq!(ended.load(Ordering::SeqCst), 1);
    assert_eq!(Arc::strong_count(&ended), 1, "the callback is gone");
    assert_refused(address);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_016
#[test]
fn a_stopped_listener_says_so_once_and_accepts_no_more() {
    let engine = engine(1);
    let (listener, address) = bound();
    let (callback, accepted) = into_inbox();
    let listener = Listener::new(&engine, listener, callback).unwrap();
    let _client = TcpStream::connect(address).unwrap();
    let open = accepted.next().unwrap();

    let (done, stopped) = inbox();
    let again = done.clone();
    listener.stop(move || done.put(1));
    assert_eq!(stopped.next(), 1);
    listener.stop(move || again.put(2));
    assert_eq!(stopped.only(), 2);

    assert_refused(address);
    assert!(!listener.metrics().is_accepting);
    accepted.assert_dead();
    drop(open);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_016
#[test]
fn a_stop_without_memory_stops_all_the_same() {
    let engine = engine(1);
    let (listener, address) = bound();
    let (callback, accepted) = into_inbox();
    let listener = Listener::new(&engine, listener, callback).unwrap();
    let (done, stopped) = inbox();

    without_memory(|| listener.stop(move || with_memory(move || done.put(()))));

    stopped.only();
    accepted.assert_dead();
    assert!(!listener.metrics().is_accepting);
    assert_refused(address);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_016
#[test]
fn a_stop_inside_a_callback_does_not_wait_for_the_callback() {
    let engine = engine(1);
    let (listener, address) = bound();
    let holder = Arc::new(Mutex::new(None::<Listener>));
    let (done, stopped) = inbox();
    let (ours, in_callback) = (Arc::clone(&holder), done.clone());
    let listener = Listener::new(&engine, listener, move |_| {
        let stops = in_callback.clone();
        ours.lock().unwrap().as_ref().unwrap().stop(move || stops.put("stopped"));
        in_callback.put("callback ends");
    });
    let mut locked = holder.lock().unwrap();
    *locked = Some(listener.unwrap());
    drop(locked);

    let _client = TcpStream::connect(address).unwrap();

    assert_eq!(stopped.take(2), ["stopped", "callback ends"]);
    let _listener = holder.lock().unwrap().take();
}

// Tests_SRS_ASYNC_SOCKET_NET_01_008
#[test]
fn a_crowd_of_clients_does_not_keep_other_sockets_of_the_port_waiting() {
    const CLIENTS: usize = 400;
    let engine = engine(1);
    let (listener, address) = listening(4096);
    let seen = Arc::new(AtomicUsize::new(0));
    let (counts, at_receive) = (Arc::clone(&seen), Arc::clone(&seen));
    let (descriptor, mut peer) = integration_tests::Transport::Unix.pair();
    let socket = integration_tests::open(&engine, descriptor);
    let (done, received) = inbox();
    let receive = socket.receive_async([0; 1], move |_| done.put(at_receive.load(Ordering::SeqCst)));
    receive.map_err(|refused| refused.error).unwrap();
    let held = integration_tests::call::hold(&engine);
    let _listener = Listener::new(&engine, listener, move |outcome| {
        counts.fetch_add(1, Ordering::SeqCst);
        drop(outcome);
    })
    .unwrap();
    let _clients: Vec<_> = (0..CLIENTS).map(|_| TcpStream::connect(address).unwrap()).collect();
    peer.write_all(b"x").unwrap();

    held.release();

    let accepted_before = received.only();
    assert!(accepted_before <= 2 * 128, "{accepted_before} of {CLIENTS} were accepted first");
    eventually("all are accepted", || seen.load(Ordering::SeqCst) == CLIENTS);
}

/// A listening socket with a backlog of this size.
fn listening(backlog: i32) -> (socket2::Socket, SocketAddr) {
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bound");
    listener.listen(backlog).expect("it listens");
    let address = listener.local_addr().expect("its address").as_socket().expect("IPv4");
    (listener, address)
}

// Tests_SRS_ASYNC_SOCKET_NET_01_002
#[test]
fn clients_that_connect_and_leave_cost_nothing_but_their_own_connection() {
    const CLIENTS: usize = 500;
    let engine = engine(1);
    let (listener, address) = bound();
    let seen = Arc::new(AtomicUsize::new(0));
    let ours = Arc::clone(&seen);
    let (resets, lost) = inbox();
    let listener = Listener::new(&engine, listener, move |outcome: crate::Outcome| match outcome {
        Ok(_) | Err(AcceptError::Client { .. }) => {
            ours.fetch_add(1, Ordering::SeqCst);
        }
        Err(error) => resets.put(error),
    })
    .unwrap();

    for client in 0..CLIENTS {
        let stream = TcpStream::connect(address).unwrap();
        if client % 2 == 0 {
            // Leaves with a reset.
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }

    eventually("all were seen", || seen.load(Ordering::SeqCst) == CLIENTS);
    assert!(lost.is_pending(), "no error but a client's own");
    assert!(listener.metrics().is_accepting);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_002
#[test]
fn a_full_backlog_is_accepted_once_the_port_has_time() {
    let engine = engine(1);
    let (listener, address) = listening(2);
    let held = integration_tests::call::hold(&engine);
    let (callback, accepted) = into_inbox();
    let _listener = Listener::new(&engine, listener, callback).unwrap();

    // The kernel lets one more in than the backlog says, or two if two processors look at the same time. The others try
    // again with their first segment.
    let clients: Vec<_> =
        (0..6).map(|_| integration_tests::spawn("client", move || TcpStream::connect(address).unwrap())).collect();
    eventually("the backlog is full", || accept_queue(address) >= 3);
    held.release();

    let accepted = accepted.take(6);
    assert!(accepted.iter().all(Result::is_ok));
    for client in clients {
        client.join();
    }
}

// Tests_SRS_ASYNC_SOCKET_NET_01_015
#[test]
fn a_listener_that_other_code_shuts_down_is_lost_and_says_so() {
    let engine = engine(1);
    let (listener, address) = bound();
    let duplicate = listener.try_clone().unwrap();
    let (callback, accepted) = into_inbox();
    let listener = Listener::new(&engine, listener, callback).unwrap();
    let _client = TcpStream::connect(address).unwrap();
    let _accepted = accepted.next().unwrap();
    round_trip(&engine);
    assert!(accepted.is_pending(), "an accept4 that finds nothing is no error");

    rustix::net::shutdown(&duplicate, rustix::net::Shutdown::Both).unwrap();

    let error = accepted.next().unwrap_err();
    let AcceptError::Lost { source } = error else { panic!("{error:?}") };
    assert_eq!(source.raw_os_error(), Some(nix::libc::EINVAL));
    assert!(!listener.metrics().is_accepting);
    let (done, stopped) = inbox();
    listener.stop(move || done.put(()));
    stopped.only();
}

// Tests_SRS_ASYNC_SOCKET_NET_01_013
#[test]
fn a_port_ends_with_its_listener_and_leaves_nothing() {
    let _alone = integration_tests::process::alone();
    if !integration_tests::process::is_child() {
        return integration_tests::process::run_child("a_port_ends_with_its_listener_and_leaves_nothing", |_| {});
    }
    let before = descriptors();
    for _ in 0..20 {
        let engine = engine(2);
        let (listener, address) = bound();
        let (callback, accepted) = into_inbox();
        let listener = Listener::new(&engine, listener, callback).unwrap();
        let client = TcpStream::connect(address).unwrap();
        let socket = accepted.next().unwrap().open().unwrap();
        drop(engine);
        within("dropping the listener", move || drop(listener));
        drop(socket);
        drop(client);
    }
    eventually("the ports' threads have ended", || port_threads().is_empty());
    assert_eq!(descriptors(), before);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_002
#[test]
fn a_socket_that_is_opened_in_the_callback_gets_what_the_client_sent_before() {
    let engine = engine(1);
    let (listener, address) = bound();
    let (done, got) = inbox();
    let sockets = Arc::new(Mutex::new(Vec::new()));
    let ours = Arc::clone(&sockets);
    let _listener = Listener::new(&engine, listener, move |outcome: crate::Outcome| {
        let socket = Arc::new(outcome.unwrap().open().unwrap());
        let done = done.clone();
        let receive = socket.receive_async(vec![0; 16], move |received| {
            assert_eq!(received.result, ReceiveResult::Ok);
            done.put(received.into_received());
        });
        receive.map_err(|refused| refused.error).unwrap();
        ours.lock().unwrap().push(socket);
    })
    .unwrap();

    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"early").unwrap();

    assert_eq!(got.next(), b"early");
}

// Tests_SRS_ASYNC_SOCKET_NET_01_013
#[test]
fn after_its_listener_the_last_reference_to_a_port_ends_it_at_once() {
    let _alone = alone();
    if !is_child() {
        return run_child("after_its_listener_the_last_reference_to_a_port_ends_it_at_once", |_| {});
    }
    let before = descriptors();
    let engine = engine(1);
    let bound = TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = Listener::new(&engine, bound, |_| {}).unwrap();

    drop(listener);
    drop(engine);

    assert_eq!(descriptors(), before, "the port's thread has ended, and its descriptors are closed");
}
