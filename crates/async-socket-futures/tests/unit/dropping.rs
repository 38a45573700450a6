//! Every order of bytes, events, polls, drops and the peer's end, for each future that reads; and for those that write. The
//! bytes are in real sockets, and the mock port says when an event comes.

use crate::{Wakes, unix};
use async_socket_futures::Stream;
use async_socket_linux::BufferPool;
use completion_port::Readiness;
use futures_util::AsyncReadExt;
use rstest::rstest;
use rustix::event::{PollFd, PollFlags, poll};
use std::future::Future;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use test_doubles::MockPort;

type Tested = Stream<MockPort>;
type Reading<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<u8>>> + 'a>>;
/// Begins a read. No bytes mean the end.
type Begin = for<'a> fn(&'a Tested, &'a BufferPool) -> Reading<'a>;

fn borrowed<'a>(stream: &'a Tested, _: &BufferPool) -> Reading<'a> {
    Box::pin(async move {
        let mut buffer = [0; 2];
        let count = stream.read(&mut buffer).await?;
        Ok(buffer[..count].to_vec())
    })
}

fn owned<'a>(stream: &'a Tested, _: &BufferPool) -> Reading<'a> {
    Box::pin(async move {
        let (count, buffer) = stream.receive(vec![0; 2]).await;
        Ok(buffer[..count?].to_vec())
    })
}

fn pooled<'a>(stream: &'a Tested, pool: &'a BufferPool) -> Reading<'a> {
    Box::pin(async move { Ok(stream.receive_pooled(pool).await?.map(|bytes| bytes.to_vec()).unwrap_or_default()) })
}

fn through_the_trait<'a>(mut stream: &'a Tested, _: &BufferPool) -> Reading<'a> {
    Box::pin(async move {
        let mut buffer = [0; 2];
        let count = AsyncReadExt::read(&mut stream, &mut buffer).await?;
        Ok(buffer[..count].to_vec())
    })
}

/// One branch of a `select`, which drops the read when the other branch is ready.
fn selected<'a>(stream: &'a Tested, pool: &'a BufferPool) -> Reading<'a> {
    Box::pin(async move {
        loop {
            let mut turns = 0;
            let other = std::future::poll_fn(|_| {
                turns += 1;
                if turns == 2 { Poll::Ready(()) } else { Poll::Pending }
            });
            match futures_util::future::select(borrowed(stream, pool), other).await {
                futures_util::future::Either::Left((read, _)) => return read,
                futures_util::future::Either::Right(_) => {}
            }
        }
    })
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    /// The peer sends three bytes.
    Arrive,
    /// The port reports what there is.
    Report,
    Poll,
    Drop,
    /// The peer closes its sending direction.
    End,
}

const STEPS: [Step; 5] = [Step::Arrive, Step::Report, Step::Poll, Step::Drop, Step::End];
const LENGTH: u32 = 6;

/// What the kernel would report of a descriptor.
fn report(port: &MockPort, stream: &Tested) {
    let mut one = [PollFd::new(stream, PollFlags::IN | PollFlags::OUT | PollFlags::RDHUP)];
    poll(&mut one, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })).expect("a socket can be polled");
    let mut events = Readiness::empty();
    events.set(Readiness::IN, one[0].revents().contains(PollFlags::IN));
    events.set(Readiness::OUT, one[0].revents().contains(PollFlags::OUT));
    events.set(Readiness::READ_HANG_UP, one[0].revents().contains(PollFlags::RDHUP));
    port.deliver(events);
}

/// A world in which one order of steps takes place.
struct World<'a> {
    stream: &'a Tested,
    pool: &'a BufferPool,
    begin: Begin,
    reading: Option<Reading<'a>>,
    /// Of the task that polls. A task that drops its read is another one from then on.
    task: (Arc<Wakes>, Waker),
    /// It waits, and was not woken since.
    waits: bool,
    received: Vec<u8>,
    has_ended: bool,
}

impl World<'_> {
    fn poll(&mut self) {
        let reading = self.reading.get_or_insert_with(|| (self.begin)(self.stream, self.pool));
        self.task.0.taken();
        match reading.as_mut().poll(&mut Context::from_waker(&self.task.1)) {
            Poll::Pending => self.waits = true,
            Poll::Ready(bytes) => {
                let bytes = bytes.expect("the connection is whole");
                self.waits = false;
                self.has_ended = bytes.is_empty();
                self.received.extend(bytes);
                self.reading = None;
            }
        }
    }

    fn take(&mut self, step: Step, port: &MockPort, peer: &mut UnixStream, sent: &mut Vec<u8>) {
        match step {
            Step::Arrive => {
                let bytes = [sent.len() as u8, sent.len() as u8 + 1, sent.len() as u8 + 2];
                if peer.write_all(&bytes).is_ok() {
                    sent.extend(bytes);
                }
            }
            Step::Report => report(port, self.stream),
            Step::Poll => self.poll(),
            Step::Drop => {
                self.reading = None;
                self.waits = false;
                self.task = Wakes::new();
            }
            Step::End => peer.shutdown(Shutdown::Write).unwrap_or_default(),
        }
    }
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_010, Tests_SRS_ASYNC_SOCKET_FUTURES_01_030, Tests_SRS_ASYNC_SOCKET_FUTURES_01_031
// Tests_SRS_ASYNC_SOCKET_FUTURES_01_038, Tests_SRS_ASYNC_SOCKET_FUTURES_01_039
#[rstest]
#[case::borrowed(borrowed)]
#[case::owned(owned)]
#[case::pooled(pooled)]
#[case::through_the_trait(through_the_trait)]
#[case::selected(selected)]
fn in_every_order_of_steps_no_byte_and_no_wake_up_is_lost(#[case] begin: Begin) {
    // One buffer: if one were lost, the next read would wait for ever.
    let pool = BufferPool::new(2, 1).unwrap();
    for mut number in 0..STEPS.len().pow(LENGTH) {
        let steps: Vec<_> = (0..LENGTH)
            .map(|_| {
                let step = STEPS[number % STEPS.len()];
                number /= STEPS.len();
                step
            })
            .collect();
        let (port, stream, mut peer) = unix();
        let mut sent = Vec::new();
        let mut world = World {
            stream: &stream,
            pool: &pool,
            begin,
            reading: None,
            task: Wakes::new(),
            waits: false,
            received: Vec::new(),
            has_ended: false,
        };
        for &step in &steps {
            world.take(step, &port, &mut peer, &mut sent);
        }
        drop(peer.shutdown(Shutdown::Write));
        report(&port, &stream);
        assert!(!world.waits || world.task.0.taken() > 0, "not woken: {steps:?}");
        for _ in 0..100 {
            if world.has_ended {
                break;
            }
            world.poll();
        }
        assert_eq!(world.received, sent, "{steps:?}");
        assert!(world.has_ended, "the end is lost: {steps:?}");
    }
}

