//! `OneShots`: single events of descriptors that others own.

use crate::common::{Gate, eventually, on_another_thread, real_port, received, settled, spawn, stays_silent};
use completion_port::sys::Errno;
use completion_port::{Action, CompletionPort, Direction, Interest, OneShots, Readiness};
use parking_lot::Mutex;
use rstest::rstest;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::dup2;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use test_doubles::{MockPort, Number, PortSyscall, ScriptedPort, any_descriptor};

type Waiter = Box<dyn FnOnce(Action) + Send>;
type Waits = (Number, Waiter);
type Waiting = OneShots<Waits, CompletionPort<ScriptedPort>>;

/// A waiter, and the channel on which its actions arrive.
fn waiter() -> (Waiter, Receiver<Action>) {
    let (tell, told) = channel();
    (Box::new(move |action| tell.send(action).unwrap_or_default()), told)
}

fn waiting() -> (ScriptedPort, Waiting) {
    let (calls, port) = real_port();
    (calls, OneShots::new(port))
}

fn pair() -> (OwnedFd, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a socket pair is made");
    (ours.into(), theirs)
}

/// Waits for a descriptor by its number, as C programs do.
fn at(descriptor: &impl AsFd, callback: impl FnOnce(Action) + Send + 'static) -> Waits {
    (Number::of(descriptor), Box::new(callback))
}

/// Adds a waiter, and returns the channel on which its actions arrive.
fn add(waiting: &Waiting, descriptor: &OwnedFd, interest: Interest) -> Receiver<Action> {
    let (waiter, told) = waiter();
    waiting.add(interest, at(&descriptor, waiter)).expect("the kernel accepts the descriptor");
    told
}

/// Whether the waiter was dropped without having been called.
fn is_dropped_uncalled(told: &Receiver<Action>) -> bool {
    told.recv_timeout(crate::common::LIMIT) == Err(std::sync::mpsc::RecvTimeoutError::Disconnected)
}

/// Replaces a descriptor by another under the same number, like a program that closes and opens carelessly.
fn replace(descriptor: &mut OwnedFd, by: &OwnedFd) {
    dup2(by, descriptor).expect("the number can be taken over");
}

// Tests_SRS_COMPLETION_PORT_01_070
#[test]
fn the_next_event_fires_once() {
    let (_calls, waiting) = waiting();
    let (ours, mut theirs) = pair();
    let told = add(&waiting, &ours, Interest::IN);
    stays_silent(&told, "the event");

    theirs.write_all(b"1").unwrap();
    assert_eq!(received(&told, "the event"), Action::In);

    theirs.write_all(b"2").unwrap();
    assert!(is_dropped_uncalled(&told), "never again");
}

// Tests_SRS_COMPLETION_PORT_01_070
#[rstest]
#[case::first_wait(0)]
#[case::later_wait(3)]
fn a_descriptor_that_is_ready_fires_at_once(#[case] earlier: usize) {
    let (_calls, waiting) = waiting();
    let (ours, mut theirs) = pair();
    theirs.write_all(b"unread").unwrap();

    for _ in 0..=earlier {
        assert_eq!(received(&add(&waiting, &ours, Interest::IN), "the event"), Action::In);
    }
    assert_eq!(received(&add(&waiting, &ours, Interest::OUT), "the other event"), Action::Out);
}

// Tests_SRS_COMPLETION_PORT_01_070
#[test]
fn several_waits_for_one_descriptor_are_each_served() {
    let (_calls, waiting) = waiting();
    let (ours, mut theirs) = pair();
    let receivers = [(); 3].map(|()| add(&waiting, &ours, Interest::IN));
    assert_eq!(received(&add(&waiting, &ours, Interest::OUT), "writable"), Action::Out);
    receivers.iter().for_each(|told| assert!(told.try_recv().is_err(), "not readable yet"));

    theirs.write_all(b"x").unwrap();

    receivers.iter().for_each(|told| assert_eq!(received(told, "readable"), Action::In));
}

