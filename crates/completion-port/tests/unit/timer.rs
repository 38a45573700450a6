//! Posted work and timers: `PortExt`, `Timer`, and the timer of a registration.

use crate::common::{Gate, eventually, mocked, op, real_port, received, spawn, stays_silent, watch_over_all};
use completion_port::sys::{EpollOp, Errno, Event, Milliseconds};
use completion_port::{
    Action, Attempt, CompletionPort, Direction, Handler, Kernel, Port, PortExt, PortSyscalls, Registration, TimerFired,
};
use parking_lot::Mutex;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use test_doubles::{MockPort, PortCall, any_descriptor};

const MS: Duration = Duration::from_millis(1);

/// A closure that notes its name, and the notes.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<u32>>>);

impl Notes {
    fn note(&self, number: u32) -> impl FnOnce() + Send + 'static {
        let notes = Arc::clone(&self.0);
        move || notes.lock().push(number)
    }

    fn taken(&self) -> Vec<u32> {
        std::mem::take(&mut self.0.lock())
    }
}

// ---- posted work

// Tests_SRS_COMPLETION_PORT_01_160
#[test]
fn posted_work_runs_once_on_the_port_thread_and_never_inside_the_call() {
    let port = MockPort::new();
    let (tell, told) = channel();
    let current = port.clone();
    port.post(move || tell.send(current.is_current_thread()).unwrap()).unwrap();

    assert!(told.try_recv().is_err(), "not yet");
    port.run_scheduled();

    assert_eq!(told.try_recv(), Ok(true));
    assert!(told.try_recv().is_err(), "once");
    assert_eq!(port.references(), 1, "the work holds no reference any more");
}

// Tests_SRS_COMPLETION_PORT_01_161
#[test]
fn work_of_one_thread_runs_in_the_order_of_the_calls() {
    const POSTED: u32 = if cfg!(miri) { 50 } else { 5_000 };
    let (_calls, port) = real_port();
    let notes = Notes::default();
    let (tell, told) = channel();
    for number in 0..POSTED {
        port.post(notes.note(number)).unwrap();
        if number % 100 == 0 {
            std::thread::yield_now();
        }
    }
    port.post(move || tell.send(()).unwrap()).unwrap();

    received(&told, "the last work");
    assert_eq!(notes.taken(), (0..POSTED).collect::<Vec<_>>());
}

// Tests_SRS_COMPLETION_PORT_01_161
#[test]
fn work_that_work_posts_runs_behind_what_was_posted_before() {
    let (_calls, port) = real_port();
    let notes = Notes::default();
    let (gate, stop) = Gate::new();
    port.post(stop).unwrap();
    gate.wait();
    let (tell, told) = channel();
    let (inner, again, last) = (port.clone(), notes.clone(), notes.note(3));
    port.post(move || {
        again.note(1)();
        inner.post(move || (last(), tell.send(()).unwrap()).1).unwrap();
    })
    .unwrap();
    port.post(notes.note(2)).unwrap();
    gate.open();

    received(&told, "the inner work");
    assert_eq!(notes.taken(), [1, 2, 3]);
}

// Tests_SRS_COMPLETION_PORT_01_160
#[test]
fn a_panic_of_posted_work_ends_there() {
    let (_calls, port) = real_port();
    let (tell, told) = channel();
    port.post(|| panic!("in posted work")).unwrap();
    port.post(move || tell.send(()).unwrap()).unwrap();

    received(&told, "the work after the panic");
}

// Tests_SRS_COMPLETION_PORT_01_160
#[test]
fn posted_work_runs_although_the_last_other_reference_is_dropped() {
    watch_over_all();
    let port = CompletionPort::create().unwrap();
    let (gate, stop) = Gate::new();
    let (tell, told) = channel();
    port.post(stop).unwrap();
    gate.wait();
    port.post(move || tell.send(()).unwrap()).unwrap();

    drop(port);
    gate.open();

    received(&told, "the work");
}

