//! Values lent to real sockets: large arrays on small stacks, buffers that panic, and buffers whose length changes.
#![allow(clippy::unwrap_used, reason = "a panic is the test's failure, in helpers too")]

use async_socket_linux::{
    AsyncSocket, IoBuf, ReceiveCompletion, ReceiveResult, SendCompletion, SendError, SendResult, SocketState,
};
use integration_tests::call::{engine, open, try_send};
use integration_tests::wire::pattern;
use integration_tests::{Inbox, NeverCalled, Peer, Socket, Transport, inbox, send_now};
use rstest::rstest;
use std::io::{ErrorKind, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

// ---- large arrays

/// The default stack of a thread in Rust.
const STACK: usize = 2 << 20;

/// The largest array that can be lent there. Without optimisation a value is copied at every step, also in the test
/// itself.
const LENT: usize = if cfg!(debug_assertions) { 128 << 10 } else { 1 << 20 };

/// The largest array if the caller keeps the refusal, because the array is then on the stack more often.
const KEPT: usize = LENT / 2;

type How = fn(&Arc<Socket>, &mut Peer);

/// Runs on a stack of 2 MiB, with a socket and its peer.
fn on_a_small_stack(how: How) {
    let engine = engine(1);
    let (descriptor, mut peer) = Transport::Unix.pair();
    let socket = open(&engine, descriptor);
    let (done, ended) = inbox();
    let thread = thread::Builder::new().stack_size(STACK).spawn(move || {
        how(&socket, &mut peer);
        done.put(());
    });
    ended.next();
    thread.unwrap().join().unwrap();
}

/// Makes an array in place. A function that returned it would need room for it twice.
macro_rules! array {
    ($length:expr) => {{
        let mut array = [0_u8; $length];
        for (index, byte) in array.iter_mut().enumerate() {
            *byte = (index % 251) as u8;
        }
        array
    }};
}

/// Adds up an array in a callback without a copy.
fn sum<const N: usize>(array: &[u8; N]) -> u64 {
    array.iter().map(|byte| u64::from(*byte)).sum()
}

fn expected<const N: usize>() -> u64 {
    (0..N).map(|index| (index % 251) as u64).sum()
}

type Sent = (SendResult, u32, u64);
type Received = (ReceiveResult, u32, u64);

#[inline(never)]
fn lend_to_send<const N: usize>(socket: &Socket) -> Inbox<Sent> {
    let (done, ended) = inbox();
    let on_sent = move |sent: SendCompletion<[u8; N]>| done.put((sent.result, sent.bytes_sent, sum(&sent.buffers)));
    socket.send_async(array!(N), on_sent).map_err(|refused| refused.error).unwrap();
    ended
}

#[inline(never)]
fn lend_to_receive<const N: usize>(socket: &Socket) -> Inbox<Received> {
    let (done, ended) = inbox();
    let on_received = move |received: ReceiveCompletion<[u8; N]>| {
        done.put((received.result, received.bytes_received, sum(&received.buffers)));
    };
    socket.receive_async(array!(N), on_received).map_err(|refused| refused.error).unwrap();
    ended
}

fn sends<const N: usize>(socket: &Arc<Socket>, peer: &mut Peer) {
    let (first, second) = (lend_to_send::<N>(socket), lend_to_send::<N>(socket));
    let bytes = peer.read_bytes(2 * N);
    assert_eq!(bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>(), 2 * expected::<N>());
    for sent in [first, second] {
        assert_eq!(sent.only(), (SendResult::Ok, N as u32, expected::<N>()));
    }
}

fn receives<const N: usize>(socket: &Arc<Socket>, peer: &mut Peer) {
    let (first, second) = (lend_to_receive::<N>(socket), lend_to_receive::<N>(socket));
    for received in [first, second] {
        // Replaces the first byte, which is 0.
        peer.write_all(&[1]).unwrap();
        assert_eq!(received.only(), (ReceiveResult::Ok, 1, expected::<N>() + 1));
    }
}

fn abandons<const N: usize>(socket: &Arc<Socket>, _: &mut Peer) {
    let receive = lend_to_receive::<N>(socket);
    // The large send is blocked, so the one behind it waits.
    let (large, sent) = (socket.send_async(vec![1; 8 << 20], |_| {}), lend_to_send::<N>(socket));
    large.map_err(|refused| refused.error).unwrap();

    socket.close();

    assert_eq!(receive.only(), (ReceiveResult::Abandoned, 0, expected::<N>()));
    assert_eq!(sent.only(), (SendResult::Abandoned, 0, expected::<N>()));
}

/// Echoes in the callback, on the port's thread.
fn echoes<const N: usize>(socket: &Arc<Socket>, peer: &mut Peer) {
    let (done, ended) = inbox();
    let echoing = Arc::clone(socket);
    lend_and_echo::<N>(socket, move |received| {
        let (done, again) = (done.clone(), received.buffers);
        let on_sent = move |sent: SendCompletion<[u8; N]>| done.put((sent.result, sent.bytes_sent));
        echoing.send_async(again, on_sent).map_err(|refused| refused.error).unwrap();
    });
    peer.write_all(&[1]).unwrap();
    assert_eq!(peer.read_bytes(N)[..3], [1, 1, 2]);
    assert_eq!(ended.next(), (SendResult::Ok, N as u32));
}

#[inline(never)]
fn lend_and_echo<const N: usize>(socket: &Socket, echo: impl FnOnce(ReceiveCompletion<[u8; N]>) + Send + 'static) {
    socket.receive_async(array!(N), echo).map_err(|refused| refused.error).unwrap();
}

fn refuses<const N: usize>(socket: &Arc<Socket>, _: &mut Peer) {
    socket.close();
    keep_the_refusal_of_a_send::<N>(socket);
    keep_the_refusal_of_a_receive::<N>(socket);
}

#[inline(never)]
fn keep_the_refusal_of_a_send<const N: usize>(socket: &Socket) {
    let never = NeverCalled::default();
    let refused = socket.send_async(array!(N), never.callback()).unwrap_err();
    assert_eq!(refused.error, SendError::NotOpen { state: SocketState::Closed });
    assert_eq!(sum(&refused.returned), expected::<N>());
}

#[inline(never)]
fn keep_the_refusal_of_a_receive<const N: usize>(socket: &Socket) {
    let never = NeverCalled::default();
    let refused = socket.receive_async(array!(N), never.callback()).unwrap_err();
    assert_eq!(sum(&refused.returned), expected::<N>());
}

// Tests_SRS_SOCKET_01_020, Tests_SRS_SOCKET_01_021
#[rstest]
#[case::sent(sends::<LENT>)]
#[case::received(receives::<LENT>)]
#[case::abandoned(abandons::<LENT>)]
fn an_array_of_a_mebibyte_can_be_lent_on_a_stack_of_two(#[case] how: How) {
    on_a_small_stack(how);
}

// Tests_SRS_SOCKET_01_020
#[test]
fn an_array_of_more_than_16_kib_is_left_to_the_ports_thread_and_a_smaller_one_is_not() {
    let (descriptor, mut peer) = Transport::Unix.pair();
    let socket = open(&engine(1), descriptor);
    let ((done, small), (report, large)) = (inbox(), inbox());
    let here = thread::current().id();

    let sent = socket.send_async([1_u8; 16 << 10], move |_| done.put(thread::current().id()));
    sent.map_err(|refused| refused.error).unwrap();
    let sent = socket.send_async([2_u8; (16 << 10) + 1], move |_| report.put(thread::current().id()));
    sent.map_err(|refused| refused.error).unwrap();

    assert_eq!(small.only(), here);
    assert_ne!(large.only(), here);
    let bytes = peer.read_bytes((32 << 10) + 1);
    assert!(bytes[..16 << 10].iter().all(|byte| *byte == 1) && bytes[16 << 10..].iter().all(|byte| *byte == 2));
}

// Tests_SRS_SOCKET_01_021
#[rstest]
#[case::refused(refuses::<KEPT>)]
#[case::echoed(echoes::<KEPT>)]
fn an_array_of_half_a_mebibyte_can_also_be_kept_from_a_refusal_or_lent_on_in_a_callback(#[case] how: How) {
    on_a_small_stack(how);
}

// Tests_SRS_SOCKET_01_022
#[test]
fn a_boxed_array_of_any_size_can_be_lent_on_a_small_stack() {
    fn lends(socket: &Arc<Socket>, peer: &mut Peer) {
        const LENGTH: usize = 16 << 20;
        let array = || <Box<[u8; LENGTH]>>::try_from(pattern(0, LENGTH)).unwrap();
        let (done, ended) = inbox();
        socket.send_async(array(), move |sent| done.put((sent.result, sent.buffers.len()))).unwrap();
        peer.read_pattern(LENGTH);
        assert_eq!(ended.only(), (SendResult::Ok, LENGTH));
        let (done, ended) = inbox();
        socket.receive_async(array(), move |received| done.put(received.bytes_received)).unwrap();
        peer.write_all(b"x").unwrap();
        assert_eq!(ended.only(), 1);
    }
    on_a_small_stack(lends);
}

// ---- buffers that panic or change

/// 8 MiB of `A`. Each time it is asked, it shows as many bytes as `length` says.
struct Fickle {
    bytes: Vec<u8>,
    asked: AtomicUsize,
    length: fn(usize) -> usize,
}

impl Fickle {
    const LENGTH: usize = 8 << 20;

    fn new(length: fn(usize) -> usize) -> Self {
        Self { bytes: vec![b'A'; 2 * Self::LENGTH], asked: AtomicUsize::new(0), length }
    }
}

impl IoBuf for Fickle {
    fn as_slice(&self) -> &[u8] {
        &self.bytes[..(self.length)(self.asked.fetch_add(1, Ordering::Relaxed))]
    }
}

fn panics_after(asked: usize, times: usize) -> usize {
    assert!(asked < times, "the buffer's mistake");
    Fickle::LENGTH
}

/// The number of bytes that the peer gets until none comes for 300 ms. All of them must be `A`.
fn fragment(peer: &mut Peer) -> usize {
    socket2::SockRef::from(&*peer).set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let (mut total, mut chunk) = (0, vec![0; 64 << 10]);
    loop {
        match peer.read(&mut chunk) {
            Ok(0) => return total,
            Ok(length) => {
                assert!(chunk[..length].iter().all(|byte| *byte == b'A'), "something follows the fragment");
                total += length;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                return total;
            }
        }
    }
}

// Tests_SRS_SOCKET_01_043, Tests_SRS_ASYNC_SOCKET_LINUX_11_052
#[rstest]
#[case::in_the_step_to_the_rest(|asked| panics_after(asked, 2))]
#[case::in_the_second_call(|asked| panics_after(asked, 3))]
#[case::on_the_ports_thread(|asked| panics_after(asked, 4))]
#[case::later_on_the_ports_thread(|asked| panics_after(asked, 9))]
fn nothing_follows_the_fragment_of_a_send_whose_buffer_panicked(
    #[case] length: fn(usize) -> usize,
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
) {
    let (descriptor, mut peer) = transport.pair();
    let socket = open(&engine(1), descriptor);
    let (done, ended) = inbox();

    let sent = catch_unwind(AssertUnwindSafe(|| {
        socket
            .send_async(Fickle::new(length), move |sent| done.put((sent.result, sent.bytes_sent)))
            .map_err(|refused| refused.error)
    }));
    let gone = fragment(&mut peer);

    assert!(0 < gone && gone < Fickle::LENGTH, "{gone}");
    match sent {
        Ok(accepted) => {
            accepted.unwrap();
            assert_eq!(ended.only(), (SendResult::Error, gone as u32));
        }
        Err(_) => ended.assert_dead(),
    }
    assert_eq!(try_send(&socket, "next message").unwrap_err().error, SendError::StreamBroken);
    assert_eq!(fragment(&mut peer), 0);
}

// Tests_SRS_SOCKET_01_040, Tests_SRS_SOCKET_01_041
#[rstest]
#[case::shrinks(|asked| Fickle::LENGTH - usize::from(asked > 2))]
#[case::shrinks_to_nothing(|asked| if asked > 2 { 0 } else { Fickle::LENGTH })]
#[case::grows(|asked| Fickle::LENGTH + asked)]
#[case::never_twice_the_same(|asked| if asked % 2 == 0 { Fickle::LENGTH } else { 0 })]
#[case::shrinks_on_the_ports_thread(|asked| if asked > 4 { 1 } else { Fickle::LENGTH })]
fn a_send_whose_buffer_changes_its_length_ends_in_an_error_and_nothing_follows(
    #[case] length: fn(usize) -> usize,
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
) {
    let (descriptor, mut peer) = transport.pair();
    let socket = open(&engine(1), descriptor);
    let (done, ended) = inbox();

    let sent = socket
        .send_async(Fickle::new(length), move |sent| done.put((sent.result, sent.bytes_sent)))
        .map_err(|refused| refused.error);
    let gone = fragment(&mut peer);

    assert!(gone < Fickle::LENGTH, "{gone}");
    match sent {
        Ok(_) => assert_eq!(ended.only(), (SendResult::Error, gone as u32)),
        Err(error) => assert_eq!(error, SendError::BuffersChanged { bytes_sent: gone as u32 }),
    }
    if gone > 0 {
        assert_eq!(try_send(&socket, "next message").unwrap_err().error, SendError::StreamBroken);
        assert_eq!(fragment(&mut peer), 0);
    } else {
        send_now(&socket, "next message");
        assert_eq!(peer.read_bytes(12), b"next message");
    }
}

// Tests_SRS_SOCKET_01_041
#[test]
fn a_list_with_a_buffer_that_changes_its_length_is_refused_and_another_list_is_sent() {
    let (descriptor, mut peer) = Transport::Unix.pair();
    let socket = open(&engine(1), descriptor);
    let list = vec![Fickle::new(|_| 8), Fickle::new(|asked| 8 - asked.min(1))];

    let refused = try_send(&socket, list).map(drop).map_err(|refused| refused.error);

    assert_eq!(refused, Err(SendError::BuffersChanged { bytes_sent: 0 }));
    send_now(&socket, vec!["next ", "message"]);
    assert_eq!(peer.read_bytes(12), b"next message");
}
