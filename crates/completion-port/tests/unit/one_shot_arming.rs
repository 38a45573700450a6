//! `OneShots`: the events that the kernel is armed for, descriptors whose numbers come back, and drops that do not wait.

use crate::common::{
    self, DONE, Gate, on_another_thread, op, real_port, received, round_trip, settled, spawn, stays_silent,
};
use completion_port::sys::{Errno, EventFlags};
use completion_port::{Action, CompletionPort, Direction, Interest, OneShots, Readiness, Registration};
use parking_lot::Mutex;
use rstest::rstest;
use rustix::io::dup2;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier};
use test_doubles::PortCall::{AttachOnce, Rearm};
use test_doubles::{MockPort, Number, PortCall, PortSyscall, ScriptedPort, any_descriptor};

type Waits = (Number, Box<dyn FnOnce(Action) + Send>);
type Waiting<P = CompletionPort<ScriptedPort>> = OneShots<Waits, P>;

/// Waits for a descriptor by its number, as C programs do.
fn at(descriptor: &impl AsFd, callback: impl FnOnce(Action) + Send + 'static) -> Waits {
    (Number::of(descriptor), Box::new(callback))
}

/// A waiter, and where its action arrives.
fn waiter(descriptor: &impl AsFd) -> (Waits, Receiver<Action>) {
    let (tell, told) = channel();
    (at(descriptor, move |action| tell.send(action).unwrap_or_default()), told)
}

fn add<P: completion_port::Port>(waiting: &Waiting<P>, descriptor: &impl AsFd, interest: Interest) -> Receiver<Action> {
    let (waiter, told) = waiter(descriptor);
    waiting.add(interest, waiter).expect("the descriptor is accepted");
    told
}

fn pair() -> (OwnedFd, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a socket pair is made");
    (ours.into(), theirs)
}

/// What was asked of a mock port.
fn asked(port: &MockPort) -> Vec<PortCall> {
    port.calls()
}

// Tests_SRS_COMPLETION_PORT_01_120
#[test]
fn after_a_wait_has_fired_no_further_event_wakes_the_thread() {
    let (calls, port) = real_port();
    let waiting = Waiting::new(port);
    let (ours, mut theirs) = pair();
    let ours = UnixStream::from(ours);
    let told = add(&waiting, &ours, Interest::IN);
    theirs.write_all(b"x").unwrap();
    assert_eq!(received(&told, "the event"), Action::In);
    let waits = settled(&calls);

    for _ in 0..100 {
        theirs.write_all(b"y").unwrap();
        (&ours).read_exact(&mut [0]).unwrap();
    }
    drop(theirs);

    assert_eq!(settled(&calls), waits);
}

// Tests_SRS_COMPLETION_PORT_01_120
#[rstest]
#[case::readable(Interest::IN, EventFlags::IN | EventFlags::RDHUP)]
#[case::writable(Interest::OUT, EventFlags::OUT)]
#[case::half_close(Interest::READ_HANG_UP, EventFlags::RDHUP)]
fn the_kernel_is_asked_for_one_event_of_the_kind_that_is_waited_for(
    #[case] interest: Interest,
    #[case] expected: EventFlags,
) {
    let (calls, port) = real_port();
    let (ours, _theirs) = pair();

    let _told = add(&Waiting::new(port), &ours, interest);

    assert_eq!(calls.interests().last(), Some(&(expected | EventFlags::ONESHOT)));
}

// Tests_SRS_COMPLETION_PORT_01_121
#[test]
fn the_kernel_is_armed_for_what_is_still_waited_for_and_for_nothing_else() {
    let (port, descriptor) = (MockPort::new(), any_descriptor());
    let waiting = Waiting::new(port.clone());
    let number = descriptor.as_raw_fd();
    let reads = add(&waiting, &descriptor, Interest::IN);
    let writes = add(&waiting, &descriptor, Interest::OUT);
    let mut expected = vec![AttachOnce(number, Interest::IN), Rearm(number, Interest::IN | Interest::OUT)];
    assert_eq!(asked(&port), expected);

    port.fire(Action::Out);

    assert_eq!((writes.try_recv(), reads.try_recv().ok()), (Ok(Action::Out), None));
    expected.push(Rearm(number, Interest::IN));
    assert_eq!(asked(&port), expected);

    port.fire(Action::In);

    assert_eq!(reads.try_recv(), Ok(Action::In));
    assert_eq!(asked(&port), expected, "nothing waits any more");
}

