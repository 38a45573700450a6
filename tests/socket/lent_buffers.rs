//! Slices of lent buffers on real sockets, the received part of a completion, and refusals as errors.

use async_socket_linux::{
    AsyncSocket, AsyncSocketLinux, BufferPool, IoBuf, OpenError, PayloadError, ReceiveError, ReceiveResult, Refused,
    SendError, SendResult, Slice,
};
use completion_port::Direction;
use integration_tests::call::{block_sending, engine, try_send};
use integration_tests::wire::pattern;
use integration_tests::{Socket, Transport, inbox, open, port, receive, send, send_now};
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Answers each receive with the received bytes, in the same memory.
fn echo(socket: &Arc<Socket>, buffer: Vec<u8>) {
    let next = Arc::clone(socket);
    let _ = socket.receive_async(buffer, move |received| {
        if received.result == ReceiveResult::Ok {
            let (socket, address) = (Arc::clone(&next), received.buffers.as_ptr().addr());
            let _ = socket.send_async(received.into_slice(), move |sent| {
                assert_eq!(sent.buffers.buffer().as_ptr().addr(), address, "the payload was copied");
                if sent.result == SendResult::Ok {
                    echo(&next, sent.buffers.into_inner());
                }
            });
        }
    });
}

// Tests_SRS_LENT_BUFFERS_01_001, Tests_SRS_LENT_BUFFERS_01_004, Tests_SRS_LENT_BUFFERS_01_007
#[test]
fn an_echo_answers_with_just_the_received_bytes_from_the_same_memory() {
    let engine = engine(1);
    let (descriptor, mut peer) = Transport::TcpV4.pair();
    let socket = open(&engine, descriptor);
    echo(&socket, vec![b'!'; 1024]);

    let mut all = Vec::new();
    for length in [5, 1, 1024, 3, 700] {
        let message = pattern(length, length);
        peer.write_all(&message).unwrap();
        let mut answer = vec![0; length];
        peer.read_exact(&mut answer).unwrap();
        assert_eq!(answer, message);
        all.extend(answer);
    }

    // Nothing else comes: neither the rest of the buffer nor bytes that an earlier message left there.
    peer.finish();
    socket.close();
    assert_eq!(peer.read(&mut [0; 64]).unwrap(), 0);
    assert_eq!(all.len(), 1733);
}

// Tests_SRS_LENT_BUFFERS_01_001, Tests_SRS_LENT_BUFFERS_01_003, Tests_SRS_LENT_BUFFERS_01_004
// Tests_SRS_LENT_BUFFERS_01_007
#[test]
fn a_receive_into_a_slice_fills_only_its_range() {
    let engine = engine(1);
    let (descriptor, mut peer) = Transport::Unix.pair();
    let socket = open(&engine, descriptor);
    let middle = b"[........]".to_vec().slice(1..9).unwrap().slice(2..5).unwrap();
    let receiving = receive(&socket, middle);

    peer.write_all(b"abcde").unwrap();

    let completion = receiving.only();
    assert_eq!((completion.bytes_received, completion.received()), (3, b"abc".as_slice()));
    assert_eq!(completion.buffers.into_inner(), b"[..abc...]");
    assert_eq!(receive(&socket, vec![0; 9]).only().into_received(), b"de");
}

// Tests_SRS_LENT_BUFFERS_01_001, Tests_SRS_LENT_BUFFERS_01_008
#[test]
fn a_slice_that_the_kernel_takes_in_parts_is_sent_whole_and_alone() {
    let engine = engine(1);
    let (descriptor, mut peer) = Transport::Unix.narrow_pair();
    let socket = open(&engine, descriptor);
    let (blocked, ahead) = block_sending(&socket);
    let bytes = pattern(7, 3_000_000);
    let sending = send(&socket, bytes.clone().slice(1_000..2_000_000).unwrap());
    let last = send(&socket, "end");

    let mut arrived = vec![0; ahead + 1_999_000 + 3];
    peer.read_exact(&mut arrived).unwrap();

    assert_eq!(blocked.only().result, SendResult::Ok);
    assert!(arrived[ahead..ahead + 1_999_000] == bytes[1_000..2_000_000], "other bytes than those of the slice");
    assert_eq!(&arrived[ahead + 1_999_000..], b"end");
    assert_eq!(last.only().result, SendResult::Ok);
    let sent = sending.only();
    assert_eq!((sent.bytes_sent, sent.io_result().unwrap()), (1_999_000, 1_999_000));
    assert_eq!(sent.buffers.into_inner().len(), 3_000_000);
}

