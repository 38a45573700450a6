//! `send_async`: tries at once, keeps the rest when the kernel takes no more, and never lets two payloads mix.

use crate::common::{Fixture, Journal, Outcome, Socket, assert_constant_stack, one_byte_buffers};
use async_socket_linux::sys::{Errno, SendFlags};
use async_socket_linux::{
    AsyncSocket, IoBuf, IoBufs, PayloadError, RawBuffer, RawBuffers, ReceiveResult, SendError, SendResult,
    SendSyncResult, SocketState,
};
use completion_port::{Action, Direction};
use rstest::rstest;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use test_doubles::{PortCall, SocketCall, Step};

/// Every send, whatever the mode of the descriptor: no signal, no blocking.
const FLAGS: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);

/// The kernel's limit, not the library's constant.
const IOV_MAX: usize = 1024;

// ---- refused before anything is sent

// Tests_SRS_ASYNC_SOCKET_LINUX_11_045, Tests_SRS_ASYNC_SOCKET_LINUX_11_047, Tests_SRS_ASYNC_SOCKET_LINUX_11_063
#[rstest]
#[case::no_buffers(vec![], PayloadError::NoBuffers)]
#[case::only_an_empty_one(vec![""], PayloadError::EmptyBuffer { index: 0 })]
#[case::an_empty_one_among_others(vec!["a", "b", "", "d"], PayloadError::EmptyBuffer { index: 2 })]
fn a_payload_that_is_not_acceptable_is_refused_with_its_buffers(
    #[case] buffers: Vec<&'static str>,
    #[case] expected: PayloadError,
) {
    let fixture = Fixture::open();

    let refused = fixture.refused_send(buffers.clone());

    assert_eq!(refused.error, SendError::Payload(expected));
    assert_eq!(refused.error.sync_result(), SendSyncResult::Error);
    assert_eq!(refused.returned, buffers);
    assert_eq!(fixture.send_calls(), 0);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_046
#[test]
fn a_null_pointer_in_a_list_is_refused_and_named() {
    let fine = RawBuffer { pointer: ptr::dangling_mut(), length: 1 };
    let null = RawBuffer { pointer: ptr::null_mut(), length: 1 };

    assert_eq!(RawBuffers::check(&[fine, fine, null]), Err(PayloadError::NullBuffer { index: 2 }));
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_048
#[test]
fn a_payload_of_more_than_u32_max_bytes_is_refused_unsent() {
    static MEBIBYTE: [u8; 1 << 20] = [0; 1 << 20];
    let fixture = Fixture::open();
    let too_long = vec![&MEBIBYTE[..]; 4096]; // one byte more than fits

    let refused = fixture.refused_send(too_long);

    assert_eq!(refused.error, SendError::Payload(PayloadError::TooLong { index: 4095 }));
    assert_eq!(refused.error.sync_result(), SendSyncResult::Error);
    assert_eq!(refused.returned.len(), 4096);
    assert_eq!(fixture.send_calls(), 0);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_051
#[rstest]
#[case::never_opened(Fixture::closed())]
#[case::closed(Fixture::after_close())]
fn a_send_on_a_socket_that_is_not_open_is_refused_as_abandoned(#[case] fixture: Fixture) {
    let refused = fixture.refused_send("no");

    assert_eq!(refused.error, SendError::NotOpen { state: SocketState::Closed });
    assert_eq!(refused.error.sync_result(), SendSyncResult::Abandoned);
    assert_eq!(refused.returned, "no");
    assert_eq!(fixture.send_calls(), 0);
}

// ---- at once

// Tests_SRS_ASYNC_SOCKET_LINUX_11_052, Tests_SRS_ASYNC_SOCKET_LINUX_11_061, Tests_SRS_ASYNC_SOCKET_LINUX_11_062
#[test]
fn one_buffer_goes_at_once_through_one_send_and_is_called_back_with_ok() {
    let fixture = Fixture::open();
    let (outcome, report) = Outcome::new();

    let result = fixture.send_async("hello", report);

    assert!(result.is_ok());
    let completion = outcome.take();
    assert_eq!((completion.result, completion.os_error(), completion.bytes_sent), (SendResult::Ok, None, 5));
    assert_eq!(completion.buffers, "hello");
    assert_eq!(fixture.sys.calls()[1..], [SocketCall::Send(b"hello".to_vec(), FLAGS)]);
    assert_eq!(fixture.port.calls().len(), 1, "the port has nothing to do");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_052
#[test]
fn a_list_of_one_goes_through_plain_send_too() {
    let fixture = Fixture::open();

    fixture.send(vec![*b"only"]).take();

    assert_eq!(fixture.sys.calls()[1..], [SocketCall::Send(b"only".to_vec(), FLAGS)]);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_052, Tests_SRS_ASYNC_SOCKET_LINUX_11_053, Tests_SRS_ASYNC_SOCKET_LINUX_11_061
#[rstest]
#[case(2)]
#[case(16)]
#[case(17)]
#[case(IOV_MAX)]
fn several_buffers_go_at_once_through_one_sendmsg(#[case] count: usize) {
    let fixture = Fixture::open();
    let buffers = one_byte_buffers(count);

    let completion = fixture.send(buffers.clone()).take();

    assert_eq!((completion.result, completion.bytes_sent as usize), (SendResult::Ok, count));
    let all = buffers.iter().map(|buffer| buffer.to_vec()).collect();
    assert_eq!(fixture.sys.calls()[1..], [SocketCall::SendMsg(all, FLAGS)]);
    assert_eq!(completion.buffers, buffers);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_052, Tests_SRS_ASYNC_SOCKET_LINUX_11_053
#[rstest]
#[case(IOV_MAX + 1, &[IOV_MAX, 1])]
#[case(2 * IOV_MAX + 20, &[IOV_MAX, IOV_MAX, 20])]
fn more_buffers_than_iov_max_go_through_several_calls(#[case] count: usize, #[case] expected: &[usize]) {
    let fixture = Fixture::open();
    let buffers = one_byte_buffers(count);

    assert_eq!(fixture.send(buffers.clone()).ended(SendResult::Ok), (None, u32::try_from(count).expect("few")));

    assert_eq!(buffers_per_call(&fixture), expected);
    assert_eq!(fixture.sys.sent(), buffers.concat());
}

/// Buffers whose iterator does not tell their number.
struct Uncounted(Vec<[u8; 1]>);

impl IoBufs for Uncounted {
    fn slices_from(&self, first: usize) -> impl Iterator<Item = &[u8]> {
        // A filter's lower bound is 0.
        self.0.iter().skip(first).map(|buffer| &buffer[..]).filter(|_| true)
    }
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_053
#[test]
fn a_list_that_does_not_say_how_long_it_is_arrives_whole() {
    let fixture = Fixture::open();
    let buffers = one_byte_buffers(100);

    assert_eq!(fixture.send(Uncounted(buffers.clone())).ended(SendResult::Ok), (None, 100));

    assert_eq!(fixture.sys.sent(), buffers.concat());
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_053, Tests_SRS_ASYNC_SOCKET_LINUX_11_061
#[test]
fn a_send_of_which_the_kernel_takes_a_part_goes_on_where_that_ended() {
    let fixture = Fixture::open();
    fixture.sys.script_send([Step::Takes(2), Step::Takes(3)]);

    assert_eq!(fixture.send("abcdefgh").ended(SendResult::Ok), (None, 8));

    let sends = ["abcdefgh", "cdefgh", "fgh"].map(|rest| SocketCall::Send(rest.into(), FLAGS));
    assert_eq!(fixture.sys.calls()[1..], sends);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_053
#[rstest]
#[case::inside_the_first(1, &["bc", "def", "g"])]
#[case::at_a_border(3, &["def", "g"])]
#[case::inside_the_second(5, &["f", "g"])]
fn a_list_of_which_the_kernel_takes_a_part_goes_on_with_the_whole_rest(
    #[case] taken: usize,
    #[case] rest: &[&'static str],
) {
    let fixture = Fixture::open();
    fixture.sys.script_send([Step::Takes(taken)]);

    assert_eq!(fixture.send(["abc", "def", "g"]).ended(SendResult::Ok), (None, 7));

    let rest = rest.iter().map(|buffer| buffer.as_bytes().to_vec()).collect();
    assert_eq!(fixture.sys.calls()[2..], [SocketCall::SendMsg(rest, FLAGS)]);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_053
#[test]
fn the_last_buffer_of_a_list_goes_through_plain_send() {
    let fixture = Fixture::open();
    fixture.sys.script_send([Step::Takes(4)]);

    fixture.send(["abc", "def"]).take();

    assert_eq!(fixture.sys.calls()[2..], [SocketCall::Send(b"ef".to_vec(), FLAGS)]);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_053, Tests_SRS_ASYNC_SOCKET_LINUX_11_060
#[rstest]
#[case::send(vec!["one"])]
#[case::sendmsg(vec!["one", "two"])]
fn a_send_that_a_signal_interrupts_is_made_again(#[case] buffers: Vec<&'static str>) {
    let fixture = Fixture::open();
    fixture.sys.script_send([Step::Fails(Errno::INTR), Step::Takes(1), Step::Fails(Errno::INTR)]);

    assert_eq!(fixture.send(buffers.clone()).take().result, SendResult::Ok);

    assert_eq!(fixture.sys.sent(), buffers.concat().as_bytes());
    assert_eq!(fixture.send_calls(), 4);
}

// ---- EAGAIN

// Tests_SRS_ASYNC_SOCKET_LINUX_11_054, Tests_SRS_ASYNC_SOCKET_LINUX_11_055
// Tests_SRS_ASYNC_SOCKET_LINUX_11_057, Tests_SRS_ASYNC_SOCKET_LINUX_11_062
#[test]
fn a_send_that_the_kernel_does_not_take_is_accepted_and_queued_without_a_system_call_on_the_port() {
    let fixture = Fixture::open();
    fixture.sys.script_send([Step::Fails(Errno::AGAIN)]);

    let send = fixture.send("later");

    send.assert_pending();
    assert_eq!(fixture.port.queued(Direction::Out), 1);
    assert_eq!(fixture.send_calls(), 1, "not tried again before there is an event");
    assert_eq!(fixture.port.calls(), [PortCall::Attach(fixture.descriptor)]);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_055, Tests_SRS_ASYNC_SOCKET_LINUX_11_057
#[test]
fn a_send_of_which_the_kernel_takes_nothing_waits_as_if_it_had_said_eagain() {
    let fixture = Fixture::open();
    fixture.sys.script_send([Step::Takes(0)]);

    let send = fixture.send("later");

    send.assert_pending();
    assert_eq!(fixture.send_calls(), 1, "no spinning");
    fixture.fire(Action::Out);
    assert_eq!(send.ended(SendResult::Ok), (None, 5));
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_056
#[test]
fn a_blocked_send_keeps_its_payload_its_place_in_it_and_its_callback() {
    let fixture = Fixture::open();

    let send = fixture.blocked_send("abcdef", 2);
    fixture.fire(Action::Out);

    let completion = send.take();
    assert_eq!((completion.result, completion.bytes_sent), (SendResult::Ok, 6));
    assert_eq!(completion.buffers, "abcdef");
    assert_eq!(fixture.sys.sent(), b"abcdef");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_054, Tests_SRS_ASYNC_SOCKET_LINUX_11_055, Tests_SRS_ASYNC_SOCKET_LINUX_11_056
#[test]
fn eagain_in_the_middle_of_several_buffers_keeps_the_whole_rest_for_one_callback() {
    let fixture = Fixture::open();

    let send = fixture.blocked_send(["abc", "def", "ghi"], 4);
    fixture.fire(Action::Out);

    assert_eq!(send.ended(SendResult::Ok), (None, 9));
    let rest = vec![b"ef".to_vec(), b"ghi".to_vec()];
    assert_eq!(fixture.sys.calls().last(), Some(&SocketCall::SendMsg(rest, FLAGS)));
    assert_eq!(fixture.sys.sent(), b"abcdefghi");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_057, Tests_SRS_ASYNC_SOCKET_LINUX_11_102
#[test]
fn queueing_a_send_does_not_disturb_a_receive_that_waits() {
    let fixture = Fixture::open();
    let receive = fixture.receive(vec![0; 8]);
    fixture.sys.script_recv([Step::bytes("still here")]);

    let send = fixture.blocked_send("blocked", 0);
    fixture.fire(Action::In);

    assert_eq!(receive.received(), b"still he");
    send.assert_pending();
    assert_eq!(fixture.port.calls().len(), 1, "no second epoll_ctl");
}

// ---- errors

// Tests_SRS_ASYNC_SOCKET_LINUX_11_054, Tests_SRS_ASYNC_SOCKET_LINUX_11_059, Tests_SRS_ASYNC_SOCKET_LINUX_11_060
// Tests_SRS_ASYNC_SOCKET_LINUX_11_063
#[rstest]
#[case(Errno::CONNRESET, SendSyncResult::Abandoned)]
#[case(Errno::NOTCONN, SendSyncResult::Abandoned)]
#[case(Errno::PIPE, SendSyncResult::Abandoned)]
#[case(Errno::NOBUFS, SendSyncResult::Error)]
#[case(Errno::NOMEM, SendSyncResult::Error)]
#[case(Errno::BADF, SendSyncResult::Error)]
#[case(Errno::TIMEDOUT, SendSyncResult::Error)]
#[case(Errno::HOSTUNREACH, SendSyncResult::Error)]
fn a_send_that_fails_is_refused_as_its_errno_says(
    #[case] errno: Errno,
    #[case] expected: SendSyncResult,
    #[values(0, 3)] bytes_sent: u32,
) {
    let fixture = Fixture::open();
    let before = (bytes_sent > 0).then_some(Step::Takes(bytes_sent as usize));
    fixture.sys.script_send(before.into_iter().chain([Step::Fails(errno)]));

    let refused = fixture.refused_send(["abc", "def"]);

    let os_error = errno.raw_os_error();
    assert_eq!(
        refused.error,
        match expected {
            SendSyncResult::Abandoned => SendError::Disconnected { os_error, bytes_sent },
            _ => SendError::Os { os_error, bytes_sent },
        }
    );
    assert_eq!(refused.error.sync_result(), expected);
    assert_eq!(refused.returned, ["abc", "def"]);
    assert_eq!(fixture.port.queued(Direction::Out), 0);
}

#[test]
fn after_an_error_in_the_middle_of_a_payload_later_sends_are_refused_untried() {
    let fixture = Fixture::open();
    fixture.sys.script_send([Step::Takes(3), Step::Fails(Errno::NOBUFS)]);
    fixture.refused_send("abcdef");

    for _ in 0..2 {
        let refused = fixture.refused_send("next");

        assert_eq!((refused.error, refused.returned), (SendError::StreamBroken, "next"));
        assert_eq!(refused.error.sync_result(), SendSyncResult::Abandoned);
    }
    assert_eq!(fixture.send_calls(), 2, "those of the first payload");
}

#[test]
fn after_an_error_before_the_first_byte_the_next_send_is_tried() {
    let fixture = Fixture::open();
    fixture.sys.script_send([Step::Fails(Errno::NOBUFS)]);
    fixture.refused_send("abc");

    assert_eq!(fixture.send("abc").ended(SendResult::Ok), (None, 3));
}

#[test]
fn a_broken_stream_still_receives() {
    let fixture = Fixture::open();
    fixture.sys.script_send([Step::Takes(1), Step::Fails(Errno::NOBUFS)]);
    fixture.refused_send("abc");
    let receive = fixture.receive(vec![0; 8]);
    fixture.sys.script_recv([Step::bytes("reply")]);

    fixture.fire(Action::In);

    assert_eq!(receive.received(), b"reply");
}

// ---- one after the other

// Tests_SRS_ASYNC_SOCKET_LINUX_11_052
#[test]
fn a_send_behind_an_unfinished_one_is_not_tried_and_follows_it_without_mixing() {
    let fixture = Fixture::open();
    let first = fixture.blocked_send("first", 2);

    let second = fixture.send("second");
    let third = fixture.send("third");
    assert_eq!(fixture.send_calls(), 2, "those of the first");
    assert_eq!(fixture.port.queued(Direction::Out), 3);
    fixture.sys.script_send([Step::Takes(3), Step::Takes(1), Step::Fails(Errno::AGAIN)]);
    fixture.fire(Action::Out);

    first.take();
    second.assert_pending();
    assert_eq!(fixture.sys.sent(), b"firsts");
    fixture.fire(Action::Out);
    second.take();
    third.take();
    assert_eq!(fixture.sys.sent(), b"firstsecondthird");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_052
#[test]
fn a_send_while_another_thread_sends_goes_behind_that_one() {
    let fixture = Fixture::open();
    let (socket, sys) = (Arc::clone(&fixture.socket), fixture.sys.clone());
    let (second, report) = Outcome::new();
    let (other, port) = (Arc::clone(&fixture.socket), fixture.port.clone());
    sys.script_send([Step::Takes(3)]);
    sys.during_next(crate::common::is_send, move || {
        let sender = thread::spawn(move || other.send_async("SECOND", report).expect("accepted"));
        sender.join().expect("a send does not wait for another one");
    });

    socket.send_async("first", |_| {}).expect("accepted");
    assert_eq!(sys.sent(), b"first");
    second.assert_pending();
    port.fire(Action::Out);

    assert_eq!(second.ended(SendResult::Ok), (None, 6));
    assert_eq!(sys.sent(), b"firstSECOND");
}

#[test]
fn a_send_from_inside_a_send_callback_is_queued() {
    let fixture = Fixture::open();
    let (inner, report) = Outcome::new();
    let socket = Arc::clone(&fixture.socket);

    fixture
        .send_async("outer", move |_| {
            socket.send_async("inner", report).expect("accepted");
        })
        .expect("accepted");

    inner.assert_pending();
    assert_eq!(fixture.sys.sent(), b"outer");
    fixture.fire(Action::Out);
    inner.take();
    assert_eq!(fixture.sys.sent(), b"outerinner");
}

#[test]
fn a_send_from_inside_a_send_callback_of_another_socket_is_queued_too() {
    let (one, two) = (Fixture::open(), Fixture::open());
    let (inner, report) = Outcome::new();
    let socket = Arc::clone(&two.socket);

    one.send_async("outer", move |_| {
        socket.send_async("inner", report).expect("accepted");
    })
    .expect("accepted");

    inner.assert_pending();
    two.fire(Action::Out);
    inner.take();
}

#[test]
fn an_endless_chain_of_sends_from_send_callbacks_runs_in_constant_stack() {
    const LINKS: usize = 20_000;
    let fixture = Fixture::open();
    fixture.fire(Action::Out);
    let (note, depths) = channel();

    send_chain(&fixture.socket, LINKS, note);
    fixture.port.run_scheduled();

    assert_constant_stack(&depths, LINKS);
    assert_eq!(fixture.sys.sent().len(), LINKS);
}

/// Sends a byte, and the next one from the callback. The callback notes where on the stack it runs.
fn send_chain(socket: &Arc<Socket>, links: usize, note: Sender<usize>) {
    let next = Arc::clone(socket);
    let on_sent = move |_| {
        let here = 0_u8;
        note.send(ptr::from_ref(&here).addr()).expect("the test listens");
        if links > 1 {
            send_chain(&next, links - 1, note);
        }
    };
    socket.send_async([0_u8], on_sent).expect("accepted");
}

#[test]
fn a_send_callback_that_panics_leaves_the_socket_usable() {
    let fixture = Fixture::open();

    fixture.send_async("one", |_| panic!("the user's mistake")).expect("accepted");

    assert_eq!(fixture.send("two").ended(SendResult::Ok), (None, 3));
    fixture.close();
}

#[test]
fn callbacks_of_sends_and_receives_run_in_the_order_of_their_acceptance() {
    let fixture = Fixture::open();
    let order = Journal::new();
    let noting = |name: &'static str| {
        let order = order.clone();
        move || order.note(name)
    };
    let (one, two, three) = (noting("send 1"), noting("receive 2"), noting("send 3"));
    fixture.sys.script_send([Step::Fails(Errno::AGAIN)]);
    fixture.sys.script_recv([Step::bytes("x")]);
    fixture.send_async("1", move |_| one()).expect("accepted");
    fixture
        .receive_async([0], move |received| {
            assert_eq!(received.result, ReceiveResult::Ok);
            two();
        })
        .expect("accepted");
    fixture.send_async("3", move |_| three()).expect("accepted");

    fixture.deliver(completion_port::Readiness::IN | completion_port::Readiness::OUT);

    assert_eq!(order.entries(), ["send 1", "receive 2", "send 3"]);
}

/// The number of buffers that each `send` and `sendmsg` got.
fn buffers_per_call(fixture: &Fixture) -> Vec<usize> {
    let buffers = |call: &SocketCall| match call {
        SocketCall::Send(..) => Some(1),
        SocketCall::SendMsg(buffers, _) => Some(buffers.len()),
        _ => None,
    };
    fixture.sys.calls().iter().filter_map(buffers).collect()
}

/// A buffer that panics at the third request for its bytes.
struct Brittle(AtomicUsize);

impl IoBuf for Brittle {
    fn as_slice(&self) -> &[u8] {
        assert!(self.0.fetch_add(1, Ordering::Relaxed) < 2, "the user's mistake");
        &[7; 16]
    }
}

#[test]
fn a_queued_send_whose_buffer_panics_ends_in_an_error_and_the_next_goes_on() {
    let fixture = Fixture::open();
    let blocked = fixture.blocked_send(Brittle(AtomicUsize::new(0)), 0);
    let next = fixture.send("next");

    fixture.fire(Action::Out);

    let completion = blocked.take();
    assert_eq!((completion.result, completion.os_error(), completion.bytes_sent), (SendResult::Error, None, 0));
    assert_eq!(next.take().result, SendResult::Ok);
}
