//! `into_fd`: the descriptor comes back when nothing waits. `open`: create and open in one call.

use crate::common::Fixture;
use async_socket_linux::sys::{Errno, RECEIVE_FLAGS};
use async_socket_linux::{
    AsyncSocket, AsyncSocketLinux, BufferPool, ExecutionEngine, FreshStream, IntoFdError, OpenError, SetUpError,
    SocketState, UnsupportedKind,
};
use completion_port::{Action, Port};
use rstest::rstest;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::Arc;
use std::time::Duration;
use test_doubles::{MockPort, PortCall, ScriptedSockets, SocketCall, Step};

type Socket = crate::common::Socket;

const LONG: Duration = Duration::from_secs(60);

/// The socket of a fixture, and its mocks.
fn alone(fixture: Fixture) -> (Socket, Fixture) {
    let other = Fixture::closed();
    let Fixture { port, sys, socket, descriptor } = fixture;
    let mocks = Fixture { port, sys, descriptor, socket: other.socket };
    (Arc::into_inner(socket).expect("the only reference"), mocks)
}

// Tests_SRS_SOCKET_01_074
#[test]
fn an_open_socket_gives_its_descriptor_back_deleted_from_epoll_and_not_closed() {
    let (socket, mocks) = alone(Fixture::open());

    let descriptor = socket.into_fd().expect("nothing waits");

    assert_eq!(descriptor.as_raw_fd(), mocks.descriptor);
    assert_eq!(mocks.port.calls(), [PortCall::Attach(mocks.descriptor), PortCall::Detach(mocks.descriptor)]);
    assert_eq!(mocks.close_calls(), 0);
}

// Tests_SRS_SOCKET_01_074
#[test]
fn a_socket_that_was_never_opened_gives_its_descriptor_back() {
    let (socket, mocks) = alone(Fixture::closed());

    assert_eq!(socket.into_fd().expect("nothing waits").as_raw_fd(), mocks.descriptor);

    assert_eq!((mocks.port.calls(), mocks.close_calls()), (vec![], 0));
}

// Tests_SRS_SOCKET_01_075
#[test]
fn while_operations_wait_the_socket_comes_back_unchanged() {
    let fixture = Fixture::open();
    let (first, second) = (fixture.receive(vec![0; 1]), fixture.receive(vec![0; 1]));
    let send = fixture.blocked_send("blocked", 0);
    let (socket, mocks) = alone(fixture);

    let refused = socket.into_fd().expect_err("operations wait");

    assert_eq!(refused.error, IntoFdError::OperationsWait { receives: 2, sends: 1 });
    assert_eq!(refused.returned.state(), SocketState::Open);
    for pending in [&first, &second] {
        pending.assert_pending();
    }
    send.assert_pending();
    mocks.sys.script_recv([Step::bytes("a"), Step::bytes("b")]);
    mocks.fire(completion_port::Action::In);
    assert_eq!((first.received(), second.received()), (b"a".to_vec(), b"b".to_vec()));
}

// Tests_SRS_SOCKET_01_075
#[test]
fn a_closed_socket_has_no_descriptor_to_give() {
    let (socket, mocks) = alone(Fixture::after_close());

    let refused = socket.into_fd().expect_err("it is closed");

    assert_eq!(refused.error, IntoFdError::DescriptorClosed);
    drop(refused);
    assert_eq!(mocks.close_calls(), 1);
}

// Tests_SRS_SOCKET_01_075
#[test]
fn a_socket_that_could_not_be_opened_still_gives_its_descriptor_back() {
    let fixture = Fixture::closed();
    fixture.sys.script_unsupported_kind(Err(Errno::NOTSOCK));
    fixture.try_open().0.expect_err("it is no socket");
    let (socket, mocks) = alone(fixture);

    assert_eq!(socket.into_fd().expect("nothing waits").as_raw_fd(), mocks.descriptor);
}

