//! `Registration::register_lazily`: the first operation makes the `epoll_ctl`.

use crate::common::log::Log;
use crate::common::{
    DONE, Gate, Mocked, Progress, Real, Scripted, op, pair, real_port, received, settled, spawn, stays_silent,
};
use completion_port::sys::{Errno, EventFlags};
use completion_port::{
    Action, AddError, Attempt, ClaimError, CompletionPort, Direction, Handler, Phase, RegisterError, Registration,
};
use rstest::rstest;
use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};
use test_doubles::{MockPort, PortCall, PortSyscall, ScriptedPort, any_descriptor};
use tracing::Event;

/// A registration on a mock port, registered lazily, and its descriptor's number.
fn lazy() -> (MockPort, Arc<Mocked>, i32) {
    crate::common::watch_over_all();
    let (port, descriptor) = (MockPort::new(), any_descriptor());
    let number = descriptor.as_raw_fd();
    let registration = Registration::new(port.clone(), Scripted::default(), descriptor);
    registration.register_lazily(|| ()).expect("the mock takes every source");
    (port, Arc::new(registration), number)
}

/// A lazy registration of one end of a socket pair on a real port, and the other end.
fn real_lazy() -> (ScriptedPort, Arc<Real>, UnixStream) {
    let (calls, port) = real_port();
    let (own, peer) = pair();
    let registration = Registration::new(port, Scripted::default(), own);
    registration.register_lazily(|| ()).expect("the port takes it");
    (calls, Arc::new(registration), peer)
}

// Tests_SRS_COMPLETION_PORT_01_190
#[test]
fn it_is_registered_without_a_system_call_and_the_callback_runs() {
    let (calls, port) = real_port();
    let (own, _peer) = pair();
    let registration = Registration::new(port, Scripted::default(), own);
    let before = calls.made(PortSyscall::EpollAdd);
    let opened = AtomicBool::new(false);

    registration.register_lazily(|| opened.store(true, Ordering::Relaxed)).unwrap();

    assert!(opened.into_inner());
    assert_eq!((registration.phase(), calls.made(PortSyscall::EpollAdd)), (Phase::Registered, before));
}

// Tests_SRS_COMPLETION_PORT_01_190
#[test]
fn what_is_removed_unused_was_never_watched() {
    let (calls, registration, _peer) = real_lazy();

    assert!(registration.remove());

    let made = (calls.made(PortSyscall::EpollAdd), calls.made(PortSyscall::EpollDelete));
    assert_eq!((registration.phase(), made), (Phase::Removed, (1, 0)), "the eventfd's");
}

// Tests_SRS_COMPLETION_PORT_01_190
#[test]
fn a_port_that_refuses_the_source_is_asked_again_at_the_next_try() {
    let port = MockPort::new();
    let registration = Registration::new(port.clone(), Scripted::default(), any_descriptor());
    port.fail_next_attach(Errno::NOMEM.raw_os_error());

    let refused = registration.register_lazily(|| ()).expect_err("there is no memory");

    assert!(
        matches!(&refused, RegisterError::Kernel(error) if error.raw_os_error() == Some(Errno::NOMEM.raw_os_error()))
    );
    assert_eq!(registration.add(Direction::In, op("a")).map_err(|it| it.error), Err(AddError::NotRegistered));
    registration.register_lazily(|| ()).unwrap();
    registration.add(Direction::In, op("a")).unwrap();
}

// Tests_SRS_COMPLETION_PORT_01_191
#[rstest]
fn the_first_operation_watches_and_the_second_does_not(
    #[values(Direction::In, Direction::Out)] first: Direction,
    #[values(Direction::In, Direction::Out)] second: Direction,
) {
    let (port, registration, number) = lazy();

    registration.add(first, op("a")).unwrap();
    registration.add(second, op("b")).unwrap();

    assert_eq!(port.calls(), [PortCall::Insert, PortCall::Watch(number)]);
    port.fire(Action::In);
    port.fire(Action::Out);
    let mut completed = registration.handler().completed();
    completed.sort_unstable();
    assert_eq!(completed, ["a", "b"]);
    assert!(registration.remove());
    assert_eq!(port.calls().last(), Some(&PortCall::Detach(number)));
}

// Tests_SRS_COMPLETION_PORT_01_191
#[test]
fn it_is_watched_once_edge_triggered_for_everything() {
    let (calls, registration, _peer) = real_lazy();
    let before = calls.made(PortSyscall::EpollAdd);

    let (operation, told) = op("a").told();
    registration.add(Direction::Out, operation).unwrap();

    received(&told, "the operation");
    let everything = EventFlags::IN | EventFlags::OUT | EventFlags::PRI | EventFlags::RDHUP | EventFlags::ET;
    assert_eq!((calls.made(PortSyscall::EpollAdd), calls.interests().last()), (before + 1, Some(&everything)));
}

