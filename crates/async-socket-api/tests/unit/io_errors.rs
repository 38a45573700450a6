//! Refusals and completions, converted into the types of `std::io`.

use async_socket_api::{
    EndReason, IoBuf, OpenError, Payload, PayloadError, ReceiveCompletion, ReceiveError, Refused, SendCompletion,
    SendError, SocketState, UnsupportedKind,
};
use rstest::rstest;
use std::cell::Cell;
use std::error::Error;
use std::io::{self, ErrorKind};

const EPIPE: i32 = 32;
const ENOTSOCK: i32 = 88;
const ECONNRESET: i32 = 104;
const ENOBUFS: i32 = 105;

const STATE: SocketState = SocketState::Closed;
const PAYLOAD: PayloadError = PayloadError::EmptyBuffer { index: 3 };

fn errno(os_error: i32) -> io::Error {
    io::Error::from_raw_os_error(os_error)
}

// Tests_SRS_LENT_BUFFERS_01_009
#[rstest]
#[case::send(SendError::Os { os_error: ENOBUFS, bytes_sent: 7 }, ENOBUFS)]
#[case::send_after_a_reset(SendError::Disconnected { os_error: EPIPE, bytes_sent: 7 }, EPIPE)]
#[case::receive(ReceiveError::Os { os_error: 28 }, 28)]
#[case::open_of_a_file(OpenError::NotASocket { descriptor: 5, source: errno(ENOTSOCK) }, ENOTSOCK)]
#[case::open_that_epoll_refuses(OpenError::NotRegistered { descriptor: 5, source: errno(28) }, 28)]
fn an_error_with_an_errno_becomes_that_errno(#[case] error: impl Into<io::Error>, #[case] expected: i32) {
    assert_eq!(error.into().raw_os_error(), Some(expected));
}

