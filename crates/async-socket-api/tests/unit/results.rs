//! The numbers of the results, which the C ABI passes on, and the messages of the errors.

use async_socket_api::{
    EndReason, OpenError, OpenResult, Payload, PayloadError, ReceiveCompletion, ReceiveError, ReceiveResult, Refused,
    SendCompletion, SendError, SendResult, SendSyncResult, SocketState,
};
use rstest::rstest;
use std::error::Error;
use std::io;

#[test]
fn results_have_the_numbers_that_c_callers_were_compiled_against() {
    assert_eq!((OpenResult::Ok as u32, OpenResult::Error as u32), (1, 2));
    assert_eq!((SendSyncResult::Ok as u32, SendSyncResult::Error as u32, SendSyncResult::Abandoned as u32), (1, 2, 3));
    assert_eq!((SendResult::Ok as u32, SendResult::Error as u32, SendResult::Abandoned as u32), (1, 2, 3));
    assert_eq!((ReceiveResult::Ok as u32, ReceiveResult::Error as u32, ReceiveResult::Abandoned as u32), (1, 2, 3));
}

const STATE: SocketState = SocketState::Closing;
const PAYLOAD: PayloadError = PayloadError::EmptyBuffer { index: 3 };

#[rstest]
#[case(SendError::NotOpen { state: STATE }, SendSyncResult::Abandoned)]
#[case(SendError::Disconnected { os_error: 32, bytes_sent: 0 }, SendSyncResult::Abandoned)]
#[case(SendError::StreamBroken, SendSyncResult::Abandoned)]
#[case(SendError::Payload(PAYLOAD), SendSyncResult::Error)]
#[case(SendError::Os { os_error: 105, bytes_sent: 0 }, SendSyncResult::Error)]
#[case(SendError::OutOfMemory { bytes_sent: 0 }, SendSyncResult::Error)]
#[case(SendError::BuffersChanged { bytes_sent: 0 }, SendSyncResult::Error)]
fn a_refused_send_has_the_name_that_the_specification_gives_it(
    #[case] error: SendError,
    #[case] expected: SendSyncResult,
) {
    assert_eq!(error.sync_result(), expected);
}

#[rstest]
#[case::no_buffers(PayloadError::NoBuffers, "empty")]
#[case::which_null(PayloadError::NullBuffer { index: 17 }, "buffer 17 is a null pointer")]
#[case::which_empty(PayloadError::EmptyBuffer { index: 18 }, "buffer 18 has length 0")]
#[case::which_too_long(PayloadError::TooLong { index: 19 }, "up to and including 19")]
#[case::the_limit(PayloadError::TooLong { index: 0 }, "4294967295")]
#[case::how_many(PayloadError::OutOfMemory { count: 20 }, "20 buffers")]
#[case::payload_of_a_send(SendError::Payload(PAYLOAD), "buffer 3 has length 0")]
#[case::payload_of_a_receive(ReceiveError::Payload(PAYLOAD), "buffer 3 has length 0")]
#[case::state_of_a_send(SendError::NotOpen { state: STATE }, "is CLOSING, not OPEN")]
#[case::state_of_a_receive(ReceiveError::NotOpen { state: STATE }, "is CLOSING, not OPEN")]
#[case::state_of_an_open(OpenError::NotClosed { state: SocketState::Opening }, "is OPENING")]
#[case::errno_of_a_reset(SendError::Disconnected { os_error: 104, bytes_sent: 7 }, "os error 104")]
#[case::bytes_before_a_reset(SendError::Disconnected { os_error: 104, bytes_sent: 7 }, "after 7 bytes")]
#[case::errno_of_a_send(SendError::Os { os_error: 105, bytes_sent: 8 }, "os error 105")]
#[case::bytes_of_a_send(SendError::Os { os_error: 105, bytes_sent: 8 }, "after 8 bytes")]
#[case::bytes_before_no_memory(SendError::OutOfMemory { bytes_sent: 9 }, "after 9 bytes")]
#[case::no_memory(ReceiveError::OutOfMemory, "no memory")]
#[case::errno_of_a_receive(ReceiveError::Os { os_error: 28 }, "os error 28")]
#[case::broken(SendError::StreamBroken, "earlier send")]
#[case::descriptor_gone(OpenError::DescriptorClosed, "descriptor is gone")]
#[case::no_socket(OpenError::NotASocket { descriptor: 21, source: io::Error::from_raw_os_error(88) }, "descriptor 21")]
#[case::refused(Refused { error: PAYLOAD, returned: () }, "buffer 3 has length 0")]
fn an_error_says_what_was_wrong(#[case] error: impl Error, #[case] expected: &str) {
    let message = error.to_string();

    assert!(message.contains(expected), "{message}");
}