// Tests_SRS_COMPLETION_PORT_01_070
#[test]
fn the_descriptor_stays_the_callers() {
    let (_calls, waiting) = waiting();
    let (ours, mut theirs) = pair();
    theirs.write_all(b"x").unwrap();
    received(&add(&waiting, &ours, Interest::IN), "the event");

    drop(waiting);

    let mut byte = [0];
    UnixStream::from(ours).read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"x");
}

// Tests_SRS_COMPLETION_PORT_01_070
#[test]
fn a_callback_can_wait_again_and_is_served_by_the_next_event() {
    let (_calls, waiting) = waiting();
    let waiting = Arc::new(waiting);
    let (ours, mut theirs) = pair();
    let (ours, (tell, told)) = (Arc::new(ours), channel());
    let again = {
        let (waiting, ours, tell) = (Arc::clone(&waiting), Arc::clone(&ours), tell.clone());
        move |action| {
            tell.send(action).unwrap_or_default();
            let second = move |action| tell.send(action).unwrap_or_default();
            waiting.add(Interest::IN, at(&ours, second)).expect("the kernel accepts it again");
        }
    };
    waiting.add(Interest::IN, at(&ours, again)).unwrap();

    theirs.write_all(b"x").unwrap();

    assert_eq!([received(&told, "the first"), received(&told, "the second")], [Action::In; 2]);
}

// Tests_SRS_COMPLETION_PORT_01_070
#[test]
fn the_event_that_a_callback_is_told_of_does_not_serve_who_it_adds() {
    let (port, descriptor) = (MockPort::new(), Arc::new(any_descriptor()));
    let waiting = Arc::new(OneShots::<Waits, _>::new(port.clone()));
    let (second, told) = waiter();
    let adds = {
        let (waiting, descriptor) = (Arc::clone(&waiting), Arc::clone(&descriptor));
        move |_| waiting.add(Interest::IN, at(&descriptor, second)).expect("the mock accepts it again")
    };
    waiting.add(Interest::IN, at(&descriptor, adds)).unwrap();

    port.fire(Action::In);
    assert!(told.try_recv().is_err(), "the event is over");

    port.fire(Action::In);
    assert_eq!(told.try_recv(), Ok(Action::In));
}

// Tests_SRS_COMPLETION_PORT_01_070
#[rstest]
#[case::readable(Interest::IN, Readiness::IN, Some(Action::In))]
#[case::writable(Interest::OUT, Readiness::OUT, Some(Action::Out))]
#[case::not_asked_in(Interest::OUT, Readiness::IN, None)]
#[case::not_asked_out(Interest::IN, Readiness::OUT, None)]
#[case::bytes_before_the_end(Interest::IN, Readiness::IN.union(Readiness::READ_HANG_UP), Some(Action::In))]
#[case::half_close(Interest::IN, Readiness::READ_HANG_UP, Some(Action::RdHup))]
#[case::half_close_asked_for(Interest::READ_HANG_UP, Readiness::READ_HANG_UP, Some(Action::RdHup))]
#[case::half_close_for_a_sender(Interest::OUT, Readiness::READ_HANG_UP, None)]
#[case::bytes_before_an_error(Interest::IN, Readiness::IN.union(Readiness::ERROR), Some(Action::In))]
#[case::room_before_a_hang_up(Interest::OUT, Readiness::OUT.union(Readiness::HANG_UP), Some(Action::Out))]
#[case::error(Interest::IN, Readiness::ERROR, Some(Action::Error))]
#[case::hang_up(Interest::OUT, Readiness::HANG_UP, Some(Action::Error))]
fn an_event_means_one_action(#[case] interest: Interest, #[case] events: Readiness, #[case] expected: Option<Action>) {
    let port = MockPort::new();
    let waiting = OneShots::new(port.clone());
    let descriptor = any_descriptor();
    let (waiter, told) = waiter();
    waiting.add(interest, at(&descriptor, waiter)).unwrap();

    port.deliver(events);

    assert_eq!(told.try_recv().ok(), expected);
    let (receiving, sending) = (port.queued(Direction::In), port.queued(Direction::Out));
    assert_eq!(receiving + sending == 0, expected.is_some() || interest == Interest::READ_HANG_UP);
}

