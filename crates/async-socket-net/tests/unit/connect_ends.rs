//! The ends of a connect: errors, its time, a cancel, the port.

use crate::connect::{LONG, addresses, start};
use crate::script::{Inbox, doubles, inet};
use async_socket_linux::SetUpError;
use async_socket_net::sys::Errno;
use async_socket_net::{AttemptError, ConnectError, ConnectErrorKind, Connector, TargetError, UnixAddress};
use completion_port::Action;
use parking_lot::Mutex;
use rstest::rstest;
use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

// Tests_SRS_ASYNC_SOCKET_NET_01_044, Tests_SRS_ASYNC_SOCKET_NET_01_045
#[rstest]
#[case(Errno::CONNREFUSED, ConnectErrorKind::Refused, io::ErrorKind::ConnectionRefused)]
#[case(Errno::NETUNREACH, ConnectErrorKind::Unreachable, io::ErrorKind::HostUnreachable)]
#[case(Errno::HOSTUNREACH, ConnectErrorKind::Unreachable, io::ErrorKind::HostUnreachable)]
#[case(Errno::TIMEDOUT, ConnectErrorKind::TimedOut, io::ErrorKind::TimedOut)]
#[case(Errno::ACCESS, ConnectErrorKind::Other, io::ErrorKind::Other)]
fn what_the_kernel_says_is_told_apart(
    #[case] errno: Errno,
    #[case] kind: ConnectErrorKind,
    #[case] converted: io::ErrorKind,
    #[values(true, false)] at_once: bool,
) {
    let (port, script) = doubles();
    if at_once {
        script.connects([Err(errno)]);
    } else {
        script.errors([Ok(Some(errno))]);
    }
    let (_connecting, outcome) = start(&port, &script, inet("10.0.0.1:80"));
    if !at_once {
        port.fire(Action::Out);
    }

    let error = outcome.only().unwrap_err();
    assert_eq!(error.kind(), kind);
    let [attempt] = error.attempts() else { panic!("{error}") };
    assert_eq!((&attempt.address, attempt.call), (&inet("10.0.0.1:80"), "connect"));
    assert_eq!(attempt.source.raw_os_error(), Some(errno.raw_os_error()));
    assert!(error.to_string().starts_with("not connected: 10.0.0.1:80: connect: "), "{error}");
    assert_eq!(io::Error::from(error).kind(), converted);
    assert_eq!((script.open(), port.references()), (0, 1), "nothing is left");
}

// Tests_SRS_ASYNC_SOCKET_NET_01_044, Tests_SRS_ASYNC_SOCKET_NET_01_045
#[test]
fn the_error_has_all_attempts_in_the_order_in_which_they_began_and_the_cause_of_the_furthest() {
    let (port, script) = doubles();
    script.sockets([Err(Errno::MFILE), Ok(()), Ok(()), Ok(())]);
    script.binds([Err(Errno::ADDRNOTAVAIL), Ok(()), Ok(())]);
    script.connects([Err(Errno::HOSTUNREACH), Err(Errno::CONNREFUSED)]);
    let outcome = Inbox::new();
    let connector = Connector::new().local(inet("10.9.9.9:0")).syscalls(script.clone());
    let list = addresses(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "10.0.0.4:1"]);

    let _connecting = connector.connect_on(port.clone(), list, LONG, outcome.callback());
    port.run_scheduled();

    let error = outcome.only().unwrap_err();
    let attempts: Vec<_> = error.attempts().iter().map(|it| (it.address.to_string(), it.call)).collect();
    let expected =
        [("10.0.0.1:1", "socket"), ("10.0.0.2:1", "bind"), ("10.0.0.3:1", "connect"), ("10.0.0.4:1", "connect")];
    assert_eq!(attempts, expected.map(|(address, call)| (address.to_owned(), call)));
    assert_eq!(error.kind(), ConnectErrorKind::Refused);
    assert_eq!(script.open(), 0);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_044
