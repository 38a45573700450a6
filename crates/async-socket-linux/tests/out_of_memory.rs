//! Calls without memory. The binary has an allocator of its own, which fails on demand.
#![allow(unsafe_code, reason = "raw lists of buffers are unsafe to make")]

use async_socket_linux::sys::{Errno, RecvFlags, SendFlags};
use async_socket_linux::{
    AsyncSocket, AsyncSocketLinux, BufferPool, Cancel, ExecutionEngine, IntoFdError, IoBufs, OperationId, PayloadError,
    PoolError, PooledBuffer, PooledCompletion, RawBuffer, RawBuffers, ReceiveCompletion, ReceiveError, ReceiveResult,
    Refused, SendError, SendResult, SendSyncResult, SocketState, SocketSyscalls, TimeoutError,
};
use completion_port::{Action, Direction};
use std::fmt::Debug;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::process::Command;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use test_doubles::{
    FailingAllocator, MockPort, any_descriptor, failing_nth, set_memory, with_memory, without_memory,
    without_memory_beyond,
};

// Tests_SRS_ASYNC_SOCKET_LINUX_11_078
#[test]
fn a_receive_that_cannot_be_queued_is_refused_with_its_buffers() {
    let (port, _sys, socket) = open_socket();

    let refused = without_memory(|| socket.receive_async([1, 2, 3], |_| {})).expect_err("no memory");

    assert_eq!((refused.error, refused.returned), (ReceiveError::OutOfMemory, [1, 2, 3]));
    assert_eq!(port.queued(Direction::In), 0);
    socket.receive_async([0], |_| {}).expect("with memory again, the next one is accepted");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_078
#[test]
fn a_receive_for_which_the_queue_cannot_grow_leaves_the_waiting_ones_alone() {
    let (port, _sys, socket) = open_socket();
    let (done, received) = channel();
    socket.receive_async([0; 4], move |completion| done.send(completion).unwrap_or(())).expect("accepted");

    let refused = refused_for_lack_of_memory(|| socket.receive_async([1], |_| {}));

    assert_eq!((refused.error, refused.returned), (ReceiveError::OutOfMemory, [1]));
    port.fire(Action::RdHup);
    assert_eq!(taken(&received).result, ReceiveResult::Abandoned);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_055, Tests_SRS_ASYNC_SOCKET_LINUX_11_063
#[test]
fn a_blocked_send_that_cannot_be_queued_is_refused_with_its_buffers() {
    let (port, _sys, socket) = open_socket();

    let refused = without_memory(|| socket.send_async("abcdef", |_| {})).expect_err("no memory");

    assert_eq!((refused.error, refused.returned), (SendError::OutOfMemory { bytes_sent: 0 }, "abcdef"));
    assert_eq!(refused.error.sync_result(), SendSyncResult::Error);
    assert_eq!(port.queued(Direction::Out), 0);
    socket.send_async("abcdef", |_| {}).expect("nothing was sent, so the stream is whole");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_063
#[test]
fn a_half_sent_send_that_cannot_be_queued_says_what_went_out_and_breaks_the_stream() {
    let (_port, sys, socket) = open_socket();
    sys.take_next(4);
    let (done, called_back) = channel();

    let refused = without_memory(|| socket.send_async("abcdef", move |_| done.send(()).unwrap_or(())))
        .expect_err("no memory for the rest");

    assert_eq!((refused.error, refused.returned), (SendError::OutOfMemory { bytes_sent: 4 }, "abcdef"));
    assert_eq!(refused.error.sync_result(), SendSyncResult::Error);
    called_back.try_recv().expect_err("refused, so never called back");
    let later = socket.send_async("next", |_| {}).expect_err("would follow a gap");
    assert_eq!(later.error, SendError::StreamBroken);
    assert_eq!(later.error.sync_result(), SendSyncResult::Abandoned);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_063
#[test]
fn a_send_that_cannot_be_queued_behind_another_leaves_that_one_alone() {
    let (port, sys, socket) = open_socket();
    let (done, sent) = channel();
    socket.send_async("first", move |completion| done.send(completion).unwrap_or(())).expect("accepted");

    let refused = refused_for_lack_of_memory(|| socket.send_async("second", |_| {}));

    assert_eq!((refused.error, refused.returned), (SendError::OutOfMemory { bytes_sent: 0 }, "second"));
    sys.take_next(5);
    port.fire(Action::Out);
    assert_eq!(taken(&sent).result, SendResult::Ok);
    socket.send_async("third", |_| {}).expect("the stream is whole");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_074, Tests_SRS_ASYNC_SOCKET_LINUX_11_078
#[test]
fn a_raw_list_that_cannot_be_copied_is_refused() {
    let list = [RawBuffer { pointer: ptr::dangling_mut(), length: 1 }; 3];

    // SAFETY: the buffers are never used.
    let refused = without_memory(|| unsafe { RawBuffers::copied(&list) }).expect_err("no memory");

    assert_eq!(refused, PayloadError::OutOfMemory { count: 3 });
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_074
#[test]
fn a_raw_list_of_one_needs_no_memory() {
    let list = [RawBuffer { pointer: ptr::dangling_mut(), length: 1 }];

    // SAFETY: the buffer is never used.
    without_memory(|| unsafe { RawBuffers::copied(&list) }).expect("nothing to allocate");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_089, Tests_SRS_ASYNC_SOCKET_LINUX_11_092
#[test]
fn an_accepted_operation_needs_no_more_memory() {
    let (port, sys, socket) = open_socket();
    let (done, received) = channel();
    let report = move |completion: ReceiveCompletion<[u8; 4]>| {
        set_memory(true);
        done.send(completion).unwrap_or(());
    };
    socket.receive_async([0; 4], report).expect("accepted");

    without_memory(|| port.fire(Action::In));
    received.try_recv().expect_err("EAGAIN leaves it pending");
    sys.deliver_next(4);
    without_memory(|| port.fire(Action::In));

    assert_eq!(taken(&received).bytes_received, 4);
}

// The port takes an operation out of its queue for an attempt, and must have room for its return.
#[test]
fn an_operation_that_gets_eagain_while_another_is_queued_needs_no_more_memory() {
    in_a_process_of_its_own("an_operation_that_gets_eagain_while_another_is_queued_needs_no_more_memory", || {
        let (port, sys, socket) = open_socket();
        let socket = Arc::new(socket);
        let other = Arc::clone(&socket);
        socket.receive_async([0; 4], |_| {}).expect("accepted");
        sys.during_next_recv(move || {
            other.receive_async([0; 4], |_| {}).expect("there is still memory");
            set_memory(false);
        });

        port.fire(Action::In);
        set_memory(true);

        assert_eq!(port.queued(Direction::In), 2);
    });
}

// A large callback makes a large operation, and `Box::new` would end the process.
#[test]
fn a_receive_with_a_large_callback_that_cannot_be_queued_is_refused() {
    in_a_process_of_its_own("a_receive_with_a_large_callback_that_cannot_be_queued_is_refused", || {
        let (_port, _sys, socket) = open_socket();
        let large = [1_u8; 256];

        let refused =
            without_memory(|| socket.receive_async([0; 4], move |_| assert_eq!(large[0], 1))).expect_err("no memory");

        assert_eq!(refused.error, ReceiveError::OutOfMemory);
    });
}

// Tests_SRS_BUFFER_POOL_01_007
#[test]
fn a_pooled_receive_for_which_no_buffer_can_be_made_ends_if_none_can_come_back() {
    let (port, sys, socket) = open_socket();
    let pool = BufferPool::new(BUFFER_BYTES, 2).expect("a pool");
    let received = receive_pooled(&socket, &pool);
    sys.deliver_next(4);

    without_memory_beyond(BUFFER_BYTES - 1, || port.fire(Action::In));

    let completion = taken(&received);
    let no_memory = Some(Errno::NOMEM.raw_os_error());
    assert_eq!((completion.result, completion.os_error()), (ReceiveResult::Error, no_memory));
    assert_eq!(pool.buffers_made(), 0);
}

// Tests_SRS_BUFFER_POOL_01_006
#[test]
fn a_pooled_receive_for_which_no_buffer_can_be_made_waits_for_one_that_is_in_use() {
    let (port, sys, socket) = open_socket();
    let pool = BufferPool::new(BUFFER_BYTES, 2).expect("a pool");
    let first = receive_pooled(&socket, &pool);
    sys.deliver_next(4);
    port.fire(Action::In);
    let in_use = taken(&first).buffer.expect("the bytes");
    let second = receive_pooled(&socket, &pool);
    sys.deliver_next(5);
    without_memory_beyond(BUFFER_BYTES - 1, || port.fire(Action::In));
    second.try_recv().expect_err("it waits");

    drop(in_use);
    port.run_scheduled();

    assert_eq!(taken(&second).buffer.map(|buffer| buffer.len()), Some(5));
}

// Tests_SRS_BUFFER_POOL_01_005
#[test]
fn buffers_go_back_to_their_pool_without_memory() {
    in_a_process_of_its_own("buffers_go_back_to_their_pool_without_memory", || {
        for count in [1, 5] {
            let (port, sys, socket) = open_socket();
            let pool = BufferPool::new(BUFFER_BYTES, count).expect("a pool");
            let received = || {
                let received = receive_pooled(&socket, &pool);
                sys.deliver_next(4);
                port.fire(Action::In);
                taken(&received).buffer.expect("the bytes")
            };
            let buffers: Vec<_> = (0..count).map(|_| received()).collect();

            without_memory(|| drop(buffers));

            assert_eq!(pool.buffers_free(), count);
        }
    });
}

// ---- every allocation of every call

/// A socket, and the outcomes of the operations that it accepted.
struct Setup {
    port: MockPort,
    sys: Sys,
    socket: Option<Socket>,
    pool: BufferPool,
    held: Vec<PooledBuffer>,
    accepted: usize,
    /// Of the receives that wait.
    names: Vec<OperationId>,
    completed: Arc<AtomicUsize>,
    /// Every callback holds a reference.
    alive: Arc<()>,
}

impl Setup {
    fn closed() -> Self {
        let (port, sys) = (MockPort::new(), Sys::default());
        Self {
            socket: Some(AsyncSocketLinux::create_with(port.clone(), sys.clone(), any_descriptor())),
            port,
            sys,
            pool: BufferPool::new(BUFFER_BYTES, 2).expect("a pool"),
            held: Vec::with_capacity(8),
            accepted: 0,
            names: Vec::with_capacity(8),
            completed: Arc::default(),
            alive: Arc::default(),
        }
    }

    fn open() -> Self {
        let mut setup = Self::closed();
        setup.open_it();
        setup
    }

    fn socket(&self) -> &Socket {
        self.socket.as_ref().expect("not dropped yet")
    }

    fn report<T>(&self) -> impl FnOnce(T) + Send + use<T> {
        let (completed, alive) = (Arc::clone(&self.completed), Arc::clone(&self.alive));
        move |_| {
            let _alive = alive;
            completed.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn count<T, I, E>(&mut self, result: Result<I, Refused<T, E>>) -> Option<(T, E)> {
        match result {
            Ok(_) => {
                self.accepted += 1;
                None
            }
            Err(refused) => Some((refused.returned, refused.error)),
        }
    }

    fn open_it(&mut self) {
        let result = self.socket().open_async(self.report());
        self.accepted += usize::from(result.is_ok());
    }

    fn receive<const N: usize>(&mut self) {
        let result = self.socket().receive_async([7; N], self.report());
        self.names.extend(result.as_ref().ok().copied());
        if let Some((returned, error)) = self.count(result) {
            assert_eq!((returned[N - 1], error), (7, ReceiveError::OutOfMemory));
        }
    }

    fn send<B: IoBufs + PartialEq + Debug + Copy>(&mut self, buffers: B) {
        let result = self.socket().send_async(buffers, self.report());
        if let Some((returned, error)) = self.count(result) {
            assert_eq!(returned, buffers);
            assert!(matches!(error, SendError::OutOfMemory { .. }), "{error}");
        }
    }

    fn receive_within(&mut self) {
        let result = self.socket().receive_async_within([7; 4], SOON, self.report());
        self.names.extend(result.as_ref().ok().copied());
        if let Some((returned, error)) = self.count(result) {
            assert_eq!((returned, error), ([7; 4], ReceiveError::OutOfMemory));
        }
    }

    fn receive_pooled_within(&mut self) {
        let result = self.socket().receive_pooled_async_within(&self.pool, SOON, self.report());
        self.accepted += usize::from(result.is_ok());
        assert!(matches!(result, Ok(_) | Err(ReceiveError::OutOfMemory)), "{result:?}");
    }

    fn send_within(&mut self, buffers: &'static str) {
        let result = self.socket().send_async_within(buffers, SOON, self.report());
        if let Some((returned, error)) = self.count(result) {
            assert_eq!(returned, buffers);
            assert!(matches!(error, SendError::OutOfMemory { .. }), "{error}");
        }
    }

    fn set_idle_timeout(&mut self) {
        let set = self.socket().set_idle_timeout(Some(SOON * 8));
        assert!(matches!(set, Ok(()) | Err(TimeoutError::OutOfMemory)), "{set:?}");
    }

    fn shut_down(&mut self) {
        let result = self.socket().shutdown_async(self.report());
        self.accepted += usize::from(result.is_ok());
        assert!(matches!(result, Ok(_) | Err(SendError::OutOfMemory { .. })), "{result:?}");
    }

    fn close_async(&mut self) {
        let report = self.report();
        let result = self.socket().close_async(move || report(()));
        let is_accepted = result.is_ok();
        self.accepted += usize::from(is_accepted);
        assert!(is_accepted || self.socket().state() == SocketState::Open, "a refusal changes nothing");
    }

    fn cancel_all(&mut self) {
        for id in std::mem::take(&mut self.names) {
            assert_ne!(self.socket().cancel(id), Cancel::Started);
        }
    }

    fn take_descriptor(&mut self) {
        match self.socket.take().expect("not dropped yet").into_fd() {
            Ok(descriptor) => drop(descriptor),
            Err(refused) => {
                assert_eq!(refused.error, IntoFdError::OutOfMemory);
                self.socket = Some(refused.returned);
            }
        }
    }

    fn receive_pooled(&mut self) {
        let result = self.socket().receive_pooled_async(&self.pool, self.report());
        self.names.extend(result.as_ref().ok().copied());
        self.accepted += usize::from(result.is_ok());
        assert!(matches!(result, Ok(_) | Err(ReceiveError::OutOfMemory)), "{result:?}");
    }

    /// Takes a buffer of the pool, by a receive on another socket.
    fn hold_a_buffer(&mut self) {
        let (port, sys, socket) = open_socket();
        let received = receive_pooled(&socket, &self.pool);
        sys.deliver_next(4);
        port.fire(Action::In);
        self.held.push(taken(&received).buffer.expect("the bytes"));
    }

    /// A receive that waits for one of the pool's two buffers.
    fn wait_for_a_buffer(&mut self) {
        self.hold_a_buffer();
        self.hold_a_buffer();
        self.receive_pooled();
        self.sys.deliver_next(4);
        self.port.fire(Action::In);
        assert_eq!(self.completed.load(Ordering::Relaxed), self.accepted - 1, "it waits");
    }

    /// Drops the socket. Each accepted operation has then called back once and no refused one has. No callback is left.
    fn settle(mut self, case: &str) {
        self.held.clear();
        self.port.run_scheduled();
        drop(self.socket.take());
        self.port.run_scheduled();
        assert_eq!(self.completed.load(Ordering::Relaxed), self.accepted, "{case}");
        assert_eq!(Arc::strong_count(&self.alive), 1, "{case}");
        assert_eq!(self.pool.buffers_made(), self.pool.buffers_free(), "{case}");
    }
}

/// The name of a case, its setup, its call, and the least number of allocations in the call. 0 means none.
type Case = (&'static str, fn() -> Setup, fn(&mut Setup), usize);

/// A large value is boxed.
const LARGE: usize = 20_000;

const SOON: Duration = Duration::from_millis(5);

fn pending() -> Setup {
    let mut setup = Setup::open();
    setup.receive::<4>();
    setup.send("waits");
    setup
}

fn pooled() -> Setup {
    let mut setup = Setup::open();
    setup.receive_pooled();
    setup.sys.deliver_next(4);
    setup
}

fn used_up() -> Setup {
    let mut setup = Setup::open();
    setup.hold_a_buffer();
    setup.hold_a_buffer();
    setup.receive_pooled();
    setup
}

fn waiting() -> Setup {
    let mut setup = Setup::open();
    setup.wait_for_a_buffer();
    setup
}

fn broken_off() -> Setup {
    let setup = Setup::open();
    setup.sys.take_next(2);
    setup
}

/// A send with a deadline of which a part went out, and others behind it.
fn fragment() -> Setup {
    let mut setup = broken_off();
    setup.send_within("half-way");
    setup.send("behind");
    setup
}

fn idle() -> Setup {
    let mut setup = pending();
    setup.set_idle_timeout();
    setup
}

fn taking() -> Setup {
    let setup = Setup::open();
    setup.sys.take_next(5);
    setup
}

/// A receive and a send with deadlines.
fn within() -> Setup {
    let mut setup = Setup::open();
    setup.receive_within();
    setup.send_within("waits");
    setup
}

const CASES: [Case; 40] = [
    ("open", Setup::closed, Setup::open_it, 0),
    ("receive", Setup::open, Setup::receive::<4>, 1),
    ("receive behind another", pending, Setup::receive::<4>, 2),
    ("receive of a large value", Setup::open, Setup::receive::<LARGE>, 2),
    ("send that is taken", taking, |setup| setup.send("taken"), 0),
    ("send that is blocked", Setup::open, |setup| setup.send("blocked"), 1),
    ("send of several that is blocked", Setup::open, |setup| setup.send(["one", "two"]), 1),
    ("send that is blocked half-way", broken_off, |setup| setup.send("half"), 1),
    ("send behind another", pending, |setup| setup.send("behind"), 2),
    ("send of a large value", Setup::open, |setup| setup.send([7; LARGE]), 2),
    ("pooled receive", Setup::open, Setup::receive_pooled, 1),
    ("pooled receive behind another", pooled, Setup::receive_pooled, 2),
    ("readable, with nothing there", pending, |setup| setup.port.fire(Action::In), 0),
    (
        "readable",
        pending,
        |setup| {
            setup.sys.deliver_next(4);
            setup.port.fire(Action::In);
        },
        0,
    ),
    (
        "writable",
        pending,
        |setup| {
            setup.sys.take_next(5);
            setup.port.fire(Action::Out);
        },
        0,
    ),
    ("error", pending, |setup| setup.port.fire(Action::Error), 0),
    ("hang-up", pending, |setup| setup.port.fire(Action::RdHup), 0),
    ("readable, from the pool", pooled, |setup| setup.port.fire(Action::In), 2),
    ("readable, with the pool used up", used_up, |setup| setup.port.fire(Action::In), 2),
    ("a buffer goes back to a receive that waits", waiting, |setup| setup.held.clear(), 0),
    ("close of what waits", pending, |setup| setup.socket().close(), 0),
    ("close of what waits for a buffer", waiting, |setup| setup.socket().close(), 0),
    ("drop of what waits", pending, |setup| drop(setup.socket.take()), 0),
    ("receive with a deadline", Setup::open, Setup::receive_within, 3),
    ("receive with a deadline behind another", within, Setup::receive_within, 2),
    ("pooled receive with a deadline", Setup::open, Setup::receive_pooled_within, 3),
    ("send with a deadline that is taken", taking, |setup| setup.send_within("taken"), 0),
    ("send with a deadline that is blocked", Setup::open, |setup| setup.send_within("blocked"), 3),
    ("send with a deadline behind another", pending, |setup| setup.send_within("behind"), 2),
    ("deadlines that come", within, |setup| setup.port.advance(SOON), 0),
    ("a deadline that comes in the middle of a send", fragment, |setup| setup.port.advance(SOON), 0),
    ("idle time-out", Setup::open, Setup::set_idle_timeout, 1),
    ("an idle time-out that comes", idle, |setup| setup.port.advance(SOON * 100), 0),
    ("high-water mark", Setup::open, |setup| _ = setup.socket().set_high_water_mark(Some(1)), 1),
    ("shutdown at once", Setup::open, Setup::shut_down, 0),
    ("shutdown behind a send", pending, Setup::shut_down, 2),
    ("cancel of what waits", pending, Setup::cancel_all, 0),
    ("cancel of what waits for a buffer", waiting, Setup::cancel_all, 0),
    ("close that does not wait", pending, Setup::close_async, 1),
    ("taking the descriptor back", Setup::open, Setup::take_descriptor, 1),
];

// Tests_SRS_SOCKET_01_050, Tests_SRS_BUFFER_POOL_01_005
#[test]
fn no_call_ends_the_process_whichever_of_its_allocations_fails() {
    in_a_process_of_its_own("no_call_ends_the_process_whichever_of_its_allocations_fails", || {
        for (case, before, call, allocations) in CASES {
            let tried = (1..100).find_map(|nth| {
                let mut setup = before();
                let ((), tried) = failing_nth(nth, || call(&mut setup));
                setup.settle(case);
                (tried < nth).then_some(tried)
            });
            let tried = tried.expect("a call ends");
            println!("{case}: {tried} allocations");
            // The port may make further allocations, but not in a call that needs none.
            assert!(if allocations == 0 { tried == 0 } else { tried >= allocations }, "{case}: {tried}");
        }
    });
}

// Tests_SRS_BUFFER_POOL_01_012
#[test]
fn a_pool_for_which_there_is_no_memory_is_an_error() {
    let error = without_memory(|| BufferPool::new(BUFFER_BYTES, 2)).expect_err("no memory");

    assert_eq!(error, PoolError::OutOfMemory);
    assert_eq!(without_memory(|| std::io::Error::from(error)).kind(), std::io::ErrorKind::OutOfMemory);
    BufferPool::new(BUFFER_BYTES, 2).expect("there is memory");
}

// Tests_SRS_SOCKET_01_050
#[rstest::rstest]
#[case::some(1)]
#[case::more_than_there_can_be(usize::MAX)]
fn an_engine_for_which_there_is_no_memory_is_an_error(#[case] threads: usize) {
    let builder = ExecutionEngine::builder().threads(threads).thread_name("name");

    let error = without_memory(|| builder.build()).expect_err("no memory");

    assert_eq!((error.call, error.source.raw_os_error()), ("malloc", Some(Errno::NOMEM.raw_os_error())));
}

// ---- the allocator

#[global_allocator]
static ALLOCATOR: FailingAllocator = FailingAllocator;

/// Repeats a call without memory until it has used up the reserved room.
fn refused_for_lack_of_memory<T, E>(mut call: impl FnMut() -> Result<T, E>) -> E {
    (0..100).find_map(|_| without_memory(&mut call).err()).expect("a queue does not hold 100 without growing")
}

/// Runs a test in a process of its own, because a failure ends the process.
fn in_a_process_of_its_own(name: &str, test: impl FnOnce()) {
    const CHILD: &str = "OUT_OF_MEMORY_CHILD";
    if std::env::var_os(CHILD).is_some() {
        return test();
    }
    let this = std::env::current_exe().expect("the path of this test");
    let child = Command::new(this).args(["--exact", name, "--include-ignored", "--nocapture"]).env(CHILD, "1").output();
    let child = child.expect("this test starts again");
    let [printed, errors] = [&child.stdout, &child.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    println!("{printed}");
    assert!(child.status.success(), "{}: {errors}", child.status);
}

// ---- the socket

/// System calls that need no memory. A send takes as many bytes as [`take_next`](Self::take_next) said, and then no more. A
/// receive finds as many as [`deliver_next`](Self::deliver_next) said.
#[derive(Clone, Default)]
struct Sys(Arc<SysState>);

#[derive(Default)]
struct SysState {
    takes: AtomicUsize,
    delivers: AtomicUsize,
    during_recv: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

type Socket = AsyncSocketLinux<MockPort, Sys>;

/// More bytes than any other allocation of a test.
const BUFFER_BYTES: usize = 1 << 20;

/// Receives from a pool. The callback has memory.
fn receive_pooled(socket: &Socket, pool: &BufferPool) -> Receiver<PooledCompletion> {
    let (done, received) = channel();
    let report = move |completion| with_memory(|| done.send(completion).unwrap_or(()));
    socket.receive_pooled_async(pool, report).expect("accepted");
    received
}

// Tests_SRS_SOCKET_01_127
#[test]
fn a_socket_that_could_not_be_opened_gives_its_descriptor_back_without_memory() {
    let (port, sys) = (MockPort::new(), Sys::default());
    let descriptor = any_descriptor();
    let number = descriptor.as_raw_fd();
    let socket = AsyncSocketLinux::create_with(port.clone(), sys, descriptor);
    port.fail_next_attach(Errno::NOMEM.raw_os_error());
    socket.open_async(|_| {}).expect_err("the port has no room");

    let returned = without_memory(|| socket.into_fd().map_err(|refused| refused.error));

    assert_eq!(returned.expect("it was never open").as_raw_fd(), number);
}

fn open_socket() -> (MockPort, Sys, Socket) {
    let (port, sys) = (MockPort::new(), Sys::default());
    let socket = AsyncSocketLinux::create_with(port.clone(), sys.clone(), any_descriptor());
    socket.open_async(|_| {}).expect("the socket opens");
    (port, sys, socket)
}

/// What a callback got. It has run.
fn taken<T>(outcome: &Receiver<T>) -> T {
    outcome.try_recv().expect("the callback has run")
}

impl Sys {
    fn take_next(&self, bytes: usize) {
        self.0.takes.store(bytes, Ordering::Relaxed);
    }

    fn deliver_next(&self, bytes: usize) {
        self.0.delivers.store(bytes, Ordering::Relaxed);
    }

    fn during_next_recv(&self, hook: impl FnOnce() + Send + 'static) {
        *self.0.during_recv.lock().expect("no test panics here") = Some(Box::new(hook));
    }
}

/// This many bytes once, then `EAGAIN`.
fn once(bytes: &AtomicUsize) -> Result<usize, Errno> {
    match bytes.swap(0, Ordering::Relaxed) {
        0 => Err(Errno::AGAIN),
        bytes => Ok(bytes),
    }
}

impl SocketSyscalls for Sys {
    fn short_read_drains(&self, _: BorrowedFd<'_>) -> Result<bool, Errno> {
        Ok(false)
    }

    fn send(&self, _: BorrowedFd<'_>, _: &[u8], _: SendFlags) -> Result<usize, Errno> {
        once(&self.0.takes)
    }

    fn sendmsg(&self, _: BorrowedFd<'_>, _: &[IoSlice<'_>], _: SendFlags) -> Result<usize, Errno> {
        once(&self.0.takes)
    }

    fn recv(&self, _: BorrowedFd<'_>, _: &mut [u8], _: RecvFlags) -> Result<usize, Errno> {
        let hook = self.0.during_recv.lock().expect("no test panics here").take();
        if let Some(hook) = hook {
            hook();
        }
        once(&self.0.delivers)
    }

    fn recvmsg(&self, _: BorrowedFd<'_>, _: &mut [IoSliceMut<'_>], _: RecvFlags) -> Result<usize, Errno> {
        once(&self.0.delivers)
    }

    fn receive_error_message(&self, _: BorrowedFd<'_>) -> Result<(), Errno> {
        Err(Errno::AGAIN)
    }

    fn take_error(&self, _: BorrowedFd<'_>) -> Result<Option<Errno>, Errno> {
        Ok(None)
    }

    fn is_broken(&self, _: BorrowedFd<'_>) -> Result<bool, Errno> {
        Ok(true)
    }

    fn shut_down_sending(&self, _: BorrowedFd<'_>) -> Result<(), Errno> {
        Ok(())
    }

    fn close(&self, _: OwnedFd) {}
}
