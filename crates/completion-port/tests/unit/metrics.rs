//! `CompletionPort::metrics`.

use crate::common::watch_over_all;
use completion_port::{CompletionPort, PortExt, Turn};
use std::time::Duration;
use test_doubles::ScriptedPort;

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
