//! The buffers that are lent are code of the program. They may panic, change their lengths after the check, and be
//! large.

use crate::common::{Fixture, Outcome, without_hanging};
use async_socket_linux::sys::{Errno, RecvFlags, SendFlags};
use async_socket_linux::{
    AsyncSocket, AsyncSocketLinux, IoBuf, IoBufMut, IoBufs, ReceiveError, ReceiveResult, SendError, SendResult,
    SocketState, SocketSyscalls,
};
use completion_port::{Action, Direction};
use rstest::rstest;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use test_doubles::{MockPort, Step, any_descriptor};

/// A buffer that shows these lengths one after the other, and then keeps the last one. `PANIC` panics.
struct Fickle {
    bytes: Vec<u8>,
    lengths: Vec<usize>,
    asked: AtomicUsize,
}

const PANIC: usize = usize::MAX;

impl Fickle {
    fn new(lengths: impl Into<Vec<usize>>) -> Self {
        Self { bytes: vec![7; 64], lengths: lengths.into(), asked: AtomicUsize::new(0) }
    }

    fn length(&self) -> usize {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        let length = self.lengths[asked.min(self.lengths.len() - 1)];
        assert_ne!(length, PANIC, "the buffer's mistake");
        length
    }
}

impl IoBuf for Fickle {
    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length()]
    }
}

impl IoBufMut for Fickle {
    fn as_mut_slice(&mut self) -> &mut [u8] {
        let length = self.length();
        &mut self.bytes[..length]
    }
}

// ---- lengths that change

// Tests_SRS_SOCKET_01_041
#[rstest]
#[case::shrinks([8, 5])]
#[case::shrinks_to_nothing([8, 0])]
#[case::grows([8, 20])]
fn a_send_whose_buffer_shows_another_length_than_when_it_was_checked_is_refused(#[case] lengths: [usize; 2]) {
    let fixture = Fixture::open();

    let refused = fixture.refused_send(Fickle::new(lengths));

    assert_eq!(refused.error, SendError::BuffersChanged { bytes_sent: 0 });
    assert_eq!(refused.error.to_string(), "a buffer changed its length while it was sent, after 0 bytes");
    assert_eq!((fixture.sys.sent(), fixture.send_calls()), (vec![], 0));
    assert_eq!(fixture.send("next").ended(SendResult::Ok), (None, 4));
}

// The lengths are those of the check, the first call, the step to the rest, and the second call.
// Tests_SRS_SOCKET_01_041
#[rstest]
#[case::shrinks([8, 8, 8, 6])]
#[case::shrinks_below_what_was_sent([8, 8, 8, 2])]
#[case::shrinks_to_nothing([8, 8, 0, 0])]
#[case::grows([8, 8, 8, 20])]
fn a_send_whose_buffer_changes_after_a_part_has_gone_out_breaks_the_stream(#[case] lengths: [usize; 4]) {
    let fixture = Fixture::open();
    fixture.sys.script_send([Step::Takes(3)]);

    let refused = fixture.refused_send(Fickle::new(lengths));

    assert_eq!(refused.error, SendError::BuffersChanged { bytes_sent: 3 });
    assert_eq!(fixture.sys.sent(), [7; 3], "no more than was accepted, and nothing twice");
    assert_eq!(fixture.refused_send("next").error, SendError::StreamBroken);
}

// Tests_SRS_SOCKET_01_041
#[rstest]
#[case::shrinks(6)]
#[case::shrinks_to_nothing(0)]
#[case::grows(20)]
fn a_queued_send_whose_buffer_changes_ends_in_an_error_and_nothing_follows(#[case] length: usize) {
    let fixture = Fixture::open();
    // The port thread asks fifth: after the check, two calls, and the step between them.
    let send = fixture.blocked_send(Fickle::new([8, 8, 8, 8, length]), 3);
    let next = fixture.send("next");

    fixture.fire(Action::Out);

    let completion = send.take();
    assert_eq!((completion.result, completion.os_error()), (SendResult::Error, None));
    assert_eq!(completion.bytes_sent, 3);
    assert_eq!(next.take().result, SendResult::Abandoned);
    assert_eq!(fixture.sys.sent(), [7; 3]);
}

// Tests_SRS_SOCKET_01_041
#[rstest]
#[case::one_shrinks([4, 4], [4, 3])]
#[case::one_grows([4, 4], [4, 5])]
#[case::all_shrink_to_nothing([4, 0], [4, 0])]
fn a_list_whose_buffers_change_is_refused(#[case] first: [usize; 2], #[case] second: [usize; 2]) {
    let fixture = Fixture::open();

    let refused = fixture.refused_send(vec![Fickle::new(first), Fickle::new(second)]);

    assert_eq!(refused.error, SendError::BuffersChanged { bytes_sent: 0 });
    assert_eq!(fixture.sys.sent(), []);
}