#[test]
fn an_open_error_keeps_the_errno_as_its_source() {
    let error = OpenError::NotRegistered { descriptor: 5, source: io::Error::from_raw_os_error(28) };
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>()).expect("an io::Error");
    assert_eq!(source.raw_os_error(), Some(28));

    let refused = Refused { error, returned: () };
    let source = refused.source().expect("a refusal shows its cause's source");
    assert!(source.is::<io::Error>());
}

#[rstest]
#[case(SocketState::Closed, "CLOSED")]
#[case(SocketState::Opening, "OPENING")]
#[case(SocketState::Open, "OPEN")]
#[case(SocketState::Closing, "CLOSING")]
fn a_state_has_the_name_that_the_specification_gives_it(#[case] state: SocketState, #[case] name: &str) {
    assert_eq!(state.to_string(), name);
}

#[test]
fn a_refusal_keeps_what_was_handed_over_and_never_prints_it() {
    let refused = Payload::to_send(["secret", ""]).expect_err("an empty buffer");

    let printed = format!("{refused} {refused:?}");
    let converted: Refused<_, SendError> = refused.map_error(SendError::from);

    assert!(!printed.contains("secret"), "{printed}");
    assert!(printed.contains("EmptyBuffer"), "{printed}");
    assert_eq!(converted.error, SendError::Payload(PayloadError::EmptyBuffer { index: 1 }));
    assert_eq!(converted.returned, ["secret", ""]);
}

#[test]
fn completions_are_what_they_were_made_of() {
    let send = SendCompletion::new(EndReason::Os(5), 6, "sent");
    assert_eq!((send.result, send.os_error(), send.bytes_sent, send.buffers), (SendResult::Error, Some(5), 6, "sent"));

    let receive = ReceiveCompletion::new(EndReason::Completed, 2, [7, 8]);
    assert_eq!((receive.result, receive.os_error()), (ReceiveResult::Ok, None));
    assert_eq!((receive.bytes_received, receive.buffers), (2, [7, 8]));
}

// Tests_SRS_SOCKET_01_060, Tests_SRS_SOCKET_01_061
#[rstest]
#[case(EndReason::Completed, SendResult::Ok, ReceiveResult::Ok)]
#[case(EndReason::PeerFinished, SendResult::Abandoned, ReceiveResult::Abandoned)]
#[case(EndReason::PeerReset, SendResult::Abandoned, ReceiveResult::Abandoned)]
#[case(EndReason::Closed, SendResult::Abandoned, ReceiveResult::Abandoned)]
#[case(EndReason::Cancelled, SendResult::Abandoned, ReceiveResult::Abandoned)]
#[case(EndReason::StreamBroken, SendResult::Abandoned, ReceiveResult::Abandoned)]
#[case(EndReason::TimedOut, SendResult::Error, ReceiveResult::Error)]
#[case(EndReason::BuffersChanged, SendResult::Error, ReceiveResult::Error)]
#[case(EndReason::BufferPanicked, SendResult::Error, ReceiveResult::Error)]
#[case(EndReason::HungUp, SendResult::Error, ReceiveResult::Error)]
#[case(EndReason::Os(110), SendResult::Error, ReceiveResult::Error)]
fn the_result_follows_from_the_reason(
    #[case] reason: EndReason,
    #[case] sent: SendResult,
    #[case] received: ReceiveResult,
) {
    assert_eq!(SendCompletion::new(reason, 0, ()).result, sent);
    assert_eq!(ReceiveCompletion::new(reason, 0, ()).result, received);
}

// Tests_SRS_SOCKET_01_060
#[test]
fn a_reset_is_told_apart_from_every_other_errno_and_keeps_its_number() {
    assert_eq!(EndReason::of_os_error(104), EndReason::PeerReset);
    assert_eq!(EndReason::PeerReset.os_error(), Some(104));
    assert_eq!(EndReason::of_os_error(110), EndReason::Os(110));
    assert_eq!(EndReason::Os(110).os_error(), Some(110));
    assert_eq!(EndReason::TimedOut.os_error(), None);
}

// Tests_SRS_SOCKET_01_060
#[test]
fn a_completion_is_no_larger_than_its_reason_needs() {
    assert_eq!(size_of::<SendCompletion<()>>(), 16);
    assert_eq!(size_of::<ReceiveCompletion<()>>(), 16);
}