// Tests_SRS_SOCKET_01_128
#[test]
fn a_shared_socket_gives_its_descriptor_back_once_and_is_closed() {
    let fixture = Fixture::open();
    let waits = fixture.receive(vec![0; 1]);
    assert_eq!(fixture.take_fd().map(drop), Err(IntoFdError::OperationsWait { receives: 1, sends: 0 }));
    fixture.sys.script_recv([Step::bytes("a")]);
    fixture.fire(completion_port::Action::In);
    assert_eq!(waits.received(), b"a");

    let descriptor = fixture.take_fd().expect("nothing waits");

    assert_eq!((descriptor.as_raw_fd(), fixture.state()), (fixture.descriptor, SocketState::Closed));
    assert_eq!(fixture.take_fd().map(drop), Err(IntoFdError::DescriptorClosed));
    fixture.refused_send("closed");
    assert_eq!(fixture.close_calls(), 0);
    assert_eq!(Fixture::closed().take_fd().map(drop), Err(IntoFdError::NotOpen));
}

// Tests_SRS_SOCKET_01_128
#[rstest]
#[case::a_receive(1, 0)]
#[case::a_send(0, 1)]
#[case::one_of_each(1, 1)]
fn while_operations_wait_a_shared_socket_keeps_its_descriptor(#[case] receives: usize, #[case] sends: usize) {
    let fixture = Fixture::open();
    let _receives: Vec<_> = (0..receives).map(|_| fixture.receive(vec![0; 1])).collect();
    let _sends: Vec<_> = (0..sends).map(|_| fixture.blocked_send("blocked", 0)).collect();

    assert_eq!(fixture.take_fd().map(drop), Err(IntoFdError::OperationsWait { receives, sends }));

    assert_eq!(fixture.state(), SocketState::Open);
}

// Tests_SRS_SOCKET_01_128
#[test]
fn a_descriptor_that_a_closure_has_is_not_given_back() {
    let fixture = Fixture::open();
    let inside = fixture.with_descriptor(|_| fixture.take_fd().map(drop)).expect("it is open");
    assert_eq!((inside, fixture.state()), (Err(IntoFdError::DescriptorLent), SocketState::Open));

    let descriptor = fixture.take_fd().expect("the closure has returned");

    assert_eq!(descriptor.as_raw_fd(), fixture.descriptor);
    assert_eq!(fixture.with_descriptor(|_| ()), None);
}

// Tests_SRS_SOCKET_01_065, Tests_SRS_SOCKET_01_067
#[test]
fn open_gives_an_open_socket_on_the_engine_or_the_port_that_was_asked_for() {
    let engine = ExecutionEngine::builder().threads(2).build().expect("an engine");
    let (one, two) = UnixStream::pair().expect("a pair");
    let one = AsyncSocketLinux::open(&engine, one).expect("a socket");
    let second = engine.port(1).expect("two ports");
    let two = AsyncSocketLinux::open_on(second.clone(), two).expect("a socket");

    assert_eq!((one.state(), two.state()), (SocketState::Open, SocketState::Open));
    assert!(engine.port(2).is_none());
    let (done, thread) = std::sync::mpsc::channel();
    two.receive_async([0], move |_| done.send(second.is_current_thread()).unwrap_or(())).expect("accepted");
    one.send_async("x", |_| {}).expect("accepted");
    assert!(thread.recv().expect("called back"), "it runs on the chosen port");
}

// Tests_SRS_SOCKET_01_068
#[test]
fn what_is_known_to_be_connected_is_opened_without_being_asked_for() {
    let (port, sys) = (MockPort::new(), ScriptedSockets::new());
    sys.script_unsupported_kind(Ok(Some(UnsupportedKind::Datagram)));
    let (ours, _theirs) = UnixStream::pair().expect("a pair");

    let socket = AsyncSocketLinux::open_connected_with(port.clone(), sys.clone(), ours).expect("not asked");

    assert_eq!(socket.state(), SocketState::Open);
    // The answer is still there: another socket gets it.
    let (other, _theirs) = UnixStream::pair().expect("a pair");
    let asked = AsyncSocketLinux::create_with(port, sys, other.into()).open_async(|_| {}).expect_err("it is asked");
    assert!(matches!(asked, OpenError::UnsupportedKind { .. }), "{asked}");
}