// Tests_SRS_COMPLETION_PORT_01_162
#[test]
fn a_refused_call_returns_the_closure() {
    let port = MockPort::new();
    let notes = Notes::default();

    port.fail_next_attach(12);
    let refused = port.post(notes.note(1)).unwrap_err();
    assert_eq!(refused.error.raw_os_error(), Some(12));
    (refused.returned)();
    port.fail_next_attach(12);
    let refused = port.after(MS, notes.note(2)).unwrap_err();
    assert_eq!(refused.error.raw_os_error(), Some(12));
    (refused.returned)();

    port.run_scheduled();
    port.advance(10 * MS);
    assert_eq!(notes.taken(), [1, 2], "by the test alone");
    assert_eq!(port.references(), 1);
}

// ---- timers

/// The kernel's calls, and the times of the waits that are no whole milliseconds.
#[derive(Clone, Default)]
struct PreciseWaits(Arc<Mutex<Vec<Duration>>>);

impl PortSyscalls for PreciseWaits {
    fn epoll_create(&self) -> Result<OwnedFd, Errno> {
        Kernel.epoll_create()
    }

    fn eventfd(&self) -> Result<OwnedFd, Errno> {
        Kernel.eventfd()
    }

    fn epoll_ctl(&self, epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, op: EpollOp) -> Result<(), Errno> {
        Kernel.epoll_ctl(epoll, fd, op)
    }

    fn epoll_wait(&self, epoll: BorrowedFd<'_>, events: &mut Vec<Event>, at_most: Milliseconds) -> Result<(), Errno> {
        Kernel.epoll_wait(epoll, events, at_most)
    }

    fn epoll_wait_precisely(
        &self,
        epoll: BorrowedFd<'_>,
        events: &mut Vec<Event>,
        at_most: Duration,
    ) -> Result<(), Errno> {
        self.0.lock().push(at_most);
        Kernel.epoll_wait_precisely(epoll, events, at_most)
    }

    fn wake(&self, epoll: BorrowedFd<'_>, eventfd: BorrowedFd<'_>, data: u64) -> Result<(), Errno> {
        Kernel.wake(epoll, eventfd, data)
    }
}

// Tests_SRS_COMPLETION_PORT_01_187
#[test]
fn only_a_wait_for_a_timer_that_is_near_is_no_whole_number_of_milliseconds() {
    let waits = PreciseWaits::default();
    let port = CompletionPort::create_with(waits.clone()).unwrap();
    let (tell, told) = channel();
    let tells = tell.clone();
    port.post(move || tells.send(Instant::now()).unwrap()).unwrap();
    received(&told, "the work");
    assert_eq!(*waits.0.lock(), [], "without a timer");

    let at = port.now() + Duration::from_micros(2300);
    let _timer = port.at(at, move || tell.send(Instant::now()).unwrap()).unwrap();

    assert!(received(&told, "the timer") >= at);
    let waits = waits.0.lock();
    // A quarter of a millisecond is the wheel's tick.
    assert!(waits.iter().all(|wait| *wait <= Duration::from_micros(2550)), "{waits:?}");
    // The timer may have been due before the thread came to a wait.
    assert!(waits.len() <= 4, "{waits:?}");
}

// Tests_SRS_COMPLETION_PORT_01_187
#[test]
fn a_precise_wait_does_not_last_until_the_next_millisecond() {
    const SHORT: Duration = Duration::from_micros(300);
    let (epoll, mut events) = (Kernel.epoll_create().unwrap(), Vec::with_capacity(1));
    let best = (0..40).map(|_| {
        let begin = Instant::now();
        Kernel.epoll_wait_precisely(epoll.as_fd(), &mut events, SHORT).unwrap();
        begin.elapsed()
    });
    let best = best.min().expect("there are some");
    assert!(best >= SHORT && best < MS, "{best:?}");
}

// Tests_SRS_COMPLETION_PORT_01_165
#[test]
fn timers_fire_in_the_order_of_their_times_and_not_before() {
    let port = MockPort::new();
    let notes = Notes::default();
    let _timers: Vec<_> = [30, 10, 20].map(|ms| port.after(ms * MS, notes.note(ms)).unwrap()).into();

    port.advance(9 * MS);
    assert_eq!(notes.taken(), []);
    port.advance(MS);
    assert_eq!(notes.taken(), [10]);
    port.advance(20 * MS);
    assert_eq!(notes.taken(), [20, 30]);
}