// Tests_SRS_LENT_BUFFERS_01_002, Tests_SRS_LENT_BUFFERS_01_005, Tests_SRS_LENT_BUFFERS_01_006
#[test]
fn a_range_beyond_the_buffer_and_an_empty_one_are_refused_and_nothing_is_sent() {
    let engine = engine(1);
    let (descriptor, mut peer) = Transport::Unix.pair();
    let socket = open(&engine, descriptor);

    let refused = b"secret".to_vec().slice(2..7).unwrap_err();
    assert_eq!(refused.to_string(), "the range 2..7 is not within a buffer of 6 bytes");
    let empty = refused.returned.slice(6..).unwrap();
    let refused = try_send(&socket, empty).map(drop).unwrap_err();
    assert_eq!(refused.error, SendError::Payload(PayloadError::EmptyBuffer { index: 0 }));
    assert!(!format!("{refused:?} {:?}", refused.returned).contains("secret"));
    let list = vec![refused.returned.into_inner().slice(..1).unwrap(), Vec::new().slice(..).unwrap()];
    let refused = socket.receive_async(list, |_| {}).unwrap_err();
    assert_eq!(refused.error, ReceiveError::Payload(PayloadError::EmptyBuffer { index: 1 }));

    send_now(&socket, "end");
    socket.close();
    let mut arrived = Vec::new();
    peer.read_to_end(&mut arrived).unwrap();
    assert_eq!(arrived, b"end");
}

// Tests_SRS_LENT_BUFFERS_01_007
#[test]
fn what_a_list_received_is_shown_per_buffer() {
    let engine = engine(1);
    let (descriptor, mut peer) = Transport::TcpV4.pair();
    let socket = open(&engine, descriptor);
    peer.write_all(b"headbo").unwrap();

    let completion = receive(&socket, vec![vec![0; 4], vec![0; 4], vec![0; 4]]).only();

    assert_eq!(completion.received_slices().collect::<Vec<_>>(), [b"head".as_slice(), b"bo"]);
}

// Tests_SRS_LENT_BUFFERS_01_001, Tests_SRS_LENT_BUFFERS_01_008
#[test]
fn a_part_of_a_pooled_buffer_is_sent_and_the_buffer_goes_back_to_its_pool() {
    let engine = engine(1);
    let (descriptor, mut peer) = Transport::Unix.pair();
    let socket = open(&engine, descriptor);
    let pool = BufferPool::new(64, 1).unwrap();
    let (done, received) = inbox();
    socket.receive_pooled_async(&pool, move |completion| done.put(completion)).unwrap();
    peer.write_all(b"key=value").unwrap();
    let completion = received.only();
    assert_eq!(completion.io_result().unwrap(), 9);

    send_now(&socket, completion.buffer.unwrap().slice(4..9).unwrap());

    let mut answer = [0; 5];
    peer.read_exact(&mut answer).unwrap();
    assert_eq!((&answer, pool.buffers_free()), (b"value", 1));
    let (done, ended) = inbox();
    socket.receive_pooled_async(&pool, move |completion| done.put(completion)).unwrap();
    peer.finish();
    assert_eq!(ended.only().io_result().unwrap(), 0);
}

// Tests_SRS_LENT_BUFFERS_01_008
#[test]
fn the_end_of_the_stream_is_ok_with_0_and_a_reset_is_the_kernels_error() {
    let engine = engine(1);
    let (descriptor, mut peer) = Transport::TcpV4.pair();
    let socket = open(&engine, descriptor);
    peer.write_all(b"last").unwrap();
    assert_eq!(receive(&socket, vec![0; 9]).only().io_result().unwrap(), 4);
    peer.finish();
    let (result, buffers) = receive(&socket, vec![0; 9]).only().into_io_result();
    assert_eq!((result.unwrap(), buffers.len()), (0, 9));

    let (descriptor, peer) = Transport::TcpV4.pair();
    let socket = open(&engine, descriptor);
    let receiving = receive(&socket, vec![0; 9]);
    peer.reset();
    let error = receiving.only().io_result().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(error.raw_os_error().is_some());
}

fn passed_on(socket: &Socket) -> Result<(), Box<dyn Error + Send + Sync>> {
    socket.send_async(vec![1, 2, 3], |_| {})?;
    Ok(())
}

fn as_io(socket: &Socket) -> io::Result<()> {
    socket.send_async(vec![1, 2, 3], |_| {})?;
    Ok(())
}

