//! Timers: what arming and cancelling cost, and how late timers fire. Ours against tokio's wheel and a binary heap, in
//! rounds that alternate. Prints medians.

use anyhow::Result;
use async_socket_linux::{AsyncSocket, AsyncSocketLinux, Cancel};
use clap::Parser;
use completion_port::{CompletionPort, Port, PortExt, Timer, Turn};
use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

const ROUNDS: usize = 7;
const ARMED: u32 = 100_000;
const CYCLES: u32 = 1_000_000;
const FAR: Duration = Duration::from_secs(60);

/// A figure of one library: nanoseconds for each timer.
type Measure = (&'static str, fn() -> Result<f64>);

/// What timers cost, and how late they fire.
#[derive(Debug, Parser)]
#[command(name = "timers")]
struct Args {
    /// Only how late they fire
    #[arg(long)]
    lateness: bool,
}

fn main() -> Result<()> {
    if !Args::parse().lateness {
        costs()?;
    }
    lateness()
}

fn costs() -> Result<()> {
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
    compare("1,000,000 times: begin a receive and cancel it", &[("ours, on the port's thread", || on_port(cancel))])
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

/// How many timers a round of lateness has, over a second.
const SPREAD: u32 = 10_000;
const APART: Duration = Duration::from_micros(100);

/// How late each of ten thousand timers fires, in microseconds. The times begin at the given one.
type Lateness = fn(Instant) -> Result<Vec<u64>>;

/// Ten thousand timers over a second. Beside ours, loops that do nothing but sleep until the same times, because a machine may
/// wake a sleeping thread late.
fn lateness() -> Result<()> {
    let measures: [(&str, Lateness); 3] = [
        ("ours", lateness_of_ours),
        ("bare epoll_wait", lateness_of_epoll),
        ("bare clock_nanosleep", lateness_of_sleep),
    ];
    println!("lateness of {SPREAD} timers over a second in us, {ROUNDS} rounds: p50, p99, max; max of each round");
    let mut all = vec![(Histogram::<u64>::new(3)?, Vec::new()); measures.len()];
    for round in 0..ROUNDS {
        for turn in 0..measures.len() {
            // The first of a round is not always the same.
            let index = (round + turn) % measures.len();
            let late = measures[index].1(Instant::now() + Duration::from_millis(100))?;
            let (histogram, longest) = &mut all[index];
            late.iter().try_for_each(|late| histogram.record(*late))?;
            longest.push(late.into_iter().max().unwrap_or(0));
        }
    }
    for ((name, _), (histogram, mut longest)) in measures.into_iter().zip(all) {
        let [half, most, max] = [0.5, 0.99, 1.0].map(|part| histogram.value_at_quantile(part));
        longest.sort_unstable();
        println!("  {name:<24}{half:6}{most:6}{max:6}   {longest:?}");
    }
    Ok(())
}

fn times(begin: Instant) -> impl Iterator<Item = Instant> {
    (0..SPREAD).map(move |number| begin + APART * number)
}

fn micros_since(at: Instant) -> u64 {
    u64::try_from(at.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn lateness_of_ours(begin: Instant) -> Result<Vec<u64>> {
    let port = CompletionPort::create()?;
    let late = Arc::new(Mutex::new(Vec::with_capacity(SPREAD as usize)));
    let (tell, told) = channel();
    let mut timers = Vec::with_capacity(SPREAD as usize);
    for at in times(begin) {
        // The last one tells.
        let (late, tell) = (Arc::clone(&late), tell.clone());
        timers.push(port.at(at, move || {
            let mut late = late.lock().unwrap_or_else(PoisonError::into_inner);
            late.push(micros_since(at));
            if late.len() == SPREAD as usize {
                let _ = tell.send(());
            }
        })?);
    }
    told.recv()?;
    Ok(std::mem::take(&mut *late.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// A thread that waits for the next time as the loops of most programs do, in whole milliseconds.
fn lateness_of_epoll(begin: Instant) -> Result<Vec<u64>> {
    thread::spawn(move || {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut events = Vec::with_capacity(64);
        lateness_of_loop(begin, |left| {
            let nanos = left.as_nanos().div_ceil(1_000_000) * 1_000_000;
            let at_most = Timespec { tv_sec: 0, tv_nsec: i64::try_from(nanos)? };
            epoll::wait(&epoll, spare_capacity(&mut events), Some(&at_most))?;
            Ok(())
        })
    })
    .join()
    .unwrap_or_else(|_| anyhow::bail!("the thread panicked"))
}

fn lateness_of_sleep(begin: Instant) -> Result<Vec<u64>> {
    let sleep = |left| {
        // Calls clock_nanosleep.
        thread::sleep(left);
        Ok(())
    };
    thread::spawn(move || lateness_of_loop(begin, sleep))
        .join()
        .unwrap_or_else(|_| anyhow::bail!("the thread panicked"))
}

fn lateness_of_loop(begin: Instant, mut sleep: impl FnMut(Duration) -> Result<()>) -> Result<Vec<u64>> {
    let mut late = Vec::with_capacity(SPREAD as usize);
    for at in times(begin) {
        loop {
            let left = at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            sleep(left)?;
        }
        late.push(micros_since(at));
    }
    Ok(late)
}
