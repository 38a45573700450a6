//! `event_complete_callback`: the effect of each event on the operations that wait, and their results.

use crate::common::{Fixture, Journal, Outcome, one_byte_buffers, refused_send};
use async_socket_linux::sys::{Errno, RecvFlags, SendFlags};
use async_socket_linux::{AsyncSocket, EndReason, IoBufsMut, ReceiveResult, SendError, SendResult};
use completion_port::{Action, Direction, Readiness};
use rstest::rstest;
use std::sync::Arc;
use test_doubles::{SocketCall, Step};

/// Every receive, whatever the mode of the descriptor.
const RECEIVE_FLAGS: RecvFlags = RecvFlags::DONTWAIT;
const SEND_FLAGS: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);

/// The kernel's limit, not the library's constant.
const IOV_MAX: usize = 1024;

// ---- RDHUP and abandoning

// Tests_SRS_ASYNC_SOCKET_LINUX_11_080, Tests_SRS_ASYNC_SOCKET_LINUX_11_081, Tests_SRS_ASYNC_SOCKET_LINUX_11_084
#[test]
fn a_read_hang_up_abandons_the_receives_that_wait_and_frees_them() {
    let fixture = Fixture::open();
    let (first, second) = (fixture.receive(vec![0; 8]), fixture.receive(vec![0; 8]));

    fixture.fire(Action::RdHup);

    for receive in [first, second] {
        let completion = receive.take();
        assert_eq!((completion.result, completion.reason), (ReceiveResult::Abandoned, EndReason::PeerFinished));
        assert_eq!((completion.bytes_received, completion.buffers), (0, vec![0; 8]));
    }
    assert_eq!(fixture.port.queued(Direction::In), 0);
    assert_eq!(fixture.receive_calls(), 0, "nothing is left to read");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_080, Tests_SRS_ASYNC_SOCKET_LINUX_11_081, Tests_SRS_ASYNC_SOCKET_LINUX_11_084
#[test]
fn a_close_abandons_sends_and_receives_and_frees_them() {
    let (fixture, send) = Fixture::blocked();
    let receive = fixture.receive(vec![0; 8]);

    fixture.close();

    assert_eq!(send.ended(SendResult::Abandoned), (None, 0));
    assert_eq!(receive.ended(ReceiveResult::Abandoned), None);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_080
#[test]
fn a_read_hang_up_never_ends_a_send() {
    let (fixture, send) = Fixture::blocked();

    fixture.fire(Action::RdHup);
    send.assert_pending();
    fixture.fire(Action::Out);

    assert_eq!(send.ended(SendResult::Ok), (None, 7));
    assert_eq!(fixture.send("more").ended(SendResult::Ok), (None, 4));
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_080, Tests_SRS_ASYNC_SOCKET_LINUX_11_091
#[test]
fn bytes_that_came_before_a_read_hang_up_are_delivered_before_the_end() {
    let fixture = Fixture::open();
    let (first, second) = (fixture.receive(vec![0; 4]), fixture.receive(vec![0; 4]));
    let third = fixture.receive(vec![0; 4]);
    fixture.sys.script_recv([Step::bytes("last"), Step::bytes("!"), Step::bytes("")]);

    fixture.deliver(Readiness::IN | Readiness::READ_HANG_UP);

    assert_eq!(first.received(), b"last");
    assert_eq!(second.received(), b"!");
    assert_eq!(third.ended(ReceiveResult::Abandoned), None);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_079
#[test]
fn a_read_hang_up_while_nothing_waits_shows_on_the_next_receive() {
    let fixture = Fixture::open();

    fixture.fire(Action::RdHup);
    assert_eq!(fixture.port.run_scheduled(), 0, "no spinning");
    let receive = fixture.receive(vec![0; 8]);
    receive.assert_pending();
    fixture.port.run_scheduled();

    assert_eq!(receive.ended(ReceiveResult::Abandoned), None);
}

// ---- IN

// Tests_SRS_ASYNC_SOCKET_LINUX_11_082, Tests_SRS_ASYNC_SOCKET_LINUX_11_083, Tests_SRS_ASYNC_SOCKET_LINUX_11_092
// Tests_SRS_ASYNC_SOCKET_LINUX_11_093
#[test]
fn a_receive_into_one_buffer_makes_one_recv_and_is_called_back_with_what_arrived() {
    let fixture = Fixture::open();
    let receive = fixture.receive(vec![9; 8]);
    fixture.sys.script_recv([Step::bytes("hello")]);

    fixture.fire(Action::In);

    let completion = receive.take();
    assert_eq!((completion.result, completion.os_error()), (ReceiveResult::Ok, None));
    assert_eq!((completion.bytes_received, completion.buffers.as_slice()), (5, b"hello\x09\x09\x09".as_slice()));
    assert_eq!(fixture.sys.calls()[1..], [SocketCall::Recv(8, RECEIVE_FLAGS)]);
    assert_eq!(fixture.port.queued(Direction::In), 0);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_083, Tests_SRS_ASYNC_SOCKET_LINUX_11_092
#[rstest]
#[case(2)]
#[case(16)]
#[case(17)]
#[case(IOV_MAX)]
fn a_receive_into_several_buffers_makes_one_recvmsg_over_all_of_them(#[case] count: usize) {
    let fixture = Fixture::open();
    let receive = fixture.receive(vec![[0_u8; 1]; count]);
    fixture.sys.script_recv([Step::bytes(one_byte_buffers(count).concat())]);

    fixture.fire(Action::In);

    let completion = receive.take();
    assert_eq!((completion.result, completion.bytes_received as usize), (ReceiveResult::Ok, count));
    assert_eq!(completion.buffers, one_byte_buffers(count));
    assert_eq!(fixture.sys.calls()[1..], [SocketCall::RecvMsg(vec![1; count], RECEIVE_FLAGS)]);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_092
#[rstest]
#[case(IOV_MAX + 1, &[IOV_MAX, 1])]
#[case(2 * IOV_MAX + 20, &[IOV_MAX, IOV_MAX, 20])]
fn more_buffers_than_iov_max_are_filled_by_several_calls(#[case] count: usize, #[case] expected: &[usize]) {
    let fixture = Fixture::open();
    let receive = fixture.receive(vec![[0_u8; 1]; count]);
    let bytes = one_byte_buffers(count).concat();
    fixture.sys.script_recv(bytes.chunks(IOV_MAX).map(Step::bytes));

    fixture.fire(Action::In);

    let completion = receive.take();
    assert_eq!((completion.result, completion.bytes_received as usize), (ReceiveResult::Ok, count));
    assert_eq!(completion.buffers.concat(), bytes);
    let calls = expected.iter().map(|buffers| SocketCall::RecvMsg(vec![1; *buffers], RECEIVE_FLAGS));
    assert_eq!(fixture.sys.calls()[1..], calls.collect::<Vec<_>>());
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_088, Tests_SRS_ASYNC_SOCKET_LINUX_11_089, Tests_SRS_ASYNC_SOCKET_LINUX_11_090
// Tests_SRS_ASYNC_SOCKET_LINUX_11_091, Tests_SRS_ASYNC_SOCKET_LINUX_11_095, Tests_SRS_ASYNC_SOCKET_LINUX_11_092
#[rstest]
#[case::eagain(Step::Fails(Errno::AGAIN), None)]
#[case::the_end(Step::bytes(""), Some((ReceiveResult::Abandoned, None)))]
#[case::a_reset(Step::Fails(Errno::CONNRESET), Some((ReceiveResult::Abandoned, Some(Errno::CONNRESET))))]
#[case::an_error(Step::Fails(Errno::TIMEDOUT), Some((ReceiveResult::Error, Some(Errno::TIMEDOUT))))]
fn a_receive_into_several_buffers_that_gets_no_byte_ends_as_one_into_a_single_buffer(
    #[case] step: Step,
    #[case] end: Option<(ReceiveResult, Option<Errno>)>,
) {
    let fixture = Fixture::open();
    let receive = fixture.receive(vec![[0_u8; 1]; 3]);
    fixture.sys.script_recv([step]);

    fixture.fire(Action::In);

    match end {
        Some((result, errno)) => assert_eq!(receive.ended(result), errno.map(Errno::raw_os_error)),
        None => receive.assert_pending(),
    }
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_092
#[test]
fn buffers_behind_ones_that_are_not_full_are_not_tried() {
    let fixture = Fixture::open();
    let receive = fixture.receive(vec![[0_u8; 1]; 2 * IOV_MAX]);
    fixture.sys.script_recv([Step::bytes("not full")]);

    fixture.fire(Action::In);

    assert_eq!(receive.take().bytes_received, 8);
    assert_eq!(fixture.receive_calls(), 1);
}

/// The second step of a receive that has filled its first [`IOV_MAX`] buffers, and the end of the next receive. The
/// kernel reports the end of the stream again and again, but an error only once.
#[rstest]
#[case::eagain(vec![Step::Fails(Errno::AGAIN)], None)]
#[case::the_end(vec![Step::bytes(""), Step::bytes("")], Some((ReceiveResult::Abandoned, None)))]
#[case::a_reset(vec![Step::Fails(Errno::CONNRESET)], Some((ReceiveResult::Abandoned, Some(Errno::CONNRESET))))]
#[case::an_error(vec![Step::Fails(Errno::TIMEDOUT)], Some((ReceiveResult::Error, Some(Errno::TIMEDOUT))))]
// Tests_SRS_ASYNC_SOCKET_LINUX_11_092
fn what_follows_a_full_chunk_shows_on_the_next_receive(
    #[case] steps: Vec<Step>,
    #[case] next: Option<(ReceiveResult, Option<Errno>)>,
) {
    let fixture = Fixture::open();
    let first = fixture.receive(vec![[0_u8; 1]; IOV_MAX + 1]);
    let (second, third) = (fixture.receive(vec![0; 8]), fixture.receive(vec![0; 8]));
    fixture.sys.script_recv([Step::bytes([7; IOV_MAX])].into_iter().chain(steps));

    fixture.fire(Action::In);

    let completion = first.take();
    assert_eq!((completion.result, completion.os_error()), (ReceiveResult::Ok, None));
    assert_eq!(completion.bytes_received as usize, IOV_MAX);
    match next {
        Some((result, errno)) => assert_eq!(second.ended(result), errno.map(Errno::raw_os_error)),
        None => second.assert_pending(),
    }
    third.assert_pending();
}

/// Buffers whose iterator does not tell their number.
struct Uncounted(Vec<[u8; 1]>);

impl IoBufsMut for Uncounted {
    fn slices_mut_from(&mut self, first: usize) -> impl Iterator<Item = &mut [u8]> {
        // A filter's lower bound is 0.
        self.0.iter_mut().skip(first).map(|buffer| &mut buffer[..]).filter(|_| true)
    }
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_092
#[test]
fn a_list_that_does_not_say_how_long_it_is_is_filled_whole() {
    let fixture = Fixture::open();
    let bytes = one_byte_buffers(100).concat();
    fixture.sys.script_recv(bytes.chunks(16).map(Step::bytes));
    let receive = fixture.receive(Uncounted(vec![[0]; 100]));

    fixture.fire(Action::In);

    let completion = receive.take();
    assert_eq!((completion.bytes_received, completion.buffers.0.concat()), (100, bytes));
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_088, Tests_SRS_ASYNC_SOCKET_LINUX_11_089
#[rstest]
#[case::of_one_buffer(vec![vec![0; 8]])]
#[case::of_several(vec![vec![0; 4], vec![0; 4]])]
fn a_receive_that_gets_eagain_stays_pending_without_a_callback(#[case] buffers: Vec<Vec<u8>>) {
    let fixture = Fixture::open();
    let receive = fixture.receive(buffers);
    fixture.sys.script_recv([Step::Fails(Errno::AGAIN), Step::bytes("then")]);

    fixture.fire(Action::In);

    receive.assert_pending();
    assert_eq!(fixture.port.queued(Direction::In), 1);
    assert_eq!((fixture.receive_calls(), fixture.port.run_scheduled()), (1, 0), "no spinning");
    fixture.fire(Action::In);
    assert_eq!(receive.take().bytes_received, 4);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_089
#[test]
fn a_receive_that_gets_eagain_keeps_its_place() {
    let fixture = Fixture::open();
    let (first, second) = (fixture.receive(vec![0; 8]), fixture.receive(vec![0; 8]));
    fixture.sys.script_recv([Step::Fails(Errno::AGAIN), Step::bytes("one"), Step::bytes("two")]);

    fixture.fire(Action::In);
    fixture.fire(Action::In);

    assert_eq!(first.received(), b"one");
    assert_eq!(second.received(), b"two");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_088
#[rstest]
#[case::recv(vec![vec![0; 8]])]
#[case::recvmsg(vec![vec![0; 4], vec![0; 4]])]
fn a_receive_that_a_signal_interrupts_is_made_again(#[case] buffers: Vec<Vec<u8>>) {
    let fixture = Fixture::open();
    let receive = fixture.receive(buffers);
    fixture.sys.script_recv([Step::Fails(Errno::INTR), Step::Fails(Errno::INTR), Step::bytes("then")]);

    fixture.fire(Action::In);

    assert_eq!(receive.take().bytes_received, 4);
    assert_eq!(fixture.receive_calls(), 3);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_088, Tests_SRS_ASYNC_SOCKET_LINUX_11_090, Tests_SRS_ASYNC_SOCKET_LINUX_11_093
// Tests_SRS_ASYNC_SOCKET_LINUX_11_095
#[rstest]
#[case(Errno::CONNRESET, ReceiveResult::Abandoned)]
#[case(Errno::TIMEDOUT, ReceiveResult::Error)]
#[case(Errno::CONNREFUSED, ReceiveResult::Error)]
#[case(Errno::NOTCONN, ReceiveResult::Error)]
#[case(Errno::PIPE, ReceiveResult::Error)]
#[case(Errno::NOMEM, ReceiveResult::Error)]
#[case(Errno::BADF, ReceiveResult::Error)]
fn a_receive_that_fails_ends_as_its_errno_says(
    #[case] errno: Errno,
    #[case] expected: ReceiveResult,
    #[values(1, 2)] buffers: usize,
) {
    let fixture = Fixture::open();
    let receive = fixture.receive(vec![vec![0; 4]; buffers]);
    fixture.sys.script_recv([Step::Fails(errno)]);

    fixture.fire(Action::In);

    assert_eq!(receive.ended(expected), Some(errno.raw_os_error()));
    assert_eq!(fixture.port.queued(Direction::In), 0);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_091, Tests_SRS_ASYNC_SOCKET_LINUX_11_093
#[rstest]
#[case::recv(vec![vec![0; 8]])]
#[case::recvmsg(vec![vec![0; 4], vec![0; 4]])]
fn a_receive_that_finds_the_end_of_the_stream_is_abandoned(#[case] buffers: Vec<Vec<u8>>) {
    let fixture = Fixture::open();
    let receive = fixture.receive(buffers.clone());
    fixture.sys.script_recv([Step::bytes("")]);

    fixture.fire(Action::In);

    let completion = receive.take();
    assert_eq!((completion.result, completion.os_error()), (ReceiveResult::Abandoned, None));
    assert_eq!((completion.bytes_received, completion.buffers), (0, buffers));
    assert_eq!(fixture.port.queued(Direction::In), 0);
}

// ---- short reads

#[test]
fn a_short_read_from_tcp_is_believed_until_the_next_event() {
    let fixture = Fixture::open_tcp();
    let (first, second) = (fixture.receive(vec![0; 8]), fixture.receive(vec![0; 8]));
    fixture.sys.script_recv([Step::bytes("short"), Step::bytes("next")]);

    fixture.fire(Action::In);

    assert_eq!(first.received(), b"short");
    second.assert_pending();
    assert_eq!((fixture.receive_calls(), fixture.port.run_scheduled()), (1, 0));
    fixture.fire(Action::In);
    assert_eq!(second.received(), b"next");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_083, Tests_SRS_SOCKET_01_030
#[rstest]
#[case::nothing_came_along(Step::bytes("short"), 1)]
#[case::descriptors_came_along(Step::DeliversWithScmRights(b"short".to_vec()), 2)]
fn a_short_read_from_a_unix_stream_is_believed_unless_descriptors_came_along(#[case] step: Step, #[case] calls: usize) {
    let fixture = Fixture::closed();
    fixture.sys.be_a_unix_stream();
    fixture.socket.open_async(|_| {}).expect("the socket opens");
    let (first, second) = (fixture.receive(vec![0; 8]), fixture.receive(vec![0; 8]));
    fixture.sys.script_recv([step]);

    fixture.fire(Action::In);

    assert_eq!(first.received(), b"short");
    second.assert_pending();
    assert_eq!((fixture.receive_calls(), fixture.port.run_scheduled()), (calls, 0));
    let noting = fixture.sys.count(|call| *call == SocketCall::RecvNotingScmRights(8, RECEIVE_FLAGS));
    assert_eq!(noting, calls, "a plain recv does not tell of descriptors");
}

#[test]
fn a_short_read_into_several_buffers_is_not_believed_of_a_unix_stream() {
    let fixture = Fixture::closed();
    fixture.sys.be_a_unix_stream();
    fixture.socket.open_async(|_| {}).expect("the socket opens");
    let (first, second) = (fixture.receive([[0; 4], [0; 4]]), fixture.receive(vec![0; 8]));
    fixture.sys.script_recv([Step::bytes("short"), Step::bytes("more")]);

    fixture.fire(Action::In);

    assert_eq!((first.take().bytes_received, second.received()), (5, b"more".to_vec()));
}

#[rstest]
#[case::half_close(Readiness::READ_HANG_UP)]
#[case::hang_up(Readiness::HANG_UP)]
#[case::error(Readiness::ERROR)]
#[case::urgent_mark(Readiness::URGENT)]
fn a_short_read_from_tcp_proves_nothing_once_there_was(#[case] beside: Readiness) {
    let fixture = Fixture::open_tcp();
    let (first, second) = (fixture.receive(vec![0; 8]), fixture.receive(vec![0; 8]));
    fixture.sys.script_recv([Step::bytes("short"), Step::bytes("")]);

    fixture.deliver(Readiness::IN | beside);

    assert_eq!(first.received(), b"short");
    assert_eq!(second.ended(ReceiveResult::Abandoned), None);
}

// Tests_SRS_SOCKET_01_030, Tests_SRS_SOCKET_01_031
#[rstest]
#[case::a_full_read_from_tcp(Fixture::open_tcp(), 4)]
#[case::a_short_read_from_anything_else(Fixture::open(), 8)]
fn a_read_that_may_have_left_something_is_followed_by_another(#[case] fixture: Fixture, #[case] room: usize) {
    let (first, second) = (fixture.receive(vec![0; room]), fixture.receive(vec![0; room]));
    fixture.sys.script_recv([Step::bytes("four"), Step::bytes("more")]);

    fixture.fire(Action::In);

    assert_eq!(first.received(), b"four");
    assert_eq!(second.received(), b"more");
}

#[test]
fn a_short_read_into_several_buffers_from_tcp_is_believed_too() {
    let fixture = Fixture::open_tcp();
    let first = fixture.receive([[0; 4], [0; 4]]);
    let second = fixture.receive(vec![0; 8]);
    fixture.sys.script_recv([Step::bytes("short")]);

    fixture.fire(Action::In);

    assert_eq!(first.take().bytes_received, 5);
    second.assert_pending();
    assert_eq!(fixture.receive_calls(), 1);
}

// ---- OUT

// Tests_SRS_ASYNC_SOCKET_LINUX_11_094, Tests_SRS_ASYNC_SOCKET_LINUX_11_096, Tests_SRS_ASYNC_SOCKET_LINUX_11_100
#[test]
fn when_the_socket_is_writable_what_is_left_is_sent_and_the_send_called_back_and_freed() {
    let fixture = Fixture::open();
    let send = fixture.blocked_send("abcdef", 2);

    fixture.fire(Action::Out);

    assert_eq!(send.ended(SendResult::Ok), (None, 6));
    assert_eq!(fixture.sys.calls().last(), Some(&SocketCall::Send(b"cdef".to_vec(), SEND_FLAGS)));
    assert_eq!(fixture.port.queued(Direction::Out), 0);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_096
#[test]
fn what_is_left_of_several_buffers_is_sent_through_sendmsg() {
    let fixture = Fixture::open();
    let send = fixture.blocked_send(["abc", "def"], 1);

    fixture.fire(Action::Out);

    assert_eq!(send.ended(SendResult::Ok), (None, 6));
    let rest = vec![b"bc".to_vec(), b"def".to_vec()];
    assert_eq!(fixture.sys.calls().last(), Some(&SocketCall::SendMsg(rest, SEND_FLAGS)));
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_101
#[test]
fn a_queued_send_of_which_a_part_is_taken_goes_on_until_the_whole_payload_is_sent() {
    let (fixture, send) = Fixture::blocked();
    fixture.sys.script_send([Step::Takes(1), Step::Takes(2), Step::Takes(3)]);

    fixture.fire(Action::Out);

    assert_eq!(send.ended(SendResult::Ok), (None, 7));
    assert_eq!(fixture.sys.sent(), b"blocked");
    assert_eq!(fixture.send_calls(), 1 + 4);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_097, Tests_SRS_ASYNC_SOCKET_LINUX_11_099
#[rstest]
#[case::eagain(Step::Fails(Errno::AGAIN))]
#[case::nothing_taken(Step::Takes(0))]
fn a_queued_send_that_gets_eagain_stays_pending_without_a_callback(#[case] step: Step) {
    let (fixture, send) = Fixture::blocked();
    fixture.sys.script_send([Step::Takes(3), step]);

    fixture.fire(Action::Out);

    send.assert_pending();
    assert_eq!(fixture.port.queued(Direction::Out), 1);
    assert_eq!((fixture.send_calls(), fixture.port.run_scheduled()), (3, 0), "no spinning");
    fixture.fire(Action::Out);
    assert_eq!(send.ended(SendResult::Ok), (None, 7));
    assert_eq!(fixture.sys.sent(), b"blocked");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_097
#[rstest]
#[case::send(vec!["abc"])]
#[case::sendmsg(vec!["abc", "def"])]
fn a_queued_send_that_a_signal_interrupts_is_made_again(#[case] buffers: Vec<&'static str>) {
    let fixture = Fixture::open();
    let send = fixture.blocked_send(buffers.clone(), 0);
    fixture.sys.script_send([Step::Fails(Errno::INTR), Step::Fails(Errno::INTR)]);

    fixture.fire(Action::Out);

    assert_eq!(send.take().result, SendResult::Ok);
    assert_eq!(fixture.sys.sent(), buffers.concat().as_bytes());
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_097, Tests_SRS_ASYNC_SOCKET_LINUX_11_098, Tests_SRS_ASYNC_SOCKET_LINUX_11_099
// Tests_SRS_ASYNC_SOCKET_LINUX_11_100
#[rstest]
#[case(Errno::CONNRESET, SendResult::Abandoned)]
#[case(Errno::PIPE, SendResult::Error)]
#[case(Errno::NOTCONN, SendResult::Error)]
#[case(Errno::NOBUFS, SendResult::Error)]
#[case(Errno::TIMEDOUT, SendResult::Error)]
#[case(Errno::NOMEM, SendResult::Error)]
fn a_queued_send_that_fails_ends_as_its_errno_says(
    #[case] errno: Errno,
    #[case] expected: SendResult,
    #[values(1, 2)] buffers: usize,
) {
    let fixture = Fixture::open();
    let send = fixture.blocked_send(vec!["lost"; buffers], 0);
    fixture.sys.script_send([Step::Fails(errno)]);

    fixture.fire(Action::Out);

    assert_eq!(send.ended(expected), (Some(errno.raw_os_error()), 0));
    assert_eq!(fixture.port.queued(Direction::Out), 0);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_098, Tests_SRS_ASYNC_SOCKET_LINUX_11_099
#[rstest]
#[case(Errno::CONNRESET, SendResult::Abandoned)]
#[case(Errno::NOBUFS, SendResult::Error)]
fn what_waits_behind_a_send_that_broke_the_stream_is_abandoned_unsent(
    #[case] errno: Errno,
    #[case] expected: SendResult,
) {
    let fixture = Fixture::open();
    let broken = fixture.blocked_send("broken", 2);
    let (second, third) = (fixture.send("second"), fixture.send("third"));
    fixture.sys.script_send([Step::Takes(1), Step::Fails(errno)]);

    fixture.fire(Action::Out);

    assert_eq!(broken.ended(expected), (Some(errno.raw_os_error()), 3));
    assert_eq!(second.ended(SendResult::Abandoned), (None, 0));
    assert_eq!(third.ended(SendResult::Abandoned), (None, 0));
    assert_eq!(fixture.sys.sent(), b"bro", "nothing follows the gap");
    let refused = fixture.refused_send("later");
    assert_eq!(refused.error, SendError::StreamBroken);
}

#[test]
fn a_send_from_the_callback_of_the_send_that_broke_the_stream_is_refused() {
    let fixture = Fixture::open();
    let (outcome, report) = Outcome::new();
    let socket = Arc::clone(&fixture.socket);
    fixture.sys.script_send([Step::Takes(2), Step::Fails(Errno::AGAIN), Step::Fails(Errno::NOBUFS)]);
    fixture.send_async("broken", move |_| report(refused_send(&*socket, "next").error)).expect("accepted");
    let behind = fixture.send("behind");

    fixture.fire(Action::Out);

    assert_eq!(outcome.take(), SendError::StreamBroken);
    assert_eq!(behind.ended(SendResult::Abandoned), (None, 0));
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_099
#[test]
fn what_waits_behind_a_send_that_failed_before_its_first_byte_is_sent() {
    let fixture = Fixture::open();
    let failed = fixture.blocked_send("failed", 0);
    let second = fixture.send("second");
    fixture.sys.script_send([Step::Fails(Errno::NOBUFS)]);

    fixture.fire(Action::Out);

    assert_eq!(failed.ended(SendResult::Error), (Some(Errno::NOBUFS.raw_os_error()), 0));
    assert_eq!(second.ended(SendResult::Ok), (None, 6));
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_082, Tests_SRS_ASYNC_SOCKET_LINUX_11_094
#[test]
fn in_and_out_in_one_event_serve_both_directions() {
    let (fixture, send) = Fixture::blocked();
    let receive = fixture.receive(vec![0; 8]);
    fixture.sys.script_recv([Step::bytes("in")]);

    fixture.deliver(Readiness::IN | Readiness::OUT);

    assert_eq!(send.ended(SendResult::Ok), (None, 7));
    assert_eq!(receive.received(), b"in");
}

// ---- ERR and HUP

/// Events that report neither readable nor writable.
#[rstest]
#[case::error(Readiness::ERROR)]
#[case::hang_up(Readiness::HANG_UP)]
#[case::both(Readiness::ERROR | Readiness::HANG_UP)]
// Tests_SRS_ASYNC_SOCKET_LINUX_11_085, Tests_SRS_ASYNC_SOCKET_LINUX_11_086, Tests_SRS_ASYNC_SOCKET_LINUX_11_087
fn an_error_or_hang_up_alone_ends_everything_that_waits_in_one_order(#[case] events: Readiness) {
    let fixture = Fixture::open();
    let order = Journal::new();
    let on_send = |name: &'static str| {
        let order = order.clone();
        move |done: async_socket_linux::SendCompletion<_>| order.note((name, done.result == SendResult::Error))
    };
    let on_receive = |name: &'static str| {
        let order = order.clone();
        move |done: async_socket_linux::ReceiveCompletion<_>| {
            order.note((name, done.result == ReceiveResult::Error && done.bytes_received == 0));
        }
    };
    fixture.sys.script_send([Step::Fails(Errno::AGAIN)]);
    fixture.receive_async([0], on_receive("receive 1")).expect("accepted");
    fixture.send_async("2", on_send("send 2")).expect("accepted");
    fixture.send_async("3", on_send("send 3")).expect("accepted");
    fixture.receive_async([0], on_receive("receive 4")).expect("accepted");

    fixture.deliver(events);

    let all = ["receive 1", "send 2", "send 3", "receive 4"].map(|name| (name, true));
    assert_eq!(order.entries(), all);
    assert_eq!((fixture.port.queued(Direction::In), fixture.port.queued(Direction::Out)), (0, 0));
    assert_eq!(fixture.port.run_scheduled(), 0, "no spinning");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_086
#[test]
fn an_error_that_the_kernel_names_is_passed_on_to_the_callback() {
    let fixture = Fixture::open();
    let (first, second) = (fixture.receive(vec![0; 8]), fixture.receive(vec![0; 8]));
    fixture.sys.set_error(Errno::HOSTUNREACH);

    fixture.fire(Action::Error);

    assert_eq!(first.ended(ReceiveResult::Error), Some(Errno::HOSTUNREACH.raw_os_error()));
    assert_eq!(second.ended(ReceiveResult::Error), Some(Errno::HOSTUNREACH.raw_os_error()));
    assert_eq!(fixture.sys.count(|call| *call == SocketCall::TakeError), 1, "the kernel tells it only once");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_085, Tests_SRS_ASYNC_SOCKET_LINUX_11_086
#[test]
fn an_error_while_nothing_waits_shows_on_the_next_receive() {
    let fixture = Fixture::open();
    fixture.sys.set_error(Errno::TIMEDOUT);

    fixture.deliver(Readiness::ERROR);
    assert_eq!(fixture.port.run_scheduled(), 0, "no spinning");
    let receive = fixture.receive(vec![0; 8]);
    fixture.port.run_scheduled();

    assert_eq!(receive.ended(ReceiveResult::Error), Some(Errno::TIMEDOUT.raw_os_error()));
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_085, Tests_SRS_ASYNC_SOCKET_LINUX_11_090
#[rstest]
#[case(Readiness::IN | Readiness::ERROR)]
#[case(Readiness::IN | Readiness::OUT | Readiness::ERROR | Readiness::HANG_UP | Readiness::READ_HANG_UP)]
fn an_error_beside_readable_is_learned_from_the_receive_after_the_bytes(#[case] events: Readiness) {
    let fixture = Fixture::open();
    let (first, second) = (fixture.receive(vec![0; 8]), fixture.receive(vec![0; 8]));
    fixture.sys.script_recv([Step::bytes("before"), Step::Fails(Errno::CONNRESET)]);

    fixture.deliver(events);

    assert_eq!(first.received(), b"before");
    assert_eq!(second.ended(ReceiveResult::Abandoned), Some(Errno::CONNRESET.raw_os_error()));
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_086
#[test]
fn an_error_that_was_only_notifications_leaves_everything_pending() {
    let (fixture, send) = Fixture::blocked();
    let receive = fixture.receive(vec![0; 8]);
    fixture.sys.queue_error_messages(3);

    fixture.fire(Action::Error);

    send.assert_pending();
    receive.assert_pending();
    let drained = fixture.sys.count(|call| *call == SocketCall::ReceiveErrorMessage);
    assert_eq!(drained, 4, "three messages, and the empty queue");
    assert_eq!(fixture.port.run_scheduled(), 0, "no spinning");
    fixture.sys.script_recv([Step::bytes("goes on")]);
    fixture.deliver(Readiness::IN | Readiness::OUT);
    assert_eq!(send.ended(SendResult::Ok), (None, 7));
    assert_eq!(receive.received(), b"goes on");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_086
#[test]
fn an_error_event_after_the_program_has_drained_the_notifications_leaves_everything_pending() {
    let (fixture, send) = Fixture::blocked();
    fixture.sys.queue_error_messages(0);

    fixture.fire(Action::Error);

    send.assert_pending();
    assert_eq!(fixture.port.run_scheduled(), 0, "no spinning");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_086
#[test]
fn an_error_beside_notifications_is_an_error() {
    let fixture = Fixture::open();
    let receive = fixture.receive(vec![0; 8]);
    fixture.sys.queue_error_messages(1);
    fixture.sys.set_error(Errno::TIMEDOUT);

    fixture.fire(Action::Error);

    assert_eq!(receive.ended(ReceiveResult::Error), Some(Errno::TIMEDOUT.raw_os_error()));
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_086
#[test]
fn an_error_event_in_the_middle_of_a_payload_breaks_the_stream() {
    let fixture = Fixture::open();
    let half = fixture.blocked_send("half", 2);
    fixture.sys.set_error(Errno::HOSTUNREACH);

    fixture.fire(Action::Error);

    assert_eq!(half.ended(SendResult::Error), (Some(Errno::HOSTUNREACH.raw_os_error()), 2));
    let refused = fixture.refused_send("next");
    assert_eq!(refused.error, SendError::StreamBroken);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_090
#[test]
fn a_reset_that_is_reported_as_an_error_alone_abandons_what_waits() {
    let fixture = Fixture::open();
    let (receive, send) = (fixture.receive(vec![0; 8]), fixture.blocked_send("half", 2));
    fixture.sys.set_error(Errno::CONNRESET);

    fixture.fire(Action::Error);

    assert_eq!(receive.ended(ReceiveResult::Abandoned), Some(Errno::CONNRESET.raw_os_error()));
    assert_eq!(send.ended(SendResult::Abandoned).0, Some(Errno::CONNRESET.raw_os_error()));
}

// ---- 0 bytes unless OK

/// Every end of a receive other than `Ok`.
#[rstest]
#[case::the_end(Step::bytes(""), Readiness::IN)]
#[case::a_reset(Step::Fails(Errno::CONNRESET), Readiness::IN)]
#[case::an_error(Step::Fails(Errno::TIMEDOUT), Readiness::IN)]
#[case::a_read_hang_up(Step::Fails(Errno::AGAIN), Readiness::READ_HANG_UP)]
#[case::a_hang_up(Step::Fails(Errno::AGAIN), Readiness::HANG_UP)]
#[case::an_error_event(Step::Fails(Errno::AGAIN), Readiness::ERROR)]
fn a_receive_that_ends_other_than_well_has_zero_bytes(#[case] step: Step, #[case] events: Readiness) {
    let fixture = Fixture::open();
    let receive = fixture.receive(vec![0; 8]);
    fixture.sys.script_recv([step]);

    fixture.deliver(events);

    let completion = receive.take();
    assert_ne!(completion.result, ReceiveResult::Ok);
    assert_eq!(completion.bytes_received, 0);
}

// ---- callbacks inside callbacks

// Tests_SRS_ASYNC_SOCKET_LINUX_11_093, Tests_SRS_ASYNC_SOCKET_LINUX_11_100
#[test]
fn what_a_callback_holds_is_freed_with_it() {
    let (fixture, send) = Fixture::blocked();
    let held = Arc::new(());
    let for_receive = Arc::clone(&held);
    fixture.receive_async([0], move |_| drop(for_receive)).expect("accepted");
    fixture.sys.script_recv([Step::bytes("!")]);

    fixture.deliver(Readiness::IN | Readiness::OUT);

    send.take();
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn an_echo_sends_from_the_receive_callback() {
    let fixture = Fixture::open();
    let (echoed, report) = Outcome::new();
    let socket = Arc::clone(&fixture.socket);
    fixture
        .receive_async(vec![0; 4], move |received| {
            socket.send_async(received.buffers, report).expect("accepted");
        })
        .expect("accepted");
    fixture.sys.script_recv([Step::bytes("echo")]);

    fixture.fire(Action::In);

    assert_eq!(echoed.take().result, SendResult::Ok);
    assert_eq!(fixture.sys.sent(), b"echo");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_096, Tests_SRS_ASYNC_SOCKET_LINUX_11_101
#[test]
fn a_queued_send_of_more_buffers_than_iov_max_arrives_whole() {
    let fixture = Fixture::open();
    let buffers = one_byte_buffers(2 * IOV_MAX + 1);
    let send = fixture.blocked_send(buffers.clone(), 5);

    fixture.fire(Action::Out);

    assert_eq!(send.take().bytes_sent as usize, 2 * IOV_MAX + 1);
    assert_eq!(fixture.sys.sent(), buffers.concat());
}