/// What a send that is dropped or given up says, against what the peer gets.
// Tests_SRS_ASYNC_SOCKET_FUTURES_01_035
#[rstest]
fn a_send_that_is_given_up_after_any_number_of_polls_says_what_it_has_sent(
    #[values(0, 1, 2, 3, 4, 5)] polls: usize,
    #[values(1, 3, 80)] buffers: usize,
) {
    let (port, stream, mut peer) = unix();
    socket2::SockRef::from(&stream).set_send_buffer_size(8 << 10).unwrap();
    peer.set_nonblocking(true).unwrap();
    let bytes =
        |number: usize| (0..(1 << 18) / buffers + number % 3).map(|at| ((at + number) * 31 % 251) as u8).collect();
    let list: Vec<Vec<u8>> = (0..buffers).map(bytes).collect();
    let all = list.concat();
    let (wakes, waker) = Wakes::new();
    let mut received = Vec::new();
    let mut sending = stream.send_buffers(list.clone());
    for _ in 0..polls {
        assert!(Pin::new(&mut sending).poll(&mut Context::from_waker(&waker)).is_pending(), "the peer has no room");
        let mut part = vec![0; 20_000];
        let count = peer.read(&mut part).unwrap();
        received.extend(&part[..count]);
        report(&port, &stream);
        // There is room only when the kernel says so.
        wakes.taken();
    }
    let told = sending.sent();

    let (returned, sent) = sending.into_parts();

    assert_eq!(returned, Some(list));
    assert_eq!(sent, told);
    drop(stream);
    peer.set_nonblocking(false).unwrap();
    peer.read_to_end(&mut received).unwrap();
    assert!(received == all[..sent], "the peer got {} bytes of {sent}", received.len());
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_035
#[test]
fn a_list_of_buffers_is_sent_in_order_and_comes_back() {
    let (port, stream, mut peer) = unix();
    let (_, waker) = Wakes::new();
    // More than one call takes, and some of them empty.
    let list: Vec<Vec<u8>> = (0..200).map(|number| vec![number as u8; number % 7]).collect();
    let all = list.concat();
    let mut sending = stream.send_buffers(list.clone());
    let receiving = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).map(|_| bytes)
    });
    let (sent, returned) = loop {
        match Pin::new(&mut sending).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(ended) => break ended,
            Poll::Pending => report(&port, &stream),
        }
    };
    sent.unwrap();
    assert_eq!(returned, list);
    assert!(matches!(
        Pin::new(&mut stream.send_buffers(vec![Vec::<u8>::new(); 3])).poll(&mut Context::from_waker(&waker)),
        Poll::Ready((Ok(()), _))
    ));
    drop(stream);
    assert!(receiving.join().unwrap().unwrap() == all);
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_035, Tests_SRS_ASYNC_SOCKET_FUTURES_01_038
#[test]
fn buffers_come_back_after_an_error_and_from_a_future_that_is_given_up() {
    let (port, stream, peer) = unix();
    let (_, waker) = Wakes::new();
    let mut context = Context::from_waker(&waker);
    let mut receiving = stream.receive(vec![7; 4]);
    assert!(Pin::new(&mut receiving).poll(&mut context).is_pending());
    assert_eq!(receiving.into_parts(), Some(vec![7; 4]));
    drop(peer);
    report(&port, &stream);
    let mut sending = stream.send(vec![1; 4]);
    let Poll::Ready((sent, buffer)) = Pin::new(&mut sending).poll(&mut context) else { panic!("the peer is gone") };
    assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(buffer, [1; 4]);
    assert_eq!(sending.into_parts(), (None, 0));
    let mut sending = stream.send_buffers([vec![1; 4], vec![2; 4]]);
    let Poll::Ready((sent, buffers)) = Pin::new(&mut sending).poll(&mut context) else { panic!("the peer is gone") };
    assert!(sent.is_err());
    assert_eq!(buffers, [vec![1; 4], vec![2; 4]]);
}
