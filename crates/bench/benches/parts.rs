//! Measures one hot path at a time: `cargo bench -p bench --bench parts`.
//!
//! The sockets are real, so each figure includes system calls. A second figure shows the same system calls alone. The
//! difference is the library's own cost.
#![allow(missing_docs, reason = "criterion's macros make functions")]

use async_socket_linux::{AsyncSocket, AsyncSocketLinux, IoBufs, Kernel, Payload, ReceiveCompletion, SendCompletion};
use completion_port::Action;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use std::hint::{black_box, spin_loop};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use test_doubles::MockPort;

const MESSAGE: usize = 64;

criterion_group!(parts, dispatch, receive, send, validation, wake_up);
criterion_main!(parts);

/// A real socket on a mock port: the calling thread plays the port thread.
struct Fixture {
    port: MockPort,
    socket: AsyncSocketLinux<MockPort, Kernel>,
    peer: UnixStream,
}

impl Fixture {
    fn new() -> Self {
        let (ours, peer) = UnixStream::pair().expect("a pair of sockets");
        let port = MockPort::new();
        let socket = AsyncSocketLinux::create_with(port.clone(), Kernel, ours.into());
        socket.open_async(|_| {}).expect("the socket opens");
        Self { port, socket, peer }
    }
}

/// The buffers that a callback gave back.
#[derive(Clone)]
struct Back<B>(Arc<Mutex<Option<B>>>);

impl<B> Back<B> {
    fn with(buffers: B) -> Self {
        Self(Arc::new(Mutex::new(Some(buffers))))
    }

    fn take(&self) -> B {
        self.0.lock().expect("no panics").take().expect("the callback has run")
    }

    fn put(&self, buffers: B) {
        *self.0.lock().expect("no panics") = Some(buffers);
    }
}

/// An event on a descriptor on which nothing is pending.
fn dispatch(criterion: &mut Criterion) {
    let fixture = Fixture::new();
    criterion.bench_function("dispatch of one event", |bencher| bencher.iter(|| fixture.port.fire(Action::In)));
}

fn receive(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("receive of 64 B");
    let mut fixture = Fixture::new();
    let back = Back::with(vec![0; MESSAGE].into_boxed_slice());
    group.bench_function("queued, and completed by an event", |bencher| {
        bencher.iter(|| {
            let report = back.clone();
            let report = move |completion: ReceiveCompletion<Box<[u8]>>| report.put(completion.buffers);
            fixture.socket.receive_async(back.take(), report).expect("accepted");
            fixture.peer.write_all(&[7; MESSAGE]).expect("written");
            fixture.port.fire(Action::In);
            fixture.port.run_scheduled();
        });
    });
    let (mut one, mut two) = UnixStream::pair().expect("a pair of sockets");
    group.bench_function("system calls alone", |bencher| {
        bencher.iter(|| {
            one.write_all(&[7; MESSAGE]).expect("written");
            two.read_exact(&mut [0; MESSAGE]).expect("read");
        });
    });
}

fn send(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("send of 64 B");
    let mut fixture = Fixture::new();
    let back = Back::with(vec![7; MESSAGE].into_boxed_slice());
    group.bench_function("inline", |bencher| {
        bencher.iter(|| {
            let report = back.clone();
            let report = move |completion: SendCompletion<Box<[u8]>>| report.put(completion.buffers);
            fixture.socket.send_async(back.take(), report).expect("accepted");
            fixture.peer.read_exact(&mut [0; MESSAGE]).expect("read");
        });
    });
    let (mut one, mut two) = UnixStream::pair().expect("a pair of sockets");
    group.bench_function("system calls alone", |bencher| {
        bencher.iter(|| {
            one.write_all(&[7; MESSAGE]).expect("written");
            two.read_exact(&mut [0; MESSAGE]).expect("read");
        });
    });
}

fn validation(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("validation of a buffer list");
    for count in [1, 4, 64, 1024] {
        let mut lent = Some(vec![vec![7_u8; MESSAGE]; count]);
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| lent = lent.take().map(|list| check(black_box(list))));
        });
    }
}

fn check<B: IoBufs>(buffers: B) -> B {
    let Ok(payload) = Payload::to_send(buffers) else { panic!("valid") };
    payload.into_buffers()
}

/// Another thread than the port thread adds a receive when the bytes are already there. The port thread wakes, receives
/// and calls back.
fn wake_up(criterion: &mut Criterion) {
    let (ours, mut peer) = UnixStream::pair().expect("a pair of sockets");
    let socket = AsyncSocketLinux::create(None, ours.into()).expect("created");
    socket.open_async(|_| {}).expect("the socket opens");
    let back = Back::with(vec![0; MESSAGE].into_boxed_slice());
    let done = Arc::new(AtomicBool::new(false));
    criterion.bench_function("cross-thread wake-up", |bencher| {
        bencher.iter(|| {
            peer.write_all(&[7; MESSAGE]).expect("written");
            let (report, tell) = (back.clone(), Arc::clone(&done));
            let report = move |completion: ReceiveCompletion<Box<[u8]>>| {
                report.put(completion.buffers);
                tell.store(true, Ordering::Release);
            };
            socket.receive_async(back.take(), report).expect("accepted");
            while !done.swap(false, Ordering::Acquire) {
                spin_loop();
            }
        });
    });
}