// Tests_SRS_LENT_BUFFERS_01_009, Tests_SRS_LENT_BUFFERS_01_010
#[test]
fn a_refusal_of_a_socket_is_passed_on_and_becomes_an_io_error() {
    let engine = engine(1);
    let (descriptor, peer) = Transport::Unix.pair();
    let socket = open(&engine, descriptor);
    drop(peer);

    let error = passed_on(&socket).unwrap_err();
    let refusal = error.downcast::<Refused<Vec<u8>, SendError>>().unwrap();
    assert_eq!((refusal.returned.as_slice(), refusal.to_string()), (&[1, 2, 3][..], refusal.error.to_string()));
    assert_eq!(as_io(&socket).unwrap_err().raw_os_error(), Some(nix::libc::EPIPE));

    socket.close();
    assert_eq!(as_io(&socket).unwrap_err().kind(), ErrorKind::NotConnected);
    let open_again: io::Error = socket.open_async(|_| {}).map_err(|error: OpenError| error.into()).unwrap_err();
    assert_eq!(open_again.kind(), ErrorKind::NotConnected);
    let no_socket = Socket::create(Some(&engine), std::fs::File::open("/dev/null").unwrap().into()).unwrap();
    let error = io::Error::from(no_socket.open_async(|_| {}).unwrap_err());
    assert_eq!(error.raw_os_error(), Some(nix::libc::ENOTSOCK));
}

// Tests_SRS_LENT_BUFFERS_01_010
#[test]
fn a_refusal_says_why_and_names_the_error_of_the_kernel_as_its_source() {
    let no_socket = std::fs::File::open("/dev/null").unwrap();
    let refused = AsyncSocketLinux::open(&engine(1), no_socket).unwrap_err();
    let source = refused.source().and_then(|source| source.downcast_ref::<io::Error>()).expect("the kernel's error");
    assert_eq!(source.raw_os_error(), Some(nix::libc::ENOTSOCK));

    let (registration, _peer) = port::socket(&port::port().1);
    registration.remove();
    let refused = registration.add(Direction::In, port::reads(1)).unwrap_err();
    assert_eq!(refused.to_string(), "no descriptor is registered");
    assert_eq!(io::Error::from(refused).kind(), ErrorKind::NotConnected);
}

/// Eight bytes when it is checked, and seven from then on.
struct Shrinks(AtomicUsize);

impl IoBuf for Shrinks {
    fn as_slice(&self) -> &[u8] {
        &[0; 8][self.0.fetch_add(1, Ordering::Relaxed).min(1)..]
    }
}

// Tests_SRS_LENT_BUFFERS_01_009
#[test]
fn an_error_without_an_errno_has_a_fitting_kind_and_its_own_message() {
    fn check<E: Error + Into<io::Error>>(error: E, expected: ErrorKind) {
        let message = error.to_string();
        let converted = error.into();
        assert_eq!((converted.kind(), converted.to_string()), (expected, message));
    }
    let engine = engine(1);
    let (descriptor, _peer) = Transport::Unix.narrow_pair();
    let socket = open(&engine, descriptor);

    check(socket.open_async(|_| {}).unwrap_err(), ErrorKind::InvalidInput);
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let datagrams = Socket::create(Some(&engine), datagrams.into()).unwrap();
    check(datagrams.open_async(|_| {}).unwrap_err(), ErrorKind::Unsupported);
    check(b"four".to_vec().slice(..5).unwrap_err().error, ErrorKind::InvalidInput);
    let send = |socket: &Socket| socket.send_async("more", |_| {}).unwrap_err().error;
    let changed = socket.send_async(Shrinks(AtomicUsize::new(0)), |_| {}).map_err(|refused| refused.error);
    check(changed.unwrap_err(), ErrorKind::InvalidInput);
    let _blocked = block_sending(&socket);
    socket.set_high_water_mark(Some(1)).unwrap();
    check(send(&socket), ErrorKind::WouldBlock);
    let _ends = socket.shutdown_async(drop).unwrap();
    check(send(&socket), ErrorKind::BrokenPipe);
    socket.close();
    check(send(&socket), ErrorKind::NotConnected);
    check(socket.receive_async([0; 1], drop).unwrap_err().error, ErrorKind::NotConnected);
}

/// The type of a circle of receives and sends does not grow.
#[test]
fn a_slice_of_a_slice_in_generic_code_is_a_buffer_too() {
    fn first_byte<B: IoBuf>(buffer: B) -> Slice<B> {
        buffer.slice(..1).map_err(|refused| refused.error).unwrap()
    }

    let nested = first_byte(first_byte(b"abc".to_vec()));

    assert_eq!(&*nested, b"a");
    assert_eq!(nested.into_inner().into_inner(), b"abc");
}
