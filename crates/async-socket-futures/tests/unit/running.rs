//! `block_on`, engines, tasks and their handles.

use async_socket_futures::{Engine, JoinError, NoEngine, Stream, block_on, sleep, spawn_local};
use completion_port::is_port_thread;
use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);
const LIMIT: Duration = Duration::from_secs(20);

fn engine(threads: usize) -> Engine {
    Engine::builder().threads(threads).build().expect("the ports are created")
}

/// Sets a flag when it is dropped.
struct Sets(Arc<AtomicBool>);

impl Drop for Sets {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_001
#[test]
fn block_on_returns_the_value_and_runs_on_the_calling_thread() {
    let here = thread::current().id();
    let seen = block_on(async { (thread::current().id(), 6 * 7) }).unwrap();
    assert_eq!(seen, (here, 42));
    assert!(!is_port_thread());
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_001, Tests_SRS_ASYNC_SOCKET_FUTURES_01_010
#[test]
fn block_on_is_woken_by_another_thread() {
    let (give, given) = channel::<Waker>();
    let is_set = Arc::new(AtomicBool::new(false));
    let sets = Arc::clone(&is_set);
    let waking = thread::spawn(move || {
        let waker = given.recv().unwrap();
        thread::sleep(5 * MS);
        sets.store(true, Ordering::SeqCst);
        waker.wake();
    });
    block_on(poll_fn(|context| {
        if is_set.load(Ordering::SeqCst) {
            return Poll::Ready(());
        }
        give.send(context.waker().clone()).unwrap();
        Poll::Pending
    }))
    .unwrap();
    waking.join().unwrap();
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_001, Tests_SRS_ASYNC_SOCKET_FUTURES_01_003
#[test]
fn tasks_of_block_on_need_not_be_send_and_are_dropped_with_it() {
    let dropped = Arc::new(AtomicBool::new(false));
    let sets = Sets(Arc::clone(&dropped));
    let value = block_on(async {
        let shared = Rc::new(Cell::new(0));
        let inner = Rc::clone(&shared);
        let task = spawn_local(async move { inner.set(inner.get() + 1) }).unwrap();
        let never = spawn_local(async move {
            let _sets = sets;
            pending::<()>().await;
        });
        task.await.unwrap();
        drop(never.unwrap());
        shared.get()
    })
    .unwrap();
    assert_eq!(value, 1);
    assert!(dropped.load(Ordering::SeqCst));
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_003
#[test]
fn outside_of_ports_there_is_no_place_for_a_local_task() {
    assert_eq!(spawn_local(async {}).map(drop), Err(NoEngine));
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_001
#[test]
fn a_panic_in_block_on_leaves_the_thread_usable() {
    let panicked = std::panic::catch_unwind(|| block_on(async { panic!("in the future") }));
    assert!(panicked.is_err());
    assert_eq!(spawn_local(async {}).map(drop), Err(NoEngine));
    assert_eq!(block_on(async { 1 }).unwrap(), 1);
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_001
#[test]
fn block_on_works_inside_block_on() {
    let value = block_on(async {
        block_on(async {
            sleep(MS).await;
            3
        })
        .unwrap()
            + 1
    })
    .unwrap();
    assert_eq!(value, 4);
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_002
#[test]
fn a_task_stays_on_the_thread_of_its_port() {
    let engine = engine(3);
    for port in 0..3 {
        let task = engine.spawn_on(port, async {
            let mut threads = vec![thread::current().id()];
            for _ in 0..5 {
                sleep(MS).await;
                threads.push(thread::current().id());
            }
            (threads, is_port_thread())
        });
        let (mut threads, is_on_port) = engine.block_on(task).unwrap().unwrap();
        threads.dedup();
        assert_eq!(threads.len(), 1);
        assert!(is_on_port);
    }
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_002
#[test]
fn tasks_take_the_ports_in_turn() {
    let engine = engine(2);
    let threads = [0, 1, 2, 3].map(|_| engine.spawn(async { thread::current().id() }));
    let [a, b, c, d] = threads.map(|task| block_on(task).unwrap().unwrap());
    assert_eq!((a, b), (c, d));
    assert_ne!(a, b);
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_003
#[test]
fn a_future_that_is_not_send_is_made_on_its_port() {
    let engine = engine(2);
    let threads = [0, 1].map(|port| block_on(engine.spawn_on(port, async { thread::current().id() })));
    let threads = threads.map(|thread| thread.unwrap().unwrap());
    for port in 0..4 {
        let (tell, told) = channel();
        let make = move || {
            let made_on = Rc::new(thread::current().id());
            async move {
                sleep(MS).await;
                tell.send((*made_on, thread::current().id())).unwrap();
            }
        };
        engine.spawn_local_on(port, make).unwrap();
        let own = threads[port % 2];
        assert_eq!(told.recv_timeout(LIMIT), Ok((own, own)), "port {port}");
    }
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_020
#[test]
fn a_panic_of_a_task_is_a_value_and_the_engine_goes_on() {
    let engine = engine(1);
    let task = engine.spawn(async { panic!("in task {}", 7) });
    let error: JoinError = block_on(task).unwrap().map(|(): ()| ()).unwrap_err();
    assert_eq!(error.to_string(), "the task panicked: in task 7");
    assert_eq!(block_on(engine.spawn(async { 1 })).unwrap().unwrap(), 1);
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_022
#[test]
fn a_join_error_becomes_any_error_and_gives_back_what_the_task_panicked_with() {
    let engine = engine(1);
    let outcome = || block_on(engine.spawn(async { std::panic::panic_any(7_u8) })).unwrap();
    let pass_on = || -> Result<(), Box<dyn std::error::Error + Send + Sync>> { Ok(outcome()?) };
    assert_eq!(pass_on().unwrap_err().to_string(), "the task panicked: (no message)");
    let Err(JoinError::Panicked(panic)) = outcome() else { unreachable!("it panics") };
    assert_eq!(panic.into_payload().downcast_ref(), Some(&7_u8));
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_021
#[test]
fn an_aborted_task_drops_its_future_on_its_own_thread() {
    struct Tells(std::sync::mpsc::Sender<thread::ThreadId>);
    impl Drop for Tells {
        fn drop(&mut self) {
            self.0.send(thread::current().id()).unwrap_or_default();
        }
    }
    let engine = engine(1);
    let own = block_on(engine.spawn(async { thread::current().id() })).unwrap().unwrap();
    let (tell, told) = channel();
    let tells = Tells(tell);
    let task = engine.spawn(async move {
        let _tells = tells;
        pending::<()>().await;
    });
    assert!(!task.is_finished());

    task.abort();

    assert_eq!(told.recv_timeout(LIMIT), Ok(own));
    assert!(matches!(block_on(task).unwrap(), Err(JoinError::Aborted)));
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_021
#[test]
fn a_task_runs_on_without_its_handle() {
    let engine = engine(1);
    let (tell, told) = channel();
    drop(engine.spawn(async move {
        sleep(2 * MS).await;
        tell.send(()).unwrap();
    }));
    told.recv_timeout(LIMIT).unwrap();
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_021
#[test]
fn aborting_what_has_ended_changes_nothing() {
    let engine = engine(1);
    let task = engine.spawn(async { 5 });
    while !task.is_finished() {
        thread::yield_now();
    }
    task.abort();
    assert_eq!(block_on(task).unwrap().unwrap(), 5);
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_005
#[test]
fn a_shutdown_waits_for_tasks_and_refuses_new_ones() {
    let engine = engine(2);
    let ended = Arc::new(AtomicUsize::new(0));
    for _ in 0..10 {
        let ended = Arc::clone(&ended);
        drop(engine.spawn(async move {
            sleep(10 * MS).await;
            ended.fetch_add(1, Ordering::SeqCst);
        }));
    }
    assert_eq!(engine.shutdown(LIMIT), 0);
    assert_eq!(ended.load(Ordering::SeqCst), 10);
    assert!(matches!(block_on(engine.spawn(async {})).unwrap(), Err(JoinError::Aborted)));
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_005
#[test]
fn a_shutdown_aborts_what_has_not_ended_in_time() {
    let engine = engine(1);
    let dropped = Arc::new(AtomicBool::new(false));
    let sets = Sets(Arc::clone(&dropped));
    let task = engine.spawn(async move {
        let _sets = sets;
        pending::<()>().await;
    });
    let begin = Instant::now();
    assert_eq!(engine.shutdown(20 * MS), 1);
    assert!(begin.elapsed() >= 20 * MS);
    assert!(dropped.load(Ordering::SeqCst));
    assert!(matches!(block_on(task).unwrap(), Err(JoinError::Aborted)));
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_006
#[test]
fn dropping_the_engine_ends_its_tasks_and_its_threads() {
    let engine = engine(2);
    let dropped = Arc::new(Mutex::new(Vec::new()));
    let threads = [0, 1].map(|port| {
        let notes = Arc::clone(&dropped);
        struct Notes(Arc<Mutex<Vec<thread::ThreadId>>>);
        impl Drop for Notes {
            fn drop(&mut self) {
                self.0.lock().unwrap().push(thread::current().id());
            }
        }
        let notes = Notes(notes);
        drop(engine.spawn_on(port, async move {
            let _notes = notes;
            pending::<()>().await;
        }));
        block_on(engine.spawn_on(port, async { thread::current().id() })).unwrap().unwrap()
    });

    drop(engine);

    let begin = Instant::now();
    while dropped.lock().unwrap().len() < 2 {
        assert!(begin.elapsed() < LIMIT);
        thread::sleep(MS);
    }
    let mut seen = dropped.lock().unwrap().clone();
    seen.sort_by_key(|id| format!("{id:?}"));
    let mut expected = threads;
    expected.sort_by_key(|id| format!("{id:?}"));
    assert_eq!(seen, expected);
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_006
#[test]
fn an_engine_may_be_dropped_in_its_own_task() {
    let engine = engine(1);
    let last = engine.clone();
    let (tell, told) = channel();
    drop(engine.spawn(async move {
        sleep(2 * MS).await;
        drop(last);
        tell.send(()).unwrap();
    }));
    drop(engine);
    told.recv_timeout(LIMIT).unwrap();
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_010
#[test]
fn no_wake_up_of_a_task_is_lost_however_it_races() {
    const ROUNDS: usize = 20_000;
    let engine = engine(1);
    let (give, given) = channel::<Waker>();
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let task = engine.spawn(poll_fn(move |context| {
        let now = seen.load(Ordering::SeqCst);
        if now >= ROUNDS {
            return Poll::Ready(now);
        }
        give.send(context.waker().clone()).unwrap();
        Poll::Pending
    }));
    let waking = thread::spawn(move || {
        // Each waker comes from a poll after the last wake-up. If one got lost, this would wait for ever.
        while let Ok(waker) = given.recv_timeout(LIMIT) {
            count.fetch_add(1, Ordering::SeqCst);
            waker.wake();
        }
        count.load(Ordering::SeqCst)
    });
    assert!(block_on(task).unwrap().unwrap() >= ROUNDS);
    assert!(waking.join().unwrap() >= ROUNDS);
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_010
#[test]
fn wake_ups_before_a_task_runs_count_as_one() {
    let engine = engine(1);
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&polls);
    let (give, given) = channel();
    let task = engine.spawn(poll_fn(move |context| {
        if counted.fetch_add(1, Ordering::SeqCst) == 1 {
            return Poll::Ready(());
        }
        give.send(context.waker().clone()).unwrap();
        Poll::Pending
    }));
    let waker = given.recv_timeout(LIMIT).unwrap();
    // The port is busy, so the wake-ups come before the task can run.
    let (open, gate) = channel::<()>();
    completion_port::PortExt::post(engine.port(0), move || gate.recv().unwrap()).unwrap();
    for _ in 0..10 {
        waker.wake_by_ref();
    }
    open.send(()).unwrap();
    block_on(task).unwrap().unwrap();
    assert_eq!(polls.load(Ordering::SeqCst), 2);
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_011
#[test]
fn tasks_that_are_always_ready_do_not_hold_up_timers() {
    let engine = engine(1);
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..3)
        .map(|_| {
            let stop = Arc::clone(&stop);
            engine.spawn(poll_fn(move |context| {
                if stop.load(Ordering::Relaxed) {
                    return Poll::Ready(());
                }
                context.waker().wake_by_ref();
                Poll::Pending
            }))
        })
        .collect();
    let timed = engine.spawn(async { sleep(5 * MS).await });
    block_on(timed).unwrap().unwrap();
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        block_on(task).unwrap().unwrap();
    }
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_012
#[test]
fn a_task_gives_way_after_a_number_of_operations() {
    const READS: usize = 10_000;
    let engine = engine(1);
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    while (&theirs).write(&[0; 4096]).is_ok() {}
    let reading = engine.spawn(async move {
        let stream = Stream::new(ours).unwrap();
        // The first read waits for its event. There are more bytes than this reads, so each of the others is ready.
        stream.read(&mut [0; 1]).await.unwrap();
        let reads = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&reads);
        let other = spawn_local(async move { seen.load(Ordering::SeqCst) }).unwrap();
        for _ in 0..READS {
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 1);
            reads.fetch_add(1, Ordering::SeqCst);
        }
        other.await.unwrap()
    });

    let before = block_on(reading).unwrap().unwrap();

    assert!(before < 1_000, "{before} reads before the other task had its turn");
}

/// Notes that it is woken.
struct NotesItsWake(Sender<&'static str>);

impl Wake for NotesItsWake {
    fn wake(self: Arc<Self>) {
        self.0.send("the second event").expect("the test waits for it");
    }
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_013
#[test]
fn an_event_runs_its_task_before_the_next_event_is_dispatched() {
    let engine = engine(1);
    let [(ours, mut first), (watched, mut second)] = [0; 2].map(|_| UnixStream::pair().unwrap());
    let (note, noted) = channel();
    let of_task = note.clone();
    let task = engine.spawn(async move {
        let stream = Stream::new(ours).unwrap();
        for _ in 0..2 {
            stream.read(&mut [0; 1]).await.unwrap();
            of_task.send("the task of the first event").unwrap();
        }
    });
    let watched = Stream::on(engine.port(0), watched).unwrap();
    let waker = Waker::from(Arc::new(NotesItsWake(note)));
    let read = || watched.poll_read(&Context::from_waker(&waker), &mut [0; 1]);
    // Both wait, and the kernel has nothing to report.
    first.write_all(b"x").unwrap();
    assert_eq!(noted.recv_timeout(LIMIT), Ok("the task of the first event"));
    assert!(read().is_pending());
    second.write_all(b"x").unwrap();
    assert_eq!(noted.recv_timeout(LIMIT), Ok("the second event"));
    assert!(matches!(read(), Poll::Ready(Ok(1))));
    assert!(read().is_pending());

    // The port is busy, so it then gets the events of both at once.
    let ((closed, is_closed), (open, gate)) = (channel(), channel::<()>());
    let wait = move || {
        closed.send(()).unwrap();
        gate.recv().unwrap();
    };
    completion_port::PortExt::post(engine.port(0), wait).unwrap();
    is_closed.recv_timeout(LIMIT).unwrap();
    first.write_all(b"x").unwrap();
    second.write_all(b"x").unwrap();
    open.send(()).unwrap();

    let order = [0; 2].map(|_| noted.recv_timeout(LIMIT).unwrap());
    assert_eq!(order, ["the task of the first event", "the second event"]);
    block_on(task).unwrap().unwrap();
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_013
#[test]
fn an_event_runs_its_task_inside_the_dispatch_and_tasks_that_this_wakes_later() {
    let engine = engine(1);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let (give, given) = channel::<Waker>();
    let notes = Arc::clone(&order);
    let mut is_first = true;
    let second = engine.spawn(poll_fn(move |context| {
        if std::mem::take(&mut is_first) {
            give.send(context.waker().clone()).unwrap();
            return Poll::Pending;
        }
        notes.lock().unwrap().push("the task that was woken");
        Poll::Ready(())
    }));
    let waker = given.recv_timeout(LIMIT).unwrap();
    let notes = Arc::clone(&order);
    let (ready, is_ready) = channel();
    let first = engine.spawn(async move {
        let stream = Stream::new(ours).unwrap();
        ready.send(()).unwrap();
        stream.read(&mut [0; 1]).await.unwrap();
        waker.wake();
        notes.lock().unwrap().push("the task of the event");
    });
    is_ready.recv_timeout(LIMIT).unwrap();
    (&theirs).write_all(b"x").unwrap();

    block_on(first).unwrap().unwrap();
    block_on(second).unwrap().unwrap();
    assert_eq!(*order.lock().unwrap(), ["the task of the event", "the task that was woken"]);
}