// Tests_SRS_COMPLETION_PORT_01_041
#[test]
fn a_callback_that_panics_does_not_harm_the_others() {
    let (_calls, waiting) = waiting();
    let (ours, _theirs) = pair();
    waiting.add(Interest::OUT, at(&ours, |_| panic!("on purpose"))).unwrap();

    assert_eq!(received(&add(&waiting, &ours, Interest::OUT), "the event"), Action::Out);
}

// Tests_SRS_COMPLETION_PORT_01_071
#[test]
fn a_descriptor_that_cannot_be_watched_is_an_error_and_nobody_is_called() {
    let (_calls, waiting) = waiting();
    let file = File::open("/proc/self/exe").unwrap();
    let (waiter, told) = waiter();

    let error = waiting.add(Interest::IN, at(&file, waiter)).unwrap_err();

    assert_eq!(error.raw_os_error(), Some(Errno::PERM.raw_os_error()));
    assert!(is_dropped_uncalled(&told));
}

// Tests_SRS_COMPLETION_PORT_01_071
#[test]
fn a_wait_that_is_refused_later_leaves_the_earlier_ones() {
    let (calls, waiting) = waiting();
    let (ours, mut theirs) = pair();
    let earlier = add(&waiting, &ours, Interest::IN);
    calls.fail(PortSyscall::EpollModify, 1, Errno::NOMEM);
    let (waiter, told) = waiter();

    let error = waiting.add(Interest::IN, at(&ours, waiter)).unwrap_err();

    assert_eq!(error.raw_os_error(), Some(Errno::NOMEM.raw_os_error()));
    assert!(is_dropped_uncalled(&told));
    theirs.write_all(b"x").unwrap();
    assert_eq!(received(&earlier, "the earlier wait's event"), Action::In);
}

// Tests_SRS_COMPLETION_PORT_01_062
#[test]
fn interrupted_calls_are_made_again() {
    let (calls, waiting) = waiting();
    let (ours, _theirs) = pair();
    calls.fail(PortSyscall::EpollModify, 1, Errno::INTR);
    let _waits = add(&waiting, &ours, Interest::IN);

    assert_eq!(received(&add(&waiting, &ours, Interest::OUT), "the event"), Action::Out);
    // The kernel is armed twice for the second wait, and once more for the first when the second has fired.
    eventually("the kernel is armed again", || calls.made(PortSyscall::EpollModify) == 3);
}

// Tests_SRS_COMPLETION_PORT_01_072
#[test]
fn the_successor_of_a_closed_descriptor_is_watched_and_the_old_waits_are_abandoned() {
    let (_calls, waiting) = waiting();
    let ((mut ours, old_peer), (other, mut new_peer)) = (pair(), pair());
    let old = [(); 2].map(|()| add(&waiting, &ours, Interest::IN));
    replace(&mut ours, &other);

    let new = add(&waiting, &ours, Interest::IN);

    old.iter().for_each(|told| assert_eq!(received(told, "the end of the old wait"), Action::Abandoned));
    stays_silent(&new, "the event");
    drop(old_peer);
    new_peer.write_all(b"x").unwrap();
    assert_eq!(received(&new, "the new descriptor's event"), Action::In);
}

// Tests_SRS_COMPLETION_PORT_01_071
#[test]
fn a_successor_that_somebody_else_watches_is_refused_and_left_to_them() {
    let (_calls, port) = real_port();
    let (waiting, others) = (Waiting::new(port.clone()), Waiting::new(port));
    let ((mut ours, _old_peer), (other, mut new_peer)) = (pair(), pair());
    let _old = add(&waiting, &ours, Interest::IN);
    replace(&mut ours, &other);
    drop(other);
    let theirs = add(&others, &ours, Interest::IN);
    let (waiter, told) = waiter();

    let error = waiting.add(Interest::IN, at(&ours, waiter)).unwrap_err();

    assert_eq!(error.raw_os_error(), Some(Errno::EXIST.raw_os_error()));
    assert!(is_dropped_uncalled(&told));
    new_peer.write_all(b"x").unwrap();
    assert_eq!(received(&theirs, "the event of who watches it"), Action::In);
}

