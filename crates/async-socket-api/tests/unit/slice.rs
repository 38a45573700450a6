//! A range of a lent buffer as a buffer, and the received part of a completion.

use async_socket_api::{
    EndReason, IoBuf, IoBufMut, IoBufs, IoBufsMut, Payload, PayloadError, ReceiveCompletion, Slice,
};
use proptest::prelude::*;
use rstest::rstest;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

static BYTES: [u8; 6] = *b"abcdef";

// Tests_SRS_LENT_BUFFERS_01_001
#[rstest]
#[case::vec(BYTES.to_vec())]
#[case::boxed_slice(BYTES.to_vec().into_boxed_slice())]
#[case::array(BYTES)]
#[case::boxed_array(Box::new(BYTES))]
#[case::shared_slice(Arc::<[u8]>::from(&BYTES[..]))]
#[case::shared_vec(Arc::new(BYTES.to_vec()))]
#[case::static_slice(&BYTES[..])]
#[case::static_array(&BYTES)]
#[case::static_str("abcdef")]
#[case::string("abcdef".to_owned())]
#[cfg_attr(feature = "bytes", case::bytes(bytes::Bytes::from_static(&BYTES)))]
#[cfg_attr(feature = "bytes", case::bytes_mut(bytes::BytesMut::from(&BYTES[..])))]
fn a_slice_of_a_buffer_is_a_buffer_that_shows_just_its_range(#[case] buffer: impl IoBuf) {
    let slice = IoBuf::slice(buffer, 2..5).expect("within");

    assert_eq!((slice.as_slice(), &*slice, slice.range()), (&b"cde"[..], &b"cde"[..], 2..5));
    assert_eq!(slice.slices_from(0).collect::<Vec<_>>(), [b"cde"]);
    assert_eq!((slice.len(), slice.is_empty()), (3, false));
    assert_eq!(Payload::to_send(slice).expect("acceptable").total_length(), 3);
}

// Tests_SRS_LENT_BUFFERS_01_001, Tests_SRS_LENT_BUFFERS_01_004
#[rstest]
#[case::vec(vec![b'.'; 6])]
#[case::boxed_slice(vec![b'.'; 6].into_boxed_slice())]
#[case::array([b'.'; 6])]
#[case::boxed_array(Box::new([b'.'; 6]))]
#[cfg_attr(feature = "bytes", case::bytes_mut(bytes::BytesMut::from(&[b'.'; 6][..])))]
fn a_slice_is_received_into_within_its_range_only(#[case] buffer: impl IoBuf + IoBufMut) {
    let slice = IoBuf::slice(buffer, 1..=3).expect("within");
    let mut payload = Payload::to_receive_into(slice).expect("acceptable");

    for into in payload.buffers_mut().slices_mut_from(0) {
        into.copy_from_slice(b"abc");
    }

    assert_eq!(payload.total_length(), 3);
    assert_eq!(payload.into_buffers().into_inner().as_slice(), b".abc..");
}

/// A program's own buffer, which can only be received into.
struct OnlyToReceiveInto([u8; 4]);

