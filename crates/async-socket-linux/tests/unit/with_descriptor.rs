//! `with_descriptor`: the descriptor in the hands of a closure is not closed.

use crate::common::{Fixture, without_hanging};
use async_socket_linux::{AsyncSocket, SocketState};
use rstest::rstest;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Barrier};
use test_doubles::{PortCall, SocketCall};

// Tests_SRS_SOCKET_01_070, Tests_SRS_SOCKET_01_071
#[test]
fn an_open_socket_lends_its_descriptor() {
    let fixture = Fixture::open();

    assert_eq!(fixture.with_descriptor(|descriptor| descriptor.as_raw_fd()), Some(fixture.descriptor));

    assert_eq!(fixture.close_calls(), 0);
    fixture.close();
    assert_eq!(fixture.close_calls(), 1);
}

// Tests_SRS_SOCKET_01_070
#[rstest]
#[case::never_opened(Fixture::closed())]
#[case::closed(Fixture::after_close())]
fn a_socket_that_is_not_open_lends_nothing(#[case] fixture: Fixture) {
    assert_eq!(fixture.with_descriptor(|_| panic!("it is not called")), None::<()>);
}

// Tests_SRS_SOCKET_01_071
#[test]
fn a_close_inside_the_closure_ends_everything_but_leaves_the_descriptor_to_the_closure() {
    without_hanging(|| {
        let fixture = Fixture::open();
        let waiting = fixture.receive(vec![0; 1]);

        fixture.with_descriptor(|_| {
            fixture.close();
            assert_eq!((fixture.state(), fixture.close_calls()), (SocketState::Closed, 0));
            assert!(fixture.port.calls().contains(&PortCall::Detach(fixture.descriptor)));
            assert_eq!(fixture.with_descriptor(|_| ()), None, "not lent again");
        });

        assert_eq!(fixture.close_calls(), 1);
        assert_eq!(waiting.take().reason, async_socket_linux::EndReason::Closed);
    });
}

// Tests_SRS_SOCKET_01_071
#[test]
fn the_last_of_several_closures_closes_it_whatever_they_do() {
    let fixture = Fixture::open();

    let panicked = catch_unwind(AssertUnwindSafe(|| {
        fixture.with_descriptor(|_| {
            fixture.with_descriptor(|_| fixture.close());
            assert_eq!(fixture.close_calls(), 0);
            panic!("in the closure");
        })
    }));

    assert!(panicked.is_err());
    assert_eq!(fixture.close_calls(), 1);
}

// Tests_SRS_SOCKET_01_071
#[test]
fn a_close_on_another_thread_does_not_wait_for_the_closure() {
    without_hanging(|| {
        let fixture = Fixture::open();
        let (inside, closed) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let (one, arrive, leave) = (fixture.clone(), Arc::clone(&inside), Arc::clone(&closed));
        let borrower = std::thread::spawn(move || {
            one.with_descriptor(|_| {
                arrive.wait();
                leave.wait();
                one.close_calls()
            })
        });
        inside.wait();

        fixture.close();

        assert_eq!((fixture.state(), fixture.close_calls()), (SocketState::Closed, 0));
        closed.wait();
        assert_eq!(borrower.join().expect("no panic"), Some(0));
        assert_eq!(fixture.close_calls(), 1);
    });
}

// Tests_SRS_SOCKET_01_071, Tests_SRS_SOCKET_01_097
#[test]
fn a_close_that_never_waits_stops_the_lingering_of_a_lent_descriptor_too() {
    let fixture = Fixture::open();
    fixture.sys.script_lingers(Ok(true));

    fixture.with_descriptor(|_| fixture.close_async(|| {}).expect("accepted"));

    let calls = fixture.sys.calls();
    assert!(matches!(calls[..], [.., SocketCall::StopLingering, SocketCall::Close(_)]), "{calls:?}");
}

// Tests_SRS_SOCKET_01_072
#[test]
fn an_address_is_an_error_if_there_is_none() {
    let fixture = Fixture::open();
    let not_a_socket = |error: std::io::Error| error.raw_os_error();
    assert_eq!(fixture.local_addr().map_err(not_a_socket), Err(Some(88)));
    assert_eq!(fixture.peer_addr().map_err(not_a_socket), Err(Some(88)));
    fixture.close();
    assert_eq!(fixture.local_addr().expect_err("closed").kind(), std::io::ErrorKind::NotConnected);
}
