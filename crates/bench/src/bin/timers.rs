//! Timers: what arming and cancelling cost, and how late timers fire. Ours against tokio's wheel and a binary heap, in
//! rounds that alternate. Prints medians.

use anyhow::Result;
use async_socket_linux::{AsyncSocket, AsyncSocketLinux, Cancel};
use completion_port::{CompletionPort, Port, PortExt, Timer, Turn};
use hdrhistogram::Histogram;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::task::Poll;
use std::time::{Duration, Instant};

const ROUNDS: usize = 7;
const ARMED: u32 = 100_000;
const CYCLES: u32 = 1_000_000;
const FAR: Duration = Duration::from_secs(60);

/// A figure of one library: nanoseconds for each timer.
type Measure = (&'static str, fn() -> Result<f64>);

fn main() -> Result<()> {
    compare(
        "arm 100,000 timers, and drop them",
        &[
            ("ours", || on_port(arm_all)),
            ("tokio", || Ok(in_tokio(tokio_arm_all))),
            ("binary heap", || Ok(heap_arm_all())),
        ],
    )?;
    compare(
        "1,000,000 times: arm and cancel, beside 100,000 armed timers",
        &[
            ("ours", || on_port(cycle)),
            ("ours, from another thread", || cycle_elsewhere()),
            ("tokio", || Ok(in_tokio(tokio_cycle))),
            ("binary heap", || Ok(heap_cycle())),
        ],
    )?;
    compare(
        "1,000,000 times: move a timer to a later time, beside 100,000 armed timers",
        &[("ours", || on_port(push_back)), ("tokio", || Ok(in_tokio(tokio_push_back)))],
    )?;
    compare("1,000,000 times: begin a receive and cancel it", &[("ours, on the port's thread", || on_port(cancel))])?;
    lateness()
}

fn compare(what: &str, measures: &[Measure]) -> Result<()> {
    println!("{what}: ns per timer");
    let mut rounds = vec![Vec::new(); measures.len()];
    for _ in 0..ROUNDS {
        for (of, (_, measure)) in rounds.iter_mut().zip(measures) {
            of.push(measure()?);
        }
    }
    for (of, (name, _)) in rounds.iter_mut().zip(measures) {
        of.sort_by(f64::total_cmp);
        println!("  {name:<28}{:8.1}", of[of.len() / 2]);
    }
    Ok(())
}

fn per(count: u32, begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e9 / f64::from(count)
}

fn far(number: u32) -> Duration {
    FAR + Duration::from_micros(u64::from(number * 7919 % ARMED) * 100)
}

/// Runs a measure on the thread of a port.
fn on_port(measure: fn(&CompletionPort) -> f64) -> Result<f64> {
    let (port, mut driver) = CompletionPort::builder().create_driven()?;
    let (tell, told) = channel();
    let own = port.clone();
    port.post(move || tell.send(measure(&own)).unwrap_or_default())?;
    loop {
        if let Ok(figure) = told.try_recv() {
            drop(port);
            while driver.run_once(None) != Turn::Over {}
            return Ok(figure);
        }
        let _ = driver.run_once(None);
    }
}

fn armed(port: &CompletionPort) -> Vec<Timer> {
    (0..ARMED).filter_map(|number| port.after(far(number), || ()).ok()).collect()
}

fn arm_all(port: &CompletionPort) -> f64 {
    let begin = Instant::now();
    drop(black_box(armed(port)));
    per(ARMED, begin)
}

fn cycle(port: &CompletionPort) -> f64 {
    let beside = armed(port);
    let begin = Instant::now();
    for number in 0..CYCLES {
        drop(black_box(port.after(far(number % ARMED), || ())));
    }
    let figure = per(CYCLES, begin);
    drop(beside);
    figure
}

fn cycle_elsewhere() -> Result<f64> {
    let port = CompletionPort::create()?;
    Ok(cycle(&port))
}

fn push_back(port: &CompletionPort) -> f64 {
    let beside = armed(port);
    let Some(timer) = beside.first() else { return f64::NAN };
    let begin = port.now();
    for number in 0..CYCLES {
        black_box(timer.reset(begin + FAR + Duration::from_micros(number.into())));
    }
    let figure = per(CYCLES, begin);
    drop(beside);
    figure
}

/// A receive that waits, and its cancel. Nothing arrives.
fn cancel(port: &CompletionPort) -> f64 {
    let Ok((ours, _theirs)) = UnixStream::pair() else { return f64::NAN };
    let Ok(socket) = AsyncSocketLinux::open_on(port.clone(), ours) else { return f64::NAN };
    let mut cancelled = 0;
    let begin = Instant::now();
    for _ in 0..CYCLES {
        if let Ok(id) = socket.receive_async([0_u8; 64], |_| {}) {
            cancelled += u32::from(socket.cancel(id) == Cancel::Cancelled);
        }
    }
    let figure = per(CYCLES, begin);
    if cancelled == CYCLES { figure } else { f64::NAN }
}

fn in_tokio(measure: fn() -> f64) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.map_or(f64::NAN, |runtime| runtime.block_on(async { measure() }))
}

