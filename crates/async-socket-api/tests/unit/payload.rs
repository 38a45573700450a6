//! The one check of a list of buffers, against a model that first adds up the lengths and then checks the sums. Nothing
//! here is ever dereferenced.

use async_socket_api::{Payload, PayloadError, RawBuffer, RawBuffers, RawSlice};
use proptest::collection::vec;
use proptest::prelude::*;
use std::ptr;

/// The most buffers in a list. Miri takes minutes for a long one.
const LONGEST: u32 = if cfg!(miri) { 50 } else { 3000 };

/// A buffer as the model sees it: `None` is a null pointer.
type Length = Option<u32>;

/// The first error in the order of the list, or the sum.
fn model(list: &[Length]) -> Result<u32, PayloadError> {
    let sums = list.iter().scan(0_u64, |sum, length| {
        *sum += u64::from(length.unwrap_or_default());
        Some(*sum)
    });
    let mut errors = list.iter().zip(sums.clone()).enumerate().filter_map(|(index, (length, sum))| match length {
        None => Some(PayloadError::NullBuffer { index }),
        Some(0) => Some(PayloadError::EmptyBuffer { index }),
        Some(_) => (sum > u64::from(u32::MAX)).then_some(PayloadError::TooLong { index }),
    });
    match (errors.next(), sums.last()) {
        (Some(error), _) => Err(error),
        (None, None) => Err(PayloadError::NoBuffers),
        (None, Some(sum)) => Ok(u32::try_from(sum).expect("not too long")),
    }
}

/// A list for C, whose pointers lead nowhere.
fn dangling(list: &[Length]) -> Vec<RawBuffer> {
    let raw = |length: &Length| match length {
        None => RawBuffer { pointer: ptr::null_mut(), length: 1 },
        Some(length) => RawBuffer { pointer: ptr::dangling_mut(), length: *length },
    };
    list.iter().map(raw).collect()
}

/// Lists whose lengths are mostly acceptable, with a sum close to the limit, above or below it.
fn lists() -> impl Strategy<Value = Vec<Length>> {
    let near_limit = u32::MAX - 3..=u32::MAX;
    let short = vec(prop_oneof![50 => (1..=9_u32).prop_map(Some), 1 => Just(Some(0)), 1 => Just(None)], 0..=12);
    let long = vec((1..=3_u32).prop_map(Some), 0..=LONGEST as usize);
    let wild =
        vec(prop_oneof![Just(Some(0)), Just(None), any::<u32>().prop_map(Some), near_limit.prop_map(Some)], 0..=5);
    prop_oneof![short, long, wild, around_the_limit()]
}