#[test]
fn attempts_that_fail_in_another_order_are_reported_in_the_order_in_which_they_began() {
    let (port, script) = doubles();
    script.connects([Err(Errno::INPROGRESS), Err(Errno::NETUNREACH)]);
    script.errors([Ok(Some(Errno::CONNREFUSED))]);
    let (_connecting, outcome) = start(&port, &script, addresses(&["10.0.0.1:1", "10.0.0.2:1"]));
    port.advance(Duration::from_millis(250));

    port.fire(Action::Out);

    let error = outcome.only().unwrap_err();
    let kinds: Vec<_> = error.attempts().iter().map(AttemptError::kind).collect();
    assert_eq!(kinds, [ConnectErrorKind::Refused, ConnectErrorKind::Unreachable]);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_044
#[test]
fn an_attempt_that_epoll_refuses_is_closed_and_the_next_address_is_tried() {
    let (port, script) = doubles();
    let outcome = Inbox::new();
    let connector = Connector::new().syscalls(script.clone());
    let list = addresses(&["10.0.0.1:1", "10.0.0.2:1"]);
    let _connecting = connector.connect_on(port.clone(), list, LONG, outcome.callback());
    port.fail_next_attach(Errno::NOSPC.raw_os_error());
    port.run_scheduled();
    assert_eq!((script.connected_to().len(), script.open()), (2, 1));

    port.fire(Action::Out);

    assert!(outcome.only().is_ok());
}

// Tests_SRS_ASYNC_SOCKET_NET_01_043, Tests_SRS_ASYNC_SOCKET_NET_01_044, Tests_SRS_ASYNC_SOCKET_NET_01_045
#[test]
fn at_the_deadline_everything_is_closed_and_the_error_names_what_was_under_way() {
    let (port, script) = doubles();
    script.connects([Err(Errno::NETUNREACH)]);
    let (connecting, outcome) = start(&port, &script, addresses(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]));
    port.advance(LONG - Duration::from_nanos(1));
    assert!(outcome.is_empty());

    port.advance(Duration::from_nanos(1));

    let error = outcome.only().unwrap_err();
    assert!(connecting.is_over());
    assert_eq!(error.kind(), ConnectErrorKind::TimedOut);
    assert!(error.to_string().starts_with("not connected within 60000 ms: 10.0.0.1:1: connect: "), "{error}");
    let causes: Vec<_> = error.attempts().iter().map(AttemptError::kind).collect();
    assert_eq!(causes, [ConnectErrorKind::Unreachable, ConnectErrorKind::TimedOut, ConnectErrorKind::TimedOut]);
    assert_eq!((script.open(), port.references()), (0, 1));
    assert!(port.next_timer().is_none());
}

