//! Closing and destroying inside callbacks that a close runs, inside attempts, and on threads that another close waits for.
//! No thread waits for itself, and nothing runs after a destroy.

use async_socket_linux::{AsyncSocket, IoBuf, IoBufMut, ReceiveResult, SendResult, SocketState};
use integration_tests::call::{block_sending, engine, open, receive};
use integration_tests::process::{alone, is_open};
use integration_tests::wait::gate;
use integration_tests::{Socket, Transport, inbox, spawn, within};
use rstest::rstest;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

// Tests_SRS_COMPLETION_PORT_01_101, Tests_SRS_ASYNC_SOCKET_LINUX_11_020
#[test]
fn destroying_in_an_abandoned_callback_of_a_close_on_a_plain_thread_completes_the_rest_and_returns() {
    let _alone = alone();
    let (completed, outside) = inbox();
    within("the close", move || {
        let engine = engine(1);
        let (descriptor, _peer) = Transport::Unix.pair();
        let socket = open(&engine, descriptor);
        let own = Arc::clone(&socket);
        let (inside, after) = (completed.clone(), completed.clone());
        let first = move |_| {
            own.close_and_wait();
            inside.put("destroyed");
        };
        socket.receive_async([0; 8], first).expect("receive_async");
        socket.receive_async([0; 8], move |_| after.put("second")).expect("receive_async");

        socket.close();

        assert_eq!(socket.state(), SocketState::Closed);
    });
    assert_eq!(outside.take(2), ["second", "destroyed"]);
}

// Tests_SRS_COMPLETION_PORT_01_058, Tests_SRS_COMPLETION_PORT_01_101, Tests_SRS_ASYNC_SOCKET_LINUX_11_020
#[test]
fn destroying_on_a_ports_thread_waits_for_the_abandoned_callbacks_of_a_close_on_another_thread() {
    let _alone = alone();
    let engine = engine(1);
    let (descriptor, _peer) = Transport::TcpV4.pair();
    let (others, mut others_peer) = Transport::TcpV4.pair();
    let (closing, other) = (open(&engine, descriptor), open(&engine, others));
    let (gate, barrier) = gate();
    closing.receive_async([0; 8], move |_| barrier.wait()).expect("receive_async");
    let second = receive(&closing, [0; 8]);
    let theirs = Arc::clone(&closing);
    let closer = spawn("the close", move || theirs.close());
    gate.wait_for_arrival();
    let (destroyed, told) = inbox();
    let destroys = move |_| {
        closing.close_and_wait();
        destroyed.put(());
    };
    other.receive_async([0; 8], destroys).expect("receive_async");

    others_peer.write_all(b"x").expect("the peer writes");

    // The destroy completes the waiting receive, and then waits for the callback that the other thread is in.
    assert_eq!(second.only().result, ReceiveResult::Abandoned);
    thread::sleep(std::time::Duration::from_millis(50));
    assert!(told.is_pending(), "destroyed although a callback runs");
    gate.open();
    told.only();
    closer.join();
}

/// A buffer that closes a socket when an attempt asks for the buffer's bytes.
struct Closes {
    bytes: [u8; 8],
    socket: Arc<OnceLock<Arc<Socket>>>,
}

impl Closes {
    /// The buffer, and the place for the socket that it shall close.
    fn new() -> (Self, Arc<OnceLock<Arc<Socket>>>) {
        let socket = Arc::new(OnceLock::new());
        (Self { bytes: [7; 8], socket: Arc::clone(&socket) }, socket)
    }

    fn close(&self) {
        if let Some(socket) = self.socket.get() {
            socket.close_and_wait();
        }
    }
}

impl IoBuf for Closes {
    fn as_slice(&self) -> &[u8] {
        self.close();
        &self.bytes
    }
}

impl IoBufMut for Closes {
    fn as_mut_slice(&mut self) -> &mut [u8] {
        self.close();
        &mut self.bytes
    }
}

// Tests_SRS_COMPLETION_PORT_01_102
#[test]
fn a_buffer_that_closes_its_socket_while_it_is_received_into_does_not_hang() {
    let _alone = alone();
    let engine = engine(1);
    let (descriptor, mut peer) = Transport::TcpV4.pair();
    let number = descriptor.as_raw_fd();
    let socket = open(&engine, descriptor);
    let (buffer, tell) = Closes::new();
    let (first, second) = (receive(&socket, buffer), receive(&socket, [0; 8]));
    let _ = tell.set(Arc::clone(&socket));

    peer.write_all(b"x").expect("the peer writes");

    first.only();
    assert_eq!(second.only().result, ReceiveResult::Abandoned);
    integration_tests::eventually("the descriptor is closed", || !is_open(number));
    let _ = peer;
}

