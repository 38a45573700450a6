//! Removing descriptors while others work on them, and the reuse of their numbers.

use completion_port::{Action, Attempt, Direction, Handler, Registration};
use integration_tests::port::{
    A_WHILE, Transfers, port, reads, round_trip, settled, socket, start, take_back, watch, writes,
};
use integration_tests::process::{alone, descriptors, epoll_entries};
use integration_tests::{Outbox, inbox, spawn, wait, within};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use test_doubles::PortSyscall;

// Tests_SRS_COMPLETION_PORT_01_050
#[test]
fn remove_waits_for_the_callback_that_runs_on_the_ports_thread() {
    let _alone = alone();
    let (registration, _peer) = socket(&port().1);
    let (gate, barrier) = wait::gate();
    registration.add(Direction::Out, writes("x").then(move |_| barrier.wait())).unwrap();
    gate.wait_for_arrival();

    let removing = spawn("remove", move || registration.remove());

    assert!(removing.still_runs_after(A_WHILE));
    gate.open();
    assert!(removing.join());
}

// Tests_SRS_COMPLETION_PORT_01_050, Tests_SRS_COMPLETION_PORT_01_056
#[test]
fn of_several_threads_that_remove_while_callbacks_run_one_gets_the_descriptor() {
    let _alone = alone();
    let port = port().1;
    for _ in 0..200 {
        let (registration, mut peer) = socket(&port);
        let running = Arc::new(AtomicUsize::new(0));
        for _ in 0..20 {
            let running = Arc::clone(&running);
            let callback = move |_| {
                running.fetch_add(1, Ordering::SeqCst);
                std::thread::yield_now();
                running.fetch_sub(1, Ordering::SeqCst);
            };
            registration.add(Direction::In, reads(1).then(callback)).unwrap();
        }
        peer.write_all(&[0; 10]).unwrap();

        let removals: Vec<_> = (0..3)
            .map(|_| {
                let (registration, running) = (Arc::clone(&registration), Arc::clone(&running));
                spawn("remove", move || registration.remove().then(|| running.load(Ordering::SeqCst)))
            })
            .collect();

        let results: Vec<_> = removals.into_iter().filter_map(integration_tests::Task::join).collect();
        assert_eq!(results, [0], "one removal, and no callback runs when it returns");
    }
}

// Tests_SRS_COMPLETION_PORT_01_051, Tests_SRS_COMPLETION_PORT_01_052
#[test]
fn remove_inside_a_callback_abandons_the_rest_and_returns() {
    let _alone = alone();
    let (registration, mut peer) = socket(&port().1);
    let ((tell, told), own) = (inbox(), Arc::clone(&registration));
    let callback = move |_| tell.put(own.remove());
    registration.add(Direction::In, reads(1).then(callback)).unwrap();
    let rest = [(); 3].map(|()| start(&registration, Direction::In, reads(1)));

    peer.write_all(b"xyz").unwrap();

    assert!(told.only());
    assert_eq!(rest.map(|done| done.only().action), [Action::Abandoned; 3]);
}

// Tests_SRS_COMPLETION_PORT_01_051
#[test]
fn remove_inside_a_claims_callback_returns() {
    let _alone = alone();
    let (registration, _peer) = socket(&port().1);
    let removed = within("the removal", move || {
        let mut removed = false;
        registration.try_claim(Direction::Out).expect("idle").complete(|| removed = registration.remove());
        removed
    });
    assert!(removed);
}

// Tests_SRS_COMPLETION_PORT_01_052
#[test]
fn everything_that_waits_is_abandoned_in_order_before_remove_returns() {
    let _alone = alone();
    let (registration, _peer) = socket(&port().1);
    start(&registration, Direction::Out, writes(vec![0; 8 << 20])); // does not fit: what follows waits behind it
    let (tell, told) = inbox();
    for number in 0..20 {
        let (direction, tell) = (if number % 2 == 0 { Direction::In } else { Direction::Out }, tell.clone());
        registration.add(direction, reads(1).then(move |done| tell.put((number, done.action)))).unwrap();
    }

    assert!(registration.remove());

    let now: Vec<_> = std::iter::from_fn(|| told.try_next()).collect();
    assert_eq!(now, (0..20).map(|number| (number, Action::Abandoned)).collect::<Vec<_>>());
}