// Tests_SRS_ASYNC_SOCKET_NET_01_043
#[test]
fn a_time_that_no_clock_reaches_is_no_deadline() {
    let (port, script) = doubles();
    let connector = Connector::new().syscalls(script);
    let outcome = Inbox::new();
    let connecting = connector.connect_on(port.clone(), inet("10.0.0.1:1"), Duration::MAX, outcome.callback());
    port.advance(Duration::from_secs(1_000_000));
    assert!(outcome.is_empty() && port.next_timer().is_none());
    drop(connecting);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_045, Tests_SRS_ASYNC_SOCKET_NET_01_047
#[test]
fn dropping_the_connecting_completes_the_connect_inside_the_drop_and_leaves_nothing() {
    let (port, script) = doubles();
    let (connecting, outcome) = start(&port, &script, addresses(&["10.0.0.1:1", "10.0.0.2:1"]));
    port.advance(Duration::from_millis(250));

    connecting.cancel();

    let error = outcome.only().unwrap_err();
    assert!(matches!(error, ConnectError::Cancelled));
    assert_eq!(error.kind(), ConnectErrorKind::Cancelled);
    assert_eq!((script.open(), port.references()), (0, 1));
    assert!(port.next_timer().is_none());
}

// Tests_SRS_ASYNC_SOCKET_NET_01_047
#[test]
fn a_cancel_before_the_first_step_tries_nothing() {
    let (port, script) = doubles();
    let outcome = Inbox::new();
    let connector = Connector::new().syscalls(script.clone());

    drop(connector.connect_on(port.clone(), inet("10.0.0.1:1"), LONG, outcome.callback()));
    port.run_scheduled();

    assert!(matches!(outcome.only(), Err(ConnectError::Cancelled)));
    assert!(script.calls().is_empty());
}

// Tests_SRS_ASYNC_SOCKET_NET_01_046, Tests_SRS_ASYNC_SOCKET_NET_01_047
#[rstest]
#[case(Ok(()))]
#[case(Err(Errno::INPROGRESS))]
#[case(Err(Errno::CONNREFUSED))]
fn a_cancel_in_the_middle_of_an_attempt_ends_it_once_and_closes_its_descriptor(#[case] connects: Result<(), Errno>) {
    let (port, script) = doubles();
    let outcome = Inbox::new();
    let connector = Connector::new().syscalls(script.clone());
    let holder = Arc::new(Mutex::new(None));
    let ours = Arc::clone(&holder);
    script.connects([connects]);
    script.during_connect(move || drop(ours.lock().take()));
    *holder.lock() = Some(connector.connect_on(port.clone(), inet("10.0.0.1:1"), LONG, outcome.callback()));

    port.run_scheduled();

    assert!(matches!(outcome.only(), Err(ConnectError::Cancelled)));
    assert_eq!((script.open(), port.references()), (0, 1));
}

// Tests_SRS_ASYNC_SOCKET_NET_01_046
#[test]
fn a_cancel_after_the_end_does_nothing() {
    let (port, script) = doubles();
    script.connects([Ok(())]);
    let (connecting, outcome) = start(&port, &script, inet("10.0.0.1:1"));

    connecting.cancel();

    assert!(outcome.only().is_ok());
}

// Tests_SRS_ASYNC_SOCKET_NET_01_049
#[test]
fn a_detached_connect_goes_on() {
    let (port, script) = doubles();
    let (connecting, outcome) = start(&port, &script, inet("10.0.0.1:1"));

    connecting.detach();
    port.fire(Action::Out);

    assert!(outcome.only().is_ok());
}

// Tests_SRS_ASYNC_SOCKET_NET_01_031, Tests_SRS_ASYNC_SOCKET_NET_01_045
#[test]
fn a_target_that_is_none_is_an_error_on_the_ports_thread() {
    let (port, script) = doubles();

    let (_connecting, outcome) = start(&port, &script, "no port");

    let error = outcome.only().unwrap_err();
    assert!(matches!(error, ConnectError::Target(TargetError::NoPort(_))));
    assert_eq!(error.kind(), ConnectErrorKind::InvalidTarget);
    assert!(script.calls().is_empty());
}

// Tests_SRS_ASYNC_SOCKET_NET_01_048
#[test]
fn if_the_port_refuses_the_connect_the_callback_runs_inside_the_call() {
    let (port, script) = doubles();
    port.fail_next_attach(Errno::NOMEM.raw_os_error());
    let outcome = Inbox::new();

    let connecting =
        Connector::new().syscalls(script).connect_on(port.clone(), inet("10.0.0.1:1"), LONG, outcome.callback());

    assert!(connecting.is_over());
    let error = outcome.only().unwrap_err();
    assert!(matches!(error, ConnectError::Port(_)));
    assert!(error.source().unwrap().to_string().contains("memory"));
    assert_eq!(port.references(), 1);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_048
#[test]
fn a_failed_port_ends_the_connect() {
    let (port, script) = doubles();
    let (_connecting, outcome) = start(&port, &script, inet("10.0.0.1:1"));

    port.fail();
    port.run_scheduled();

    assert!(outcome.only().is_err());
    assert_eq!((script.open(), port.references()), (0, 1));
}

// Tests_SRS_ASYNC_SOCKET_NET_01_041
#[test]
fn a_connection_that_cannot_be_opened_is_closed_and_is_an_error() {
    let (port, script) = doubles();
    script.connects([Ok(())]);
    let outcome = Inbox::new();
    let connector = Connector::new().syscalls(script);
    let _connecting = connector.connect_on(port.clone(), inet("10.0.0.1:1"), LONG, outcome.callback());
    port.fail_next_attach(Errno::NOSPC.raw_os_error());

    port.run_scheduled();

    let error = outcome.only().unwrap_err();
    assert!(matches!(error, ConnectError::Open(SetUpError::Open(_))), "{error:?}");
    assert_eq!(port.references(), 1);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_046, Tests_SRS_ASYNC_SOCKET_NET_01_080
#[test]
fn a_panic_of_the_callback_ends_there() {
    let (port, script) = doubles();
    let is_open = Inbox::new();
    let mut note = is_open.callback();
    script.connects([Ok(())]);
    let connecting = Connector::new().syscalls(script).connect_on(
        port.clone(),
        UnixAddress::of_abstract_name("x").unwrap(),
        LONG,
        move |outcome| {
            note(outcome.is_ok());
            panic!("the panic of this test");
        },
    );

    port.run_scheduled();

    assert!(is_open.only());
    assert!(connecting.is_over());
    drop(connecting);
    assert_eq!(port.references(), 1, "the socket was closed, or it would keep the port");
}