// Tests_SRS_COMPLETION_PORT_01_168
#[test]
fn a_cancelled_or_dropped_timer_never_fires_and_drops_its_closure() {
    let port = MockPort::new();
    let notes = Notes::default();
    let held = Arc::new(());
    let hold = |number| {
        let (held, note) = (Arc::clone(&held), notes.note(number));
        move || (drop(held), note()).1
    };
    let (cancelled, dropped) = (port.after(MS, hold(1)).unwrap(), port.after(MS, hold(2)).unwrap());

    assert!(cancelled.cancel());
    drop(dropped);

    assert_eq!(Arc::strong_count(&held), 1);
    port.advance(10 * MS);
    assert_eq!(notes.taken(), []);
    assert_eq!(port.references(), 1);
}

// Tests_SRS_COMPLETION_PORT_01_168
#[test]
fn a_timer_that_has_fired_cannot_be_cancelled_or_reset() {
    let port = MockPort::new();
    let notes = Notes::default();
    let timer = port.after(MS, notes.note(1)).unwrap();
    port.advance(MS);

    assert!(!timer.reset(port.now() + MS));
    port.advance(MS);
    assert_eq!(notes.taken(), [1]);
    assert!(!timer.cancel());
}

// Tests_SRS_COMPLETION_PORT_01_169
#[test]
fn a_reset_timer_fires_at_its_new_time_only() {
    let port = MockPort::new();
    let notes = Notes::default();
    let (later, earlier) = (port.after(10 * MS, notes.note(1)).unwrap(), port.after(10 * MS, notes.note(2)).unwrap());

    assert!(later.reset(port.now() + 20 * MS));
    assert!(earlier.reset(port.now() + MS));

    port.advance(MS);
    assert_eq!(notes.taken(), [2]);
    port.advance(18 * MS);
    assert_eq!(notes.taken(), []);
    port.advance(MS);
    assert_eq!(notes.taken(), [1]);
}

// Tests_SRS_COMPLETION_PORT_01_168
#[test]
fn a_timer_may_be_dropped_in_its_own_closure_and_arm_another() {
    let (_calls, port) = real_port();
    let own = Arc::new(Mutex::new(None));
    let (tell, told) = channel();
    let (inner, again) = (Arc::clone(&own), port.clone());
    let fire = move || {
        drop(inner.lock().take());
        let next = again.after(MS, move || tell.send(()).unwrap()).unwrap();
        *inner.lock() = Some(next);
    };
    *own.lock() = Some(port.after(5 * MS, fire).unwrap());

    received(&told, "the second timer");
    // The closure holds the port, so the timer goes first.
    drop(own.lock().take());
}

// Tests_SRS_COMPLETION_PORT_01_166
#[test]
fn a_panic_of_a_timer_ends_there() {
    let (_calls, port) = real_port();
    let (tell, told) = channel();
    let _bad = port.after(MS, || panic!("in a timer")).unwrap();
    let _good = port.after(2 * MS, move || tell.send(()).unwrap()).unwrap();

    received(&told, "the timer after the panic");
}

// Tests_SRS_COMPLETION_PORT_01_165
#[test]
fn a_delay_that_no_clock_reaches_never_comes() {
    let (_calls, port) = real_port();
    let notes = Notes::default();
    let never = port.after(Duration::MAX, notes.note(1)).unwrap();
    let (tell, told) = channel();
    let _soon = port.after(MS, move || tell.send(()).unwrap()).unwrap();

    received(&told, "the other timer");
    assert!(never.cancel());
    assert_eq!(notes.taken(), []);
}

/// When the timers fired, each with its own time.
fn lateness(fired: &Receiver<(Instant, Instant)>, timers: usize) -> Vec<Duration> {
    (0..timers)
        .map(|_| received(fired, "a timer"))
        .map(|(at, fired)| fired.checked_duration_since(at).expect("early"))
        .collect()
}