/// An open socket of a stream that the program has never had.
fn fresh(sys: &ScriptedSockets, stream: FreshStream) -> (Socket, MockPort) {
    let port = MockPort::new();
    let (ours, _theirs) = UnixStream::pair().expect("a pair");
    let socket = AsyncSocketLinux::open_fresh_with(port.clone(), sys.clone(), ours, stream).expect("a socket");
    (socket, port)
}

// Tests_SRS_SOCKET_01_129
#[test]
fn a_fresh_stream_is_opened_without_a_question() {
    for stream in [FreshStream::Tcp, FreshStream::Unix] {
        let sys = ScriptedSockets::new();
        sys.script_unsupported_kind(Ok(Some(UnsupportedKind::Datagram)));
        sys.script_recv([Step::bytes("x"), Step::bytes("y")]);

        let (socket, port) = fresh(&sys, stream);

        assert_eq!((socket.state(), sys.calls().len()), (SocketState::Open, 0));
        for _ in 0..2 {
            socket.receive_async([0; 8], drop).expect("accepted");
        }
        port.fire(Action::In);
        let receives = match stream {
            FreshStream::Tcp => SocketCall::Recv(8, RECEIVE_FLAGS),
            _ => SocketCall::RecvNotingScmRights(8, RECEIVE_FLAGS),
        };
        assert_eq!(sys.calls(), [receives], "the first read was short, so the second receive waits");
    }
}

// Tests_SRS_SOCKET_01_129
#[test]
fn a_short_read_of_another_kind_of_stream_proves_nothing() {
    let sys = ScriptedSockets::new();
    sys.script_recv([Step::bytes("x"), Step::bytes("y")]);
    let (socket, port) = fresh(&sys, FreshStream::Other);
    for _ in 0..2 {
        socket.receive_async([0; 8], drop).expect("accepted");
    }

    port.fire(Action::In);

    assert_eq!(sys.calls(), [SocketCall::Recv(8, RECEIVE_FLAGS), SocketCall::Recv(8, RECEIVE_FLAGS)]);
}

// Tests_SRS_SOCKET_01_129
#[test]
fn a_fresh_stream_that_cannot_be_opened_comes_back() {
    let (port, sys) = (MockPort::new(), ScriptedSockets::new());
    port.fail_next_attach(Errno::NOMEM.raw_os_error());
    let (ours, _theirs) = UnixStream::pair().expect("a pair");
    let number = ours.as_raw_fd();

    let refused = AsyncSocketLinux::open_fresh_with(port, sys, ours, FreshStream::Tcp).expect_err("refused");

    assert_eq!(refused.returned.expect("it comes back").as_raw_fd(), number);
}

// Tests_SRS_SOCKET_01_131
#[test]
fn a_fresh_stream_that_is_closed_unused_was_never_watched() {
    let (socket, port) = fresh(&ScriptedSockets::new(), FreshStream::Tcp);
    assert_eq!((socket.state(), port.calls()), (SocketState::Open, vec![PortCall::Insert]));

    socket.close();

    assert_eq!((socket.state(), port.calls()), (SocketState::Closed, vec![PortCall::Insert]));
}

// Tests_SRS_SOCKET_01_074, Tests_SRS_SOCKET_01_131
#[test]
fn a_fresh_stream_that_is_unused_gives_its_descriptor_back() {
    let (socket, port) = fresh(&ScriptedSockets::new(), FreshStream::Tcp);

    let descriptor = socket.into_fd().expect("nothing waits");

    assert!(descriptor.as_raw_fd() > 0);
    assert_eq!(port.calls(), [PortCall::Insert]);
}

/// Begins an operation. Returns why it is refused, as the error type of the standard library.
type Begin = fn(&Socket) -> io::Result<()>;

fn receive(socket: &Socket) -> io::Result<()> {
    socket.receive_async([0; 8], drop).map(drop).map_err(io::Error::from)
}

fn receive_within(socket: &Socket) -> io::Result<()> {
    socket.receive_async_within([0; 8], LONG, drop).map(drop).map_err(io::Error::from)
}

fn receive_pooled(socket: &Socket) -> io::Result<()> {
    let pool = BufferPool::new(64, 1).expect("a pool");
    socket.receive_pooled_async(&pool, drop).map(drop).map_err(io::Error::from)
}

