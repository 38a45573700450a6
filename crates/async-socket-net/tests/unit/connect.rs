//! Connecting: which address is tried when, with which calls.

use crate::script::{Call, Inbox, Script, doubles, inet};
use async_socket_linux::{AsyncSocket, AsyncSocketLinux, SocketState};
use async_socket_net::sys::Errno;
use async_socket_net::{
    ConnectError, ConnectErrorKind, Connecting, Connector, Family, SocketOption, SocketOptions, ToTarget, UnixAddress,
};
use completion_port::{Action, Direction};
use rstest::rstest;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net as unix;
use std::os::unix::net::UnixListener;
use std::time::Duration;
use test_doubles::MockPort;

pub(crate) type Outcome = Result<AsyncSocketLinux<MockPort>, ConnectError>;

pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A connect over the doubles, whose callback fills the inbox. Its first step is done.
pub(crate) fn start(
    port: &MockPort,
    script: &Script,
    to: impl ToTarget,
) -> (Connecting<MockPort, Script>, Inbox<Outcome>) {
    let outcome = Inbox::new();
    let connector = Connector::new().syscalls(script.clone());
    let connecting = connector.connect_on(port.clone(), to, LONG, outcome.callback());
    assert!(outcome.is_empty(), "nothing completes inside the call");
    port.run_scheduled();
    (connecting, outcome)
}

pub(crate) fn addresses(list: &[&str]) -> Vec<SocketAddr> {
    list.iter().map(|text| text.parse().expect("set-up")).collect()
}

// Tests_SRS_ASYNC_SOCKET_NET_01_030, Tests_SRS_ASYNC_SOCKET_NET_01_040
#[test]
fn a_connect_in_progress_waits_until_the_socket_is_writable_and_has_no_error() {
    let (port, script) = doubles();
    let (connecting, outcome) = start(&port, &script, addresses(&["10.0.0.1:80"]));
    let calls = [Call::Socket(Family::V4), Call::Connect("10.0.0.1:80".into()), Call::ConnectAgain];
    assert_eq!(script.calls(), calls);
    assert_eq!(port.queued(Direction::Out), 1);
    assert!(outcome.is_empty() && !connecting.is_over());

    port.fire(Action::Out);

    let socket = outcome.only().unwrap();
    assert_eq!(script.count(&Call::TakeError), 1);
    assert_eq!(socket.state(), SocketState::Open);
    assert!(connecting.is_over());
    assert_eq!(script.open(), 1, "the socket's own descriptor");
}