// Tests_SRS_COMPLETION_PORT_01_121
#[test]
fn a_callback_that_waits_again_arms_the_kernel_once() {
    let (port, descriptor) = (MockPort::new(), Arc::new(any_descriptor()));
    let waiting = Arc::new(Waiting::new(port.clone()));
    let again = {
        let (waiting, descriptor) = (Arc::clone(&waiting), Arc::clone(&descriptor));
        move |_| waiting.add(Interest::IN, at(&descriptor, |_| {})).expect("the mock accepts it")
    };
    waiting.add(Interest::IN, at(&descriptor, again)).unwrap();

    port.fire(Action::In);

    let number = descriptor.as_raw_fd();
    assert_eq!(asked(&port), [AttachOnce(number, Interest::IN), Rearm(number, Interest::IN)]);
    // Removed because the mock port and its waiter keep each other alive.
    waiting.remove(descriptor.as_fd());
}

// Tests_SRS_COMPLETION_PORT_01_121
#[test]
fn an_event_that_nothing_waits_for_any_more_leaves_the_others_waiting() {
    let (port, descriptor) = (MockPort::new(), any_descriptor());
    let waiting = Waiting::new(port.clone());
    let reads = add(&waiting, &descriptor, Interest::IN);

    port.deliver(Readiness::OUT);

    assert!(reads.try_recv().is_err());
    port.fire(Action::In);
    assert_eq!(reads.try_recv(), Ok(Action::In));
}

// Tests_SRS_COMPLETION_PORT_01_121
#[rstest]
#[case::number_is_anothers(Errno::NOENT, Action::Abandoned)]
#[case::number_is_closed(Errno::BADF, Action::Abandoned)]
#[case::kernel_fails(Errno::NOMEM, Action::Error)]
fn what_cannot_go_on_waiting_is_called_back(#[case] errno: Errno, #[case] expected: Action) {
    let (port, descriptor) = (MockPort::new(), any_descriptor());
    let waiting = Waiting::new(port.clone());
    let reads = [(); 2].map(|()| add(&waiting, &descriptor, Interest::IN));
    let _writes = add(&waiting, &descriptor, Interest::OUT);
    port.fail_next_rearm(errno.raw_os_error());

    port.fire(Action::Out);

    reads.iter().for_each(|told| assert_eq!(told.try_recv(), Ok(expected)));
    let number = descriptor.as_raw_fd();
    assert_eq!(asked(&port).last(), Some(&Rearm(number, Interest::IN)));
}

// Tests_SRS_COMPLETION_PORT_01_121
#[test]
fn a_wait_for_bytes_goes_on_after_waits_for_room_have_fired() {
    let (_calls, port) = real_port();
    let waiting = Waiting::new(port);
    let (ours, mut theirs) = pair();
    let reads = add(&waiting, &ours, Interest::IN);
    for _ in 0..3 {
        assert_eq!(received(&add(&waiting, &ours, Interest::OUT), "room"), Action::Out);
    }
    stays_silent(&reads, "the event");

    theirs.write_all(b"x").unwrap();

    assert_eq!(received(&reads, "the event"), Action::In);
}

/// The way in which a program gives up a number, careless or not.
#[derive(Debug, Clone, Copy)]
enum Goes {
    /// `remove` after the number was closed.
    Removed,
    /// Another socket takes the number over, and a waiter waits for that socket.
    TakenOver,
    /// All waits are dropped with their list.
    ListDropped,
}

// Tests_SRS_COMPLETION_PORT_01_122
#[rstest]
fn a_file_that_comes_back_under_its_number_is_watched_again(
    #[values(Goes::Removed, Goes::TakenOver, Goes::ListDropped)] how: Goes,
    #[values(false, true)] fired: bool,
) {
    let (calls, port) = real_port();
    let mut waiting = Waiting::new(port.clone());
    let (mut ours, mut theirs) = pair();
    let copy = ours.try_clone().unwrap();
    let (other, mut other_peer) = pair();
    let old = add(&waiting, &ours, if fired { Interest::OUT } else { Interest::IN });
    if fired {
        assert_eq!(received(&old, "room"), Action::Out);
    }
    dup2(&other, &mut ours).unwrap(); // closes it without a word
    match how {
        Goes::Removed => waiting.remove(ours.as_fd()),
        Goes::TakenOver => {
            let taken = add(&waiting, &ours, Interest::IN);
            other_peer.write_all(b"x").unwrap();
            assert_eq!(received(&taken, "the other's event"), Action::In);
        }
        Goes::ListDropped => waiting = Waiting::new(port),
    }
    if !fired {
        assert_eq!(received(&old, "the end of the old wait"), Action::Abandoned);
    }
    dup2(&copy, &mut ours).unwrap();

    let (new, told) = waiter(&ours);
    let added = waiting.add(Interest::IN, new);

    assert!(added.is_ok(), "{added:?}");
    stays_silent(&told, "the event");
    theirs.write_all(b"x").unwrap();
    assert_eq!(received(&told, "the event"), Action::In);
    let waits = settled(&calls);
    theirs.write_all(b"y").unwrap();
    assert_eq!(settled(&calls), waits, "the old entry is not left beside the new one");
}

