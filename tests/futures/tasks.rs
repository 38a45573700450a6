//! On which threads tasks run, in which order, and how they end with their engine or port.
#![allow(unsafe_code, reason = "forks")]

use async_socket_futures::{Engine, JoinError, Listener, Stream, block_on, sleep, spawn_local};
use async_socket_linux::{AsyncSocket, AsyncSocketLinux, BufferPool};
use completion_port::{CompletionPort, PortExt};
use integration_tests::process::{is_child, run_child};
use integration_tests::{LIMIT, eventually};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, alarm, fork};
use std::future::pending;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

/// The threads of an engine's ports, by index.
fn threads_of(engine: &Engine) -> Vec<ThreadId> {
    let ask = |port| block_on(engine.spawn_on(port, async { thread::current().id() })).unwrap().unwrap();
    (0..engine.threads()).map(ask).collect()
}

/// Sends one byte back, and tells on which thread.
async fn echo(stream: UnixStream, tell: Sender<ThreadId>) {
    let (stream, mut byte) = (Stream::new(stream).unwrap(), [0]);
    stream.read(&mut byte).await.unwrap();
    tell.send(thread::current().id()).unwrap();
    stream.write_all(&byte).await.unwrap();
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_002, Tests_SRS_ASYNC_SOCKET_FUTURES_01_003
#[test]
fn tasks_serve_their_clients_on_the_thread_of_the_port_that_was_named() {
    let engine = Engine::builder().threads(2).build().unwrap();
    let threads = threads_of(&engine);
    for port in 0..4 {
        let [(one, to_one), (other, to_other)] = [0; 2].map(|_| UnixStream::pair().unwrap());
        let (tell, told) = channel();
        let of_local = tell.clone();
        let task = engine.spawn_on(port, echo(one, tell));
        let local = move || {
            // It is not `Send`.
            let made_on = Rc::new(thread::current().id());
            async move {
                echo(other, of_local).await;
                assert_eq!(*made_on, thread::current().id());
            }
        };
        engine.spawn_local_on(port, local).unwrap();
        for mut client in [to_one, to_other] {
            client.set_read_timeout(Some(LIMIT)).unwrap();
            client.write_all(b"x").unwrap();
            assert_eq!(told.recv_timeout(LIMIT), Ok(threads[port % 2]), "port {port}");
            client.read_exact(&mut [0]).unwrap();
        }
        block_on(task).unwrap().unwrap();
    }
}

/// Tells on which thread it is dropped.
struct Tells(Sender<ThreadId>);

impl Drop for Tells {
    fn drop(&mut self) {
        self.0.send(thread::current().id()).unwrap_or_default();
    }
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_006
#[test]
fn without_its_last_handle_an_engine_drops_its_tasks_where_they_ran_and_their_peers_see_the_end() {
    let engine = Engine::builder().threads(2).build().unwrap();
    let threads = threads_of(&engine);
    let (tell, told) = channel();
    let mut peers = [0, 1].map(|port| {
        let ((ours, mut theirs), tells) = (UnixStream::pair().unwrap(), Tells(tell.clone()));
        theirs.set_read_timeout(Some(LIMIT)).unwrap();
        drop(engine.spawn_on(port, async move {
            let _tells = tells;
            let stream = Stream::new(ours).unwrap();
            stream.write_all(b"x").await.unwrap();
            pending::<()>().await;
        }));
        theirs.read_exact(&mut [0]).unwrap();
        theirs
    });
    let another = engine.clone();
    drop(engine);
    assert_eq!(told.try_recv().ok(), None, "there is another handle");

    drop(another);

    let mut dropped_on = [0; 2].map(|_| told.recv_timeout(LIMIT).unwrap());
    if dropped_on[0] != threads[0] {
        dropped_on.reverse();
    }
    assert_eq!(dropped_on[..], threads);
    peers.iter_mut().for_each(|peer| assert_eq!(peer.read(&mut [0]).unwrap(), 0));
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_012
#[test]
fn a_task_whose_stream_has_a_thousand_bytes_does_not_read_them_all_before_another_has_its_turn() {
    const BYTES: usize = 10_000;
    let before = block_on(async {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let stream = listener.accept().await.unwrap();
        peer.write_all(&[0; BYTES]).unwrap();
        let reading = spawn_local(async move {
            // All of them are there when the first read has waited for them.
            stream.read(&mut [0; 1]).await.unwrap();
            let reads = Rc::new(AtomicUsize::new(0));
            let seen = Rc::clone(&reads);
            let other = spawn_local(async move { seen.load(Ordering::Relaxed) }).unwrap();
            for _ in 1..BYTES {
                stream.read(&mut [0; 1]).await.unwrap();
                reads.fetch_add(1, Ordering::Relaxed);
            }
            other.await.unwrap()
        });
        reading.unwrap().await.unwrap()
    });
    let before = before.unwrap();
    assert!(before < 1_000, "{before} reads before the other task had its turn");
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_013
#[test]
fn the_task_of_an_event_runs_before_the_port_calls_back_for_the_next_event() {
    const TASK: &str = "the task of the first event";
    const CALLBACK: &str = "the callback of the second event";
    let engine = Engine::builder().build().unwrap();
    let [(ours, mut first), (of_socket, mut second)] = [0; 2].map(|_| UnixStream::pair().unwrap());
    let socket = AsyncSocketLinux::open_on(engine.port(0).clone(), of_socket).unwrap();
    let (note, noted) = channel();
    let of_task = note.clone();
    let task = engine.spawn(async move {
        let stream = Stream::new(ours).unwrap();
        for _ in 0..2 {
            stream.read(&mut [0; 1]).await.unwrap();
            of_task.send(TASK).unwrap();
        }
    });
    let receive = || {
        let note = note.clone();
        socket.receive_async(vec![0; 1], move |_| note.send(CALLBACK).unwrap()).unwrap();
    };
    // Once, so that both wait then, and the kernel has nothing to report.
    receive();
    first.write_all(b"x").unwrap();
    assert_eq!(noted.recv_timeout(LIMIT), Ok(TASK));
    second.write_all(b"x").unwrap();
    assert_eq!(noted.recv_timeout(LIMIT), Ok(CALLBACK));
    receive();

    // The port is busy, so it then gets the events of both at once.
    let ((closed, is_closed), (open, gate)) = (channel(), channel::<()>());
    let wait = move || {
        closed.send(()).unwrap();
        gate.recv().unwrap();
    };
    engine.port(0).post(wait).unwrap();
    is_closed.recv_timeout(LIMIT).unwrap();
    first.write_all(b"x").unwrap();
    second.write_all(b"x").unwrap();
    open.send(()).unwrap();

    assert_eq!([0; 2].map(|_| noted.recv_timeout(LIMIT).unwrap()), [TASK, CALLBACK]);
    block_on(task).unwrap().unwrap();
}

/// Counts how often it wakes.
#[derive(Default)]
pub(crate) struct Wakes(pub(crate) AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_036
#[test]
fn a_port_that_nobody_drives_any_more_wakes_what_waits_and_refuses_it_then() {
    let (port, mut driver) = CompletionPort::builder().create_driven().unwrap();
    let wakes = Arc::<Wakes>::default();
    let waker = Waker::from(Arc::clone(&wakes));
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let stream = Stream::on(&port, ours).unwrap();
    let read = || stream.poll_read(&Context::from_waker(&waker), &mut [0; 1]);
    assert!(read().is_pending());
    // The other stream waits for a buffer.
    let (pool, [(one, mut to_one), (other, mut to_other)]) =
        (BufferPool::new(1, 1).unwrap(), [0; 2].map(|_| UnixStream::pair().unwrap()));
    to_one.write_all(b"x").unwrap();
    let takes_it = block_on(async { Stream::new(one).unwrap().receive_pooled(&pool).await.unwrap() }).unwrap();
    to_other.write_all(b"x").unwrap();
    let other = Stream::on(&port, other).unwrap();
    let mut receiving = other.receive_pooled(&pool);
    let mut receive = || Pin::new(&mut receiving).poll(&mut Context::from_waker(Waker::noop()));
    eventually("the pool is found empty", || {
        let _ = driver.run_once(Some(Duration::from_millis(1)));
        assert!(receive().is_pending());
        pool.metrics().receives_waiting == 1
    });

    drop(driver);

    assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
    assert!(matches!(read(), Poll::Ready(Err(_))), "no event comes any more");
    assert!(matches!(receive(), Poll::Ready(Err(_))), "no buffer comes any more");
    drop(takes_it);
    assert!(Stream::on(&port, UnixStream::pair().unwrap().0).is_err());
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_036
#[test]
fn in_a_child_of_a_fork_inherited_tasks_and_streams_end_with_an_error() {
    const NAME: &str = "in_a_child_of_a_fork_inherited_tasks_and_streams_end_with_an_error";
    // The fork copies the whole process, so the other tests must not be in it.
    if !is_child() {
        return run_child(NAME, |_| {});
    }
    let engine = Engine::builder().build().unwrap();
    threads_of(&engine);
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let stream = Stream::on(engine.port(0), ours).unwrap();
    // SAFETY: the child runs code that any program may run after a fork; libc's allocator allows it.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            alarm::set(10);
            let read = stream.poll_read(&Context::from_waker(Waker::noop()), &mut [0; 1]);
            let is_refused = matches!(read, Poll::Ready(Err(_)));
            let is_aborted = matches!(block_on(engine.spawn(async {})), Ok(Err(JoinError::Aborted)));
            // SAFETY: ends the child, in which nothing else must run.
            unsafe { nix::libc::_exit(i32::from(!is_refused) + 2 * i32::from(!is_aborted)) }
        }
        ForkResult::Parent { child } => assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0)),
    }
    let slept = engine.spawn(async { sleep(Duration::from_millis(1)).await });
    block_on(slept).unwrap().unwrap();
}
