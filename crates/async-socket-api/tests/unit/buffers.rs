//! Every kind of buffer that can be lent, and lists of them.

use async_socket_api::{IoBuf, IoBufMut, IoBufs, IoBufsMut, RawBuffer, RawBuffers, RawSlice};
use rstest::rstest;
use std::sync::Arc;

static BYTES: [u8; 3] = *b"abc";

#[rstest]
#[case::vec(b"abc".to_vec())]
#[case::boxed_slice(b"abc".to_vec().into_boxed_slice())]
#[case::array(*b"abc")]
#[case::boxed_array(Box::new(*b"abc"))]
#[case::shared_slice(Arc::<[u8]>::from(&BYTES[..]))]
#[case::shared_vec(Arc::new(b"abc".to_vec()))]
#[case::static_slice(&BYTES[..])]
#[case::static_array(&BYTES)]
#[case::static_str("abc")]
#[case::string("abc".to_owned())]
#[cfg_attr(feature = "bytes", case::bytes(bytes::Bytes::from_static(b"abc")))]
#[cfg_attr(feature = "bytes", case::bytes_mut(bytes::BytesMut::from(&b"abc"[..])))]
fn a_buffer_can_be_sent_from_and_is_a_list_of_one(#[case] buffer: impl IoBuf) {
    assert_eq!(buffer.as_slice(), b"abc");
    assert_eq!(slices(&buffer, 0), [b"abc"]);
    assert_eq!(slices(&buffer, 1).len(), 0);
}

#[rstest]
#[case::vec(vec![0; 3])]
#[case::boxed_slice(vec![0; 3].into_boxed_slice())]
#[case::array([0; 3])]
#[case::boxed_array(Box::new([0; 3]))]
#[cfg_attr(feature = "bytes", case::bytes_mut(bytes::BytesMut::zeroed(3)))]
fn a_buffer_can_be_received_into_and_is_a_list_of_one(#[case] mut buffer: impl IoBufMut + IoBuf) {
    buffer.as_mut_slice().copy_from_slice(b"abc");
    assert_eq!(buffer.as_slice(), b"abc");

    let mut list = buffer.slices_mut_from(0);
    list.next().expect("one buffer").reverse();
    assert!(list.next().is_none());
    drop(list);
    assert_eq!(buffer.as_slice(), b"cba");
    assert!(buffer.slices_mut_from(1).next().is_none());
}

#[test]
fn room_that_is_not_initialised_is_not_received_into() {
    let mut buffer = Vec::with_capacity(100);
    buffer.extend([0; 3]);

    assert_eq!(buffer.as_mut_slice().len(), 3);
}

#[rstest]
#[case::vec(vec!["one", "two", "three"])]
#[case::array(["one", "two", "three"])]
#[case::vec_of_vecs(vec![b"one".to_vec(), b"two".to_vec(), b"three".to_vec()])]
#[case::array_of_shared(["one", "two", "three"].map(|text| Arc::<[u8]>::from(text.as_bytes())))]
fn a_list_gives_its_buffers_in_order_from_any_of_them_on(#[case] list: impl IoBufs) {
    assert_eq!(slices(&list, 0), ["one", "two", "three"].map(str::as_bytes));
    assert_eq!(slices(&list, 1), ["two", "three"].map(str::as_bytes));
    assert_eq!(slices(&list, 2), [b"three"]);
    assert_eq!(slices(&list, 3).len(), 0);
    assert_eq!(slices(&list, 4).len(), 0, "past the end there is nothing either");
}

#[rstest]
#[case::vec(vec![[0; 2], [0; 2], [0; 2]])]
#[case::array([[0; 2], [0; 2], [0; 2]])]
#[case::array_of_vecs([vec![0; 2], vec![0; 2], vec![0; 2]])]
fn a_list_is_received_into_in_order_from_any_of_its_buffers_on(#[case] mut list: impl IoBufsMut + IoBufs) {
    for (buffer, value) in list.slices_mut_from(0).zip(1..) {
        buffer.fill(value);
    }
    for buffer in list.slices_mut_from(2) {
        buffer.fill(9);
    }
    assert_eq!(slices(&list, 0), [[1; 2], [2; 2], [9; 2]]);
    assert_eq!(list.slices_mut_from(3).count(), 0);
    assert_eq!(list.slices_mut_from(4).count(), 0, "past the end there is nothing either");
}

#[rstest]
#[case::empty_vec(Vec::<Vec<u8>>::new())]
#[case::empty_array([[0_u8; 1]; 0])]
fn an_empty_list_has_no_buffers(#[case] mut list: impl IoBufs + IoBufsMut) {
    assert_eq!(slices(&list, 0).len(), 0);
    assert_eq!(list.slices_mut_from(0).count(), 0);
}

#[test]
fn a_list_says_how_many_buffers_are_left() {
    let list = vec![[0_u8; 1]; 20];

    assert_eq!(list.slices_from(3).size_hint(), (17, Some(17)));
}

#[rstest]
#[case::of_one(&[4])]
#[case::of_several(&[1, 2, 1])]
fn a_raw_list_is_the_memory_that_it_points_to(#[case] lengths: &[usize]) {
    let mut memory = *b"abcd";
    let mut list = raw_list(&mut memory, lengths);

    assert_eq!(slices(&list, 0).concat(), b"abcd");
    assert_eq!(slices(&list, 0).iter().map(|slice| slice.len()).collect::<Vec<_>>(), lengths);
    assert_eq!(slices(&list, lengths.len()).len(), 0);
    for buffer in list.slices_mut_from(lengths.len() - 1) {
        buffer.make_ascii_uppercase();
    }
    assert_eq!(list.slices_mut_from(lengths.len()).count(), 0);

    let last = 4 - lengths[lengths.len() - 1];
    assert!(memory[..last].iter().all(u8::is_ascii_lowercase) && memory[last..].iter().all(u8::is_ascii_uppercase));
}

#[test]
fn a_raw_slice_is_a_list_of_one() {
    let mut memory = *b"abcd";
    let buffer = RawBuffer { pointer: memory.as_mut_ptr(), length: 4 };
    #[allow(unsafe_code, reason = "raw buffers are what is tested")]
    // SAFETY: the memory is read again only after the slice's last use.
    let mut slice = unsafe { RawSlice::checked(buffer) }.expect("acceptable");

    assert_eq!(slices(&slice, 0), [b"abcd"]);
    assert_eq!((slices(&slice, 1).len(), slice.slices_mut_from(1).count()), (0, 0));
    for buffer in slice.slices_mut_from(0) {
        buffer.make_ascii_uppercase();
    }

    assert_eq!(memory, *b"ABCD");
}

/// Pieces of `memory`, one after the other.
#[allow(unsafe_code, reason = "raw buffers are what is tested")]
fn raw_list(memory: &mut [u8], lengths: &[usize]) -> RawBuffers {
    let mut rest = memory;
    let mut list = Vec::new();
    for length in lengths {
        let (piece, behind) = rest.split_at_mut(*length);
        list.push(RawBuffer {
            pointer: piece.as_mut_ptr(),
            length: u32::try_from(piece.len()).expect("a short piece"),
        });
        rest = behind;
    }
    // SAFETY: the pieces are disjoint, and the caller reads them again only after its last use of the list.
    unsafe { RawBuffers::copied(&list) }.expect("acceptable")
}

fn slices(list: &impl IoBufs, first: usize) -> Vec<&[u8]> {
    list.slices_from(first).collect()
}
