//! Long chains of callbacks that each start the next one, in constant stack.

use async_socket_linux::{AsyncSocket, ReceiveCompletion, ReceiveResult, SendCompletion, SendResult};
use integration_tests::call::{engine, open};
use integration_tests::{Inbox, LIMIT, Outbox, Socket, Task, Transport, inbox, spawn};
use rstest::rstest;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

const LINKS: usize = 100_000;

/// The most distance between the stacks of two callbacks on one thread: a few frames, not one for each link.
const STACK: usize = 32 * 1024;

struct Chain {
    socket: Arc<Socket>,
    left: AtomicUsize,
    /// Sends that did not end well.
    failed: AtomicUsize,
    /// The lowest and highest address of a local variable, by thread.
    stacks: Mutex<HashMap<ThreadId, (usize, usize)>>,
    done: Outbox<()>,
}

impl Chain {
    fn new(socket: &Arc<Socket>, links: usize) -> (Arc<Self>, Inbox<()>) {
        let (done, finished) = inbox();
        let chain = Self {
            socket: Arc::clone(socket),
            left: AtomicUsize::new(links),
            failed: AtomicUsize::new(0),
            stacks: Mutex::default(),
            done,
        };
        (Arc::new(chain), finished)
    }

    /// Whether there is another link. Sometimes records the position of the stack.
    fn link(&self) -> bool {
        let left = self.left.fetch_sub(1, Ordering::Relaxed);
        if left.is_multiple_of(32) {
            let local = 0_u8;
            let here = std::ptr::from_ref(&local).addr();
            let mut stacks = self.stacks.lock().expect("not poisoned");
            let (low, high) = stacks.entry(std::thread::current().id()).or_insert((here, here));
            *low = here.min(*low);
            *high = here.max(*high);
        }
        if left == 1 {
            self.done.put(());
        }
        left > 1
    }

    fn assert_constant_stack(&self) {
        for (low, high) in self.stacks.lock().expect("not poisoned").values() {
            assert!(high - low < STACK, "{} bytes of stack", high - low);
        }
    }
}

fn send_link(chain: &Arc<Chain>, buffer: [u8; 4]) {
    let next = Arc::clone(chain);
    let callback = move |completion: SendCompletion<_>| {
        assert_eq!(completion.result, SendResult::Ok);
        if next.link() {
            send_link(&next, completion.buffers);
        }
    };
    chain.socket.send_async(buffer, callback).expect("send_async");
}

fn receive_link(chain: &Arc<Chain>, buffer: [u8; 1]) {
    let next = Arc::clone(chain);
    let callback = move |completion: ReceiveCompletion<_>| {
        assert_eq!(completion.result, ReceiveResult::Ok);
        if next.link() {
            receive_link(&next, completion.buffers);
        }
    };
    chain.socket.receive_async(buffer, callback).expect("receive_async");
}

/// Reads `length` bytes and throws them away.
fn swallow(mut peer: integration_tests::Peer, length: usize) -> Task<()> {
    spawn("read", move || {
        let mut chunk = vec![0; 1 << 20];
        let mut left = length;
        while left > 0 {
            let read = peer.read(&mut chunk).expect("the peer reads");
            assert_ne!(read, 0);
            left -= read;
        }
    })
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_061
#[rstest]
fn a_hundred_thousand_sends_each_from_the_last_ones_callback(
    // On TCP each send is a packet of its own.
    #[values((Transport::TcpV4, LINKS / 10), (Transport::Unix, LINKS))] case: (Transport, usize),
) {
    let (transport, links) = case;
    let (descriptor, peer) = transport.pair();
    let socket = open(&engine(1), descriptor);
    let (chain, finished) = Chain::new(&socket, links);
    let reading = swallow(peer, links * 4);

    send_link(&chain, [1, 2, 3, 4]);

    finished.next();
    reading.join_within(LIMIT);
    chain.assert_constant_stack();
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_092
#[rstest]
fn a_hundred_thousand_receives_each_from_the_last_ones_callback(
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
) {
    let (descriptor, mut peer) = transport.pair();
    let socket = open(&engine(1), descriptor);
    let (chain, finished) = Chain::new(&socket, LINKS);
    let writing = spawn("write", move || {
        for _ in 0..LINKS / 10_000 {
            peer.write_all(&[7; 10_000]).expect("the peer writes");
        }
        peer
    });

    receive_link(&chain, [0]);

    finished.next();
    writing.join();
    chain.assert_constant_stack();
}

// The chains start on threads of their own, and on the stack of an open callback.
#[test]
fn chains_that_start_inside_open_and_send_callbacks_use_no_more_stack_than_others() {
    let (descriptor, peer) = Transport::Unix.pair();
    let socket = Arc::new(Socket::create(Some(&engine(1)), descriptor).unwrap());
    let (chain, finished) = Chain::new(&socket, LINKS / 10);
    let reading = swallow(peer, 4 * 4 * (LINKS / 10));
    let chains = [0; 3].map(|_| Chain::new(&socket, LINKS / 10));

    let inner = Arc::clone(&chain);
    socket.open_async(move |_| send_link(&inner, [0; 4])).unwrap();
    for (chain, _) in &chains {
        let (starter, chain) = (Arc::clone(&socket), Arc::clone(chain));
        let callback = move |_| {
            if chain.link() {
                send_link(&chain, [0; 4]);
            }
        };
        spawn("start", move || starter.send_async([9; 4], callback).expect("send_async")).join();
    }

    finished.next();
    chain.assert_constant_stack();
    for (chain, finished) in chains {
        finished.next();
        chain.assert_constant_stack();
    }
    reading.join();
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_061
#[test]
fn ten_thousand_messages_go_back_and_forth_between_two_sockets_of_ours() {
    let engine = engine(1);
    let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
    let (one, other) = (open(&engine, one.into()), open(&engine, other.into()));
    let (chain, finished) = Chain::new(&one, LINKS / 10);
    ping(Arc::clone(&chain), &one, &other);
    finished.next();
    assert_eq!(chain.failed.load(Ordering::Relaxed), 0);
    chain.assert_constant_stack();
}

/// `from` sends to `to`, whose receive callback sends back.
fn ping(chain: Arc<Chain>, from: &Arc<Socket>, to: &Arc<Socket>) {
    let (next_from, next_to) = (Arc::clone(to), Arc::clone(from));
    let sender = Arc::clone(&chain);
    let callback = move |completion: ReceiveCompletion<[u8; 8]>| {
        assert_eq!((completion.result, completion.bytes_received), (ReceiveResult::Ok, 8));
        if chain.link() {
            ping(chain, &next_from, &next_to);
        }
    };
    to.receive_async([0; 8], callback).expect("receive_async");
    let sent = move |completion: SendCompletion<_>| {
        if completion.result != SendResult::Ok {
            sender.failed.fetch_add(1, Ordering::Relaxed);
        }
    };
    from.send_async([5; 8], sent).expect("send_async");
}