// Tests_SRS_COMPLETION_PORT_01_053, Tests_SRS_COMPLETION_PORT_01_054
#[test]
fn a_removed_descriptor_is_forgotten_by_the_kernel_and_works_for_its_owner() {
    let _alone = alone();
    let (calls, port) = port();
    let (registration, mut peer) = socket(&port);

    let descriptor = take_back(&registration);

    assert!(epoll_entries(descriptor.as_raw_fd()).is_empty());
    let waits = settled(&calls);
    peer.write_all(b"mine").unwrap();
    assert_eq!(settled(&calls), waits, "no event comes");
    let mut bytes = [0; 4];
    UnixStream::from(descriptor).read_exact(&mut bytes).expect("the bytes are there");
    assert_eq!(&bytes, b"mine");
}

// Tests_SRS_COMPLETION_PORT_01_053
#[test]
fn a_duplicate_keeps_no_events_coming_after_removal() {
    let _alone = alone();
    let (calls, port) = port();
    let (registration, mut peer) = socket(&port);
    let descriptor = take_back(&registration);
    let duplicate = descriptor.try_clone().unwrap();
    let again = watch(&port, descriptor);
    drop(again);
    let waits = settled(&calls);

    peer.write_all(b"x").unwrap();

    assert_eq!(settled(&calls), waits, "the open file that is left is not watched");
    drop(duplicate);
}

// Tests_SRS_COMPLETION_PORT_01_053
#[test]
fn a_late_event_does_not_reach_the_next_owner_of_the_number() {
    let _alone = alone();
    let (calls, port) = port();
    let next = settled(&calls);
    let (gate, barrier) = wait::gate();
    calls.after(PortSyscall::EpollWait, next, move || barrier.wait());
    let (ours, mut peer) = UnixStream::pair().unwrap();
    peer.write_all(b"x").unwrap();
    let removed = watch(&port, ours);
    gate.wait_for_arrival(); // The thread has an event with EPOLLIN in its hands.

    // Another descriptor takes over the number, and the place on the port.
    let mut number = take_back(&removed);
    let (reader, _writer) = std::io::pipe().unwrap();
    rustix::io::dup2(&reader, &mut number).unwrap();
    drop(reader);
    let successor = watch(&port, number);
    let pending = start(&successor, Direction::In, reads(1));
    gate.open();
    round_trip(&port);

    assert_eq!(successor.handler().attempts(), 0);
    assert!(pending.is_pending());
    assert_eq!(removed.handler().attempts(), 0);
}

// Tests_SRS_COMPLETION_PORT_01_053
#[test]
fn numbers_that_come_back_at_once_are_never_confused() {
    let _alone = alone();
    let port = port().1;
    within("all rounds", move || {
        for round in 0..500_u32 {
            let (registration, mut peer) = socket(&port);
            let old = start(&registration, Direction::In, reads(4));
            // Sometimes the event is under way when the removal comes.
            if round % 2 == 0 {
                peer.write_all(b"old!").expect("the socket has room");
            }
            let mut descriptor = take_back(&registration);
            assert!(matches!(old.only().action, Action::In | Action::Abandoned));
            let (ours, mut peer) = UnixStream::pair().expect("a socket pair is made");
            rustix::io::dup2(&ours, &mut descriptor).expect("the number is taken over");
            drop(ours);
            let successor = watch(&port, descriptor);
            let new = start(&successor, Direction::In, reads(4));
            peer.write_all(&round.to_be_bytes()).expect("the socket has room");
            assert_eq!(new.only().bytes, round.to_be_bytes());
        }
    });
}

// Tests_SRS_COMPLETION_PORT_01_055
#[test]
fn dropping_a_registration_abandons_and_closes() {
    let _alone = alone();
    let port = port().1;
    let (registration, mut peer) = socket(&port);
    let pending = start(&registration, Direction::In, reads(1));
    let before = descriptors();

    drop(registration);

    assert_eq!(pending.only().action, Action::Abandoned);
    assert_eq!(descriptors(), before - 1);
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
}

// Tests_SRS_COMPLETION_PORT_01_051, Tests_SRS_COMPLETION_PORT_01_055
#[test]
fn a_registration_can_be_dropped_in_its_own_callback() {
    let _alone = alone();
    let port = port().1;
    let (registration, mut peer) = socket(&port);
    let ((give, given), (tell, told)) = (inbox::<Arc<_>>(), inbox());
    let callback = move |_| {
        drop(given.next());
        tell.put(());
    };
    registration.add(Direction::Out, writes("x").then(callback)).unwrap();
    let rest = start(&registration, Direction::In, reads(1));

    give.put(registration);

    told.next();
    assert_eq!(rest.only().action, Action::Abandoned);
    assert_eq!(peer.read(&mut [0; 2]).unwrap(), 1);
    assert_eq!(peer.read(&mut [0; 2]).unwrap(), 0, "closed");
}

