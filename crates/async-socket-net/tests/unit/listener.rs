//! A listener: connections come in, and the listener ends.

use crate::script::{Call, Inbox, Script, doubles, inet};
use async_socket_linux::{AsyncSocket, ExecutionEngine, SocketState};
use async_socket_net::sys::{Errno, ListenerKind};
use async_socket_net::{
    AcceptError, Accepted, Family, KeepAlive, ListenError, Listener, SocketOption, SocketOptions, UnixAddress,
};
use completion_port::{Action, CompletionPort, Direction};
use parking_lot::Mutex;
use rstest::rstest;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;
use test_doubles::{MockPort, PortCall, any_descriptor};

pub(crate) type Outcome = Result<Accepted<MockPort, Script>, AcceptError>;

/// A listener over the doubles, whose callback fills the inbox.
pub(crate) fn listen(port: &MockPort, script: &Script) -> (Listener<MockPort, Script>, Inbox<Outcome>) {
    listen_with(port, script, SocketOptions::new())
}

fn listen_with(
    port: &MockPort,
    script: &Script,
    options: SocketOptions,
) -> (Listener<MockPort, Script>, Inbox<Outcome>) {
    let accepted = Inbox::new();
    let builder = Listener::builder().options(options).syscalls(script.clone());
    let listener = builder.listen_on(port.clone(), any_descriptor(), accepted.callback()).expect("set-up");
    (listener, accepted)
}

// Tests_SRS_ASYNC_SOCKET_NET_01_001
#[test]
fn a_listener_makes_its_descriptor_non_blocking_and_watches_it() {
    let (port, script) = doubles();
    let descriptor = any_descriptor();
    let number = descriptor.as_raw_fd();

    let listener = Listener::builder().syscalls(script.clone()).listen_on(port.clone(), descriptor, |_| ()).unwrap();

    assert_eq!(script.calls(), [Call::SetNonblocking]);
    assert!(port.calls().contains(&PortCall::Attach(number)));
    assert_eq!(port.queued(Direction::In), 1);
    assert_eq!(listener.local_address(), &inet("127.0.0.1:4321"));
    assert!(listener.metrics().is_accepting);
    assert!(port.next_timer().is_none());
}

// Tests_SRS_ASYNC_SOCKET_NET_01_001
#[rstest]
#[case(Ok(ListenerKind::NotListening), "does not listen")]
#[case(Ok(ListenerKind::OtherFamily), "neither IPv4, IPv6 nor Unix")]
#[case(Ok(ListenerKind::Unsupported(async_socket_linux::UnsupportedKind::Datagram)), "a datagram socket")]
#[case(Err(Errno::NOTSOCK), "not a usable socket")]
fn what_is_no_listening_stream_socket_is_refused_with_the_reason(
    #[case] kind: Result<ListenerKind, Errno>,
    #[case] reason: &str,
) {
    let (port, script) = doubles();
    script.is_a(kind);
    let accepted = Inbox::<Outcome>::new();

    let refused = Listener::builder().syscalls(script).listen_on(port.clone(), any_descriptor(), accepted.callback());

    assert!(refused.unwrap_err().to_string().contains(reason));
    assert!(port.calls().is_empty());
}