/// A list that shows `count` buffers when it is checked. Afterwards it shows buffers of `length` bytes without end.
struct Endless {
    count: usize,
    length: usize,
    asked: AtomicUsize,
}

/// An iterator whose size hint claims the greatest possible length.
struct Boasting<I>(I);

impl<I: Iterator> Iterator for Boasting<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::MAX, None)
    }
}

impl IoBufs for Endless {
    fn slices_from(&self, first: usize) -> impl Iterator<Item = &[u8]> {
        let is_check = self.asked.fetch_add(1, Ordering::Relaxed) == 0;
        let length = if is_check { 2 } else { self.length };
        let count = if is_check { self.count } else { usize::MAX };
        Boasting((first..count).map(move |_| &[7_u8; 2][..length]))
    }
}

// Tests_SRS_SOCKET_01_041
#[rstest]
#[case::of_nothing(0)]
#[case::of_bytes(2)]
fn a_list_that_has_become_endless_neither_hangs_nor_sends_more_than_was_accepted(#[case] length: usize) {
    without_hanging(move || {
        let fixture = Fixture::open();

        let refused = fixture.refused_send(Endless { count: 3, length, asked: AtomicUsize::new(0) });

        assert_eq!(refused.error, SendError::BuffersChanged { bytes_sent: 0 });
        assert_eq!(fixture.sys.sent(), []);
    });
}

// Tests_SRS_SOCKET_01_041
#[test]
fn a_list_that_becomes_endless_after_a_part_has_gone_out_breaks_the_stream() {
    without_hanging(|| {
        let fixture = Fixture::open();
        fixture.sys.script_send([Step::Takes(3)]);
        let refused = fixture.refused_send(Stepping(AtomicUsize::new(0)));

        assert_eq!(refused.error, SendError::BuffersChanged { bytes_sent: 3 });
        assert_eq!(fixture.refused_send("next").error, SendError::StreamBroken);
    });
}

/// Shows two buffers of two bytes to the check and to the first call. Afterwards it shows empty buffers without end.
struct Stepping(AtomicUsize);

impl IoBufs for Stepping {
    fn slices_from(&self, first: usize) -> impl Iterator<Item = &[u8]> {
        let (count, length) = if self.0.fetch_add(1, Ordering::Relaxed) < 2 { (2, 2) } else { (usize::MAX, 0) };
        (first..count).map(move |_| &[7_u8; 2][..length])
    }
}

// Tests_SRS_SOCKET_01_042
#[test]
fn a_receive_into_a_buffer_that_shrank_to_nothing_is_an_error_and_no_end_of_the_stream() {
    let fixture = Fixture::open();
    let (shrunk, next) = (fixture.receive(Fickle::new([8, 0])), fixture.receive(vec![0; 8]));
    // The kernel's answer to a receive without room.
    fixture.sys.script_recv([Step::bytes(""), Step::bytes("bytes")]);

    fixture.fire(Action::In);

    assert_eq!(shrunk.ended(ReceiveResult::Error), None);
    assert_eq!(next.received(), b"bytes");
    // With room it is the end.
    let last = fixture.receive(vec![0; 8]);
    fixture.sys.script_recv([Step::bytes("")]);
    fixture.fire(Action::In);
    assert_eq!(last.ended(ReceiveResult::Abandoned), None);
}

// Tests_SRS_SOCKET_01_042
#[test]
fn a_receive_into_a_list_that_shrank_to_nothing_is_an_error_and_no_end_of_the_stream() {
    let fixture = Fixture::open();
    let shrunk = fixture.receive(vec![Fickle::new([8, 0]), Fickle::new([8, 0])]);
    fixture.sys.script_recv([Step::bytes("")]);

    fixture.fire(Action::In);

    assert_eq!(shrunk.ended(ReceiveResult::Error), None);
}

// ---- panics

/// Closes the socket when it is dropped. A callback may capture such a value.
struct Closes(Arc<crate::common::Socket>);

impl Drop for Closes {
    fn drop(&mut self) {
        self.0.close();
    }
}

// Tests_SRS_SOCKET_01_043, Tests_SRS_ASYNC_SOCKET_LINUX_11_052
#[rstest]
#[case::in_the_check(0, 0, 0)]
#[case::in_the_first_call(1, 0, 0)]
#[case::in_the_step_to_the_rest(2, 3, 3)]
#[case::in_the_second_call(3, 3, 3)]
fn after_a_buffer_panicked_nothing_follows_what_had_gone_out(
    #[case] well: usize,
    #[case] takes: usize,
    #[case] gone: usize,
) {
    let fixture = Fixture::open();
    if takes > 0 {
        fixture.sys.script_send([Step::Takes(takes)]);
    }
    let lengths: Vec<usize> = std::iter::repeat_n(8, well).chain([PANIC]).collect();
    let (callback, report) = Outcome::new();

    let unwound = catch_unwind(AssertUnwindSafe(|| fixture.send_async(Fickle::new(lengths), report)));

    assert!(unwound.is_err(), "the panic is the caller's");
    callback.assert_never();
    assert_eq!(fixture.sys.sent(), vec![7; gone]);
    if gone > 0 {
        assert_eq!(fixture.refused_send("next").error, SendError::StreamBroken);
    } else {
        assert_eq!(fixture.send("next").ended(SendResult::Ok), (None, 4));
    }
    fixture.close();
    assert_eq!(fixture.state(), SocketState::Closed);
}

