//! Posted work, timers and driven ports, with real time.

use completion_port::{
    Action, Attempt, Cancel, CompletionPort, Direction, Handler, Port as _, PortExt, Registration, TimerFired, Turn,
    is_port_thread,
};
use integration_tests::port::{Transfers, port, reads, socket, start, writes};
use integration_tests::wait::eventually;
use integration_tests::{Inbox, inbox, spawn};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);

// Tests_SRS_COMPLETION_PORT_01_160, Tests_SRS_COMPLETION_PORT_01_161
#[test]
fn work_that_four_threads_post_runs_once_in_the_order_of_each_thread() {
    const EACH: usize = 5_000;
    let port = port().1;
    let notes = Arc::new(std::sync::Mutex::new(Vec::new()));
    let posting = [0, 1, 2, 3].map(|thread| {
        let (port, notes) = (port.clone(), Arc::clone(&notes));
        spawn("a thread that posts", move || {
            for number in 0..EACH {
                let notes = Arc::clone(&notes);
                port.post(move || notes.lock().unwrap().push((thread, number, is_port_thread())))
                    .map_err(|it| it.error)?;
            }
            Ok::<_, std::io::Error>(())
        })
    });
    posting.into_iter().for_each(|thread| thread.join().unwrap());
    eventually("all work", || notes.lock().unwrap().len() == 4 * EACH);

    let notes = notes.lock().unwrap();
    for thread in 0..4 {
        let of_thread = notes.iter().filter(|note| note.0 == thread).map(|note| note.1);
        assert!(of_thread.eq(0..EACH));
    }
    assert!(notes.iter().all(|note| note.2), "on the port's thread");
}

fn lateness(at: Instant, outbox: &Inbox<Instant>) -> Duration {
    outbox.next().checked_duration_since(at).expect("a timer is never early")
}

// Tests_SRS_COMPLETION_PORT_01_187
#[test]
fn a_timer_does_not_wait_for_the_next_millisecond() {
    let port = CompletionPort::create().unwrap();
    // A wait of whole milliseconds would take two, and no timer would be less than 600 us late. How late most of them are
    // depends on the machine.
    let best = (0..50).map(|_| {
        let (tell, told) = inbox();
        let at = port.now() + Duration::from_micros(1400);
        let _timer = port.at(at, move || tell.put(Instant::now())).unwrap();
        lateness(at, &told)
    });
    let best = best.min().unwrap();
    assert!(best < Duration::from_micros(500), "{best:?}");
}

// Tests_SRS_COMPLETION_PORT_01_165, Tests_SRS_COMPLETION_PORT_01_166, Tests_SRS_COMPLETION_PORT_01_167
#[test]
fn ten_thousand_timers_fire_once_each_and_never_early() {
    const TIMERS: u32 = 10_000;
    let port = port().1;
    let (fired, early, begin) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), port.now());
    let timers: Vec<_> = (0..TIMERS)
        .map(|number| {
            let at = begin + Duration::from_micros(u64::from(number * 7919 % TIMERS) * 50);
            let (fired, early) = (Arc::clone(&fired), Arc::clone(&early));
            let fire = move || {
                early.fetch_add(usize::from(Instant::now() < at), Ordering::Relaxed);
                fired.fetch_add(1, Ordering::Relaxed);
            };
            port.at(at, fire).unwrap()
        })
        .collect();

    eventually("all timers", || fired.load(Ordering::Relaxed) == TIMERS as usize);
    assert_eq!(early.load(Ordering::Relaxed), 0);
    drop(timers);
    assert_eq!(fired.load(Ordering::Relaxed), TIMERS as usize);
}

// Tests_SRS_COMPLETION_PORT_01_168, Tests_SRS_COMPLETION_PORT_01_169
#[test]
fn timers_that_are_cancelled_and_reset_while_they_fire_have_one_outcome_each() {
    let port = port().1;
    let (mut in_time, fired) = (0, Arc::new(AtomicUsize::new(0)));
    for round in 0..2_000_u32 {
        let count = Arc::clone(&fired);
        let timer = port
            .after(Duration::from_micros(u64::from(round % 40) * 20), move || _ = count.fetch_add(1, Ordering::SeqCst))
            .unwrap();
        if round % 3 == 0 {
            timer.reset(port.now());
        }
        if round % 2 == 0 {
            std::thread::yield_now();
        }
        in_time += usize::from(timer.cancel());
    }
    eventually("the rest", || fired.load(Ordering::SeqCst) + in_time == 2_000);
}