// Tests_SRS_ASYNC_SOCKET_NET_01_001
#[test]
fn if_the_port_refuses_the_listener_its_descriptor_is_closed_and_its_callback_dropped() {
    let (port, script) = doubles();
    let held = Arc::new(());
    let callback_holds = Arc::clone(&held);
    let descriptor = any_descriptor();
    let number = descriptor.as_raw_fd();
    port.fail_next_attach(Errno::NOMEM.raw_os_error());

    let refused = Listener::builder()
        .syscalls(script.clone())
        .listen_on(port.clone(), descriptor, move |_| drop(Arc::clone(&callback_holds)));

    assert!(matches!(refused, Err(ListenError::Port { .. })));
    assert_eq!(script.calls().last(), Some(&Call::Close(number)));
    assert_eq!(Arc::strong_count(&held), 1);
    assert_eq!(port.references(), 1);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_002
#[test]
fn one_event_accepts_everything_that_is_there_in_order() {
    let (port, script) = doubles();
    let (listener, accepted) = listen(&port, &script);
    let peers = ["10.0.0.1:1", "10.0.0.2:2", "10.0.0.3:3"].map(inet);
    script.accepts(peers.clone().map(Ok));

    port.fire(Action::In);

    assert_eq!(script.count(&Call::Accept), 4, "until nothing is there");
    let came: Vec<_> = std::iter::from_fn(|| accepted.next()).map(|it| it.unwrap().peer().clone()).collect();
    assert_eq!(came, peers);
    assert_eq!(listener.metrics().accepted, 3);
    assert_eq!(port.queued(Direction::In), 1, "it waits for more");
}

// Tests_SRS_ASYNC_SOCKET_NET_01_055
#[test]
fn the_longest_callback_is_measured_while_that_is_on_also_if_it_panics() {
    const NAP: Duration = Duration::from_millis(20);
    let (port, script) = doubles();
    let mut call = 0;
    let accepted = move |_| {
        call += 1;
        // The first call is not measured, and the third sleeps longest.
        std::thread::sleep(NAP * [3, 1, 2][call - 1]);
        assert!(call < 3, "as a part of the test");
    };
    let builder = Listener::builder().syscalls(script.clone());
    let listener = builder.listen_on(port.clone(), any_descriptor(), accepted).unwrap();
    let accept = || {
        script.accepts([Ok(inet("10.0.0.1:1"))]);
        port.fire(Action::In);
        listener.metrics().longest_callback
    };

    assert_eq!(accept(), None);
    listener.set_metrics(true);
    assert_eq!(listener.metrics().longest_callback, Some(Duration::ZERO));
    assert!((NAP..3 * NAP).contains(&accept().unwrap()));
    let longest = accept();
    assert!(longest >= Some(2 * NAP), "{longest:?}");
    listener.set_metrics(false);
    assert_eq!(listener.metrics().longest_callback, None);
    listener.set_metrics(true);
    assert_eq!(listener.metrics().longest_callback, longest);
    assert_eq!(listener.metrics().accepted, 3);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_002
#[test]
fn an_accept_that_a_signal_interrupts_is_made_again() {
    let (port, script) = doubles();
    let (_listener, accepted) = listen(&port, &script);
    script.accepts([Err(Errno::INTR), Ok(inet("10.0.0.1:1"))]);

    port.fire(Action::In);

    assert!(accepted.next().unwrap().is_ok());
    assert!(accepted.is_empty());
}

// Tests_SRS_ASYNC_SOCKET_NET_01_008
#[test]
fn after_128_connections_the_other_descriptors_of_the_port_have_their_turn() {
    let (port, script) = doubles();
    let (listener, _accepted) = listen(&port, &script);
    script.accepts((0..300).map(|_| Ok(inet("10.0.0.1:1"))));

    port.fire(Action::In);

    assert_eq!(listener.metrics().accepted, 128);
    assert_eq!(port.run_scheduled(), 2);
    assert_eq!(listener.metrics().accepted, 300);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_004, Tests_SRS_ASYNC_SOCKET_NET_01_005
#[test]
fn an_accepted_connection_opens_as_a_socket_on_the_listeners_port() {
    let (port, script) = doubles();
    let (_listener, accepted) = listen(&port, &script);
    script.accepts([Ok(inet("10.0.0.1:1"))]);
    port.fire(Action::In);
    let accepted = accepted.next().unwrap().unwrap();
    let number = accepted.as_raw_fd_for_test();

    let socket = accepted.open().unwrap();

    assert_eq!(socket.state(), SocketState::Open);
    assert_eq!(socket.descriptor_number(), number);
    assert_eq!(port.calls().last(), Some(&PortCall::Attach(number)));
    socket.close();
}

// Tests_SRS_ASYNC_SOCKET_NET_01_004
#[test]
fn connections_of_an_engines_listener_open_on_its_ports_in_turn() {
    const PATIENCE: Duration = Duration::from_secs(20);
    let (script, engine) = (Script::new(), ExecutionEngine::builder().threads(2).build().unwrap());
    script.accepts(["10.0.0.1:1", "10.0.0.2:2"].map(inet).map(Ok));
    let (listener, mut event) = UnixStream::pair().unwrap();
    let (done, accepted) = channel();
    let callback = move |it: Result<Accepted<CompletionPort, Script>, AcceptError>| done.send(it).unwrap();
    let _listener = Listener::builder().syscalls(script.clone()).listen(&engine, listener, callback).unwrap();

    event.write_all(b"x").unwrap();
    let sockets = [(); 2].map(|()| accepted.recv_timeout(PATIENCE).unwrap().unwrap().open().unwrap());

    let (done, threads) = channel();
    for socket in &sockets {
        let done = done.clone();
        socket.receive_async([0; 1], move |_| done.send(thread::current().id()).unwrap()).unwrap();
    }
    script.hang_up();
    assert_ne!(threads.recv_timeout(PATIENCE).unwrap(), threads.recv_timeout(PATIENCE).unwrap());
}

trait Number {
    fn as_raw_fd_for_test(&self) -> i32;
}

impl Number for Accepted<MockPort, Script> {
    fn as_raw_fd_for_test(&self) -> i32 {
        std::os::fd::AsFd::as_fd(self).as_raw_fd()
    }
}

// Tests_SRS_ASYNC_SOCKET_NET_01_003
#[test]
fn an_accepted_connection_that_is_not_opened_is_closed_when_it_is_dropped_or_is_the_programs() {
    let (port, script) = doubles();
    let (_listener, accepted) = listen(&port, &script);
    script.accepts([Ok(inet("10.0.0.1:1")), Ok(inet("10.0.0.2:2"))]);
    port.fire(Action::In);
    let (dropped, taken) = (accepted.next().unwrap().unwrap(), accepted.next().unwrap().unwrap());
    let number = dropped.as_raw_fd_for_test();

    drop(dropped);
    assert_eq!(script.calls().last(), Some(&Call::Close(number)));
    let calls = script.calls().len();
    let _ours = taken.into_descriptor();
    assert_eq!(script.calls().len(), calls);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_006
#[test]
fn the_options_are_set_on_each_accepted_socket() {
    let (port, script) = doubles();
    let keep_alive = KeepAlive::after(Duration::from_millis(1500)).every(Duration::from_secs(2)).probes(4);
    let options = SocketOptions::new()
        .no_delay(true)
        .keep_alive(keep_alive)
        .user_timeout(Duration::from_millis(7))
        .send_buffer(100)
        .receive_buffer(200);
    let (_listener, accepted) = listen_with(&port, &script, options);
    script.accepts([Ok(inet("10.0.0.1:1"))]);

    port.fire(Action::In);

    let set: Vec<_> = script
        .calls()
        .into_iter()
        .filter_map(|call| if let Call::SetOption(it) = call { Some(it) } else { None })
        .collect();
    assert_eq!(
        set,
        [
            SocketOption::SendBuffer(100),
            SocketOption::ReceiveBuffer(200),
            SocketOption::NoDelay(true),
            SocketOption::UserTimeout(Duration::from_millis(7)),
            SocketOption::KeepAliveIdle(Duration::from_secs(2)),
            SocketOption::KeepAliveInterval(Duration::from_secs(2)),
            SocketOption::KeepAliveProbes(4),
            SocketOption::KeepAlive(true),
        ]
    );
    assert!(accepted.next().unwrap().is_ok());
}

// Tests_SRS_ASYNC_SOCKET_NET_01_006
#[test]
fn a_unix_socket_gets_only_the_options_that_are_not_tcps() {
    let (port, script) = doubles();
    script.is_a(Ok(ListenerKind::Listening(Family::Unix)));
    let options = SocketOptions::new().no_delay(true).keep_alive(KeepAlive::after(Duration::MAX)).send_buffer(1);
    let (_listener, _accepted) = listen_with(&port, &script, options.user_timeout(Duration::MAX));
    script.accepts([Ok(UnixAddress::of_abstract_name("x").unwrap().into())]);

    port.fire(Action::In);

    let options: Vec<_> = script.calls().into_iter().filter(|call| matches!(call, Call::SetOption(_))).collect();
    assert_eq!(options, [Call::SetOption(SocketOption::SendBuffer(1))]);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_006
#[test]
fn a_refused_option_closes_that_connection_and_no_other() {
    let (port, script) = doubles();
    let (listener, accepted) = listen_with(&port, &script, SocketOptions::new().no_delay(true));
    script.accepts([Ok(inet("10.0.0.1:1")), Ok(inet("10.0.0.2:2"))]);
    script.options([Err(Errno::INVAL)]);

    port.fire(Action::In);

    let error = accepted.next().unwrap().unwrap_err();
    let AcceptError::Options { peer, source } = error else { panic!("{error:?}") };
    assert_eq!((peer, source.option), (inet("10.0.0.1:1").as_inet(), SocketOption::NoDelay(true)));
    assert_eq!(script.open(), 1, "the other is open");
    assert_eq!(accepted.next().unwrap().unwrap().peer(), &inet("10.0.0.2:2"));
    assert_eq!((listener.metrics().accepted, listener.metrics().failed_clients), (2, 1));
}

// Tests_SRS_ASYNC_SOCKET_NET_01_007
#[test]
fn only_a_unix_client_has_credentials() {
    let (port, script) = doubles();
    let (_listener, accepted) = listen(&port, &script);
    let unix = UnixAddress::of_abstract_name("client").unwrap();
    script.accepts([Ok(unix.into()), Ok(inet("10.0.0.2:2"))]);
    port.fire(Action::In);

    let credentials = accepted.next().unwrap().unwrap().credentials().unwrap();
    assert_eq!((credentials.process, credentials.user, credentials.group), (Some(1), 2, 3));
    let error = accepted.next().unwrap().unwrap().credentials().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::NOPROTOOPT.raw_os_error()));
    assert_eq!(script.count(&Call::PeerCredentials), 1);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_012
#[test]
fn after_a_panic_of_the_callback_the_next_connection_is_accepted() {
    let (port, script) = doubles();
    let accepted = Inbox::new();
    let mut callback = accepted.callback();
    let mut calls = 0;
    let _listener =
        Listener::builder().syscalls(script.clone()).listen_on(port.clone(), any_descriptor(), move |it: Outcome| {
            calls += 1;
            assert!(calls != 1, "the panic of this test");
            callback(it);
        });
    script.accepts([Ok(inet("10.0.0.1:1")), Ok(inet("10.0.0.2:2"))]);

    port.fire(Action::In);

    let second = accepted.next().unwrap().unwrap();
    assert_eq!(second.peer(), &inet("10.0.0.2:2"));
    assert_eq!(script.open(), 1, "the first connection is closed");
}

// Tests_SRS_ASYNC_SOCKET_NET_01_013
#[test]
fn dropping_a_listener_inside_its_callback_closes_the_descriptor_there_and_ends_the_callbacks() {
    let (port, script) = doubles();
    let descriptor = any_descriptor();
    let number = descriptor.as_raw_fd();
    let holder = Arc::new(Mutex::new(None));
    let (ours, its_script) = (Arc::clone(&holder), script.clone());
    let closed_inside = Inbox::new();
    let mut report = closed_inside.callback();
    let listener =
        Listener::builder().syscalls(script.clone()).listen_on(port.clone(), descriptor, move |_: Outcome| {
            let listener: Option<Listener<MockPort, Script>> = ours.lock().take();
            drop(listener.expect("the callback runs once"));
            report(its_script.calls().contains(&Call::Close(number)));
        });
    *holder.lock() = Some(listener.unwrap());
    script.accepts([Ok(inet("10.0.0.1:1")), Ok(inet("10.0.0.2:2"))]);

    port.fire(Action::In);
    port.run_scheduled();

    assert!(closed_inside.only());
    assert_eq!(Arc::strong_count(&holder), 1, "the callback is gone");
    assert_eq!(port.references(), 1);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_013
#[test]
fn a_dropped_listener_leaves_nothing_behind() {
    let (port, script) = doubles();
    let (listener, accepted) = listen(&port, &script);

    drop(listener);

    assert_eq!(port.references(), 1);
    assert!(matches!(script.calls().last(), Some(Call::Close(_))));
    assert!(accepted.is_empty(), "a drop is no error");
}

// Tests_SRS_ASYNC_SOCKET_NET_01_016
#[test]
fn a_stop_closes_the_descriptor_and_calls_back_each_time() {
    let (port, script) = doubles();
    let (listener, accepted) = listen(&port, &script);
    let stopped = Inbox::new();
    for _ in 0..2 {
        let (mut report, its_script) = (stopped.callback(), script.clone());
        listener.stop(move || report(its_script.calls().iter().filter(|it| matches!(it, Call::Close(_))).count()));
    }

    assert_eq!((stopped.next(), stopped.only()), (Some(1), 1));
    assert!(!listener.metrics().is_accepting);
    assert!(accepted.is_empty());
}

// Tests_SRS_ASYNC_SOCKET_NET_01_020
#[test]
fn a_listener_says_its_address_and_what_it_has_done() {
    let (port, script) = doubles();
    let (listener, _accepted) = listen(&port, &script);
    let before = listener.metrics();
    assert_eq!((before.accepted, before.failed_clients, before.pauses), (0, 0, 0));
    assert!(before.is_accepting && !before.is_paused);
    script.accepts([Ok(inet("10.0.0.1:1")), Err(Errno::CONNABORTED), Ok(inet("10.0.0.2:2")), Err(Errno::MFILE)]);

    port.fire(Action::In);

    let after = listener.metrics();
    assert_eq!((after.accepted, after.failed_clients, after.pauses), (2, 1, 1));
    assert!(after.is_accepting && after.is_paused);
    assert_eq!(listener.local_address().to_string(), "127.0.0.1:4321");
    listener.stop(|| ());
    assert!(!listener.metrics().is_accepting);
}

// Tests_SRS_ASYNC_SOCKET_NET_01_005, Tests_SRS_ASYNC_SOCKET_NET_01_020
#[test]
fn a_listener_per_port_binds_them_all_to_the_first_ones_port() {
    let script = Script::new();
    let engine = ExecutionEngine::builder().threads(2).build().unwrap();
    script.binds([Ok(()), Err(Errno::ADDRINUSE)]);

    let error = Listener::builder()
        .backlog(7)
        .syscalls(script.clone())
        .per_port(&engine, "127.0.0.1:0".parse().unwrap(), |_| ())
        .unwrap_err();

    // The doubles' descriptors are no listening sockets of the kernel's, but epoll takes them.
    let ListenError::Kernel { call: "bind", address, source } = error else { panic!("{error:?}") };
    assert_eq!(
        (Some(address), source.raw_os_error()),
        (inet("127.0.0.1:4321").as_inet(), Some(Errno::ADDRINUSE.raw_os_error()))
    );
    let binds: Vec<_> = script.calls().into_iter().filter(|call| matches!(call, Call::Bind(_))).collect();
    assert_eq!(binds, [Call::Bind("127.0.0.1:0".into()), Call::Bind("127.0.0.1:4321".into())]);
    assert_eq!(script.count(&Call::Listen(7)), 1);
    assert_eq!(script.count(&Call::SetOption(SocketOption::ReusePort(true))), 2);
    assert_eq!(script.open(), 0, "no listener is left");
}
