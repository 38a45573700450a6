//! Kinds of socket: the kinds that can be opened, a socket whose connect is still in progress, and the close of a
//! socket that lingers.

use crate::common::{Fixture, Outcome, without_hanging};
use async_socket_linux::sys::Errno;
use async_socket_linux::{
    AsyncSocket, AsyncSocketLinux, OpenError, OpenResult, ReceiveResult, SendError, SendResult, SocketState,
    UnsupportedKind,
};
use completion_port::{Action, CompletionPort, Readiness};
use rstest::rstest;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use test_doubles::{ScriptedSockets, SocketCall, Step};

// ---- what is refused

// Tests_SRS_SOCKET_01_010, Tests_SRS_SOCKET_01_011
#[rstest]
#[case(UnsupportedKind::Datagram, "a datagram socket")]
#[case(UnsupportedKind::SequencedPackets, "a socket of sequenced packets")]
#[case(UnsupportedKind::Raw, "a raw socket")]
#[case(UnsupportedKind::ReliableDatagram, "a socket of reliable datagrams")]
#[case(UnsupportedKind::Listening, "a listening socket")]
#[case(UnsupportedKind::Other, "a socket of a type without a stream")]
fn a_socket_without_a_stream_is_refused_by_name_and_can_be_opened_when_it_has_become_one(
    #[case] expected: UnsupportedKind,
    #[case] name: &str,
) {
    let fixture = Fixture::closed();
    fixture.sys.script_unsupported_kind(Err(Errno::INTR));
    fixture.sys.script_unsupported_kind(Ok(Some(expected)));

    let (result, callback) = fixture.try_open();

    let error = result.expect_err("not a stream");
    assert!(error.to_string().starts_with(&format!("descriptor {} is {name}; ", fixture.descriptor)), "{error}");
    let OpenError::UnsupportedKind { descriptor, kind } = error else { panic!("{error}") };
    assert_eq!((descriptor, kind), (fixture.descriptor, expected));
    callback.assert_never();
    assert_eq!(fixture.state(), SocketState::Closed);
    assert_eq!(fixture.port.calls(), [], "epoll does not see it");
    assert_eq!(fixture.close_calls(), 0, "the socket still has its descriptor");
    fixture.refused_send("x");

    let (result, callback) = fixture.try_open();

    result.expect("it is a stream now");
    assert_eq!(callback.take(), OpenResult::Ok);
}

// Tests_SRS_SOCKET_01_011
#[test]
fn a_socket_that_was_refused_closes_its_descriptor_in_the_end() {
    let fixture = Fixture::closed();
    fixture.sys.script_unsupported_kind(Ok(Some(UnsupportedKind::Datagram)));
    fixture.try_open().0.expect_err("not a stream");
    let Fixture { sys, socket, descriptor, .. } = fixture;

    drop(socket);

    assert_eq!(sys.calls(), [SocketCall::Close(descriptor)]);
}

#[test]
fn what_cannot_say_of_which_kind_it_is_is_no_socket() {
    let fixture = Fixture::closed();
    fixture.sys.script_unsupported_kind(Err(Errno::NOTSOCK));

    let error = fixture.try_open().0.expect_err("not a socket");

    assert!(matches!(error, OpenError::NotASocket { .. }), "{error}");
}

// ---- a connect that is still in progress

fn connecting() -> Fixture {
    let fixture = Fixture::closed();
    fixture.sys.connect_in_progress();
    fixture.try_open().0.expect("the socket opens");
    fixture
}

// Tests_SRS_SOCKET_01_015
#[test]
fn everything_that_waits_for_a_connection_names_why_it_was_not_made() {
    let fixture = connecting();
    let (receive, send, behind) = (fixture.receive(vec![0; 8]), fixture.blocked_send("send", 0), fixture.send("2"));
    fixture.sys.script_recv([Step::Fails(Errno::CONNREFUSED)]);
    fixture.sys.script_send([Step::Fails(Errno::PIPE), Step::Fails(Errno::PIPE)]);

    fixture.deliver(Readiness::IN | Readiness::OUT | Readiness::ERROR | Readiness::HANG_UP);

    let errno = Some(Errno::CONNREFUSED.raw_os_error());
    assert_eq!(receive.ended(ReceiveResult::Error), errno);
    assert_eq!(send.ended(SendResult::Error), (errno, 0));
    assert_eq!(behind.ended(SendResult::Error), (errno, 0));
}

// Tests_SRS_SOCKET_01_015
#[test]
fn a_receive_after_a_send_that_learned_why_the_connection_was_not_made_is_no_end_of_a_stream() {
    let fixture = connecting();
    fixture.sys.script_send([Step::Fails(Errno::TIMEDOUT), Step::Fails(Errno::PIPE)]);
    let errno = Errno::TIMEDOUT.raw_os_error();
    let refused = |fixture: &Fixture| fixture.refused_send("x").error;

    assert_eq!(refused(&fixture), SendError::Os { os_error: errno, bytes_sent: 0 });
    assert_eq!(refused(&fixture), SendError::Os { os_error: errno, bytes_sent: 0 });
    let receive = fixture.receive(vec![0; 8]);
    fixture.sys.script_recv([Step::bytes("")]);
    fixture.fire(Action::In);

    assert_eq!(receive.ended(ReceiveResult::Error), Some(errno));
}

// Tests_SRS_SOCKET_01_015
#[test]
fn an_error_event_names_why_the_connection_was_not_made_even_if_a_send_has_learned_it() {
    let fixture = connecting();
    let receive = fixture.receive(vec![0; 8]);
    fixture.sys.script_send([Step::Fails(Errno::HOSTUNREACH)]);
    fixture.refused_send("x");

    fixture.deliver(Readiness::HANG_UP);

    assert_eq!(receive.ended(ReceiveResult::Error), Some(Errno::HOSTUNREACH.raw_os_error()));
}

