//! Ports that the caller drives, with real time.

use completion_port::{CompletionPort, Direction, PortExt, Turn, is_port_thread};
use integration_tests::port::{port, socket, writes};
use integration_tests::{inbox, spawn, within};
use std::sync::Arc;
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);
const NOW: Option<Duration> = Some(Duration::ZERO);

// Tests_SRS_COMPLETION_PORT_01_175
#[test]
fn a_thread_that_runs_the_driver_is_the_ports_until_the_last_reference_is_gone() {
    let (port, mut driver) = CompletionPort::builder().create_driven().unwrap();
    let running = spawn("the driver", move || driver.run());
    for _ in 0..3 {
        let (tell, told) = inbox();
        port.post(move || tell.put(is_port_thread())).map_err(|refused| refused.error).unwrap();
        assert!(told.only());
    }

    drop(port);

    running.join();
}

// Tests_SRS_COMPLETION_PORT_01_176
#[test]
fn a_round_waits_as_long_as_it_may_and_says_whether_there_was_something_to_do() {
    within("the rounds", || {
        let (port, mut driver) = CompletionPort::builder().create_driven().unwrap();
        while driver.run_once(NOW) == Turn::Worked {}
        let begin = Instant::now();

        assert_eq!(driver.run_once(Some(20 * MS)), Turn::Idle);

        assert!(begin.elapsed() >= 20 * MS, "{:?}", begin.elapsed());
        port.post(|| ()).map_err(|refused| refused.error).unwrap();
        assert_eq!(driver.run_once(Some(Duration::from_secs(5))), Turn::Worked);
        assert!(begin.elapsed() < Duration::from_secs(4), "it does not wait if there is something to do");
    });
}

// Tests_SRS_COMPLETION_PORT_01_176
#[test]
fn a_round_inside_a_callback_of_another_port_can_remove_what_the_callback_belongs_to() {
    let (registration, _peer) = socket(&port().1);
    let (own, (tell, told)) = (Arc::clone(&registration), inbox());
    let drives = move |_| {
        let (inner, mut driver) = CompletionPort::builder().create_driven().expect("a port");
        inner.post(move || own.remove_and_wait()).map_err(|refused| refused.error).expect("it accepts work");
        tell.put(driver.run_once(NOW));
    };

    registration.add(Direction::Out, writes("x").then(drives)).unwrap();

    assert_eq!(told.only(), Turn::Worked);
}

// Tests_SRS_COMPLETION_PORT_01_177
#[test]
fn a_loop_around_a_driver_learns_how_long_it_may_wait() {
    let (port, mut driver) = CompletionPort::builder().create_driven().unwrap();
    while driver.run_once(NOW) == Turn::Worked {}
    assert_eq!(driver.time_to_wait(), None);

    port.post(|| ()).map_err(|refused| refused.error).unwrap();
    assert_eq!(driver.time_to_wait(), Some(Duration::ZERO));
    while driver.run_once(NOW) == Turn::Worked {}

    let _timer = port.after(Duration::from_secs(3600), || ()).map_err(|refused| refused.error).unwrap();
    while driver.run_once(NOW) == Turn::Worked {}
    let left = driver.time_to_wait().expect("a timer is armed");
    assert!(left > Duration::from_secs(3000) && left <= Duration::from_secs(3601), "{left:?}");
}
