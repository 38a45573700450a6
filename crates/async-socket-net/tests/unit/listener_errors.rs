//! Every error that `accept` can give, and what the listener makes of it.

use crate::listener::listen;
use crate::script::{Call, doubles, inet};
use async_socket_net::AcceptError;
use async_socket_net::sys::Errno;
use completion_port::{Action, Direction};
use rstest::rstest;
use std::time::Duration;

// Tests_SRS_ASYNC_SOCKET_NET_01_009
#[rstest]
#[case(Errno::CONNABORTED)]
#[case(Errno::NETDOWN)]
#[case(Errno::PROTO)]
#[case(Errno::NOPROTOOPT)]
#[case(Errno::HOSTDOWN)]
#[case(Errno::NONET)]
#[case(Errno::HOSTUNREACH)]
#[case(Errno::OPNOTSUPP)]
#[case(Errno::NETUNREACH)]
fn an_error_of_one_client_is_reported_and_the_next_client_is_accepted_at_once(#[case] errno: Errno) {
    let (port, script) = doubles();
    let (listener, accepted) = listen(&port, &script);
    script.accepts([Err(errno), Ok(inet("10.0.0.2:2"))]);

    port.fire(Action::In);

    let error = accepted.next().unwrap().unwrap_err();
    let AcceptError::Client { source } = error else { panic!("{error:?}") };
    assert_eq!(source.raw_os_error(), Some(errno.raw_os_error()));
    assert_eq!(accepted.next().unwrap().unwrap().peer(), &inet("10.0.0.2:2"));
    assert_eq!((listener.metrics().accepted, listener.metrics().failed_clients, listener.metrics().pauses), (1, 1, 0));
}