// Tests_SRS_COMPLETION_PORT_01_165, Tests_SRS_COMPLETION_PORT_01_167
#[test]
fn timers_armed_on_any_thread_wake_a_sleeping_port_and_are_never_early() {
    let (_calls, port) = real_port();
    let (tell, fired) = channel();
    let threads = [40, 5, 80, 1, 20].map(|ms| {
        let (port, tell) = (port.clone(), tell.clone());
        spawn(move || {
            let at = port.now() + ms * MS;
            port.at(at, move || tell.send((at, Instant::now())).unwrap()).unwrap()
        })
    });
    let _timers = threads.map(|timer| received(&timer, "a timer"));

    let mut late = lateness(&fired, 5);
    late.sort_unstable();
    // Machines that run tests are noisy, so this is about a forgotten timer, which would be late by up to a second.
    assert!(late[2] < 500 * MS, "{late:?}");
}

// Tests_SRS_COMPLETION_PORT_01_166
#[test]
fn events_go_on_while_timers_are_due_all_the_time() {
    const DUE: usize = 2_000;
    let (_calls, port) = real_port();
    let (registration, peer) = crate::common::real(&port);
    let (gate, stop) = Gate::new();
    port.post(stop).unwrap();
    gate.wait();
    let (operation, told) = op("a").told();
    registration.add(Direction::In, operation).unwrap();
    std::io::Write::write_all(&mut &peer, b"x").unwrap();
    let fired = Arc::new(Mutex::new(0));
    let fire = || {
        let fired = Arc::clone(&fired);
        move || *fired.lock() += 1
    };
    let timers: Vec<_> = (0..DUE).map(|_| port.after(Duration::ZERO, fire()).unwrap()).collect();
    let seen = Arc::clone(&fired);
    let (tell, before) = channel();
    let last = spawn(move || {
        received(&told, "the event");
        tell.send(*seen.lock()).unwrap();
    });

    gate.open();

    received(&last, "the event");
    assert!(received(&before, "the count") <= DUE);
    eventually("all fire", || *fired.lock() == DUE);
    drop(timers);
}

// Tests_SRS_COMPLETION_PORT_01_167
#[test]
fn without_a_timer_the_thread_sleeps_as_long_as_before() {
    let (calls, port) = real_port();
    let (tell, told) = channel();
    let timer = port.after(MS, move || tell.send(()).unwrap()).unwrap();
    received(&told, "the timer");
    drop(timer);
    let (registration, _peer) = crate::common::real(&port);

    let waits = crate::common::settled(&calls);
    std::thread::sleep(crate::common::A_WHILE);

    assert_eq!(crate::common::settled(&calls), waits, "no wait without a reason");
    drop(registration);
}

// ---- the timer of a registration

/// The handler of a test that looks into it.
#[derive(Default, Clone)]
struct Of(Arc<Deadlines>);

impl std::ops::Deref for Of {
    type Target = Deadlines;

    fn deref(&self) -> &Deadlines {
        &self.0
    }
}

/// Operations are the number of milliseconds after which they are over, counted from the first timer.
#[derive(Default)]
struct Deadlines {
    ended: Mutex<Vec<(u64, Action)>>,
    fired: Mutex<Vec<Instant>>,
    again: Mutex<Option<Duration>>,
    over_until: Mutex<u64>,
}

impl Handler for Of {
    type Descriptor = OwnedFd;
    type Operation = u64;

    fn attempt(&self, operation: u64, action: Action, attempt: Attempt<'_, Self>) {
        attempt.complete(false, None, || self.ended.lock().push((operation, action)));
    }

    fn can_cancel(&self, operation: &u64) -> bool {
        *operation != 0
    }

    fn timer_fired(&self, timer: &TimerFired<'_, Self>) -> Option<Instant> {
        self.fired.lock().push(timer.now());
        let limit = *self.over_until.lock();
        timer.end_waiting(Direction::In, |operation| *operation <= limit);
        self.again.lock().take().map(|again| timer.now() + again)
    }
}

fn deadlines() -> (MockPort, Of, Registration<Of, MockPort>) {
    watch_over_all();
    let (port, handler) = (MockPort::new(), Of::default());
    let registration = Registration::new(port.clone(), handler.clone(), any_descriptor());
    registration.register(|| ()).expect("the mock accepts every descriptor");
    (port, handler, registration)
}