// Tests_SRS_ASYNC_SOCKET_NET_01_030
#[test]
fn a_connect_that_succeeds_at_once_still_completes_on_the_ports_thread() {
    let (port, script) = doubles();
    script.connects([Ok(())]);
    let outcome = Inbox::new();

    let _connecting = Connector::new().syscalls(script.clone()).connect_on(
        port.clone(),
        inet("10.0.0.1:80"),
        LONG,
        outcome.callback(),
    );
    assert!(outcome.is_empty() && script.calls().is_empty());
    port.run_scheduled();

    assert_eq!(outcome.only().unwrap().state(), SocketState::Open);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_040
#[test]
fn a_connect_that_a_signal_interrupts_goes_on() {
    let (port, script) = doubles();
    script.connects([Err(Errno::INTR)]);
    let (_connecting, outcome) = start(&port, &script, inet("10.0.0.1:80"));
    assert_eq!(script.connected_to().len(), 1);

    port.fire(Action::Out);

    assert!(outcome.only().is_ok());
}

// Tests_SRS_ASYNC_SOCKET_NET_01_040
#[test]
fn an_error_event_without_an_error_leaves_the_attempt_waiting() {
    let (port, script) = doubles();
    let (_connecting, outcome) = start(&port, &script, inet("10.0.0.1:80"));

    port.fire(Action::Error);
    assert!(outcome.is_empty());
    port.fire(Action::Out);

    assert!(outcome.only().is_ok());
}

// Tests_SRS_ASYNC_SOCKET_NET_01_054
#[test]
fn what_a_connector_has_made_is_opened_without_a_question() {
    let (port, script) = doubles();
    script.makes_no_sockets();
    script.connects([Ok(()), Ok(())]);
    let unix = UnixAddress::of_abstract_name("x").expect("a name");

    let (_connecting, inet) = start(&port, &script, inet("10.0.0.1:80"));
    let (_connecting, unix) = start(&port, &script, unix);

    assert_eq!(inet.only().expect("not asked").state(), SocketState::Open);
    assert_eq!(unix.only().expect("not asked").state(), SocketState::Open);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_054
#[test]
fn a_unix_socket_that_was_not_asked_is_read_beyond_a_passed_descriptor() {
    let port = MockPort::new();
    let name = format!("async-socket-net-passes-{}", std::process::id());
    let address = unix::SocketAddr::from_abstract_name(&name).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    let outcome = Inbox::<Outcome>::new();
    let _connecting = Connector::new().connect_on(port.clone(), address, LONG, outcome.callback());
    port.run_scheduled();
    let socket = outcome.only().unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    let received = Inbox::new();
    for _ in 0..2 {
        let mut report = received.callback();
        socket.receive_async(vec![0; 64], move |it| report(it.received().to_vec())).unwrap();
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let passed = [peer.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&passed)));
    sendmsg(&peer, &[IoSlice::new(b"first")], &mut control, SendFlags::empty()).unwrap();
    peer.write_all(b"second").unwrap();

    port.fire(Action::In);
    port.run_scheduled();

    // The kernel reads to the passed descriptor and no further.
    assert_eq!((received.next(), received.next()), (Some(b"first".to_vec()), Some(b"second".to_vec())));
    socket.close();
}

// Tests_SRS_ASYNC_SOCKET_NET_01_050
#[rstest]
#[case(Ok(()), true)]
#[case(Err(Errno::ISCONN), true)]
#[case(Err(Errno::CONNREFUSED), false)]
fn a_connect_that_is_over_when_it_is_asked_again_waits_for_no_event(
    #[case] again: Result<(), Errno>,
    #[case] succeeds: bool,
) {
    let (port, script) = doubles();
    script.connects_again([again]);

    let (_connecting, outcome) = start(&port, &script, inet("10.0.0.1:80"));

    assert_eq!(outcome.only().is_ok(), succeeds);
    assert_eq!(script.count(&Call::TakeError), 0);
    assert_eq!(script.connected_to().len(), 1);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_050
#[rstest]
#[case(Errno::ALREADY)]
#[case(Errno::INPROGRESS)]
#[case(Errno::INTR)]
fn a_connect_that_is_not_over_when_it_is_asked_again_waits_for_its_event(#[case] again: Errno) {
    let (port, script) = doubles();
    script.connects_again([Err(again)]);
    let (_connecting, outcome) = start(&port, &script, inet("10.0.0.1:80"));
    assert!(outcome.is_empty());

    port.fire(Action::Out);

    assert!(outcome.only().is_ok());
}

// Tests_SRS_ASYNC_SOCKET_NET_01_036
#[test]
fn the_families_take_turns_beginning_with_the_first_address() {
    let (port, script) = doubles();
    script.connects([Err(Errno::CONNREFUSED); 6]);
    let list = addresses(&["[::1]:1", "[::1]:2", "[::1]:3", "[::1]:1", "10.0.0.1:1", "10.0.0.2:1", "[::1]:4"]);

    let (_connecting, outcome) = start(&port, &script, list);

    assert!(outcome.only().is_err());
    let tried = script.connected_to();
    assert_eq!(tried, ["[::1]:1", "10.0.0.1:1", "[::1]:2", "10.0.0.2:1", "[::1]:3", "[::1]:4"]);
    assert_eq!(script.count(&Call::Socket(Family::V6)), 4);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_036
#[test]
fn a_list_that_begins_with_ipv4_is_tried_from_there() {
    let (port, script) = doubles();
    script.connects([Err(Errno::CONNREFUSED); 3]);

    let (_connecting, _outcome) = start(&port, &script, addresses(&["10.0.0.1:1", "10.0.0.2:1", "[::1]:1"]));

    assert_eq!(script.connected_to(), ["10.0.0.1:1", "[::1]:1", "10.0.0.2:1"]);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_037, Tests_SRS_ASYNC_SOCKET_NET_01_041
#[test]
fn each_address_gets_250_ms_before_the_next_is_tried_beside_it_and_the_losers_are_closed_first() {
    let (port, script) = doubles();
    let (_connecting, outcome) = start(&port, &script, addresses(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]));
    for tried in [1, 2] {
        port.advance(Duration::from_millis(249));
        assert_eq!(script.connected_to().len(), tried);
        port.advance(Duration::from_millis(1));
        assert_eq!(script.connected_to().len(), tried + 1);
    }
    assert_eq!(script.open(), 3);

    port.fire(Action::Out);

    assert!(outcome.only().is_ok());
    assert_eq!(script.open(), 1);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_037
#[test]
fn the_stagger_is_the_connectors() {
    let (port, script) = doubles();
    let connector = Connector::new().stagger(Duration::from_millis(7)).syscalls(script.clone());
    let connecting = connector.connect_on(port.clone(), addresses(&["10.0.0.1:1", "10.0.0.2:1"]), LONG, drop);
    port.advance(Duration::from_millis(6));
    assert_eq!(script.connected_to().len(), 1);
    port.advance(Duration::from_millis(1));
    assert_eq!(script.connected_to().len(), 2);
    drop(connecting);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_038
#[test]
fn after_a_failure_the_next_address_is_tried_at_once() {
    let (port, script) = doubles();
    let list = addresses(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]);
    script.connects([Err(Errno::NETUNREACH), Err(Errno::INPROGRESS)]);
    script.errors([Ok(Some(Errno::CONNREFUSED))]);
    let (_connecting, outcome) = start(&port, &script, list);
    assert_eq!(script.connected_to(), ["10.0.0.1:1", "10.0.0.2:1"]);

    port.fire(Action::Out);
    assert_eq!(script.connected_to().len(), 3);
    assert_eq!(script.open(), 1, "those that failed are closed");
    port.fire(Action::Out);

    assert!(outcome.only().is_ok());
}

// Tests_SRS_ASYNC_SOCKET_NET_01_038
#[test]
fn after_a_failure_beside_another_attempt_the_next_address_is_tried_at_once() {
    let (port, script) = doubles();
    script.errors([Ok(Some(Errno::CONNREFUSED))]);
    let (_connecting, outcome) = start(&port, &script, addresses(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]));
    port.advance(Duration::from_millis(250));
    assert_eq!(script.open(), 2, "two attempts are under way");

    port.fire(Action::Out);

    assert_eq!(script.connected_to(), ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]);
    assert_eq!(script.open(), 2, "the second is closed");
    assert!(outcome.is_empty());
}

// Tests_SRS_ASYNC_SOCKET_NET_01_039
#[test]
fn options_and_the_local_address_are_set_before_the_connect() {
    let (port, script) = doubles();
    let connector = Connector::new()
        .options(SocketOptions::new().no_delay(true).send_buffer(9))
        .local("10.9.9.9:0".parse::<SocketAddr>().unwrap())
        .syscalls(script.clone());

    let connecting = connector.connect_on(port.clone(), inet("10.0.0.1:80"), LONG, drop);
    port.run_scheduled();

    assert_eq!(
        script.calls(),
        [
            Call::Socket(Family::V4),
            Call::SetOption(SocketOption::SendBuffer(9)),
            Call::SetOption(SocketOption::NoDelay(true)),
            Call::Bind("10.9.9.9:0".into()),
            Call::Connect("10.0.0.1:80".into()),
            Call::ConnectAgain,
        ]
    );
    drop(connecting);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_042
#[test]
fn a_unix_socket_with_a_full_backlog_is_tried_again_after_pauses_that_double() {
    let (port, script) = doubles();
    script.connects([Err(Errno::AGAIN); 9]);
    script.connects([Ok(())]);
    let (_connecting, outcome) = start(&port, &script, UnixAddress::of_abstract_name("full").unwrap());
    for (tried, pause) in (1..).zip([1, 2, 4, 8, 16, 32, 64, 64, 64]) {
        port.advance(Duration::from_millis(pause) - Duration::from_nanos(1));
        assert_eq!((script.connected_to().len(), script.open()), (tried, 0));
        port.advance(Duration::from_nanos(1));
    }

    assert!(outcome.only().is_ok());
    assert_eq!(script.connected_to().len(), 10);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_042, Tests_SRS_ASYNC_SOCKET_NET_01_045
#[test]
fn eagain_of_another_family_is_an_error() {
    let (port, script) = doubles();
    script.connects([Err(Errno::AGAIN)]);

    let (_connecting, outcome) = start(&port, &script, inet("10.0.0.1:80"));

    assert_eq!(outcome.only().unwrap_err().kind(), ConnectErrorKind::Other);
}