// Tests_SRS_ASYNC_SOCKET_NET_01_010
#[rstest]
#[case(Errno::MFILE)]
#[case(Errno::NFILE)]
#[case(Errno::NOBUFS)]
#[case(Errno::NOMEM)]
#[case(Errno::PERM)]
#[case(Errno::IO)]
fn an_error_that_may_pass_is_reported_and_ends_with_the_pause(#[case] errno: Errno) {
    let (port, script) = doubles();
    let (listener, accepted) = listen(&port, &script);
    script.accepts([Err(errno), Ok(inet("10.0.0.2:2"))]);

    port.fire(Action::In);

    let error = accepted.next().unwrap().unwrap_err();
    let AcceptError::Paused { source, pause } = error else { panic!("{error:?}") };
    assert_eq!((source.raw_os_error(), pause), (Some(errno.raw_os_error()), Duration::from_millis(10)));
    assert!(listener.metrics().is_paused && listener.metrics().is_accepting);
    // More clients wake nobody.
    port.fire(Action::In);
    port.advance(pause - Duration::from_nanos(1));
    assert_eq!(script.count(&Call::Accept), 1, "it does not try meanwhile");

    port.advance(Duration::from_nanos(1));
    port.run_scheduled();
    assert_eq!(accepted.next().unwrap().unwrap().peer(), &inet("10.0.0.2:2"));
    assert!(!listener.metrics().is_paused);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_011
#[test]
fn pauses_double_up_to_a_second_and_begin_anew_after_a_connection() {
    let (port, script) = doubles();
    let (listener, accepted) = listen(&port, &script);
    let paused = || match accepted.next() {
        Some(Err(AcceptError::Paused { pause, .. })) => pause.as_millis(),
        other => panic!("{other:?}"),
    };
    script.accepts((0..10).map(|_| Err(Errno::MFILE)));
    port.fire(Action::In);
    for expected in [10, 20, 40, 80, 160, 320, 640, 1000, 1000] {
        assert_eq!(paused(), expected);
        port.advance(Duration::from_millis(u64::try_from(expected).unwrap()));
        port.run_scheduled();
    }
    assert_eq!(paused(), 1000);
    assert_eq!(listener.metrics().pauses, 10);

    script.accepts([Ok(inet("10.0.0.1:1")), Err(Errno::MFILE)]);
    port.advance(Duration::from_secs(1));
    port.run_scheduled();
    assert!(accepted.next().unwrap().is_ok());
    assert_eq!(paused(), 10);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_014
#[test]
fn a_resume_ends_the_pause_and_only_the_pause() {
    let (port, script) = doubles();
    let (listener, accepted) = listen(&port, &script);
    assert!(!listener.resume(), "there is no pause");
    script.accepts([Err(Errno::MFILE), Ok(inet("10.0.0.1:1"))]);
    port.fire(Action::In);
    assert!(accepted.next().unwrap().is_err());

    assert!(listener.resume());
    port.run_scheduled();

    assert!(accepted.next().unwrap().is_ok());
    assert!(!listener.resume());
    // The alarm of the pause that was ended finds nothing to do.
    let calls = script.calls().len();
    port.advance(Duration::from_secs(2));
    port.run_scheduled();
    assert_eq!(script.calls().len(), calls);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_010, Tests_SRS_ASYNC_SOCKET_NET_01_020
#[test]
fn a_pause_is_over_when_nothing_is_there_any_more() {
    let (port, script) = doubles();
    let (listener, _accepted) = listen(&port, &script);
    script.accepts([Err(Errno::MFILE)]);
    port.fire(Action::In);
    assert!(listener.metrics().is_paused);

    port.advance(Duration::from_millis(10));
    port.run_scheduled();

    assert!(!listener.metrics().is_paused && !listener.resume());
}

// Tests_SRS_ASYNC_SOCKET_NET_01_021
#[test]
fn without_a_port_no_error_is_waited_out() {
    let (port, script) = doubles();
    let (_listener, accepted) = listen(&port, &script);
    script.accepts([Err(Errno::MFILE)]);

    port.fail();

    assert!(matches!(accepted.next(), Some(Err(AcceptError::Lost { .. }))));
    assert!(accepted.is_empty());
}

// Tests_SRS_ASYNC_SOCKET_NET_01_021
#[test]
fn a_port_that_fails_during_a_pause_loses_the_listener_too() {
    let (port, script) = doubles();
    let (_listener, accepted) = listen(&port, &script);
    script.accepts([Err(Errno::MFILE)]);
    port.fire(Action::In);
    assert!(matches!(accepted.next(), Some(Err(AcceptError::Paused { .. }))));

    port.fail();
    port.run_scheduled();

    assert!(matches!(accepted.next(), Some(Err(AcceptError::Lost { .. }))));
    assert!(accepted.is_empty());
}

// Tests_SRS_ASYNC_SOCKET_NET_01_010, Tests_SRS_ASYNC_SOCKET_NET_01_013
#[test]
fn a_listener_that_is_dropped_while_it_pauses_disarms_its_alarm() {
    let (port, script) = doubles();
    let (listener, _accepted) = listen(&port, &script);
    script.accepts([Err(Errno::MFILE)]);
    port.fire(Action::In);
    assert!(port.next_timer().is_some());

    drop(listener);

    assert!(port.next_timer().is_none());
    assert_eq!(port.references(), 1);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_015
#[rstest]
#[case(Errno::BADF)]
#[case(Errno::INVAL)]
#[case(Errno::NOTSOCK)]
fn an_error_of_the_listening_socket_itself_is_reported_once_and_ends_the_accepting(#[case] errno: Errno) {
    let (port, script) = doubles();
    let (listener, accepted) = listen(&port, &script);
    script.accepts([Err(errno)]);

    port.fire(Action::In);
    port.fire(Action::In);

    let error = accepted.next().unwrap().unwrap_err();
    let AcceptError::Lost { source } = error else { panic!("{error:?}") };
    assert_eq!(source.raw_os_error(), Some(errno.raw_os_error()));
    assert!(accepted.is_empty());
    assert_eq!(script.count(&Call::Accept), 1);
    assert_eq!(port.queued(Direction::In), 0);
    assert!(!listener.metrics().is_accepting);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_015
#[test]
fn an_error_event_without_an_error_of_accept_changes_nothing() {
    let (port, script) = doubles();
    let (listener, accepted) = listen(&port, &script);

    port.fire(Action::Error);
    assert!(accepted.is_empty() && listener.metrics().is_accepting);

    script.accepts([Ok(inet("10.0.0.1:1"))]);
    port.fire(Action::In);
    assert!(accepted.next().unwrap().is_ok());
}

// Tests_SRS_ASYNC_SOCKET_NET_01_021
#[test]
fn a_failed_port_loses_the_listener_and_says_so() {
    let (port, script) = doubles();
    let (listener, accepted) = listen(&port, &script);
    port.fire(Action::In);
    assert!(accepted.is_empty() && listener.metrics().is_accepting, "it is not lost before");

    port.fail();

    let error = accepted.next().unwrap().unwrap_err();
    assert!(matches!(error, AcceptError::Lost { .. }), "{error:?}");
    assert!(!listener.metrics().is_accepting);
}