// Tests_SRS_COMPLETION_PORT_01_122
#[test]
fn a_registration_takes_over_what_a_wait_has_left() {
    let (_calls, port) = real_port();
    let waiting = Waiting::new(port.clone());
    let (mut ours, mut theirs) = pair();
    let copy = ours.try_clone().unwrap();
    let _old = add(&waiting, &ours, Interest::IN);
    dup2(any_descriptor(), &mut ours).unwrap();
    waiting.remove(ours.as_fd());
    dup2(&copy, &mut ours).unwrap();

    let registration = Registration::new(port, common::Scripted::default(), ours);
    let registered = registration.register(|| ());

    assert!(registered.is_ok(), "{registered:?}");
    let (reads, told) = op("reads").told();
    registration.add(Direction::In, reads).unwrap();
    theirs.write_all(b"x").unwrap();
    received(&told, "the event");
}

// Tests_SRS_COMPLETION_PORT_01_123
#[test]
fn a_descriptor_of_a_registration_is_refused_and_left_to_it() {
    let (_calls, port) = real_port();
    let waiting = Waiting::new(port.clone());
    let (registration, mut peer) = common::real(&port);
    let number = registered_number(&registration);
    // Also if something waited for the number before.
    let (waiter, told) = waiter(&number);

    let error = waiting.add(Interest::IN, waiter).unwrap_err();

    assert_eq!(error.raw_os_error(), Some(Errno::EXIST.raw_os_error()));
    assert!(told.recv().is_err(), "the waiter is dropped");
    let (reads, done) = op("reads").told();
    registration.add(Direction::In, reads).unwrap();
    peer.write_all(b"x").unwrap();
    received(&done, "the registration's event");
}

/// The number of a registration's descriptor.
fn registered_number(registration: &Arc<common::Real>) -> Number {
    let (tell, told) = channel();
    let look = op("looks").answers([DONE]);
    registration.add(Direction::Out, look.then(move || tell.send(()).unwrap_or_default())).expect("registered");
    received(&told, "room");
    let claim = registration.try_claim(Direction::Out).expect("it is idle");
    Number::of(claim.descriptor())
}

// Tests_SRS_COMPLETION_PORT_01_123
#[test]
fn the_rest_of_a_turn_leaves_alone_a_registration_that_has_the_number_by_then() {
    let (_calls, port) = real_port();
    let waiting = Waiting::new(port.clone());
    let ((mut ours, _old_peer), (other, mut peer)) = (pair(), pair());
    let reads = add(&waiting, &ours, Interest::IN);
    let (gate, stop) = Gate::new();
    waiting.add(Interest::OUT, at(&ours, move |_| stop())).unwrap();
    gate.wait();
    // The thread is about to arm the kernel for the waiter for bytes. Meanwhile the number is closed without notice.
    dup2(&other, &mut ours).unwrap();
    let registration = Registration::new(port.clone(), common::Scripted::default(), ours);
    registration.register(|| ()).unwrap();

    gate.open();

    assert_eq!(received(&reads, "the end of the old wait"), Action::Abandoned);
    for round in 0..3 {
        let (reads, told) = op("reads").told();
        registration.add(Direction::In, reads).unwrap();
        peer.write_all(&[round]).unwrap();
        received(&told, "the registration's event");
        round_trip(&port);
    }
}

// Tests_SRS_COMPLETION_PORT_01_124
#[test]
fn callbacks_on_two_ports_that_drop_the_last_reference_to_the_other_both_return() {
    type Held = Arc<Mutex<Option<Waiting>>>;
    let lists: [Held; 2] = [(); 2].map(|()| Arc::new(Mutex::new(Some(Waiting::new(real_port().1)))));
    let pairs = [pair(), pair()];
    let (both, (tell, told)) = (Arc::new(Barrier::new(2)), channel());
    for (mine, others) in [(0, 1), (1, 0)] {
        let (both, tell, other) = (Arc::clone(&both), tell.clone(), Arc::clone(&lists[others]));
        let callback = move |_| {
            both.wait();
            let last = other.lock().take();
            drop(last);
            tell.send(()).unwrap_or_default();
        };
        let list = lists[mine].lock();
        list.as_ref().expect("nothing has fired yet").add(Interest::IN, at(&pairs[mine].0, callback)).unwrap();
    }

    for (_, peer) in &pairs {
        (&*peer).write_all(b"x").unwrap();
    }

    (0..2).for_each(|_| received(&told, "the end of a callback"));
}