// Tests_SRS_COMPLETION_PORT_01_170
#[test]
fn the_timer_of_a_registration_comes_once_and_again_if_the_handler_says_so() {
    let (port, handler, registration) = deadlines();
    let begin = port.now();
    *handler.again.lock() = Some(5 * MS);

    registration.set_timer(Some(begin + 10 * MS)).unwrap();
    port.advance(100 * MS);

    assert_eq!(*handler.fired.lock(), [begin + 10 * MS, begin + 15 * MS]);
}

// Tests_SRS_COMPLETION_PORT_01_170
#[test]
fn on_a_real_port_too_the_timer_comes_again_if_the_handler_says_so() {
    watch_over_all();
    let handler = Of::default();
    let registration =
        Registration::new(CompletionPort::create().unwrap(), handler.clone(), any_descriptor_that_polls());
    registration.register(|| ()).unwrap();
    *handler.again.lock() = Some(5 * MS);

    registration.set_timer(Some(Instant::now())).unwrap();

    eventually("it comes twice", || handler.fired.lock().len() == 2);
    let fired = handler.fired.lock();
    assert!(fired[1] >= fired[0] + 5 * MS, "{fired:?}");
}

// Tests_SRS_COMPLETION_PORT_01_170
#[test]
fn a_disarmed_timer_does_not_come_and_a_moved_one_comes_later() {
    let (port, handler, registration) = deadlines();
    let begin = port.now();
    registration.set_timer(Some(begin + 10 * MS)).unwrap();
    registration.set_timer(Some(begin + 30 * MS)).unwrap();
    port.advance(20 * MS);
    assert_eq!(*handler.fired.lock(), []);
    registration.set_timer(None).unwrap();
    port.advance(100 * MS);

    assert_eq!(*handler.fired.lock(), []);
}

// Tests_SRS_COMPLETION_PORT_01_171
#[test]
fn the_handler_ends_what_has_waited_too_long_and_nothing_else() {
    let (port, handler, registration) = deadlines();
    for operation in [30, 10, 0, 40, 20] {
        registration.add(Direction::In, operation).unwrap();
    }
    *handler.over_until.lock() = 30;

    registration.set_timer(Some(port.now() + MS)).unwrap();
    port.advance(MS);

    let mut ended = handler.ended.lock().clone();
    ended.sort_unstable_by_key(|end| end.0);
    assert_eq!(ended, [10, 20, 30].map(|operation| (operation, Action::TimedOut)));
    assert_eq!(registration.queued(Direction::In), 2, "one may not be cancelled, and one has time left");
    handler.ended.lock().clear();
    port.fire(Action::In);
    port.run_scheduled();
    assert_eq!(*handler.ended.lock(), [(0, Action::In), (40, Action::In)]);
}

// Tests_SRS_COMPLETION_PORT_01_170
#[test]
fn removing_a_registration_disarms_its_timer() {
    let (port, handler, registration) = deadlines();
    registration.set_timer(Some(port.now() + MS)).unwrap();
    registration.remove();

    assert_eq!(port.next_timer(), None);
    assert_eq!(registration.set_timer(Some(port.now())).unwrap_err().kind(), std::io::ErrorKind::NotConnected);
    port.advance(10 * MS);
    assert_eq!(*handler.fired.lock(), []);
    assert!(port.calls().contains(&PortCall::Insert) || !port.calls().is_empty());
}

// Tests_SRS_COMPLETION_PORT_01_170
#[test]
fn a_removal_waits_for_the_timer_that_another_thread_is_in() {
    watch_over_all();
    struct Stops(Mutex<Option<Box<dyn FnOnce() + Send>>>);
    impl Handler for Stops {
        type Descriptor = OwnedFd;
        type Operation = ();
        fn attempt(&self, (): (), _: Action, attempt: Attempt<'_, Self>) {
            attempt.complete(false, None, || ());
        }
        fn timer_fired(&self, _: &TimerFired<'_, Self>) -> Option<Instant> {
            self.0.lock().take().into_iter().for_each(|stop| stop());
            None
        }
    }
    let port = CompletionPort::create().unwrap();
    let (gate, stop) = Gate::new();
    let registration = Registration::new(port, Stops(Mutex::new(Some(Box::new(stop)))), any_descriptor_that_polls());
    registration.register(|| ()).unwrap();
    registration.set_timer(Some(Instant::now())).unwrap();
    gate.wait();

    let removed = spawn(move || registration.remove_and_wait());
    stays_silent(&removed, "the removal");
    gate.open();
    received(&removed, "the removal");
}

