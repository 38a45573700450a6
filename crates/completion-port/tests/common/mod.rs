//! Helpers of the unit tests: operations whose behaviour the test sets, and waits with a limit.

#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(unreachable_pub, reason = "a module of every test file, not a crate")]

use completion_port::{Action, Attempt, CompletionPort, Direction, Handler, Registration};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};
use test_doubles::{MockPort, ScriptedPort, any_descriptor};

/// How long anything may take before it counts as a hang.
pub const LIMIT: Duration = Duration::from_secs(if cfg!(miri) { 120 } else { 10 });

/// Ends the process if no test has begun for a long time. Every test calls this when it begins. It catches a hang that no
/// test waits for, in a drop for instance.
pub fn watch_over_all() {
    const LONG: Duration = Duration::from_secs(60);
    static BEGAN: Mutex<Option<Instant>> = Mutex::new(None);
    let earlier = BEGAN.lock().replace(Instant::now());
    // Miri wants every thread to have ended at the end.
    if earlier.is_some() || cfg!(miri) {
        return;
    }
    let left = || {
        let began = *BEGAN.lock();
        began.and_then(|began| LONG.checked_sub(began.elapsed()))
    };
    thread::spawn(move || {
        while let Some(left) = left() {
            thread::sleep(left);
        }
        eprintln!("a test hangs: none has begun for {LONG:?}");
        std::process::exit(101);
    });
}

/// How long a test watches to see that something does *not* happen.
pub const A_WHILE: Duration = Duration::from_millis(50);

/// What became of the operations, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// `perform` was called.
    Attempted(&'static str, Action),
    /// `complete` was called.
    Completed(&'static str),
}

pub use Seen::{Attempted, Completed};

/// A handler whose operations say what they do.
#[derive(Debug, Clone, Default)]
pub struct Scripted {
    log: Arc<Mutex<Vec<Seen>>>,
    /// How often the handler was asked for an error, and whether it calls every error a false alarm.
    asked: Arc<AtomicUsize>,
    false_alarms: bool,
    /// Where released descriptors go, if they are not just dropped.
    released: Option<Sender<OwnedFd>>,
    /// What its end does.
    at_the_end: Option<Arc<AtTheEnd>>,
    /// Operations with this name may not be cancelled.
    started: Option<&'static str>,
}

/// What the drop of a handler does.
struct AtTheEnd(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        self.0.get_mut().take().into_iter().for_each(|last| last());
    }
}

impl std::fmt::Debug for AtTheEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AtTheEnd")
    }
}

impl Scripted {
    /// A handler that calls every error event a false alarm, and how often it was asked.
    pub fn with_false_alarms() -> (Self, Arc<AtomicUsize>) {
        let (handler, asked) = Self::counting_errors();
        (Self { false_alarms: true, ..handler }, asked)
    }

    /// A handler, and how often it was asked for an error.
    pub fn counting_errors() -> (Self, Arc<AtomicUsize>) {
        let handler = Self::default();
        let asked = Arc::clone(&handler.asked);
        (handler, asked)
    }

    /// A handler that sends the released descriptor to a channel.
    pub fn releasing() -> (Self, Receiver<OwnedFd>) {
        let (released, taken) = channel();
        (Self { released: Some(released), ..Self::default() }, taken)
    }

    /// A handler that forbids to cancel the operations of a name.
    pub fn with_started(name: &'static str) -> Self {
        Self { started: Some(name), ..Self::default() }
    }

    /// A handler whose drop does something.
    pub fn ending_with(last: impl FnOnce() + Send + 'static) -> Self {
        Self { at_the_end: Some(Arc::new(AtTheEnd(Mutex::new(Some(Box::new(last)))))), ..Self::default() }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.log.lock().clone()
    }