impl IoBufMut for OnlyToReceiveInto {
    fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

// Tests_SRS_LENT_BUFFERS_01_001
#[test]
fn a_buffer_that_can_only_be_received_into_has_slices_too() {
    let mut slice = OnlyToReceiveInto(*b"....").slice_mut(2..).expect("within");

    slice.as_mut_slice().copy_from_slice(b"ab");

    assert_eq!(slice.buffer().0, *b"..ab");
    let refused = slice.into_inner().slice_mut(..5).expect_err("too long");
    assert_eq!((refused.error.start, refused.error.end, refused.error.length), (0, 5, 4));
    assert_eq!(refused.returned.0, *b"..ab");
}

fn bounds() -> impl Strategy<Value = Bound<usize>> {
    let index = prop_oneof![8 => 0..=8_usize, 1 => usize::MAX - 1..=usize::MAX];
    prop_oneof![index.clone().prop_map(Bound::Included), index.prop_map(Bound::Excluded), Just(Bound::Unbounded)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    // Tests_SRS_LENT_BUFFERS_01_001, Tests_SRS_LENT_BUFFERS_01_002, Tests_SRS_LENT_BUFFERS_01_004
    #[test]
    fn any_range_is_a_slice_or_gives_the_buffer_back_and_never_panics(range in (bounds(), bounds())) {
        // The model counts in a type that cannot overflow.
        let from = match range.start_bound() {
            Bound::Included(start) => *start as u128,
            Bound::Excluded(before) => *before as u128 + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => *last as u128 + 1,
            Bound::Excluded(end) => *end as u128,
            Bound::Unbounded => 6,
        };
        let within = from <= to && to <= 6;

        match BYTES.to_vec().slice(range) {
            Ok(slice) => {
                prop_assert!(within);
                prop_assert_eq!(slice.as_slice(), &BYTES[from as usize..to as usize]);
                prop_assert_eq!(slice.into_inner(), BYTES);
            }
            Err(refused) => {
                prop_assert!(!within);
                prop_assert_eq!(refused.error.length, 6);
                prop_assert_eq!(refused.returned, BYTES);
            }
        }
    }

    // Tests_SRS_LENT_BUFFERS_01_003
    #[test]
    fn a_slice_of_a_slice_counts_from_its_beginning_and_is_one_slice(first in (bounds(), bounds()), second in (bounds(), bounds())) {
        let Ok(outer) = BYTES.to_vec().slice(first) else { return Ok(()) };
        let model = outer.to_vec();

        let inner: Result<Slice<Vec<u8>>, _> = outer.slice(second);

        match (inner, model.slice(second)) {
            (Ok(inner), Ok(expected)) => {
                prop_assert_eq!(&*inner, &*expected);
                prop_assert_eq!(&BYTES[inner.range()], &*expected);
            }
            (Err(refused), Err(expected)) => {
                prop_assert_eq!(refused.error, expected.error);
                prop_assert_eq!(&*refused.returned, expected.returned);
            }
            (inner, expected) => prop_assert!(false, "{inner:?} is not {expected:?}"),
        }
    }
}

// Tests_SRS_LENT_BUFFERS_01_005
#[test]
fn an_empty_slice_is_refused_like_every_empty_buffer() {
    let empty = || BYTES.to_vec().slice(3..3).expect("within");
    assert!(empty().is_empty());

    let refused = Payload::to_send(empty()).expect_err("nothing to send");
    assert_eq!(refused.error, PayloadError::EmptyBuffer { index: 0 });
    assert_eq!(refused.returned.into_inner(), BYTES);
    let refused = Payload::to_receive_into(vec![BYTES.to_vec().slice(..1).expect("within"), empty()]);
    assert_eq!(refused.expect_err("no room").error, PayloadError::EmptyBuffer { index: 1 });
}

#[test]
fn slices_are_lent_in_lists_like_other_buffers() {
    let list = [BYTES.to_vec().slice(..2).expect("within"), BYTES.to_vec().slice(4..).expect("within")];

    let payload = Payload::to_send(list).expect("acceptable");

    assert_eq!(payload.total_length(), 4);
    assert_eq!(payload.buffers().slices_from(0).collect::<Vec<_>>().concat(), b"abef");
}

// Tests_SRS_LENT_BUFFERS_01_006
#[test]
fn a_slice_is_printed_without_its_bytes() {
    let slice = b"secret".to_vec().slice(1..3).expect("within");

    assert_eq!(format!("{slice:?}"), "Slice { range: 1..3, .. }");
    assert!(!format!("{:?}", slice.slice(..9)).contains("101"));
}

/// Shows fewer bytes than it did at first, against the rules.
struct Shrinking(Vec<u8>);

impl IoBuf for Shrinking {
    fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl IoBufMut for Shrinking {
    fn as_mut_slice(&mut self) -> &mut [u8] {
        self.0.pop();
        &mut self.0
    }
}

#[test]
fn a_slice_of_a_buffer_that_shrinks_shows_nothing_and_does_not_panic() {
    let mut slice = Shrinking(BYTES.to_vec()).slice(..6).expect("within");

    assert_eq!(slice.as_mut_slice(), b"");
    assert_eq!(slice.as_slice(), b"");
}

fn received<B>(bytes: u32, buffers: B) -> ReceiveCompletion<B> {
    ReceiveCompletion::new(EndReason::Completed, bytes, buffers)
}

// Tests_SRS_LENT_BUFFERS_01_007
#[rstest]
#[case::none(0, b"")]
#[case::some(4, b"abcd")]
#[case::all(6, b"abcdef")]
#[case::more_than_there_is_room_for(7, b"abcdef")]
fn what_was_received_is_the_front_of_the_buffer_in_the_same_memory(#[case] bytes: u32, #[case] expected: &[u8]) {
    let memory = BYTES.to_vec();
    let address = memory.as_ptr();

    let completion = received(bytes, memory);
    assert_eq!(completion.received(), expected);
    let slice = completion.into_slice();
    assert_eq!(slice, slice.clone());
    assert_eq!(&*slice, expected);
    assert_eq!(slice.as_ptr(), address);

    let vec = received(bytes, slice.into_inner()).into_received();
    assert_eq!((vec.as_slice(), vec.as_ptr()), (expected, address));
    assert!(vec.capacity() >= BYTES.len());
}

// Tests_SRS_LENT_BUFFERS_01_007
#[test]
#[cfg(feature = "bytes")]
fn what_was_received_into_bytes_is_cut_off_behind_the_last_received_byte() {
    let bytes = received(2, bytes::BytesMut::from(&BYTES[..])).into_received();

    assert_eq!((&bytes[..], bytes.capacity()), (&b"ab"[..], 6));
}

// Tests_SRS_LENT_BUFFERS_01_007
#[rstest]
#[case::none(0, &[])]
#[case::a_part_of_the_first(1, &["a"])]
#[case::just_the_first(2, &["ab"])]
#[case::a_part_of_the_second(3, &["ab", "c"])]
#[case::all(6, &["ab", "cdef"])]
#[case::more_than_there_is_room_for(9, &["ab", "cdef"])]
fn what_was_received_into_a_list_is_a_slice_for_each_buffer_that_has_some(
    #[case] bytes: u32,
    #[case] expected: &[&str],
) {
    let completion = received(bytes, vec![b"ab".to_vec(), b"cdef".to_vec()]);

    let slices: Vec<_> = completion.received_slices().collect();

    assert_eq!(slices, expected.iter().map(|text| text.as_bytes()).collect::<Vec<_>>());
}

// Tests_SRS_LENT_BUFFERS_01_007
#[test]
fn nothing_was_received_by_a_receive_that_ended_otherwise() {
    let ended = || ReceiveCompletion::new(EndReason::PeerFinished, 0, BYTES.to_vec());

    assert_eq!((ended().received(), ended().received_slices().count()), (&b""[..], 0));
    assert_eq!((ended().into_slice().len(), ended().into_received()), (0, vec![]));
}