// Tests_SRS_SOCKET_01_043, Tests_SRS_ASYNC_SOCKET_LINUX_11_052
#[rstest]
#[case::in_the_first_call(1, 8)]
#[case::in_the_second_call(3, 3)]
fn a_buffer_that_panics_does_not_hang_with_a_callback_whose_captures_close_the_socket(
    #[case] well: usize,
    #[case] takes: usize,
) {
    without_hanging(move || {
        let fixture = Fixture::open();
        fixture.sys.script_send([Step::Takes(takes)]);
        let lengths: Vec<usize> = std::iter::repeat_n(8, well).chain([PANIC]).collect();
        let closes = Closes(Arc::clone(&fixture.socket));

        let unwound = catch_unwind(AssertUnwindSafe(|| {
            fixture.send_async(Fickle::new(lengths), move |_| drop(closes)).map_err(|refused| refused.error)
        }));

        assert!(unwound.is_err());
        assert_eq!(fixture.state(), SocketState::Closed);
    });
}

// Tests_SRS_SOCKET_01_043, Tests_SRS_ASYNC_SOCKET_LINUX_11_052
#[rstest]
#[case::in_the_call(3)]
#[case::in_the_step_to_the_rest(4)]
fn a_queued_send_whose_buffer_panics_after_a_part_has_gone_out_breaks_the_stream(#[case] well: usize) {
    let fixture = Fixture::open();
    let lengths: Vec<usize> = std::iter::repeat_n(8, well + 1).chain([PANIC]).collect();
    let send = fixture.blocked_send(Fickle::new(lengths), 3);
    let next = fixture.send("next");
    fixture.sys.script_send([Step::Takes(2)]);

    fixture.fire(Action::Out);

    let completion = send.take();
    assert_eq!((completion.result, completion.os_error()), (SendResult::Error, None));
    assert_eq!(completion.bytes_sent as usize, fixture.sys.sent().len());
    assert_eq!(next.take().result, SendResult::Abandoned);
}

// ---- large values

type Large = [u8; 64 * 1024];

static LARGE: Large = [5; 64 * 1024];

// Tests_SRS_SOCKET_01_020
#[test]
fn a_large_array_is_sent_in_its_turn_and_comes_back() {
    let fixture = Fixture::open();
    let (first, large, last) = (fixture.blocked_send("first", 0), fixture.send(LARGE), fixture.send("last"));

    fixture.fire(Action::Out);

    assert_eq!(first.ended(SendResult::Ok), (None, 5));
    let completion = large.take();
    assert_eq!((completion.result, completion.os_error(), completion.bytes_sent), (SendResult::Ok, None, 64 * 1024));
    assert!(completion.buffers == LARGE);
    assert_eq!(last.ended(SendResult::Ok), (None, 4));
    assert!(fixture.sys.sent() == [b"first".as_slice(), &LARGE, b"last"].concat());
}

// Tests_SRS_SOCKET_01_020
#[test]
fn a_large_array_is_left_to_the_port_thread_even_if_the_kernel_would_take_it_at_once() {
    let fixture = Fixture::open();

    let send = fixture.send(LARGE);

    send.assert_pending();
    assert_eq!((fixture.send_calls(), fixture.port.queued(Direction::Out)), (0, 1));
    fixture.fire(Action::Out);
    assert_eq!(send.ended(SendResult::Ok), (None, 64 * 1024));
}

// Tests_SRS_SOCKET_01_020
#[test]
fn an_array_of_16_kib_is_sent_at_once_and_one_more_byte_is_too_many() {
    let fixture = Fixture::open();

    assert_eq!(fixture.send([5; 16 * 1024]).ended(SendResult::Ok), (None, 16 * 1024));

    fixture.send([5; 16 * 1024 + 1]).assert_pending();
}

// Tests_SRS_SOCKET_01_020
#[test]
fn a_large_array_is_received_into_and_comes_back() {
    let fixture = Fixture::open();
    let receive = fixture.receive(LARGE);
    fixture.sys.script_recv([Step::bytes("abc")]);

    fixture.fire(Action::In);

    let completion = receive.take();
    assert_eq!((completion.result, completion.os_error(), completion.bytes_received), (ReceiveResult::Ok, None, 3));
    assert_eq!(&completion.buffers[..4], b"abc\x05");
}