#[test]
fn the_end_of_a_stream_that_was_connected_is_an_end_whatever_a_send_has_met() {
    let fixture = Fixture::open();
    fixture.sys.script_send([Step::Fails(Errno::TIMEDOUT)]);
    fixture.refused_send("x");
    let receive = fixture.receive(vec![0; 8]);
    fixture.sys.script_recv([Step::bytes("")]);

    fixture.fire(Action::In);

    assert_eq!(receive.ended(ReceiveResult::Abandoned), None);
}

// ---- close on a port thread

type OnPort = AsyncSocketLinux<CompletionPort, ScriptedSockets>;

/// Runs `act` in a callback on the thread of a real port, with a socket of scripted system calls. Returns the system
/// calls from then on.
fn calls_of(lingers: Result<bool, Errno>, act: impl FnOnce(OnPort) + Send + 'static, open: bool) -> Vec<SocketCall> {
    without_hanging(move || {
        let port = CompletionPort::create().expect("a port");
        let (descriptor, _peer) = UnixStream::pair().expect("a pair");
        let sys = ScriptedSockets::new();
        let socket = AsyncSocketLinux::create_with(port.clone(), sys.clone(), descriptor.into());
        if open {
            socket.open_async(|_| {}).expect("the socket opens");
        }
        sys.script_lingers(lingers);
        let before = sys.calls().len();

        let (outcome, report) = Outcome::new();
        let (ours, mut peer) = UnixStream::pair().expect("a pair");
        let runner = AsyncSocketLinux::create_with(port, async_socket_linux::Kernel, ours.into());
        runner.open_async(|_| {}).expect("the socket opens");
        runner
            .receive_async([0], move |_| {
                act(socket);
                report(());
            })
            .expect("accepted");
        peer.write_all(b"x").expect("the peer writes");
        outcome.wait();
        sys.calls().split_off(before)
    })
}

fn stops_lingering(calls: &[SocketCall]) -> bool {
    matches!(calls, [SocketCall::StopLingering, SocketCall::Close(_)])
}

// Tests_SRS_SOCKET_01_001
#[test]
fn a_socket_that_lingers_stops_lingering_right_before_it_is_closed_on_a_port_thread() {
    let closed = calls_of(Ok(true), |socket| socket.close(), true);
    let dropped = calls_of(Ok(true), drop, true);
    let never_opened = calls_of(Ok(true), drop, false);

    assert!(stops_lingering(&closed), "{closed:?}");
    assert!(stops_lingering(&dropped), "{dropped:?}");
    assert!(stops_lingering(&never_opened), "{never_opened:?}");
}

// Tests_SRS_SOCKET_01_001, Tests_SRS_SOCKET_01_002
#[rstest]
#[case::no_time_or_a_time_of_0(Ok(false))]
#[case::the_kernel_does_not_say(Err(Errno::NOPROTOOPT))]
fn a_socket_whose_close_does_not_wait_is_closed_as_it_is(#[case] lingers: Result<bool, Errno>) {
    let calls = calls_of(lingers, drop, true);

    assert!(matches!(calls[..], [SocketCall::Close(_)]), "{calls:?}");
}

// Tests_SRS_SOCKET_01_003
#[test]
fn on_a_thread_of_the_program_a_socket_lingers_as_the_program_asked() {
    let fixture = Fixture::open();
    fixture.sys.script_lingers(Ok(true));

    fixture.close();

    assert_eq!(fixture.close_calls(), 1);
    assert_eq!(fixture.sys.count(|call| *call == SocketCall::StopLingering), 0);
}

// Tests_SRS_SOCKET_01_003
#[test]
fn a_callback_that_another_thread_than_a_ports_runs_lingers_as_the_program_asked() {
    let port = CompletionPort::create().expect("a port");
    let (descriptor, _peer) = UnixStream::pair().expect("a pair");
    let sys = ScriptedSockets::new();
    let socket: Arc<OnPort> = Arc::new(AsyncSocketLinux::create_with(port, sys.clone(), descriptor.into()));
    socket.open_async(|_| {}).expect("the socket opens");
    sys.script_lingers(Ok(true));
    let threads = Arc::new(Mutex::new(Vec::new()));

    let (closing, ran_on) = (Arc::clone(&socket), Arc::clone(&threads));
    socket
        .send_async("sent at once", move |_| {
            ran_on.lock().expect("not poisoned").push(std::thread::current().id());
            closing.close();
        })
        .expect("accepted");

    assert_eq!(*threads.lock().expect("not poisoned"), [std::thread::current().id()]);
    assert!(matches!(sys.calls()[..], [.., SocketCall::Send(..), SocketCall::Close(_)]), "{:?}", sys.calls());
}

// ---- short reads

// Tests_SRS_SOCKET_01_034
#[test]
fn once_urgent_data_was_reported_a_short_read_from_tcp_never_again_proves_anything() {
    let fixture = Fixture::open_tcp();
    let (first, second, third) =
        (fixture.receive(vec![0; 8]), fixture.receive(vec![0; 8]), fixture.receive(vec![0; 8]));
    fixture.sys.script_recv([Step::bytes("abc"), Step::Fails(Errno::AGAIN), Step::bytes("def"), Step::bytes("ghi")]);
    fixture.deliver(Readiness::IN | Readiness::URGENT);
    assert_eq!(first.received(), b"abc");
    second.assert_pending();

    // The byte at the next mark has been taken, so no event reports it. The read still stops there.
    fixture.fire(Action::In);

    assert_eq!((second.received(), third.received()), (b"def".to_vec(), b"ghi".to_vec()));
}