/// One end of a socket pair whose other end is gone.
fn any_descriptor_that_polls() -> OwnedFd {
    crate::common::pair().0
}

// Tests_SRS_COMPLETION_PORT_01_151
#[test]
fn a_mocked_registration_has_no_timer_by_default() {
    let (port, registration) = mocked();
    registration.set_timer(Some(port.now() + MS)).unwrap();
    port.advance(2 * MS);
    assert_eq!(registration.handler().seen(), []);
}

// Tests_SRS_COMPLETION_PORT_01_170
#[test]
fn a_timer_that_is_set_while_it_comes_keeps_the_earlier_of_the_two_times() {
    /// Arms the timer inside its own call, as another thread could.
    struct Sets(Mutex<Option<(Held, Instant)>>, Mutex<Vec<Instant>>);
    type Held = Arc<Registration<Setting, CompletionPort>>;
    #[derive(Clone)]
    struct Setting(Arc<Sets>);
    impl Handler for Setting {
        type Descriptor = OwnedFd;
        type Operation = ();
        fn attempt(&self, (): (), _: Action, attempt: Attempt<'_, Self>) {
            attempt.complete(false, None, || ());
        }
        fn timer_fired(&self, timer: &TimerFired<'_, Self>) -> Option<Instant> {
            self.0.1.lock().push(timer.now());
            let (registration, earlier) = self.0.0.lock().take()?;
            registration.set_timer(Some(earlier)).expect("it is registered");
            Some(timer.now() + Duration::from_secs(3600))
        }
    }
    watch_over_all();
    let handler = Setting(Arc::new(Sets(Mutex::new(None), Mutex::default())));
    let port = CompletionPort::create().unwrap();
    let registration = Arc::new(Registration::new(port, handler.clone(), any_descriptor_that_polls()));
    registration.register(|| ()).unwrap();
    let begin = Instant::now();
    *handler.0.0.lock() = Some((Arc::clone(&registration), begin + 20 * MS));

    registration.set_timer(Some(begin + MS)).unwrap();

    eventually("it comes twice", || handler.0.1.lock().len() == 2);
    assert!(handler.0.1.lock()[1] >= begin + 20 * MS);
}

// Tests_SRS_COMPLETION_PORT_01_171
#[test]
fn what_is_added_while_the_timer_ends_operations_is_left_alone() {
    /// The registration, for the callbacks.
    type Own = Mutex<Option<Arc<Registration<Refills, MockPort>>>>;
    /// Adds another operation for each that ends.
    #[derive(Clone)]
    struct Refills(Arc<Mutex<Vec<(u64, Action)>>>, Arc<Own>);
    impl Handler for Refills {
        type Descriptor = OwnedFd;
        type Operation = u64;
        fn attempt(&self, operation: u64, action: Action, attempt: Attempt<'_, Self>) {
            attempt.complete(false, None, || {
                self.0.lock().push((operation, action));
                let registration = self.1.lock().clone();
                registration.into_iter().for_each(|it| drop(it.add(Direction::In, operation + 10).map(drop)));
            });
        }
        fn timer_fired(&self, timer: &TimerFired<'_, Self>) -> Option<Instant> {
            timer.end_waiting(Direction::In, |_| true);
            None
        }
    }
    watch_over_all();
    let (port, handler) = (MockPort::new(), Refills(Arc::default(), Arc::default()));
    let registration = Arc::new(Registration::new(port.clone(), handler.clone(), any_descriptor()));
    registration.register(|| ()).unwrap();
    *handler.1.lock() = Some(Arc::clone(&registration));
    for operation in [1, 2, 3] {
        registration.add(Direction::In, operation).unwrap();
    }

    registration.set_timer(Some(port.now())).unwrap();
    port.advance(MS);

    assert_eq!(*handler.0.lock(), [1, 2, 3].map(|operation| (operation, Action::TimedOut)));
    assert_eq!(registration.queued(Direction::In), 3);
    *handler.1.lock() = None;
    registration.remove();
}