// Tests_SRS_COMPLETION_PORT_01_073
#[test]
fn remove_abandons_what_waits_in_order() {
    let (calls, waiting) = waiting();
    let (ours, mut theirs) = pair();
    let order = Arc::new(Mutex::new(Vec::new()));
    for name in ["first", "second", "third"] {
        let order = Arc::clone(&order);
        waiting.add(Interest::IN, at(&ours, move |action| order.lock().push((name, action)))).unwrap();
    }

    waiting.remove(ours.as_fd());

    let expected = ["first", "second", "third"].map(|name| (name, Action::Abandoned));
    assert_eq!(*order.lock(), expected);
    assert_eq!(calls.made(PortSyscall::EpollDelete), 1);
    let waits = settled(&calls);
    theirs.write_all(b"x").unwrap();
    assert_eq!(settled(&calls), waits, "the kernel has forgotten it");
    assert_eq!(received(&add(&waiting, &ours, Interest::IN), "a new wait's event"), Action::In);
}

// Tests_SRS_COMPLETION_PORT_01_073
#[test]
fn remove_waits_for_a_callback_on_another_thread() {
    let (_calls, waiting) = waiting();
    let waiting = Arc::new(waiting);
    let (ours, _theirs) = pair();
    let (ours, (gate, stop)) = (Arc::new(ours), Gate::new());
    waiting.add(Interest::OUT, at(&ours, move |_| stop())).unwrap();
    gate.wait();

    let removed = spawn({
        let (waiting, ours) = (Arc::clone(&waiting), Arc::clone(&ours));
        move || waiting.remove(ours.as_fd())
    });

    stays_silent(&removed, "the removal");
    gate.open();
    received(&removed, "the removal after that");
}

// Tests_SRS_COMPLETION_PORT_01_073
#[test]
fn remove_inside_a_callback_does_not_wait_for_it() {
    let (_calls, waiting) = waiting();
    let waiting = Arc::new(waiting);
    let (ours, _theirs) = pair();
    let (ours, (tell, told)) = (Arc::new(ours), channel());
    let remove = {
        let (waiting, ours) = (Arc::clone(&waiting), Arc::clone(&ours));
        move |_| {
            waiting.remove(ours.as_fd());
            tell.send(()).unwrap_or_default();
        }
    };
    waiting.add(Interest::OUT, at(&ours, remove)).unwrap();

    received(&told, "the removal");
}

// Tests_SRS_COMPLETION_PORT_01_073
#[test]
fn remove_leaves_a_successor_alone() {
    let (calls, waiting) = waiting();
    let ((mut ours, _old_peer), (other, _new_peer)) = (pair(), pair());
    let old = add(&waiting, &ours, Interest::IN);
    replace(&mut ours, &other);

    waiting.remove(ours.as_fd());

    assert_eq!(received(&old, "the end of the old wait"), Action::Abandoned);
    assert_eq!(calls.made(PortSyscall::EpollDelete), 0, "the number is somebody else's");
}

// Tests_SRS_COMPLETION_PORT_01_073
#[test]
fn removing_what_nobody_waits_for_does_nothing() {
    let (calls, waiting) = waiting();
    let (ours, _theirs) = pair();

    waiting.remove(ours.as_fd());

    assert_eq!(calls.made(PortSyscall::EpollDelete), 0);
}

// Tests_SRS_COMPLETION_PORT_01_074
#[test]
fn dropping_waits_for_a_callback_and_abandons_the_rest() {
    let (_calls, port) = real_port();
    let waiting = Waiting::new(port.clone()); // so that the port itself stays
    let (ours, _theirs) = pair();
    let (gate, stop) = Gate::new();
    waiting.add(Interest::OUT, at(&ours, move |_| stop())).unwrap();
    gate.wait();
    let told = add(&waiting, &ours, Interest::IN);

    let dropped = spawn(move || drop(waiting));

    stays_silent(&dropped, "the end of the drop");
    gate.open();
    received(&dropped, "the end of the drop");
    assert_eq!(told.try_recv(), Ok(Action::Abandoned));
}

