//! Streams on a mock port, so that the test says when events come, and real sockets behind them.

use crate::{Wakes, poll_once, unix};
use async_socket_futures::Stream;
use completion_port::Readiness;
use std::future::Future;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use test_doubles::{MockPort, PortCall};

fn tcp() -> (MockPort, Stream<MockPort>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
    let theirs = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    let (ours, _) = listener.accept().expect("somebody connects");
    let port = MockPort::new();
    let stream = Stream::on(&port, ours).expect("the mock accepts every descriptor");
    (port, stream, theirs)
}

fn read(stream: &Stream<MockPort>, buffer: &mut [u8], waker: &Waker) -> Poll<std::io::Result<usize>> {
    stream.poll_read(&Context::from_waker(waker), buffer)
}

/// Waits until the kernel has the bytes.
fn arrived(stream: &Stream<MockPort>) {
    let mut one = [rustix::event::PollFd::new(stream, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut one, None).expect("a socket can be polled");
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_030
#[test]
fn a_read_waits_for_its_event_and_is_woken_once() {
    let (port, stream, mut peer) = unix();
    let (wakes, waker) = Wakes::new();
    let mut buffer = [0; 8];
    assert!(read(&stream, &mut buffer, &waker).is_pending());
    peer.write_all(b"abc").unwrap();
    assert!(read(&stream, &mut buffer, &waker).is_pending(), "nothing was reported yet, so nothing is tried");

    port.deliver(Readiness::IN | Readiness::OUT);

    assert_eq!(wakes.taken(), 1);
    assert!(matches!(read(&stream, &mut buffer, &waker), Poll::Ready(Ok(3))));
    assert!(read(&stream, &mut buffer, &waker).is_pending(), "EAGAIN");
    port.deliver(Readiness::OUT);
    assert_eq!(wakes.taken(), 0, "not for the other direction");
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_030
#[test]
fn the_task_that_polled_last_is_woken() {
    let (port, stream, _peer) = unix();
    let ((first, one), (second, other)) = (Wakes::new(), Wakes::new());
    assert!(read(&stream, &mut [0; 8], &one).is_pending());
    assert!(read(&stream, &mut [0; 8], &other).is_pending());

    port.deliver(Readiness::IN);

    assert_eq!((first.taken(), second.taken()), (0, 1));
}

/// A task that runs inside its wake-up, as those of a port do. First another task polls, and then this one.
struct RunsAtOnce {
    stream: Arc<Stream<MockPort>>,
    other: Waker,
    runs: AtomicUsize,
}

impl Wake for RunsAtOnce {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.runs.fetch_add(1, Ordering::SeqCst);
        assert!(read(&self.stream, &mut [0; 8], &self.other).is_pending());
        assert!(read(&self.stream, &mut [0; 8], &Waker::from(Arc::clone(self))).is_pending());
    }
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_013, Tests_SRS_ASYNC_SOCKET_FUTURES_01_030
#[test]
fn a_task_that_waits_again_inside_its_wake_up_is_woken_by_the_next_event() {
    let (port, stream, _peer) = unix();
    let stream = Arc::new(stream);
    let (wakes, other) = Wakes::new();
    let task = Arc::new(RunsAtOnce { stream: Arc::clone(&stream), other, runs: AtomicUsize::new(0) });
    assert!(read(&stream, &mut [0; 8], &Waker::from(Arc::clone(&task))).is_pending());
    for run in 1..=3 {
        port.deliver(Readiness::IN);
        assert_eq!(task.runs.load(Ordering::SeqCst), run);
    }
    assert_eq!(wakes.taken(), 0, "the other one has polled before");
    assert!(read(&stream, &mut [0; 8], &task.other).is_pending());
    port.deliver(Readiness::IN);
    assert_eq!((task.runs.load(Ordering::SeqCst), wakes.taken()), (3, 1), "the other one has polled last");
    drop(Arc::into_inner(task));
}

struct PanicsOnce(AtomicUsize);

impl Wake for PanicsOnce {
    fn wake(self: Arc<Self>) {
        assert!(self.0.fetch_add(1, Ordering::SeqCst) > 0, "on purpose");
    }
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_030
#[test]
fn a_waker_that_panics_loses_no_later_wake_up() {
    let (port, stream, _peer) = unix();
    let panics = Arc::new(PanicsOnce(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&panics));
    assert!(read(&stream, &mut [0; 8], &waker).is_pending());
    let delivered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| port.deliver(Readiness::IN)));
    assert!(delivered.is_err());
    assert!(read(&stream, &mut [0; 8], &waker).is_pending());
    port.deliver(Readiness::IN);
    assert_eq!(panics.0.load(Ordering::SeqCst), 2);
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_031
#[test]
fn a_read_that_is_dropped_at_any_point_loses_no_byte() {
    for dropped_after in ["creation", "a poll", "the bytes", "the event", "the wake-up"] {
        let (port, stream, mut peer) = unix();
        let (_, waker) = Wakes::new();
        let mut buffer = [0; 8];
        {
            let mut reading = stream.read(&mut buffer);
            if dropped_after != "creation" {
                assert!(poll_once(&mut reading, &waker).is_pending());
            }
            if ["the bytes", "the event", "the wake-up"].contains(&dropped_after) {
                peer.write_all(b"abc").unwrap();
            }
            if ["the event", "the wake-up"].contains(&dropped_after) {
                port.deliver(Readiness::IN);
            }
        }
        if ["creation", "a poll"].contains(&dropped_after) {
            peer.write_all(b"abc").unwrap();
        }
        port.deliver(Readiness::IN);
        let mut reading = stream.read(&mut buffer);
        assert!(matches!(poll_once(&mut reading, &waker), Poll::Ready(Ok(3))), "dropped after {dropped_after}");
        assert_eq!(&buffer[..3], b"abc");
    }
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_030
#[test]
fn after_a_short_read_of_tcp_the_next_one_waits_without_a_try() {
    let (port, stream, mut peer) = tcp();
    let (wakes, waker) = Wakes::new();
    let mut buffer = [0; 8];
    peer.write_all(b"abc").unwrap();
    arrived(&stream);
    port.deliver(Readiness::IN);
    assert!(matches!(read(&stream, &mut buffer, &waker), Poll::Ready(Ok(3))));

    peer.write_all(b"defg").unwrap();
    arrived(&stream);
    assert!(read(&stream, &mut buffer, &waker).is_pending(), "its event comes");
    port.deliver(Readiness::IN);

    assert_eq!(wakes.taken(), 1);
    assert!(matches!(read(&stream, &mut buffer, &waker), Poll::Ready(Ok(4))));
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_030
#[test]
fn an_event_during_the_read_is_not_lost() {
    let (port, stream, mut peer) = tcp();
    let (_, waker) = Wakes::new();
    let mut buffer = [0; 8];
    peer.write_all(b"abc").unwrap();
    arrived(&stream);
    port.deliver(Readiness::IN);
    // The event of these bytes is reported together with the earlier one, before the short read.
    peer.write_all(b"defghijk").unwrap();
    port.deliver(Readiness::IN);
    let mut total = 0;
    while total < 11 {
        match read(&stream, &mut buffer, &waker) {
            Poll::Ready(count) => total += count.unwrap(),
            Poll::Pending => port.deliver(Readiness::IN),
        }
    }
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_030
#[test]
fn the_end_of_the_stream_is_found_after_the_bytes() {
    let (port, stream, mut peer) = tcp();
    let (_, waker) = Wakes::new();
    let mut buffer = [0; 8];
    peer.write_all(b"abc").unwrap();
    drop(peer);
    arrived(&stream);
    port.deliver(Readiness::IN | Readiness::READ_HANG_UP);

    assert!(matches!(read(&stream, &mut buffer, &waker), Poll::Ready(Ok(3))));
    assert!(matches!(read(&stream, &mut buffer, &waker), Poll::Ready(Ok(0))), "no further event comes");
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_030, Tests_SRS_ASYNC_SOCKET_FUTURES_01_035
#[test]
fn a_send_waits_for_room_and_says_what_it_has_sent() {
    let (port, stream, mut peer) = unix();
    let (wakes, waker) = Wakes::new();
    let bytes = vec![b'x'; 4 << 20];
    let mut sending = stream.send(bytes.clone());
    assert!(poll_once(&mut sending, &waker).is_pending());
    let before = sending.sent();
    assert!(before > 0 && before < bytes.len());

    let mut half = vec![0; before];
    peer.read_exact(&mut half).unwrap();
    port.deliver(Readiness::OUT);
    assert_eq!(wakes.taken(), 1);
    assert!(poll_once(&mut sending, &waker).is_pending());
    let (returned, sent) = sending.into_parts();

    assert_eq!(returned, Some(bytes));
    let mut rest = vec![0; sent - before];
    peer.read_exact(&mut rest).unwrap();
    peer.set_nonblocking(true).unwrap();
    assert_eq!(peer.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock, "exactly so many bytes went out");
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_035
#[test]
fn a_send_gives_its_buffer_back_when_all_is_sent() {
    let (_port, stream, mut peer) = unix();
    let (_, waker) = Wakes::new();
    let mut sending = stream.send(vec![1, 2, 3]);
    let Poll::Ready((sent, buffer)) = poll_once(&mut sending, &waker) else { panic!("there is room") };
    sent.unwrap();
    assert_eq!(buffer, [1, 2, 3]);
    let mut bytes = [0; 3];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, [1, 2, 3]);
}

#[test]
fn a_stream_is_three_words() {
    assert_eq!(size_of::<Stream>(), 3 * size_of::<usize>());
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_035
#[rstest::rstest]
#[case::no_buffer(&[])]
#[case::nothing_in_them(&[0, 0])]
#[case::one(&[3])]
#[case::as_many_as_are_copied_together(&[1, 0, 510, 1])]
#[case::one_more_than_that(&[1, 511, 1])]
fn several_buffers_go_out_in_one_write_and_in_order(#[case] lengths: &[usize]) {
    let (_port, stream, mut peer) = unix();
    let (_, waker) = Wakes::new();
    let buffers: Vec<Vec<u8>> = (b'a'..).zip(lengths).map(|(byte, &length)| vec![byte; length]).collect();
    let slices: Vec<IoSlice<'_>> = buffers.iter().map(|buffer| IoSlice::new(buffer)).collect();
    let written = stream.poll_write_vectored(&Context::from_waker(&waker), &slices);
    let Poll::Ready(Ok(count)) = written else { panic!("there is room: {written:?}") };
    assert_eq!(count, lengths.iter().sum::<usize>());
    drop(stream);
    let mut received = Vec::new();
    peer.read_to_end(&mut received).unwrap();
    assert_eq!(received, buffers.concat());
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_032
#[test]
fn a_stream_makes_its_descriptor_non_blocking_and_registers_it_once() {
    let (port, stream, _peer) = unix();
    assert!(rustix::fs::fcntl_getfl(&stream).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
    let fd = std::os::fd::AsRawFd::as_raw_fd(&stream.as_fd());
    assert_eq!(port.calls(), [PortCall::Attach(fd)]);
    let fd = stream.into_fd();
    assert_eq!(port.calls().len(), 2);
    assert!(matches!(port.calls()[1], PortCall::Detach(_)));
    drop(fd);
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_032
#[test]
fn a_refusal_of_the_port_is_passed_on() {
    let port = MockPort::new();
    port.fail_next_attach(28);
    let error = Stream::on(&port, UnixStream::pair().unwrap().0).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(28));
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_030
#[test]
fn taking_the_descriptor_back_wakes_what_waits() {
    let (_port, stream, _peer) = unix();
    let (wakes, waker) = Wakes::new();
    assert!(read(&stream, &mut [0; 1], &waker).is_pending());
    drop(stream.into_fd());
    assert_eq!(wakes.taken(), 1);
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_036
#[test]
fn a_failed_port_wakes_what_waits_and_nothing_waits_on_it_again() {
    let (port, stream, mut peer) = unix();
    let (wakes, waker) = Wakes::new();
    assert!(read(&stream, &mut [0; 8], &waker).is_pending());
    peer.write_all(b"abc").unwrap();

    port.fail();

    assert_eq!(wakes.taken(), 1);
    assert!(matches!(read(&stream, &mut [0; 8], &waker), Poll::Ready(Ok(3))));
    let refused = read(&stream, &mut [0; 8], &waker);
    let Poll::Ready(Err(error)) = refused else { panic!("no event comes any more: {refused:?}") };
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::BADF.raw_os_error()));
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_030
#[test]
fn an_error_of_the_descriptor_wakes_what_waits_which_may_wait_again() {
    let (port, stream, _peer) = unix();
    let (wakes, waker) = Wakes::new();
    assert!(read(&stream, &mut [0; 1], &waker).is_pending());
    port.deliver(Readiness::ERROR);
    assert_eq!(wakes.taken(), 1);
    assert!(read(&stream, &mut [0; 1], &waker).is_pending(), "there was nothing to read all the same");
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_037
#[test]
fn the_end_of_the_sending_half_leaves_the_other_half_alone() {
    let (port, stream, mut peer) = unix();
    let (_, waker) = Wakes::new();
    let mut context = Context::from_waker(&waker);
    let (mut reading, mut writing) = stream.into_split();
    let sent = futures_io::AsyncWrite::poll_write(Pin::new(&mut writing), &mut context, b"out");
    assert!(matches!(sent, Poll::Ready(Ok(3))));

    drop(writing);

    let mut bytes = Vec::new();
    peer.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"out");
    peer.write_all(b"in").unwrap();
    port.deliver(Readiness::IN);
    let read = futures_io::AsyncRead::poll_read(Pin::new(&mut reading), &mut context, &mut [0; 8]);
    assert!(matches!(read, Poll::Ready(Ok(2))));
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_037
#[test]
fn halves_that_are_put_together_end_nothing() {
    let (_port, stream, mut peer) = unix();
    let (reading, writing) = stream.into_split();
    let stream = reading.reunite(writing).expect("they belong together");
    peer.set_nonblocking(true).unwrap();
    assert_eq!(peer.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    let (reading, writing) = stream.into_split();
    let (_port, other, _peer) = unix();
    let (others, _) = other.into_split();
    assert!(others.reunite(writing).is_none());
    drop(reading);
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_034
#[test]
fn dropping_a_stream_that_lingers_on_a_port_thread_does_not_wait() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    socket2::SockRef::from(&ours).set_linger(Some(Duration::from_secs(10))).unwrap();
    let engine = async_socket_futures::Engine::builder().build().unwrap();
    let begin = Instant::now();
    let task = engine.spawn(async move {
        let stream = Stream::new(ours).unwrap();
        let mut sending = Box::pin(stream.send(vec![0; 64 << 20]));
        // Fills the buffers of both sides, so that the close would have something to wait for.
        std::future::poll_fn(|context| {
            assert!(sending.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
    });
    async_socket_futures::block_on(task).unwrap().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(5));
    drop(peer);
}