/// Up to [`LONGEST`] buffers that add up to `u32::MAX`. The length of one of them is then changed by at most 2.
fn around_the_limit() -> impl Strategy<Value = Vec<Length>> {
    (1..=LONGEST, any::<prop::sample::Index>(), -2..=2_i64).prop_map(|(count, which, off)| {
        let each = u32::MAX / count;
        let mut list = vec![Some(each); count as usize];
        let adjusted = i64::from(each + u32::MAX % count) + off;
        *which.get_mut(&mut list) = Some(u32::try_from(adjusted).unwrap_or(u32::MAX));
        list
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    // Tests_SRS_ASYNC_SOCKET_LINUX_11_045, Tests_SRS_ASYNC_SOCKET_LINUX_11_046, Tests_SRS_ASYNC_SOCKET_LINUX_11_047
    // Tests_SRS_ASYNC_SOCKET_LINUX_11_048, Tests_SRS_ASYNC_SOCKET_LINUX_11_066, Tests_SRS_ASYNC_SOCKET_LINUX_11_067
    // Tests_SRS_ASYNC_SOCKET_LINUX_11_068, Tests_SRS_ASYNC_SOCKET_LINUX_11_069
    #[test]
    fn the_check_finds_the_first_error_or_the_sum_without_touching_the_memory(list in lists()) {
        prop_assert_eq!(RawBuffers::check(&dangling(&list)), model(&list));
    }

    // Tests_SRS_ASYNC_SOCKET_LINUX_11_074, Tests_SRS_SOCKET_01_040
    #[test]
    fn a_raw_list_is_copied_exactly_if_the_check_accepts_it(list in lists()) {
        #[allow(unsafe_code, reason = "raw buffers are what is tested")]
        // SAFETY: the buffers are never used.
        let copied = unsafe { RawBuffers::copied(&dangling(&list)) };

        // The list keeps the outcome of its check, and a payload relies on it.
        let kept = copied.map(|copied| {
            let payload = Payload::to_send(copied).expect("checked");
            let total = payload.total_length();
            [total, Payload::to_receive_into(payload.into_buffers()).expect("checked").total_length()]
        });
        prop_assert_eq!(kept, model(&list).map(|total| [total; 2]));
    }

    // Tests_SRS_ASYNC_SOCKET_LINUX_11_045, Tests_SRS_ASYNC_SOCKET_LINUX_11_047, Tests_SRS_SOCKET_01_040
    #[test]
    fn a_payload_to_send_is_checked_alike_and_keeps_its_buffers(lengths in vec(0..=3_usize, 0..=40)) {
        let buffers: Vec<Vec<u8>> = lengths.iter().map(|length| vec![7; *length]).collect();

        let (result, returned) = match Payload::to_send(buffers.clone()) {
            Ok(payload) => (Ok(payload.total_length()), payload.into_buffers()),
            Err(refused) => (Err(refused.error), refused.returned),
        };

        prop_assert_eq!(result, model(&known(&lengths)));
        prop_assert_eq!(returned, buffers);
    }

    // Tests_SRS_ASYNC_SOCKET_LINUX_11_066, Tests_SRS_ASYNC_SOCKET_LINUX_11_068
    #[test]
    fn a_payload_to_receive_into_is_checked_alike_and_keeps_its_buffers(lengths in vec(0..=3_usize, 0..=40)) {
        let buffers: Vec<Vec<u8>> = lengths.iter().map(|length| vec![7; *length]).collect();

        let (result, returned) = match Payload::to_receive_into(buffers.clone()) {
            Ok(payload) => (Ok(payload.total_length()), payload.into_buffers()),
            Err(refused) => (Err(refused.error), refused.returned),
        };

        prop_assert_eq!(result, model(&known(&lengths)));
        prop_assert_eq!(returned, buffers);
    }
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_046, Tests_SRS_ASYNC_SOCKET_LINUX_11_047, Tests_SRS_ASYNC_SOCKET_LINUX_11_067
// Tests_SRS_ASYNC_SOCKET_LINUX_11_068
#[test]
fn a_raw_slice_is_checked_as_a_list_of_one() {
    for length in [None, Some(0), Some(1), Some(u32::MAX)] {
        let list = dangling(&[length]);
        #[allow(unsafe_code, reason = "raw buffers are what is tested")]
        // SAFETY: the buffer is never used.
        let checked = unsafe { RawSlice::checked(list[0]) };

        assert_eq!(checked.err(), model(&[length]).err());
    }
}

fn known(lengths: &[usize]) -> Vec<Length> {
    lengths.iter().map(|length| Some(u32::try_from(*length).expect("short"))).collect()
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_048, Tests_SRS_ASYNC_SOCKET_LINUX_11_069
#[test]
fn u32_max_bytes_are_allowed_and_one_more_is_not() {
    assert_eq!(RawBuffers::check(&dangling(&[Some(u32::MAX)])), Ok(u32::MAX));
    assert_eq!(RawBuffers::check(&dangling(&[Some(u32::MAX - 1), Some(1)])), Ok(u32::MAX));
    assert_eq!(RawBuffers::check(&dangling(&[Some(u32::MAX), Some(1)])), Err(PayloadError::TooLong { index: 1 }));
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_048, Tests_SRS_ASYNC_SOCKET_LINUX_11_069
#[test]
#[cfg(target_pointer_width = "64")]
fn a_single_buffer_of_more_than_u32_max_bytes_is_too_long() {
    // Zeroed memory costs nothing until it is touched.
    let huge = vec![0_u8; u32::MAX as usize + 1];

    let refused = Payload::to_send(huge).expect_err("too long");
    assert_eq!(refused.error, PayloadError::TooLong { index: 0 });
    let refused = Payload::to_receive_into(refused.returned).expect_err("too long");
    assert_eq!(refused.error, PayloadError::TooLong { index: 0 });
}

#[test]
fn a_payload_shows_and_lends_its_buffers() {
    let mut payload = Payload::to_receive_into([[0; 2], [0; 2]]).expect("acceptable");

    payload.buffers_mut()[1] = [4, 5];

    assert_eq!(payload.total_length(), 4);
    assert_eq!(payload.buffers(), &[[0, 0], [4, 5]]);
    assert_eq!(payload.into_buffers(), [[0, 0], [4, 5]]);
}