// Tests_SRS_COMPLETION_PORT_01_124
#[test]
fn a_drop_on_a_ports_thread_abandons_what_waits_before_it_returns() {
    let (_calls, port) = real_port();
    let waiting = Waiting::new(real_port().1);
    let (ours, _theirs) = pair();
    let told = add(&waiting, &ours, Interest::IN);
    let (registration, _peer) = common::real(&port);
    let (tell, seen) = channel();

    let drops = op("drops").then(move || {
        drop(waiting);
        tell.send(told.try_recv()).unwrap_or_default();
    });
    registration.add(Direction::Out, drops).unwrap();

    assert_eq!(received(&seen, "the drop"), Ok(Action::Abandoned));
}

/// The action of a callback on the list that its waiter waits in.
#[derive(Debug, Clone, Copy)]
enum Act {
    RemovesItself,
    RemovesAnother,
    Adds,
    DropsTheLastReference,
}

/// Where the callback runs.
#[derive(Debug, Clone, Copy)]
enum Where {
    /// On the port's thread, for an event.
    Event,
    /// On the thread that removes the descriptor.
    Removal,
    /// On the thread that adds another descriptor under the number.
    Replacement,
}

// Tests_SRS_COMPLETION_PORT_01_125
#[rstest]
fn a_callback_that_changes_its_list_waits_for_nothing(
    #[values(Act::RemovesItself, Act::RemovesAnother, Act::Adds, Act::DropsTheLastReference)] act: Act,
    #[values(Where::Event, Where::Removal, Where::Replacement)] place: Where,
) {
    let waiting = Arc::new(Waiting::new(real_port().1));
    let ((mut ours, _peer), (second, _second_peer)) = (pair(), pair());
    let another = add(&waiting, &second, Interest::IN);
    let (own, other) = (Number::of(&ours), Number::of(&second));
    let (tell, told) = channel();
    let list = Arc::clone(&waiting);
    let callback = move |_| {
        match act {
            Act::RemovesItself => list.remove(own.as_fd()),
            Act::RemovesAnother => list.remove(other.as_fd()),
            Act::Adds => list.add(Interest::IN, at(&other, |_| {})).expect("it is accepted"),
            Act::DropsTheLastReference => drop(list),
        }
        tell.send(()).unwrap_or_default();
    };
    let interest = if matches!(place, Where::Event) { Interest::OUT } else { Interest::IN };
    // The gate makes the callback drop the last reference, wherever that is possible.
    let (gate, stop) = Gate::new();
    let held = move |action| {
        stop();
        callback(action);
    };
    waiting.add(interest, at(&ours, held)).unwrap();

    let ended = spawn(move || {
        match place {
            Where::Event => drop(waiting),
            Where::Removal => waiting.remove(ours.as_fd()),
            Where::Replacement => {
                dup2(any_descriptor_that_can_be_watched(), &mut ours).unwrap();
                waiting.add(Interest::IN, at(&ours, |_| {})).expect("it is accepted");
            }
        }
        ours
    });
    gate.wait();
    gate.open();

    received(&told, "the end of the callback");
    received(&ended, "the end of what called it");
    if matches!(act, Act::RemovesAnother) {
        assert_eq!(received(&another, "the other's end"), Action::Abandoned);
    }
}

fn any_descriptor_that_can_be_watched() -> OwnedFd {
    rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).expect("an eventfd is made")
}

// Tests_SRS_COMPLETION_PORT_01_073
#[test]
fn a_dropped_list_leaves_nothing_in_the_kernel_that_would_wake_the_thread() {
    let (calls, port) = real_port();
    let waiting = Waiting::new(port.clone());
    let (ours, mut theirs) = pair();
    let told = add(&waiting, &ours, Interest::IN);

    on_another_thread("the drop", move || drop(waiting));

    assert_eq!(told.try_recv(), Ok(Action::Abandoned));
    let waits = settled(&calls);
    theirs.write_all(b"x").unwrap();
    assert_eq!(settled(&calls), waits);
    assert_eq!(calls.made(PortSyscall::EpollDelete), 1);
}