// Tests_SRS_COMPLETION_PORT_01_168, Tests_SRS_COMPLETION_PORT_01_169
#[test]
fn a_timer_that_has_fired_can_neither_be_cancelled_nor_reset() {
    let port = CompletionPort::create().unwrap();
    let (tell, told) = inbox();
    let timer = port.after(Duration::from_secs(3600), move || tell.put(Instant::now())).unwrap();
    let at = port.now() + 10 * MS;

    assert!(timer.reset(at));

    assert!(told.only() >= at);
    assert!(!timer.reset(port.now()));
    assert!(!timer.cancel());
    let (tell, told) = inbox::<()>();
    let later = port.after(Duration::from_secs(3600), move || tell.put(())).unwrap();
    assert!(later.cancel());
    assert!(told.is_dead(), "its closure is dropped");
}

// Tests_SRS_COMPLETION_PORT_01_165
#[test]
fn a_timer_fires_on_time_while_messages_keep_the_port_awake() {
    let port = port().1;
    let (registration, peer) = socket(&port);
    let stop = Arc::new(AtomicUsize::new(0));
    let ended = Arc::clone(&stop);
    let flood = spawn("the peer", move || {
        while ended.load(Ordering::Relaxed) == 0 {
            (&peer).write_all(b"x")?;
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok::<_, std::io::Error>(peer)
    });
    let reading = Arc::clone(&registration);
    fn read_on(registration: &Arc<integration_tests::port::Watched>) {
        let again = Arc::clone(registration);
        let _ = registration.add(
            Direction::In,
            reads(64).then(move |done| {
                if done.action == Action::In {
                    read_on(&again);
                }
            }),
        );
    }
    read_on(&reading);

    // Far enough away for waits without a look at the clock.
    let (outbox, fired) = inbox();
    let at = port.now() + 400 * MS;
    let _timer = port.at(at, move || outbox.put(Instant::now())).unwrap();
    let late = lateness(at, &fired);

    stop.store(1, Ordering::Relaxed);
    assert!(late < 100 * MS, "{late:?} late, which the load of this machine does not explain");
    drop(flood.join().unwrap());
    registration.remove();
}

// Tests_SRS_COMPLETION_PORT_01_162
#[test]
fn a_port_that_has_failed_refuses_work_and_timers() {
    let (port, driver) = CompletionPort::builder().create_driven().unwrap();
    drop(driver);
    let (outbox, told) = inbox();
    let refused = port.post(move || outbox.put(())).unwrap_err();
    (refused.returned)();
    told.only();
    assert!(port.after(MS, || ()).is_err());
}

// Tests_SRS_COMPLETION_PORT_01_175, Tests_SRS_COMPLETION_PORT_01_176, Tests_SRS_COMPLETION_PORT_01_177
#[test]
fn a_driven_port_serves_sockets_inside_another_event_loop() {
    let (port, mut driver) = CompletionPort::builder().create_driven().unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let registration = Registration::new(port.clone(), Transfers::default(), ours.into());
    registration.register(|| ()).unwrap();
    let (outbox, done) = inbox();
    let ended = Arc::new(AtomicUsize::new(0));
    let end = Arc::clone(&ended);
    let callback = move |done| {
        outbox.put(done);
        end.store(1, Ordering::Relaxed);
    };
    registration.add(Direction::In, reads(8).then(callback)).unwrap();
    theirs.write_all(b"hello").unwrap();

    // The outer loop is `poll`.
    while ended.load(Ordering::Relaxed) == 0 {
        let mut watched = [rustix::event::PollFd::new(&driver, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut watched, None).unwrap();
        let _ = driver.run_once(Some(Duration::ZERO));
    }

    assert_eq!(done.only().bytes, b"hello");
    assert_eq!(driver.time_to_wait(), None);
    drop((registration, port));
    assert_eq!(driver.run_once(None), Turn::Over);
}

// Tests_SRS_COMPLETION_PORT_01_178
#[test]
fn dropping_the_driver_ends_the_waiting_reads_with_an_error() {
    let (port, driver) = CompletionPort::builder().create_driven().unwrap();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let registration = Registration::new(port, Transfers::default(), ours.into());
    registration.register(|| ()).unwrap();
    let (outbox, done) = inbox();
    registration.add(Direction::In, reads(8).then(move |done| outbox.put(done))).unwrap();

    drop(driver);

    assert_eq!(done.only().action, Action::Error);
}

// Tests_SRS_COMPLETION_PORT_01_167
#[test]
fn a_timer_and_a_socket_work_side_by_side() {
    let port = port().1;
    let (registration, mut peer) = socket(&port);
    let (outbox, fired) = inbox();
    let _timer = port.after(10 * MS, move || outbox.put(())).unwrap();
    let read = start(&registration, Direction::In, reads(1));
    let written = start(&registration, Direction::Out, writes("y"));
    peer.write_all(b"x").unwrap();

    assert_eq!(read.only().bytes, b"x");
    assert_eq!(written.only().action, Action::Out);
    fired.only();
}

/// Waits for ever. Operations are numbers, and those up to a limit are over when the timer comes.
struct Numbers {
    limit: u32,
    ended: Arc<std::sync::Mutex<Vec<(u32, Action)>>>,
}

impl Handler for Numbers {
    type Descriptor = OwnedFd;
    type Operation = u32;

    fn attempt(&self, number: u32, action: Action, attempt: Attempt<'_, Self>) {
        match action {
            Action::In | Action::Out => attempt.pending(number),
            ended => attempt
                .complete(false, None, || self.ended.lock().expect("no test panics inside").push((number, ended))),
        }
    }

    fn can_cancel(&self, number: &u32) -> bool {
        number.is_multiple_of(2)
    }

    fn timer_fired(&self, timer: &TimerFired<'_, Self>) -> Option<Instant> {
        timer.end_waiting(Direction::In, |number| *number <= self.limit);
        None
    }
}

// Tests_SRS_COMPLETION_PORT_01_152, Tests_SRS_COMPLETION_PORT_01_170, Tests_SRS_COMPLETION_PORT_01_171
#[test]
fn the_timer_of_a_socket_ends_what_may_be_cancelled_and_is_over() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let ended = Arc::default();
    let port = CompletionPort::create().unwrap();
    let handler = Numbers { limit: 10, ended: Arc::clone(&ended) };
    let registration = Registration::new(port, handler, OwnedFd::from(ours));
    registration.register(|| ()).unwrap();
    let id = registration.add(Direction::In, 8).unwrap();
    assert_eq!(registration.cancel(id), Cancel::Cancelled);
    assert_eq!(std::mem::take(&mut *ended.lock().unwrap()), [(8, Action::Cancelled)]);
    let ids = [1, 2, 12, 4].map(|number| registration.add(Direction::In, number).unwrap());
    assert_eq!(registration.cancel(ids[0]), Cancel::Started);

    let begin = Instant::now();
    registration.set_timer(Some(begin + 20 * MS)).unwrap();
    eventually("both are over", || ended.lock().unwrap().len() == 2);

    assert!(begin.elapsed() >= 20 * MS);
    let mut seen = ended.lock().unwrap().clone();
    seen.sort_unstable_by_key(|end| end.0);
    assert_eq!(seen, [(2, Action::TimedOut), (4, Action::TimedOut)]);
    assert_eq!(registration.queued(Direction::In), 2);
}

// Tests_SRS_COMPLETION_PORT_01_171
#[test]
fn the_oldest_operation_of_a_socket_times_out_and_the_next_takes_its_place() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let ended = Arc::default();
    let handler = Numbers { limit: 10, ended: Arc::clone(&ended) };
    let registration = Registration::new(CompletionPort::create().unwrap(), handler, OwnedFd::from(ours));
    registration.register(|| ()).unwrap();
    for number in [2, 12] {
        registration.add(Direction::In, number).unwrap();
    }

    registration.set_timer(Some(Instant::now())).unwrap();

    eventually("one is over", || !ended.lock().unwrap().is_empty());
    registration.remove();
    assert_eq!(*ended.lock().unwrap(), [(2, Action::TimedOut), (12, Action::Abandoned)]);
}