/// A timer of tokio is armed when it is polled first.
fn tokio_armed(number: u32) -> std::pin::Pin<Box<tokio::time::Sleep>> {
    let mut sleep = Box::pin(tokio::time::sleep(far(number)));
    let mut once = pin!(poll_fn(|context| {
        let _ = sleep.as_mut().poll(context);
        Poll::Ready(())
    }));
    let _ = once.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    sleep
}

fn tokio_arm_all() -> f64 {
    let begin = Instant::now();
    drop(black_box((0..ARMED).map(tokio_armed).collect::<Vec<_>>()));
    per(ARMED, begin)
}

fn tokio_cycle() -> f64 {
    let beside: Vec<_> = (0..ARMED).map(tokio_armed).collect();
    let begin = Instant::now();
    for number in 0..CYCLES {
        drop(black_box(tokio_armed(number % ARMED)));
    }
    let figure = per(CYCLES, begin);
    drop(beside);
    figure
}

fn tokio_push_back() -> f64 {
    let beside: Vec<_> = (0..ARMED).map(tokio_armed).collect();
    let mut sleep = tokio_armed(0);
    let begin = Instant::now();
    let at = tokio::time::Instant::now() + FAR;
    for number in 0..CYCLES {
        sleep.as_mut().reset(at + Duration::from_micros(number.into()));
    }
    let figure = per(CYCLES, begin);
    drop(beside);
    figure
}

/// The usual way to do without a library: a heap behind a lock, and a set of what was cancelled.
#[derive(Default)]
struct Heap {
    waiting: BinaryHeap<Reverse<(Instant, u32)>>,
    cancelled: HashSet<u32>,
}

impl Heap {
    fn cancel(&mut self, number: u32) {
        self.cancelled.insert(number);
        while let Some(Reverse((_, first))) = self.waiting.peek()
            && self.cancelled.remove(first)
        {
            self.waiting.pop();
        }
        if self.cancelled.len() > self.waiting.len() / 2 {
            let cancelled = std::mem::take(&mut self.cancelled);
            self.waiting.retain(|Reverse((_, number))| !cancelled.contains(number));
        }
    }
}

fn heap_of(timers: u32) -> Mutex<Heap> {
    let heap = Mutex::<Heap>::default();
    for number in 0..timers {
        with(&heap, |heap| heap.waiting.push(Reverse((Instant::now() + far(number), number))));
    }
    heap
}

fn with<T>(heap: &Mutex<Heap>, change: impl FnOnce(&mut Heap) -> T) -> T {
    change(&mut heap.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

fn heap_arm_all() -> f64 {
    let begin = Instant::now();
    let heap = heap_of(ARMED);
    (0..ARMED).for_each(|number| with(&heap, |heap| heap.cancel(number)));
    per(ARMED, begin)
}

fn heap_cycle() -> f64 {
    let heap = heap_of(ARMED);
    let begin = Instant::now();
    for number in 0..CYCLES {
        let at = Instant::now() + far(number % ARMED);
        with(&heap, |heap| heap.waiting.push(Reverse((at, ARMED + number))));
        with(&heap, |heap| heap.cancel(ARMED + number));
    }
    per(CYCLES, begin)
}

/// Ten thousand timers over a second.
fn lateness() -> Result<()> {
    const TIMERS: u32 = 10_000;
    let port = CompletionPort::create()?;
    let (tell, told) = channel();
    let begin = port.now() + Duration::from_millis(100);
    let timers: Vec<_> = (0..TIMERS)
        .filter_map(|number| {
            let at = begin + Duration::from_micros(u64::from(number) * 100);
            let tell = tell.clone();
            port.at(at, move || tell.send(at.elapsed()).unwrap_or_default()).ok()
        })
        .collect();
    let mut late = Histogram::<u64>::new(3)?;
    for _ in 0..timers.len() {
        late.record(u64::try_from(told.recv()?.as_micros())?)?;
    }
    println!("lateness of {} timers in us:", timers.len());
    let [half, most, all] = [0.5, 0.99, 1.0].map(|part| late.value_at_quantile(part));
    println!("  p50 {half}, p99 {most}, max {all}");
    Ok(())
}