// Tests_SRS_COMPLETION_PORT_01_191
#[test]
fn what_came_before_the_first_operation_is_reported_to_it() {
    let (_calls, registration, mut peer) = real_lazy();
    peer.write_all(b"early").unwrap();

    let (operation, told) = op("a").told();
    registration.add(Direction::In, operation).unwrap();

    received(&told, "the operation");
    assert_eq!(registration.handler().attempts(), [("a", Action::In)]);
}

// Tests_SRS_COMPLETION_PORT_01_191
#[test]
fn a_claim_watches_too_and_what_it_leaves_is_done_at_the_next_event() {
    let (port, registration, number) = lazy();

    let claim = registration.try_claim(Direction::Out).expect("nothing waits");
    claim.queue(op("a").answers([Progress::Pending, DONE])).expect("there is memory");

    assert_eq!(port.calls(), [PortCall::Insert, PortCall::Watch(number)]);
    port.fire(Action::Out);
    assert_eq!(registration.handler().completed(), Vec::<&str>::new());
    port.fire(Action::Out);
    assert_eq!(registration.handler().completed(), ["a"]);
}

// Tests_SRS_COMPLETION_PORT_01_192
#[rstest]
#[case::no_memory(Errno::NOMEM)]
#[case::too_many_watches(Errno::NOSPC)]
fn what_cannot_be_watched_is_refused_and_the_next_operation_tries_again(#[case] errno: Errno) {
    let (port, registration, number) = lazy();
    port.fail_next_attach(errno.raw_os_error());

    let refused = registration.add(Direction::In, op("a")).expect_err("the kernel refuses");

    assert_eq!(refused.error, AddError::NotWatched(errno));
    assert_eq!(format!("{:?}", refused.returned), format!("{:?}", op("a")));
    assert_eq!((registration.phase(), registration.queued(Direction::In)), (Phase::Registered, 0));
    registration.add(Direction::In, op("b")).unwrap();
    assert_eq!(port.calls(), [PortCall::Insert, PortCall::Watch(number), PortCall::Watch(number)]);
    port.fire(Action::In);
    assert_eq!(registration.handler().completed(), ["b"]);
}

// Tests_SRS_COMPLETION_PORT_01_192
#[test]
fn a_claim_that_cannot_be_watched_is_refused_and_the_next_tries_again() {
    let (port, registration, _) = lazy();
    port.fail_next_attach(Errno::NOSPC.raw_os_error());

    assert_eq!(registration.try_claim(Direction::Out).err(), Some(ClaimError::NotWatched(Errno::NOSPC)));

    assert!(registration.try_claim(Direction::Out).is_ok());
}

// Tests_SRS_COMPLETION_PORT_01_192
#[test]
fn what_a_real_port_cannot_watch_was_never_in_epoll() {
    let (calls, registration, _peer) = real_lazy();
    calls.fail(PortSyscall::EpollAdd, 2, Errno::NOSPC); // The first was the eventfd's.

    let refused = registration.add(Direction::Out, op("a")).map_err(|it| it.error);

    assert_eq!(refused, Err(AddError::NotWatched(Errno::NOSPC)));
    assert!(registration.remove());
    assert_eq!(calls.made(PortSyscall::EpollDelete), 0);
}

/// The next `EPOLL_CTL_ADD` finds that the port's epoll instance is gone, as after other code has closed it.
fn lose(calls: &ScriptedPort) {
    settled(calls);
    for call in [PortSyscall::EpollAdd, PortSyscall::EpollModify] {
        calls.fail(call, calls.made(call) + 1, Errno::BADF);
    }
}

// Tests_SRS_COMPLETION_PORT_01_093
#[rstest]
#[case::add_first(false)]
#[case::claim_first(true)]
fn the_first_operation_finds_out_that_the_port_has_failed(#[case] claims_first: bool) {
    let (calls, registration, _peer) = real_lazy();
    lose(&calls);

    for claims in [claims_first, !claims_first] {
        if claims {
            assert_eq!(registration.try_claim(Direction::Out).err(), Some(ClaimError::PortFailed));
        } else {
            let refused = registration.add(Direction::In, op("a")).map_err(|it| it.error);
            assert_eq!(refused, Err(AddError::PortFailed));
        }
    }
}

// Tests_SRS_COMPLETION_PORT_01_192
#[test]
fn a_log_may_look_at_a_registration_that_cannot_be_watched() {
    let (calls, registration, _peer) = real_lazy();
    lose(&calls);
    let (tell, seen) = channel();
    let looked_at = Arc::clone(&registration);
    let log = Log(move |_: &Event<'_>| tell.send(looked_at.phase()).unwrap_or_default());

    let refused = spawn(move || {
        tracing::subscriber::with_default(log, || registration.add(Direction::In, op("a")).map_err(|it| it.error))
    });

    assert_eq!(received(&refused, "the refusal").map(drop), Err(AddError::PortFailed));
    assert_eq!(received(&seen, "the log's line"), Phase::Registered);
}

/// A descriptor that looks at its registration whenever it is asked for its number.
struct Curious {
    descriptor: OwnedFd,
    registration: Arc<OnceLock<Weak<Registration<IsCurious>>>>,
}

impl AsFd for Curious {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let registration = self.registration.get().and_then(Weak::upgrade);
        assert!(registration.is_none_or(|it| it.phase() == Phase::Registered));
        self.descriptor.as_fd()
    }
}