/// Wants its timer to come three times.
struct ThreeTimes(Arc<std::sync::Mutex<Vec<Instant>>>);

impl Handler for ThreeTimes {
    type Descriptor = OwnedFd;
    type Operation = ();

    fn attempt(&self, (): (), _: Action, attempt: Attempt<'_, Self>) {
        attempt.complete(false, None, || ());
    }

    fn timer_fired(&self, timer: &TimerFired<'_, Self>) -> Option<Instant> {
        let mut times = self.0.lock().expect("no test panics inside");
        times.push(timer.now());
        (times.len() < 3).then(|| timer.now() + 10 * MS)
    }
}

// Tests_SRS_COMPLETION_PORT_01_170
#[test]
fn the_timer_of_a_socket_comes_again_when_its_handler_says_so() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let times = Arc::default();
    let handler = ThreeTimes(Arc::clone(&times));
    let registration = Registration::new(CompletionPort::create().unwrap(), handler, OwnedFd::from(ours));
    registration.register(|| ()).unwrap();

    registration.set_timer(Some(Instant::now())).unwrap();

    eventually("it comes three times", || times.lock().unwrap().len() == 3);
    registration.remove();
    let times = times.lock().unwrap();
    assert!(times.windows(2).all(|two| two[1] >= two[0] + 10 * MS), "{times:?}");
}