// Tests_SRS_COMPLETION_PORT_01_102
#[test]
fn a_buffer_that_closes_its_socket_while_it_is_sent_does_not_hang() {
    let _alone = alone();
    let engine = engine(1);
    let (descriptor, _peer) = Transport::TcpV4.pair();
    let socket = open(&engine, descriptor);
    let waits = receive(&socket, [0; 8]);
    let (buffer, tell) = Closes::new();
    let _ = tell.set(Arc::clone(&socket));

    let sent = within("the send", move || {
        let (done, sent) = inbox();
        let _ = socket.send_async(buffer, move |completion| done.put(completion.result));
        (sent.try_next(), socket.state())
    });

    // The call asks for the bytes before it accepts the buffer, so it refuses the buffer.
    assert!(matches!(sent, (None | Some(SendResult::Ok), SocketState::Closed)), "{sent:?}");
    assert_eq!(waits.only().result, ReceiveResult::Abandoned);
}

// Tests_SRS_COMPLETION_PORT_01_051, Tests_SRS_COMPLETION_PORT_01_100
#[test]
fn opens_inside_a_hundred_opens_can_close_all_of_them() {
    let _alone = alone();
    fn open_inside(engine: &async_socket_linux::ExecutionEngine, all: Arc<Mutex<Vec<Arc<Socket>>>>, left: usize) {
        let (descriptor, _peer) = Transport::Unix.pair();
        let socket = Socket::create(Some(engine), descriptor).expect("create");
        let socket = Arc::new(socket);
        all.lock().expect("not poisoned").push(Arc::clone(&socket));
        let engine = engine.clone();
        let inside = move |_| {
            if left > 1 {
                return open_inside(&engine, all, left - 1);
            }
            let all = std::mem::take(&mut *all.lock().expect("not poisoned"));
            all.iter().for_each(|socket| socket.close_and_wait());
        };
        socket.open_async(inside).expect("open_async");
        assert_eq!(socket.state(), SocketState::Closed);
    }
    within("all opens", || open_inside(&engine(1), Arc::default(), 100));
}

/// The most stack that a link of the chain below may use: its own frames and the library's, optimised or not.
const STACK_PER_LINK: usize = if cfg!(debug_assertions) { 4096 } else { 1024 };

/// A chain of sockets: the receive callback of each drops the next.
fn chain(engine: &async_socket_linux::ExecutionEngine, links: usize, places: &Arc<Mutex<Vec<usize>>>) -> Arc<Socket> {
    let mut next: Option<Arc<Socket>> = None;
    for _ in 0..links {
        let (descriptor, peer) = Transport::Unix.pair();
        drop(peer);
        let socket = Arc::new(Socket::create(Some(engine), descriptor).expect("create"));
        let (dropped, places) = (next.take(), Arc::clone(places));
        socket.open_async(|_| {}).expect("open_async");
        let callback = move |_| {
            let local = 0_u8;
            places.lock().expect("not poisoned").push(std::ptr::from_ref(&local).addr());
            drop(dropped);
        };
        socket.receive_async([0; 1], callback).expect("receive_async");
        next = Some(socket);
    }
    next.expect("there is a link")
}

// Tests_SRS_COMPLETION_PORT_01_103
#[test]
fn a_chain_of_abandoned_callbacks_that_destroy_the_next_socket_takes_little_stack_per_link() {
    let _alone = alone();
    const LINKS: usize = 400;
    let (gate, barrier) = gate();
    let engine = engine(1);
    let held = {
        // Keeps the port's thread from receiving the ends of the streams.
        let (descriptor, mut peer) = Transport::Unix.pair();
        let socket = open(&engine, descriptor);
        socket.receive_async([0; 1], move |_| barrier.wait()).expect("receive_async");
        peer.write_all(b"x").expect("the peer writes");
        gate.wait_for_arrival();
        socket
    };
    let places = Arc::<Mutex<Vec<usize>>>::default();
    let first = chain(&engine, LINKS, &places);

    let stack = LINKS * STACK_PER_LINK + 64 * 1024;
    let dropping = thread::Builder::new().stack_size(stack).spawn(move || drop(first)).expect("a thread starts");
    dropping.join().expect("no panic");

    let places = places.lock().expect("not poisoned");
    assert_eq!(places.len(), LINKS);
    let per_link = (places[0] - places[LINKS - 1]) / (LINKS - 1);
    println!("{per_link} bytes of stack per link");
    assert!(per_link <= STACK_PER_LINK, "{per_link} bytes of stack per link");
    gate.open();
    drop(held);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_042
#[rstest]
fn a_second_close_returns_at_once_while_a_callback_runs(
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
) {
    let _alone = alone();
    let engine = engine(1);
    let (descriptor, _peer) = transport.pair();
    let socket = open(&engine, descriptor);
    let (blocked, _) = block_sending(&socket);
    let (gate, barrier) = gate();
    socket.receive_async([0; 8], move |_| barrier.wait()).expect("receive_async");
    let theirs = Arc::clone(&socket);
    let closer = spawn("the close", move || theirs.close());
    gate.wait_for_arrival();

    within("the second close", move || socket.close());

    gate.open();
    closer.join();
    assert_eq!(blocked.only().result, SendResult::Abandoned);
}
