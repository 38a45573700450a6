//! Creating and destroying: the owner of the descriptor, the port that a socket gets, and the values that are freed.

use async_socket_linux::sys::Errno;
use async_socket_linux::{AsyncSocket, AsyncSocketLinux, OpenResult, ReceiveResult, SocketState};
use integration_tests::call::{engine, open, receive, received};
use integration_tests::kernel::HeldKernel;
use integration_tests::port::A_WHILE;
use integration_tests::process::this_thread;
use integration_tests::wait::gate;
use integration_tests::{Socket, Transport, eventually, inbox, send_now, spawn};
use rstest::rstest;
use rustix::net::RecvFlags;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

fn thread_of(socket: &Socket, peer: &mut integration_tests::Peer) -> i32 {
    let (done, thread) = inbox();
    socket.receive_async([0_u8; 1], move |_| done.put(this_thread())).expect("receive_async");
    peer.write_all(b"x").expect("the peer writes");
    thread.next()
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_001, Tests_SRS_ASYNC_SOCKET_LINUX_11_023
#[rstest]
fn a_created_socket_is_closed_and_owns_the_descriptor_until_it_is_dropped(
    #[values(Transport::TcpV4, Transport::TcpV6, Transport::Unix)] transport: Transport,
) {
    let (descriptor, mut peer) = transport.pair();
    let engine = engine(1);

    let socket = Socket::create(Some(&engine), descriptor).unwrap();
    assert_eq!(socket.state(), SocketState::Closed);
    let looked = rustix::net::recv(&peer, &mut [0; 8], RecvFlags::DONTWAIT);
    assert_eq!(looked, Err(Errno::AGAIN), "neither bytes nor an end");
    drop(socket);

    assert_eq!(peer.read_rest(), b"");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_001
#[rstest]
fn the_descriptor_of_a_created_socket_is_the_one_it_was_given(
    #[values(Transport::TcpV4, Transport::TcpV6, Transport::Unix)] transport: Transport,
) {
    let (descriptor, mut peer) = transport.pair();
    let engine = engine(1);
    let socket = Socket::create(Some(&engine), descriptor).unwrap();
    // Bytes that the peer sends before the open are there after it.
    peer.write_all(b"early").unwrap();

    socket.open_async(|_| {}).unwrap();

    assert_eq!(received(&receive(&socket, vec![0; 8]).only()), b"early");
    send_now(&socket, b"answer");
    assert_eq!(peer.read_bytes(6), b"answer");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_002, Tests_SRS_ASYNC_SOCKET_LINUX_11_005
#[test]
fn sockets_without_an_engine_share_the_process_wide_port_and_others_use_their_engines() {
    let own = engine(1);
    let mut threads = Vec::new();
    for engine in [None, None, Some(&own), Some(&own)] {
        let (descriptor, mut peer) = Transport::Unix.pair();
        let socket = Socket::create(engine, descriptor).unwrap();
        socket.open_async(|_| {}).unwrap();
        threads.push(thread_of(&socket, &mut peer));
    }

    assert_eq!(threads[0], threads[1]);
    assert_eq!(threads[2], threads[3]);
    assert_ne!(threads[0], threads[2]);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_020
#[test]
fn destroying_a_socket_that_another_thread_closes_returns_when_its_callback_is_over() {
    let (descriptor, mut peer) = Transport::Unix.pair();
    let engine = engine(1);
    let socket = open(&engine, descriptor);
    let ((gate, barrier), (done, ended)) = (gate(), inbox());
    let callback = move |_| {
        barrier.wait();
        done.put(());
    };
    socket.receive_async([0_u8; 1], callback).unwrap();
    peer.write_all(b"x").unwrap();
    gate.wait_for_arrival();
    let closing = Arc::clone(&socket);
    let closer = spawn("close", move || closing.close());
    eventually("the socket is closing", || socket.state() == SocketState::Closing);

    let destroyer = spawn("destroy", move || {
        socket.close_and_wait();
        (ended.try_next(), socket.state())
    });

    assert!(destroyer.still_runs_after(A_WHILE), "destroyed although a callback runs");
    gate.open();
    assert_eq!(destroyer.join(), (Some(()), SocketState::Closed));
    closer.join();
    assert_eq!(peer.read_rest(), b"");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_020
#[test]
fn destroying_a_socket_that_another_thread_opens_waits_until_that_is_over_and_closes_it() {
    let (descriptor, mut peer) = Transport::Unix.pair();
    let (gate, barrier) = gate();
    let slow = HeldKernel { at_open: Mutex::new(Some(barrier)), ..HeldKernel::default() };
    let port = engine(1).completion_port();
    let socket = Arc::new(AsyncSocketLinux::create_with(port, slow, descriptor));
    let (done, opened) = inbox();
    let opening = Arc::clone(&socket);
    let opener = spawn("open", move || opening.open_async(move |result| done.put(result)).is_ok());
    gate.wait_for_arrival();
    assert_eq!(socket.state(), SocketState::Opening);

    let destroyer = spawn("destroy", move || {
        socket.close_and_wait();
        (opened.try_next(), socket.state())
    });

    assert!(destroyer.still_runs_after(A_WHILE), "destroyed although it is being opened");
    gate.open();
    assert_eq!(destroyer.join(), (Some(OpenResult::Ok), SocketState::Closed));
    assert!(opener.join());
    assert_eq!(peer.read_rest(), b"");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_021, Tests_SRS_ASYNC_SOCKET_LINUX_11_023
// Tests_SRS_ASYNC_SOCKET_LINUX_11_081, Tests_SRS_ASYNC_SOCKET_LINUX_11_084
#[rstest]
fn dropping_an_open_socket_closes_it_first(#[values(Transport::TcpV4, Transport::Unix)] transport: Transport) {
    let (descriptor, mut peer) = transport.pair();
    let socket = open(&engine(1), descriptor);
    let first = receive(&socket, vec![1; 8]);
    let second = receive(&socket, vec![2; 8]);

    drop(socket);

    // The completions are there already, and the callbacks are freed: a drop closes the socket before it returns.
    for (pending, buffer) in [(first, [1; 8]), (second, [2; 8])] {
        let completion = pending.next();
        assert_eq!(completion.result, ReceiveResult::Abandoned);
        assert_eq!((completion.bytes_received, completion.buffers.as_slice()), (0, buffer.as_slice()));
        assert!(pending.is_dead());
    }
    assert_eq!(peer.read_rest(), b"");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_005, Tests_SRS_ASYNC_SOCKET_LINUX_11_022
#[test]
fn the_ports_thread_lives_until_the_engine_and_its_last_socket_are_gone() {
    let engine = engine(1);
    let (descriptor, mut peer) = Transport::Unix.pair();
    let socket = open(&engine, descriptor);
    let task = PathBuf::from(format!("/proc/self/task/{}", thread_of(&socket, &mut peer)));

    drop(engine);
    let received = receive(&socket, vec![0; 1]);
    send_now(&socket, b"still served");
    peer.write_all(b"y").unwrap();
    assert_eq!(received.only().result, ReceiveResult::Ok);
    assert!(task.exists());

    drop(socket);
    eventually("the port's thread ends", || !task.exists());
}