// Tests_SRS_COMPLETION_PORT_01_056
#[test]
fn removing_what_is_not_there_does_nothing() {
    let _alone = alone();
    let (calls, port) = port();
    let never = Registration::new(port.clone(), Transfers::default(), OwnedFd::from(std::io::pipe().unwrap().0));
    assert!(!never.remove());
    let (registration, _peer) = socket(&port);
    assert!(registration.remove());
    assert!(!registration.remove());
    assert_eq!(calls.made(PortSyscall::EpollDelete), 1);
}

// Tests_SRS_COMPLETION_PORT_01_034, Tests_SRS_COMPLETION_PORT_01_053, Tests_SRS_COMPLETION_PORT_01_055
#[test]
fn a_hundred_registrations_come_and_go_on_four_threads() {
    let _alone = alone();
    let port = port().1;
    let before = descriptors();
    let churn = |name: u8, port: integration_tests::port::Port| {
        move || {
            let mut kept = Vec::new();
            for round in 0..100 {
                let (registration, mut peer) = socket(&port);
                let pending = start(&registration, Direction::In, reads(1));
                peer.write_all(&[name]).expect("the socket has room");
                assert_eq!(pending.only().bytes, [name]);
                let abandoned = start(&registration, Direction::In, reads(1));
                kept.push((registration, peer, abandoned));
                if kept.len() == 25 {
                    for (registration, _peer, abandoned) in kept.drain(..) {
                        if round % 2 == 0 {
                            assert!(registration.remove());
                        } else {
                            drop(registration);
                        }
                        assert_eq!(abandoned.only().action, Action::Abandoned);
                    }
                }
            }
        }
    };

    let threads: Vec<_> = (0..4).map(|name| spawn("churn", churn(name, port.clone()))).collect();
    threads.into_iter().for_each(integration_tests::Task::join);

    assert_eq!(descriptors(), before);
}

/// Notes what happens to it, in order.
struct Notes(Outbox<&'static str>);

impl Handler for Notes {
    type Descriptor = OwnedFd;
    type Operation = &'static str;

    fn attempt(&self, name: &'static str, action: Action, attempt: Attempt<'_, Self>) {
        if matches!(action, Action::In | Action::Out) {
            return attempt.pending(name);
        }
        attempt.complete(false, None, || self.0.put(name));
    }

    fn release(&self, descriptor: OwnedFd) {
        self.0.put(if epoll_entries(descriptor.as_raw_fd()).is_empty() { "released" } else { "released and watched" });
    }
}

// Tests_SRS_COMPLETION_PORT_01_052, Tests_SRS_COMPLETION_PORT_01_054
#[test]
fn the_descriptor_is_released_after_everything_else() {
    let _alone = alone();
    let (tell, told) = inbox();
    let (ours, _peer) = UnixStream::pair().unwrap();
    let registration = Registration::new(port().1, Notes(tell.clone()), OwnedFd::from(ours));
    registration.register(|| ()).unwrap();
    let claim = registration.try_claim(Direction::Out).expect("idle");
    registration.add(Direction::In, "receive").unwrap();
    registration.add(Direction::Out, "send").unwrap();
    claim.complete(|| tell.put("claim"));

    assert!(registration.remove());

    assert_eq!(told.take(4), ["claim", "receive", "send", "released"]);
    assert!(told.try_next().is_none());
}

/// A handler whose drop a test can see.
struct Held(#[expect(dead_code, reason = "only its drop matters")] Arc<()>);

impl Handler for Held {
    type Descriptor = UnixStream;
    type Operation = ();

    fn attempt(&self, (): (), _: Action, attempt: Attempt<'_, Self>) {
        attempt.complete(false, None, || {});
    }
}

// Tests_SRS_COMPLETION_PORT_01_057
#[test]
fn the_handlers_of_removed_sockets_are_dropped_soon_even_if_nothing_else_happens() {
    let _alone = alone();
    let port = port().1;
    let held = Arc::new(());
    let sockets: Vec<_> = (0..200)
        .map(|_| {
            let (own, peer) = UnixStream::pair().expect("a pair");
            let registration = Registration::new(port.clone(), Held(Arc::clone(&held)), own);
            registration.register(|| ()).expect("a socket can be registered");
            (registration, peer)
        })
        .collect();

    drop(sockets);

    wait::eventually("handlers are dropped", || Arc::strong_count(&held) <= 64);
    round_trip(&port);
    wait::eventually("the last of them too", || Arc::strong_count(&held) == 1);
}