struct IsCurious;

impl Handler for IsCurious {
    type Descriptor = Curious;
    type Operation = ();

    fn attempt(&self, (): (), _: Action, _: Attempt<'_, Self>) {}
}

// Tests_SRS_COMPLETION_PORT_01_191
#[test]
fn a_descriptor_may_look_at_its_registration() {
    crate::common::watch_over_all();
    let looked_at = Arc::new(OnceLock::new());
    let descriptor = Curious { descriptor: pair().0, registration: Arc::clone(&looked_at) };
    let registration = Arc::new(Registration::new(CompletionPort::create().unwrap(), IsCurious, descriptor));
    registration.register_lazily(|| ()).unwrap();
    looked_at.set(Arc::downgrade(&registration)).expect("set once");

    let claimed = spawn(move || registration.try_claim(Direction::In).is_ok());

    assert!(received(&claimed, "the claim"));
}

// Tests_SRS_COMPLETION_PORT_01_191
#[test]
fn a_failed_port_refuses_the_first_operation() {
    let (port, registration, _) = lazy();

    port.fail();

    assert_eq!(registration.add(Direction::In, op("a")).map_err(|it| it.error), Err(AddError::PortFailed));
    assert_eq!(registration.try_claim(Direction::Out).err(), Some(ClaimError::PortFailed));
    assert_eq!(port.calls(), [PortCall::Insert]);
}

// Tests_SRS_COMPLETION_PORT_01_093
#[test]
fn without_its_driver_a_port_refuses_the_first_operation() {
    let (port, driver) = CompletionPort::builder().create_driven().unwrap();
    let registration = Registration::new(port, Scripted::default(), pair().0);
    registration.register_lazily(|| ()).unwrap();
    drop(driver);

    assert_eq!(registration.add(Direction::In, op("a")).map_err(|it| it.error), Err(AddError::PortFailed));
    assert_eq!(registration.try_claim(Direction::Out).err(), Some(ClaimError::PortFailed));
}

// Tests_SRS_COMPLETION_PORT_01_190
#[test]
fn a_timer_needs_no_watch() {
    let (port, registration, _) = lazy();
    let at = Instant::now() + Duration::from_secs(1);

    registration.set_timer(Some(at)).unwrap();

    assert_eq!(port.calls(), [PortCall::Insert, PortCall::SetTimer(Some(at))]);
}

// Tests_SRS_COMPLETION_PORT_01_193
#[test]
fn after_a_removal_nothing_is_watched() {
    let (port, registration, _) = lazy();
    assert!(registration.remove());

    assert_eq!(registration.add(Direction::In, op("a")).map_err(|it| it.error), Err(AddError::NotRegistered));
    assert_eq!(registration.try_claim(Direction::Out).err(), Some(ClaimError::NotRegistered));
    assert_eq!(port.calls(), [PortCall::Insert]);
}

// Tests_SRS_COMPLETION_PORT_01_193
#[test]
fn a_removal_waits_for_the_epoll_ctl_that_has_begun() {
    let (port, registration, number) = lazy();
    let (gate, stop) = Gate::new();
    port.before_next_watch(stop);
    let adder = Arc::clone(&registration);
    let added = spawn(move || drop(adder.add(Direction::In, op("a"))));
    gate.wait();

    let removed = spawn(move || registration.remove());

    stays_silent(&removed, "the removal");
    gate.open();
    received(&added, "the operation's end");
    assert!(received(&removed, "the removal after that"));
    assert_eq!(port.calls()[1..3], [PortCall::Watch(number), PortCall::Detach(number)]);
}

// Tests_SRS_COMPLETION_PORT_01_191
#[test]
fn two_first_operations_at_once_watch_once() {
    let (port, registration, number) = lazy();
    let (gate, stop) = Gate::new();
    port.before_next_watch(stop);
    let adder = Arc::clone(&registration);
    let added = spawn(move || adder.add(Direction::In, op("a")).is_ok());
    gate.wait();

    let second = spawn(move || registration.add(Direction::Out, op("b")).map(|_| registration).ok());

    stays_silent(&second, "the second operation");
    gate.open();
    assert!(received(&added, "the first operation"));
    let registration = received(&second, "the second operation after that").expect("accepted");
    assert_eq!(port.calls(), [PortCall::Insert, PortCall::Watch(number)]);
    drop(registration);
}