    pub fn completed(&self) -> Vec<&'static str> {
        let name = |seen: Seen| if let Completed(name) = seen { Some(name) } else { None };
        self.seen().into_iter().filter_map(name).collect()
    }

    pub fn attempts(&self) -> Vec<(&'static str, Action)> {
        let attempt = |seen: Seen| if let Attempted(name, action) = seen { Some((name, action)) } else { None };
        self.seen().into_iter().filter_map(attempt).collect()
    }
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy)]
pub enum Progress {
    /// The kernel said `EAGAIN`.
    Pending,
    /// A part is done.
    Partial,
    /// It waits for something else.
    Suspended,
    /// It is done.
    Complete { drained: bool },
}

/// An operation: the results of its attempts, and its callback. By default it completes at the first attempt.
pub struct Operation {
    name: &'static str,
    answers: VecDeque<Progress>,
    attempt: Box<dyn FnMut(Action) + Send>,
    callback: Box<dyn FnOnce() + Send>,
}

pub const DONE: Progress = Progress::Complete { drained: false };
pub const DRAINED: Progress = Progress::Complete { drained: true };

pub fn op(name: &'static str) -> Operation {
    Operation { name, answers: VecDeque::new(), attempt: Box::new(|_| {}), callback: Box::new(|| {}) }
}

impl Operation {
    /// What the next attempts say.
    pub fn answers(mut self, answers: impl IntoIterator<Item = Progress>) -> Self {
        self.answers.extend(answers);
        self
    }

    /// What each attempt does.
    pub fn attempting(mut self, attempt: impl FnMut(Action) + Send + 'static) -> Self {
        self.attempt = Box::new(attempt);
        self
    }

    /// What the first attempt does.
    pub fn attempting_once(self, attempt: impl FnOnce() + Send + 'static) -> Self {
        let mut attempt = Some(attempt);
        self.attempting(move |_| attempt.take().into_iter().for_each(|attempt| attempt()))
    }

    /// What the callback does.
    pub fn then(mut self, callback: impl FnOnce() + Send + 'static) -> Self {
        self.callback = Box::new(callback);
        self
    }

    /// A channel that tells when the callback runs.
    pub fn told(self) -> (Self, Receiver<()>) {
        let (tell, told) = channel();
        (self.then(move || tell.send(()).unwrap_or_default()), told)
    }
}

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Operation").field(&self.name).finish()
    }
}

impl Handler for Scripted {
    type Descriptor = OwnedFd;
    type Operation = Operation;

    fn attempt(&self, mut operation: Operation, action: Action, attempt: Attempt<'_, Self>) {
        self.log.lock().push(Attempted(operation.name, action));
        let made = attempt.run(|_| (operation.attempt)(action));
        match operation
            .answers
            .pop_front()
            .filter(|_| made.is_some() && !matches!(action, Action::Abandoned | Action::Cancelled))
        {
            Some(Progress::Pending) => attempt.pending(operation),
            Some(Progress::Partial) => attempt.partial(operation),
            Some(Progress::Suspended) => attempt.suspend(operation),
            answer => {
                let drained = matches!(answer, Some(Progress::Complete { drained: true }));
                attempt.complete(drained, None, || {
                    self.log.lock().push(Completed(operation.name));
                    (operation.callback)();
                });
            }
        }
    }

    fn can_cancel(&self, operation: &Operation) -> bool {
        self.started != Some(operation.name)
    }

    fn is_error(&self, _: &OwnedFd) -> bool {
        self.asked.fetch_add(1, Ordering::Relaxed);
        !self.false_alarms
    }

    fn release(&self, descriptor: OwnedFd) {
        if let Some(released) = &self.released {
            released.send(descriptor).expect("the test listens");
        }
    }
}

/// A registration on a mock port: the test fires the events.
pub type Mocked = Registration<Scripted, MockPort>;

/// A registration on a real port whose system calls are counted and can be made to fail.
pub type Real = Registration<Scripted, CompletionPort<ScriptedPort>>;

