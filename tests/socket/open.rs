//! Opening: once, in order, one entry in epoll, and what a second open says.

use async_socket_linux::{
    AsyncSocket, AsyncSocketLinux, OpenError, OpenResult, ReceiveError, SendError, SendSyncResult, SocketState,
};
use completion_port::{Action, CompletionPort, Interest, OneShots};
use integration_tests::call::{block_sending, engine, open, receive, received};
use integration_tests::kernel::HeldKernel;
use integration_tests::process::{epoll_entries, this_thread};
use integration_tests::wait::gate;
use integration_tests::{NeverCalled, Socket, Transport, inbox, spawn};
use nix::libc::EEXIST;
use rstest::rstest;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex};
use test_doubles::Number;

// Tests_SRS_ASYNC_SOCKET_LINUX_11_028, Tests_SRS_ASYNC_SOCKET_LINUX_11_032, Tests_SRS_ASYNC_SOCKET_LINUX_11_033
#[rstest]
fn open_calls_back_once_with_the_socket_open_already(
    #[values(Transport::TcpV4, Transport::TcpV6, Transport::Unix)] transport: Transport,
) {
    let (descriptor, _peer) = transport.pair();
    let socket = Arc::new(Socket::create(Some(&engine(1)), descriptor).unwrap());
    let (done, opened) = inbox();

    let seen = Arc::clone(&socket);
    socket.open_async(move |result| done.put((result, seen.state(), this_thread()))).unwrap();

    assert_eq!(opened.only(), (OpenResult::Ok, SocketState::Open, this_thread()));
    assert_eq!(socket.state(), SocketState::Open);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_027, Tests_SRS_ASYNC_SOCKET_LINUX_11_029
// Tests_SRS_ASYNC_SOCKET_LINUX_11_051, Tests_SRS_ASYNC_SOCKET_LINUX_11_072
#[test]
fn while_one_open_is_at_work_the_socket_is_opening_and_refuses_everything() {
    let never = NeverCalled::default();
    let (descriptor, _peer) = Transport::TcpV4.pair();
    let (gate, barrier) = gate();
    let slow = HeldKernel { at_open: Mutex::new(Some(barrier)), ..HeldKernel::default() };
    let socket = Arc::new(AsyncSocketLinux::create_with(CompletionPort::create().unwrap(), slow, descriptor));
    let opening = Arc::clone(&socket);
    let opener = spawn("open", move || opening.open_async(|_| {}).is_ok());
    gate.wait_for_arrival();

    assert_eq!(socket.state(), SocketState::Opening);
    let second = socket.open_async(never.callback());
    assert!(matches!(second, Err(OpenError::NotClosed { state: SocketState::Opening })), "{second:?}");
    let refused = socket.send_async(b"no", never.callback()).unwrap_err().error;
    assert_eq!(refused, SendError::NotOpen { state: SocketState::Opening });
    assert_eq!(refused.sync_result(), SendSyncResult::Abandoned);
    let refused = socket.receive_async([0_u8; 2], never.callback()).unwrap_err().error;
    assert_eq!(refused, ReceiveError::NotOpen { state: SocketState::Opening });
    socket.close();
    assert_eq!(socket.state(), SocketState::Opening);

    gate.open();
    assert!(opener.join());
    assert_eq!(socket.state(), SocketState::Open);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_029
#[test]
fn a_second_open_of_an_open_socket_is_refused_and_changes_nothing() {
    let never = NeverCalled::default();
    let (descriptor, mut peer) = Transport::Unix.pair();
    let socket = open(&engine(1), descriptor);

    let second = socket.open_async(never.callback());

    assert!(matches!(second, Err(OpenError::NotClosed { state: SocketState::Open })), "{second:?}");
    let pending = receive(&socket, vec![0; 8]);
    peer.write_all(b"works").unwrap();
    assert_eq!(received(&pending.only()), b"works");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_034
#[test]
fn a_descriptor_that_a_raw_wait_on_the_same_port_watches_is_refused_until_the_wait_is_removed() {
    let never = NeverCalled::default();
    let (descriptor, mut peer) = Transport::TcpV4.pair();
    let number = Number::of(&descriptor);
    let engine = engine(1);
    let waiting = OneShots::new(engine.completion_port());
    let (done, fired) = inbox();
    waiting.add(Interest::IN, (number, move |action: Action| done.put(action))).unwrap();
    let socket = Socket::create(Some(&engine), descriptor).unwrap();

    for _ in 0..2 {
        let refused = socket.open_async(never.callback()).unwrap_err();
        let OpenError::NotRegistered { descriptor, source } = refused else { panic!("{refused:?}") };
        assert_eq!((descriptor, source.raw_os_error()), (number.as_fd().as_raw_fd(), Some(EEXIST)));
        assert_eq!(socket.state(), SocketState::Closed);
    }

    // The wait is unchanged, and the socket still has its descriptor.
    peer.write_all(b"byte").unwrap();
    assert_eq!(fired.only(), Action::In);
    waiting.remove(number.as_fd());
    socket.open_async(|_| {}).unwrap();
    assert_eq!(received(&receive(&socket, vec![0; 8]).only()), b"byte");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_030
#[test]
fn a_closed_socket_cannot_be_opened_again() {
    let never = NeverCalled::default();
    let (descriptor, _peer) = Transport::Unix.pair();
    let socket = open(&engine(1), descriptor);
    socket.close();

    for _ in 0..2 {
        let again = socket.open_async(never.callback());
        assert!(matches!(again, Err(OpenError::DescriptorClosed)), "{again:?}");
        assert_eq!(socket.state(), SocketState::Closed);
    }
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_031, Tests_SRS_ASYNC_SOCKET_LINUX_11_057, Tests_SRS_ASYNC_SOCKET_LINUX_11_102
#[test]
fn the_descriptor_has_one_entry_in_epoll_from_open_to_close_whatever_is_pending() {
    const IN_OUT_RDHUP_EDGE_TRIGGERED: u64 = 0x1 | 0x4 | 0x2000 | 0x8000_0000;
    let (descriptor, _peer) = Transport::Unix.pair();
    let number = descriptor.as_raw_fd();
    let socket = Socket::create(Some(&engine(1)), descriptor).unwrap();
    assert!(epoll_entries(number).is_empty());

    socket.open_async(|_| {}).unwrap();
    let after_open = epoll_entries(number);
    let _pending = receive(&socket, vec![0; 8]);
    let _blocked = block_sending(&socket);
    let busy = epoll_entries(number);

    assert_eq!(after_open.len(), 1);
    assert_eq!(busy, after_open);
    let events = after_open[0].split_whitespace().skip_while(|word| *word != "events:").nth(1).unwrap();
    let events = u64::from_str_radix(events, 16).unwrap();
    assert_eq!(events & IN_OUT_RDHUP_EDGE_TRIGGERED, IN_OUT_RDHUP_EDGE_TRIGGERED, "{events:x}");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_029, Tests_SRS_ASYNC_SOCKET_LINUX_11_033
#[test]
fn of_eight_threads_that_open_one_socket_exactly_one_succeeds() {
    for _ in 0..200 {
        let (descriptor, _peer) = Transport::Unix.pair();
        let socket = Arc::new(Socket::create(None, descriptor).unwrap());
        let (done, opened) = inbox();
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let (socket, done) = (Arc::clone(&socket), done.clone());
                spawn("open", move || socket.open_async(move |result| done.put(result)).is_ok())
            })
            .collect();
        drop(done);
        assert_eq!(tasks.into_iter().map(integration_tests::Task::join).filter(|opened| *opened).count(), 1);
        assert_eq!(opened.only(), OpenResult::Ok);
        assert_eq!(socket.state(), SocketState::Open);
    }
}