fn send(socket: &Socket) -> io::Result<()> {
    socket.send_async("x", drop).map(drop).map_err(io::Error::from)
}

/// A value so large that the port's thread sends it.
fn send_large(socket: &Socket) -> io::Result<()> {
    socket.send_async([0; 1 << 16], drop).map(drop).map_err(io::Error::from)
}

fn send_within(socket: &Socket) -> io::Result<()> {
    socket.send_async_within("x", LONG, drop).map(drop).map_err(io::Error::from)
}

fn shut_down(socket: &Socket) -> io::Result<()> {
    socket.shutdown_async(drop).map(drop).map_err(io::Error::from)
}

// Tests_SRS_SOCKET_01_131
#[rstest]
fn a_fresh_stream_is_watched_from_its_first_operation_on(
    #[values(receive, receive_within, receive_pooled, send, send_within, send_large, shut_down)] begin: Begin,
) {
    let sys = ScriptedSockets::new();
    sys.script_send([Step::Takes(1)]);
    let (socket, port) = fresh(&sys, FreshStream::Tcp);

    begin(&socket).expect("accepted");
    receive(&socket).expect("accepted");

    let epoll_ctls = port.calls().into_iter().filter(|call| matches!(call, PortCall::Attach(_) | PortCall::Watch(_)));
    assert_eq!(epoll_ctls.count(), 1);
    socket.close();
    assert!(matches!(port.calls().last(), Some(PortCall::Detach(_))));
}

// Tests_SRS_SOCKET_01_132
#[rstest]
fn an_operation_that_cannot_be_watched_is_refused_with_the_kernels_reason(
    #[values(receive, receive_within, receive_pooled, send, send_within, send_large, shut_down)] begin: Begin,
    #[values(Errno::NOMEM, Errno::NOSPC)] errno: Errno,
) {
    let sys = ScriptedSockets::new();
    let (socket, port) = fresh(&sys, FreshStream::Tcp);
    port.fail_next_attach(errno.raw_os_error());

    let refused = begin(&socket).expect_err("refused");

    assert_eq!(refused.raw_os_error(), Some(errno.raw_os_error()));
    assert_eq!((socket.state(), sys.calls().len()), (SocketState::Open, 0), "nothing was tried");
    receive(&socket).expect("the next operation tries again");
}

// Tests_SRS_SOCKET_01_130
#[rstest]
#[case::it_has_nothing(|_: &Socket| {}, false)]
#[case::it_asks_for_an_address(|socket: &Socket| drop(socket.peer_addr()), false)]
#[case::it_has_the_descriptor(|socket: &Socket| assert!(socket.with_descriptor(|_| ()).is_some()), true)]
#[case::it_has_the_number(|socket: &Socket| assert!(socket.descriptor_number() > 0), true)]
fn so_linger_is_asked_for_once_the_program_may_have_set_it(#[case] get: impl FnOnce(&Socket), #[case] is_asked: bool) {
    let sys = ScriptedSockets::new();
    sys.script_lingers(Ok(true));
    let (socket, _port) = fresh(&sys, FreshStream::Tcp);
    let before = sys.calls().len();

    get(&socket);
    // Like a close on a port's thread, it never waits for the peer.
    socket.close_async(|| ()).expect("it closes");

    assert_eq!(sys.calls()[before..].contains(&SocketCall::StopLingering), is_asked);
    assert_eq!(socket.state(), SocketState::Closed);
}

// Tests_SRS_SOCKET_01_066
#[test]
fn what_cannot_be_opened_comes_back_with_the_reason() {
    let (datagrams, _other) = UnixDatagram::pair().expect("a pair");
    let datagrams = OwnedFd::from(datagrams);
    let number = datagrams.as_raw_fd();

    let refused = AsyncSocketLinux::open(None, datagrams).expect_err("not a stream");

    let SetUpError::Open(OpenError::UnsupportedKind { kind, .. }) = refused.error else { panic!("{refused}") };
    assert_eq!(kind, UnsupportedKind::Datagram);
    let descriptor = refused.returned.expect("there is memory");
    assert_eq!(descriptor.as_raw_fd(), number);
    UnixDatagram::from(descriptor).send(b"still open").expect("it is as it was");
}