/// A mock port with one descriptor registered on it.
pub fn mocked() -> (MockPort, Arc<Mocked>) {
    mocked_with(Scripted::default())
}

/// [`mocked`] with a handler of the caller's choice.
pub fn mocked_with(handler: Scripted) -> (MockPort, Arc<Mocked>) {
    watch_over_all();
    let port = MockPort::new();
    let registration = Registration::new(port.clone(), handler, any_descriptor());
    registration.register(|| ()).expect("the mock accepts every descriptor");
    (port, Arc::new(registration))
}

/// A real port.
pub fn real_port() -> (ScriptedPort, CompletionPort<ScriptedPort>) {
    watch_over_all();
    let calls = ScriptedPort::new();
    let port = CompletionPort::create_with(calls.clone()).expect("the port is created");
    (calls, port)
}

/// One end of a socket pair on a real port. It is writable, and becomes readable once the other end writes.
pub fn real(port: &CompletionPort<ScriptedPort>) -> (Arc<Real>, UnixStream) {
    real_with(port, Scripted::default())
}

/// [`real`] with a handler of the caller's choice.
pub fn real_with(port: &CompletionPort<ScriptedPort>, handler: Scripted) -> (Arc<Real>, UnixStream) {
    let (own, peer) = pair();
    let registration = Registration::new(port.clone(), handler, own);
    registration.register(|| ()).expect("a socket can be registered");
    (Arc::new(registration), peer)
}

/// Removes a registration in its own callback, so that the port's thread drops its handler before it waits again.
pub fn drop_on_the_own_thread(registration: Arc<Real>) {
    let (give, given) = channel::<Arc<Real>>();
    let drops = op("drops").then(move || drop(received(&given, "the registration")));
    registration.add(Direction::Out, drops).expect("it is registered");
    give.send(registration).expect("the callback waits");
}

pub fn pair() -> (OwnedFd, UnixStream) {
    let (own, peer) = UnixStream::pair().expect("a socket pair is made");
    own.set_nonblocking(true).expect("a socket can be made non-blocking");
    (own.into(), peer)
}

/// Waits until the port has served everything that happened before, by round trips through the port.
///
/// Two round trips, because in a round the port serves events before scheduled sources. The first may overtake those.
pub fn round_trip(port: &CompletionPort<ScriptedPort>) {
    for _ in 0..2 {
        let (registration, _peer) = real(port);
        let (operation, told) = op("round trip").told();
        registration.add(Direction::Out, operation).expect("the registration accepts operations");
        received(&told, "the port's round trip");
    }
}

/// Waits for a message; a hang becomes a failure.
pub fn received<T>(receiver: &Receiver<T>, what: &str) -> T {
    receiver.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// Watches for a while to see that nothing is sent.
pub fn stays_silent<T>(receiver: &Receiver<T>, what: &str) {
    assert!(receiver.recv_timeout(A_WHILE).is_err(), "{what} happened too early");
}

/// Waits until a condition holds; a hang becomes a failure.
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LIMIT, "not so in time: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Runs something on another thread; a hang becomes a failure.
pub fn on_another_thread<T: Send + 'static>(what: &str, call: impl FnOnce() -> T + Send + 'static) -> T {
    received(&spawn(call), what)
}

/// Starts something on another thread; the channel gets its result.
pub fn spawn<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (tell, told) = channel();
    thread::spawn(move || drop(tell.send(call())));
    told
}

/// A place in which a thread stops until the test lets it go on.
pub struct Gate {
    reached: Receiver<()>,
    open: Sender<()>,
}

impl Gate {
    /// The gate, and the function that the other thread calls to stop in it.
    pub fn new() -> (Self, impl FnOnce() + Send + 'static) {
        let ((at, reached), (open, opened)) = (channel(), channel());
        let stop = move || {
            let _ = at.send(());
            let _ = opened.recv_timeout(LIMIT);
        };
        (Self { reached, open }, stop)
    }

