//! `CompletionPort::metrics`.

use crate::common::{op, pair, real, watch_over_all};
use completion_port::{Action, CompletionPort, Direction, Interest, OneShots, PortExt, Turn};
use rstest::rstest;
use std::any::Any;
use std::time::Duration;
use test_doubles::{Number, ScriptedPort};

const MS: Duration = Duration::from_millis(1);

// Tests_SRS_COMPLETION_PORT_01_185
#[test]
fn a_port_counts_only_if_it_was_asked_to() {
    watch_over_all();
    assert_eq!(CompletionPort::create().unwrap().metrics(), None);
    assert!(CompletionPort::builder().metrics(true).create().unwrap().metrics().is_some());
}

// Tests_SRS_COMPLETION_PORT_01_185, Tests_SRS_COMPLETION_PORT_01_186
#[test]
fn rounds_wake_ups_timers_and_the_longest_round_are_counted() {
    watch_over_all();
    let builder = CompletionPort::builder().metrics(true);
    let (port, mut driver) = builder.create_driven_with(ScriptedPort::new()).unwrap();
    port.post(|| std::thread::sleep(20 * MS)).unwrap();
    assert_eq!(driver.run_once(Some(Duration::ZERO)), Turn::Worked);
    while driver.run_once(Some(Duration::ZERO)) == Turn::Worked {}
    let _timers = [1, 2].map(|ms| port.after(ms * MS, || ()).unwrap());
    assert_eq!(port.metrics().expect("it counts").timers_armed, 2);
    std::thread::sleep(5 * MS);
    while driver.run_once(Some(Duration::ZERO)) == Turn::Worked {}

    let metrics = port.metrics().expect("it counts");
    assert_eq!((metrics.timers, metrics.timers_armed), (2, 0));
    assert!(metrics.wake_ups >= 2, "the work and the timers came from outside: {metrics:?}");
    assert!(metrics.rounds >= metrics.wake_ups && metrics.events >= metrics.wake_ups, "{metrics:?}");
    assert_eq!(metrics.most_events, 1);
    assert!(metrics.longest_round >= 20 * MS && metrics.longest_round < Duration::from_secs(10), "{metrics:?}");
}

const NAP: Duration = Duration::from_millis(20);

fn nap() {
    std::thread::sleep(NAP);
}

fn nod_off() {
    std::thread::sleep(NAP);
    panic!("as a part of the test");
}

type Port = CompletionPort<ScriptedPort>;

fn operations(port: &Port) -> Box<dyn Any> {
    let (registration, peer) = real(port);
    (0..2).for_each(|_| _ = registration.add(Direction::Out, op("sleeps").then(nap)).expect("it is registered"));
    Box::new((registration, peer))
}

fn an_operation_that_panics(port: &Port) -> Box<dyn Any> {
    let (registration, peer) = real(port);
    registration.add(Direction::Out, op("panics").then(nod_off)).expect("it is registered");
    Box::new((registration, peer))
}

fn a_raw_wait(port: &Port) -> Box<dyn Any> {
    let (waiting, (own, peer)) = (OneShots::new(port.clone()), pair());
    let waits: (Number, Box<dyn FnOnce(Action) + Send>) = (Number::of(&own), Box::new(|_| nap()));
    waiting.add(Interest::OUT, waits).expect("the kernel accepts it");
    Box::new((waiting, own, peer))
}

fn posted_work(port: &Port) -> Box<dyn Any> {
    Box::new([(); 2].map(|()| port.post(nap).expect("there is memory")))
}

fn timers(port: &Port) -> Box<dyn Any> {
    Box::new([(); 2].map(|()| port.after(MS, nap).expect("there is memory")))
}

// Tests_SRS_COMPLETION_PORT_01_189
#[rstest]
#[case(operations)]
#[case(an_operation_that_panics)]
#[case(a_raw_wait)]
#[case(posted_work)]
#[case(timers)]
fn the_longest_callback_is_measured(#[case] begin: fn(&Port) -> Box<dyn Any>) {
    watch_over_all();
    let builder = CompletionPort::builder().metrics(true);
    let (port, mut driver) = builder.create_driven_with(ScriptedPort::new()).unwrap();
    let longest = || port.metrics().expect("it counts").longest_callback;
    assert_eq!(longest(), Duration::ZERO);

    let kept = begin(&port);
    std::thread::sleep(2 * MS);
    while driver.run_once(Some(Duration::ZERO)) == Turn::Worked {}

    assert!(longest() >= NAP && longest() < Duration::from_secs(10), "{:?}", longest());
    drop(kept);
}

// Tests_SRS_COMPLETION_PORT_01_189
#[test]
fn callbacks_in_one_round_are_measured_apart_and_those_of_a_port_in_a_callback_are_its_own() {
    watch_over_all();
    let builder = CompletionPort::builder().metrics(true);
    let (outer, mut driver) = builder.clone().create_driven_with(ScriptedPort::new()).unwrap();
    let (inner, mut inner_driver) = builder.create_driven_with(ScriptedPort::new()).unwrap();
    let of = |port: &CompletionPort<_>| port.metrics().expect("it counts");
    inner.post(|| ()).unwrap();
    outer.post(nap).unwrap();
    outer
        .post(move || {
            nap();
            while inner_driver.run_once(Some(Duration::ZERO)) == Turn::Worked {}
        })
        .unwrap();
    while driver.run_once(Some(Duration::ZERO)) == Turn::Worked {}

    assert!(of(&outer).longest_callback >= NAP, "{:?}", of(&outer));
    assert!(of(&outer).longest_round >= of(&outer).longest_callback + NAP, "{:?}", of(&outer));
    assert!(of(&inner).longest_callback < NAP, "{:?}", of(&inner));
}