// Tests_SRS_LENT_BUFFERS_01_009
#[rstest]
#[case::payload(PAYLOAD, ErrorKind::InvalidInput)]
#[case::send_of_a_payload(SendError::Payload(PAYLOAD), ErrorKind::InvalidInput)]
#[case::send_when_not_open(SendError::NotOpen { state: STATE }, ErrorKind::NotConnected)]
#[case::send_behind_a_gap(SendError::StreamBroken, ErrorKind::BrokenPipe)]
#[case::send_beyond_the_mark(SendError::TooMuchQueued { queued_bytes: 9 }, ErrorKind::WouldBlock)]
#[case::send_after_a_shutdown(SendError::ShutDown, ErrorKind::BrokenPipe)]
#[case::send_of_buffers_that_changed(SendError::BuffersChanged { bytes_sent: 3 }, ErrorKind::InvalidInput)]
#[case::receive_of_a_payload(ReceiveError::Payload(PAYLOAD), ErrorKind::InvalidInput)]
#[case::receive_when_not_open(ReceiveError::NotOpen { state: STATE }, ErrorKind::NotConnected)]
#[case::second_open(OpenError::NotClosed { state: SocketState::Open }, ErrorKind::InvalidInput)]
#[case::open_of_no_stream(OpenError::UnsupportedKind { descriptor: 5, kind: UnsupportedKind::Raw }, ErrorKind::Unsupported)]
#[case::open_after_close(OpenError::DescriptorClosed, ErrorKind::NotConnected)]
#[case::range(vec![1_u8].slice(..2).unwrap_err().error, ErrorKind::InvalidInput)]
fn an_error_without_an_errno_has_a_kind_and_says_why<E>(#[case] error: E, #[case] expected: ErrorKind)
where
    E: Error + Into<io::Error>,
{
    let message = error.to_string();

    let converted = error.into();

    assert_eq!((converted.kind(), converted.to_string()), (expected, message));
}

// Tests_SRS_LENT_BUFFERS_01_009
#[rstest]
#[case::list(PayloadError::OutOfMemory { count: 9 })]
#[case::send(SendError::OutOfMemory { bytes_sent: 0 })]
#[case::receive(ReceiveError::OutOfMemory)]
fn a_lack_of_memory_stays_one_and_needs_none(#[case] error: impl Into<io::Error>) {
    let converted = error.into();

    assert_eq!(converted.kind(), ErrorKind::OutOfMemory);
    assert!(converted.get_ref().is_none(), "something was boxed");
}

/// Lent buffers need not be `Sync` or `Debug`.
struct Unshared(#[allow(dead_code, reason = "it is there to be not `Sync`")] Cell<u8>);

fn refuses<T>(returned: T) -> Result<(), Refused<T, SendError>> {
    Err(Refused { error: SendError::Disconnected { os_error: ECONNRESET, bytes_sent: 0 }, returned })
}

// Tests_SRS_LENT_BUFFERS_01_010
#[test]
fn a_refusal_is_passed_on_by_the_question_mark() {
    fn boxed() -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(refuses(vec![1_u8])?)
    }
    fn io() -> io::Result<()> {
        Ok(refuses(Unshared(Cell::new(1)))?)
    }
    fn boxed_payload() -> Result<(), Box<dyn Error>> {
        Payload::to_send("")?;
        Ok(())
    }

    let passed_on = boxed().expect_err("refused");
    let refusal = passed_on.downcast_ref::<Refused<Vec<u8>, SendError>>().expect("the refusal itself");
    assert_eq!((refusal.returned.as_slice(), passed_on.to_string()), (&[1][..], refusal.error.to_string()));
    assert_eq!(io().expect_err("refused").raw_os_error(), Some(ECONNRESET));
    assert!(boxed_payload().expect_err("refused").to_string().contains("length 0"));
    let source = io::Error::from_raw_os_error(ECONNRESET);
    let caused = Refused { error: OpenError::NotRegistered { descriptor: 3, source }, returned: () };
    assert_eq!(
        caused.source().expect("the kernel's error").to_string(),
        io::Error::from_raw_os_error(ECONNRESET).to_string()
    );
}

fn outcome(result: &io::Result<usize>) -> Result<usize, (ErrorKind, Option<i32>)> {
    result.as_ref().copied().map_err(|error| (error.kind(), error.raw_os_error()))
}

// Tests_SRS_LENT_BUFFERS_01_008
#[rstest]
#[case::bytes(EndReason::Completed, 2, Ok(2))]
#[case::end(EndReason::PeerFinished, 0, Ok(0))]
#[case::closed(EndReason::Closed, 0, Ok(0))]
#[case::reset(EndReason::PeerReset, 0, Err((ErrorKind::ConnectionReset, Some(ECONNRESET))))]
#[case::error(EndReason::Os(110), 0, Err((ErrorKind::TimedOut, Some(110))))]
#[case::timed_out(EndReason::TimedOut, 0, Err((ErrorKind::TimedOut, None)))]
#[case::cancelled(EndReason::Cancelled, 0, Err((ErrorKind::Other, None)))]
#[case::changed(EndReason::BuffersChanged, 0, Err((ErrorKind::InvalidInput, None)))]
#[case::error_without_a_number(EndReason::HungUp, 0, Err((ErrorKind::Other, None)))]
fn a_receive_ends_as_a_read_does(
    #[case] reason: EndReason,
    #[case] bytes: u32,
    #[case] expected: Result<usize, (ErrorKind, Option<i32>)>,
) {
    let completion = ReceiveCompletion::new(reason, bytes, vec![7, 8]);

    assert_eq!(outcome(&completion.io_result()), expected);
    let (result, buffers) = completion.into_io_result();
    assert_eq!((outcome(&result), buffers), (expected, vec![7, 8]));
}

// Tests_SRS_LENT_BUFFERS_01_008
#[rstest]
#[case::bytes(EndReason::Completed, 2, Ok(2))]
#[case::closed(EndReason::Closed, 0, Err((ErrorKind::ConnectionAborted, None)))]
#[case::finished(EndReason::PeerFinished, 0, Err((ErrorKind::UnexpectedEof, None)))]
#[case::reset(EndReason::PeerReset, 1, Err((ErrorKind::ConnectionReset, Some(ECONNRESET))))]
#[case::broken(EndReason::StreamBroken, 0, Err((ErrorKind::BrokenPipe, None)))]
#[case::timed_out(EndReason::TimedOut, 1, Err((ErrorKind::TimedOut, None)))]
#[case::error(EndReason::Os(EPIPE), 1, Err((ErrorKind::BrokenPipe, Some(EPIPE))))]
#[case::error_without_a_number(EndReason::BufferPanicked, 0, Err((ErrorKind::Other, None)))]
fn a_send_ends_as_a_write_of_all_does(
    #[case] reason: EndReason,
    #[case] bytes: u32,
    #[case] expected: Result<usize, (ErrorKind, Option<i32>)>,
) {
    let completion = SendCompletion::new(reason, bytes, vec![7, 8]);

    assert_eq!(outcome(&completion.io_result()), expected);
    let (result, buffers) = completion.into_io_result();
    assert_eq!((outcome(&result), buffers), (expected, vec![7, 8]));
}