    /// Waits until the other thread is in the gate.
    pub fn wait(&self) {
        received(&self.reached, "the other thread's arrival in the gate");
    }

    /// Lets it go on. Dropping the gate does the same.
    pub fn open(&self) {
        let _ = self.open.send(());
    }
}

/// Keeps the port's thread in a callback until the gate is opened.
pub fn occupy(port: &CompletionPort<ScriptedPort>) -> (Gate, (Arc<Real>, UnixStream)) {
    let (gate, stop) = Gate::new();
    let (registration, peer) = real(port);
    // From here on, only the operation makes the thread look at this registration.
    round_trip(port);
    registration.add(Direction::Out, op("occupies the thread").then(stop)).expect("the operation is accepted");
    gate.wait();
    (gate, (registration, peer))
}

/// Waits until the port's thread sleeps in `epoll_wait`, with nothing left to serve.
pub fn settled(calls: &ScriptedPort) -> usize {
    let waits = || calls.made(test_doubles::PortSyscall::EpollWait);
    let (start, mut stable_since, mut before) = (Instant::now(), Instant::now(), waits());
    while before == 0 || stable_since.elapsed() < A_WHILE {
        assert!(start.elapsed() < LIMIT, "the port's thread does not come to rest");
        thread::sleep(Duration::from_millis(5));
        if waits() != before {
            (stable_since, before) = (Instant::now(), waits());
        }
    }
    before
}

/// The kernel's objects of ports: the links of their epoll instances and eventfds.
pub fn kernel_objects() -> Vec<String> {
    let descriptors = std::fs::read_dir("/proc/self/fd").expect("/proc is there").flatten();
    let links = descriptors.filter_map(|descriptor| std::fs::read_link(descriptor.path()).ok());
    let names = links.map(|link| link.to_string_lossy().into_owned());
    names.filter(|name| name.contains("eventpoll") || name.contains("eventfd")).collect()
}

/// The errors that all threads of this process have logged since the first call.
pub mod log {
    use parking_lot::Mutex;
    use std::fmt::{Debug, Write};
    use std::sync::Once;
    use tracing::field::{Field, Visit};
    use tracing::{Event, Level, Metadata, Subscriber, span};

    static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

    /// Begins to listen.
    pub fn listen() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| tracing::subscriber::set_global_default(Log(keep_error)).expect("the first subscriber"));
    }

    /// The number of errors that contain this text.
    pub fn errors_with(text: &str) -> usize {
        LINES.lock().iter().filter(|line| line.contains(text)).count()
    }

    fn keep_error(event: &Event<'_>) {
        if *event.metadata().level() == Level::ERROR {
            let mut line = Line(String::new());
            event.record(&mut line);
            LINES.lock().push(line.0);
        }
    }

    struct Line(String);

    impl Visit for Line {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            let _ = write!(self.0, "{field}={value:?} ");
        }
    }

    /// A log that passes each line to a function.
    pub struct Log<F>(pub F);

    impl<F: Fn(&Event<'_>) + Send + Sync + 'static> Subscriber for Log<F> {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn event(&self, event: &Event<'_>) {
            self.0(event);
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn enter(&self, _: &span::Id) {}

        fn exit(&self, _: &span::Id) {}
    }
}

/// This process's resources, as the kernel reports them. Tests that count them must not run beside others.
pub mod process {
    use parking_lot::{Mutex, MutexGuard};
    use std::fs;

    /// Keeps the other tests of the same binary out while one counts.
    pub fn alone() -> MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock()
    }

    /// How many descriptors are open, except the one that this takes.
    pub fn descriptors() -> usize {
        fs::read_dir("/proc/self/fd").expect("/proc is there").count() - 1
    }

    /// How many threads of completion ports there are.
    pub fn port_threads() -> usize {
        let tasks = fs::read_dir("/proc/self/task").expect("/proc is there").flatten();
        let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| name.trim_end() == "completion-port").count()
    }
}