// Tests_SRS_SOCKET_01_020
#[test]
fn large_arrays_come_back_when_they_are_refused_and_when_they_are_abandoned() {
    let fixture = Fixture::open();
    let (receive, send) = (fixture.receive(LARGE), fixture.send(LARGE));

    fixture.close();

    let completion = receive.take();
    assert!(completion.result == ReceiveResult::Abandoned && completion.buffers == LARGE);
    let completion = send.take();
    assert!(completion.result == SendResult::Abandoned && completion.buffers == LARGE);
    let refused = fixture.refused_send(LARGE);
    assert_eq!(refused.error, SendError::NotOpen { state: SocketState::Closed });
    assert!(refused.returned == LARGE);
    let refused = fixture.refused_receive(LARGE);
    assert_eq!(refused.error, ReceiveError::NotOpen { state: SocketState::Closed });
    assert!(refused.returned == LARGE);
}

// Tests_SRS_SOCKET_01_020
#[test]
fn a_large_list_is_checked_like_every_other() {
    let fixture = Fixture::open();
    let large = || std::array::from_fn::<_, 4_000, _>(|index| vec![1; usize::from(index != 7)]);

    let refused = fixture.refused_send(large());
    assert_eq!(refused.error.to_string(), "buffer 7 has length 0");
    assert!(refused.returned == large());
    let refused = fixture.refused_receive(large());
    assert_eq!(refused.error.to_string(), "buffer 7 has length 0");
    assert!(refused.returned == large());
}

// ---- transfers as long as they can be

/// A socket on which every receive gets as many bytes as Linux moves at once with pages of 64 KiB.
struct Full;

impl SocketSyscalls for Full {
    fn short_read_drains(&self, _: BorrowedFd<'_>) -> Result<bool, Errno> {
        Ok(true)
    }

    fn send(&self, _: BorrowedFd<'_>, _: &[u8], _: SendFlags) -> Result<usize, Errno> {
        Err(Errno::AGAIN)
    }

    fn sendmsg(&self, _: BorrowedFd<'_>, _: &[IoSlice<'_>], _: SendFlags) -> Result<usize, Errno> {
        Err(Errno::AGAIN)
    }

    fn recv(&self, _: BorrowedFd<'_>, _: &mut [u8], _: RecvFlags) -> Result<usize, Errno> {
        Ok(0x7fff_0000)
    }

    fn recvmsg(&self, _: BorrowedFd<'_>, _: &mut [IoSliceMut<'_>], _: RecvFlags) -> Result<usize, Errno> {
        Ok(0x7fff_0000)
    }

    fn receive_error_message(&self, _: BorrowedFd<'_>) -> Result<(), Errno> {
        Err(Errno::AGAIN)
    }

    fn take_error(&self, _: BorrowedFd<'_>) -> Result<Option<Errno>, Errno> {
        Ok(None)
    }

    fn is_broken(&self, _: BorrowedFd<'_>) -> Result<bool, Errno> {
        Ok(false)
    }

    fn close(&self, _: OwnedFd) {}
}

// Tests_SRS_SOCKET_01_032
#[test]
#[cfg(target_pointer_width = "64")]
fn a_transfer_that_was_cut_to_whole_pages_of_64_kib_is_not_short() {
    let port = MockPort::new();
    let socket = AsyncSocketLinux::create_with(port.clone(), Full, any_descriptor());
    socket.open_async(|_| {}).expect("the socket opens");
    // Zeroed memory costs nothing until it is touched.
    let huge = || vec![0_u8; 1 << 31];
    let ((one, report_one), (several, report_several), (last, report)) =
        (Outcome::new(), Outcome::new(), Outcome::new());
    socket.receive_async(huge(), move |completion| report_one(completion.bytes_received)).expect("accepted");
    socket
        .receive_async([huge(), vec![0]], move |completion| report_several(completion.bytes_received))
        .expect("accepted");
    socket.receive_async(huge(), move |completion| report(completion.bytes_received)).expect("accepted");

    port.fire(Action::In);

    // No full receive was taken as a sign that nothing is left, so the next receive was tried.
    assert_eq!([one.take(), several.take(), last.take()], [0x7fff_0000; 3]);

    // The buffers behind those of one call get nothing, because those of the call may not be full.
    let more_than_one_call_takes: Vec<_> = std::iter::once(huge()).chain((0..1024).map(|_| vec![0])).collect();
    let (many, report) = Outcome::new();
    socket
        .receive_async(more_than_one_call_takes, move |completion| report(completion.bytes_received))
        .expect("accepted");
    port.fire(Action::In);
    assert_eq!(many.take(), 0x7fff_0000);
}