// Tests_SRS_COMPLETION_PORT_01_074
#[test]
fn dropping_abandons_everything() {
    let (_calls, waiting) = waiting();
    let pairs = [(); 3].map(|()| pair());
    let told: Vec<_> = pairs.iter().map(|(ours, _)| add(&waiting, ours, Interest::IN)).collect();

    on_another_thread("the drop", move || drop(waiting));

    told.iter().for_each(|told| assert_eq!(told.try_recv(), Ok(Action::Abandoned)));
}

// Tests_SRS_COMPLETION_PORT_01_072
#[test]
fn a_successor_with_the_same_inode_is_watched() {
    let event = || eventfd(1, EventfdFlags::NONBLOCK).expect("an eventfd is made");
    let waiting = OneShots::<Waits, _>::new(real_port().1);
    let mut descriptor = event();
    let (tell, told) = channel();
    waiting.add(Interest::OUT, at(&descriptor, move |_| tell.send(()).unwrap_or_default())).unwrap();
    received(&told, "the old one's event");
    dup2(event(), &mut descriptor).unwrap();

    let (tell, told) = channel();
    let added = waiting.add(Interest::IN, at(&descriptor, move |_| tell.send(()).unwrap_or_default()));

    assert!(added.is_ok(), "{added:?}");
    received(&told, "the new one's event");
}

/// Whether a thread of this process sleeps, as it does while it waits for a lock.
fn is_asleep(thread: nix::unistd::Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).expect("the thread is there");
    stat.rsplit(") ").next().is_some_and(|state| state.starts_with('S'))
}

// Tests_SRS_COMPLETION_PORT_01_070
#[test]
fn an_add_during_a_removal_works() {
    let (calls, port) = real_port();
    let waiting = Arc::new(OneShots::<Waits, _>::new(port));
    let ours: Arc<OwnedFd> = Arc::new(UnixStream::pair().unwrap().0.into());
    waiting.add(Interest::IN, at(&ours, |_| {})).unwrap();
    let (start, started) = channel();
    let ((adder_is, adder), (tell_added, has_added)) = (channel(), channel());
    calls.before(PortSyscall::EpollDelete, 1, move || {
        start.send(()).expect("the test listens");
        let adder = received(&adder, "the thread that adds");
        eventually("it waits for the removal, or has added", || is_asleep(adder) || has_added.try_recv().is_ok());
    });
    let added = spawn({
        let (waiting, ours) = (Arc::clone(&waiting), Arc::clone(&ours));
        move || {
            received(&started, "the removal");
            let new = at(&ours, |_| {});
            adder_is.send(nix::unistd::gettid()).expect("the removal waits");
            let added = waiting.add(Interest::IN, new);
            tell_added.send(()).unwrap_or_default();
            added
        }
    });

    waiting.remove(ours.as_fd());

    let added = received(&added, "the add");
    assert!(added.is_ok(), "{added:?}");
}

/// Someone whose destructor uses the waiting list.
struct Curious(Arc<OneShots<Curious, CompletionPort<ScriptedPort>>>, File);

impl completion_port::Waiter for Curious {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.1.as_fd()
    }

    fn fire(self, _: Action) {}
}

impl Drop for Curious {
    fn drop(&mut self) {
        assert!(format!("{:?}", self.0).contains("OneShots"));
    }
}

// Tests_SRS_COMPLETION_PORT_01_071
#[test]
fn a_refused_waiter_may_use_the_list_when_it_is_dropped() {
    let waiting = Arc::new(OneShots::new(real_port().1));
    let file = File::open("/proc/self/exe").unwrap();

    let refused = spawn(move || waiting.add(Interest::IN, Curious(Arc::clone(&waiting), file)).is_err());

    assert!(received(&refused, "the refusal"));
}