/// Takes its time to note that an operation times out.
struct Notes(Arc<AtomicBool>);

impl Handler for Notes {
    type Descriptor = OwnedFd;
    type Operation = ();

    fn attempt(&self, (): (), action: Action, attempt: Attempt<'_, Self>) {
        match action {
            Action::In | Action::Out => attempt.pending(()),
            _ => attempt.complete(false, None, || ()),
        }
    }

    fn times_out(&self, (): &()) {
        std::thread::sleep(30 * MS);
        self.0.store(true, Ordering::Relaxed);
    }

    fn timer_fired(&self, timer: &TimerFired<'_, Self>) -> Option<Instant> {
        timer.end_waiting(Direction::Out, |()| true);
        None
    }
}

// Tests_SRS_COMPLETION_PORT_01_188
#[test]
fn whoever_claims_after_a_time_out_sees_what_it_noted() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let noted = Arc::new(AtomicBool::new(false));
    let registration =
        Registration::new(CompletionPort::create().unwrap(), Notes(Arc::clone(&noted)), OwnedFd::from(ours));
    registration.register(|| ()).unwrap();
    registration.add(Direction::Out, ()).unwrap();
    registration.set_timer(Some(Instant::now())).unwrap();

    eventually("the direction is free", || registration.try_claim(Direction::Out).is_ok());

    assert!(noted.load(Ordering::Relaxed));
}

// Tests_SRS_COMPLETION_PORT_01_185, Tests_SRS_COMPLETION_PORT_01_186, Tests_SRS_COMPLETION_PORT_01_189
#[test]
fn a_port_that_counts_sees_its_sockets_and_timers() {
    let port = CompletionPort::builder().metrics(true).create().unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let registration = Registration::new(port.clone(), Transfers::default(), OwnedFd::from(ours));
    registration.register(|| ()).unwrap();
    let (outbox, done) = inbox();
    let report = move |done| {
        std::thread::sleep(20 * MS);
        outbox.put(done);
    };
    registration.add(Direction::In, reads(1).then(report)).unwrap();
    theirs.write_all(b"x").unwrap();
    done.only();
    assert_eq!(port.metrics().unwrap().wake_ups, 0, "only the kernel has had events");
    let (outbox, fired) = inbox();
    let _timer = port.after(MS, move || outbox.put(())).unwrap();
    let _later = port.after(Duration::from_secs(3600), || ()).unwrap();
    fired.only();

    let metrics = port.metrics().unwrap();
    assert!(metrics.events >= 1 && metrics.rounds >= 2 && metrics.timers == 1, "{metrics:?}");
    assert_eq!(metrics.timers_armed, 1);
    assert!(metrics.wake_ups >= 1, "the timer was armed on another thread: {metrics:?}");
    assert!(metrics.longest_callback >= 20 * MS && metrics.longest_callback <= metrics.longest_round, "{metrics:?}");
}
