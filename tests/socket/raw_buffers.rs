//! Buffers that are lent by pointer and length, on real sockets.
#![allow(unsafe_code, reason = "`RawBuffers::copied` takes pointers")]

use async_socket_linux::{PayloadError, RawBuffer, RawBuffers, ReceiveResult, SendResult};
use integration_tests::call::{block_sending, engine, open, receive};
use integration_tests::wire::{PatternChecker, pattern};
use integration_tests::{Transport, send};
use rstest::rstest;
use std::io::Write;
use std::ptr::null_mut;

fn raw(bytes: &mut [u8]) -> RawBuffer {
    RawBuffer { pointer: bytes.as_mut_ptr(), length: u32::try_from(bytes.len()).expect("short") }
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_046, Tests_SRS_ASYNC_SOCKET_LINUX_11_067
#[rstest]
#[case(0)]
#[case(1)]
#[case(2)]
fn a_list_with_a_null_pointer_is_refused_with_its_index(#[case] index: usize) {
    let mut memory = [0; 30];
    let mut list: Vec<RawBuffer> = memory.chunks_mut(10).map(raw).collect();
    list[index].pointer = null_mut();

    // SAFETY: the memory outlives the value, and the null pointer must be refused.
    let refused = unsafe { RawBuffers::copied(&list) };

    assert_eq!(refused.unwrap_err(), PayloadError::NullBuffer { index });
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_056, Tests_SRS_ASYNC_SOCKET_LINUX_11_096
#[rstest]
fn a_queued_send_needs_the_bytes_but_not_the_callers_list(#[values(1, 7, 40)] buffers: usize) {
    let (descriptor, mut peer) = Transport::Unix.narrow_pair();
    let socket = open(&engine(1), descriptor);
    let (blocked, position) = block_sending(&socket);
    let mut memory = pattern(position, buffers * 1_000);
    let mut list: Vec<RawBuffer> = memory.chunks_mut(1_000).map(raw).collect();

    // SAFETY: `memory` is neither touched nor freed until the completion was waited for.
    let lent = unsafe { RawBuffers::copied(&list) }.unwrap();
    let sent = send(&socket, lent);
    list.fill(RawBuffer { pointer: null_mut(), length: u32::MAX });
    drop(list);

    peer.read_pattern(position + buffers * 1_000);
    assert_eq!(blocked.only().result, SendResult::Ok);
    let completion = sent.only();
    assert_eq!((completion.result, completion.bytes_sent as usize), (SendResult::Ok, buffers * 1_000));
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_074, Tests_SRS_ASYNC_SOCKET_LINUX_11_092
#[rstest]
fn a_pending_receive_fills_the_callers_memory_without_the_callers_list(#[values(1, 7, 40)] buffers: usize) {
    let (descriptor, mut peer) = Transport::TcpV4.pair();
    let socket = open(&engine(1), descriptor);
    let mut memory = vec![0; buffers * 100];
    let mut list: Vec<RawBuffer> = memory.chunks_mut(100).map(raw).collect();

    // SAFETY: `memory` is neither touched nor freed until the completion was waited for.
    let lent = unsafe { RawBuffers::copied(&list) }.unwrap();
    let pending = receive(&socket, lent);
    list.fill(RawBuffer { pointer: null_mut(), length: u32::MAX });
    drop(list);
    peer.write_all(&pattern(0, buffers * 100 - 30)).unwrap();

    let completion = pending.only();
    assert_eq!((completion.result, completion.bytes_received as usize), (ReceiveResult::Ok, buffers * 100 - 30));
    drop(completion);
    let mut checker = PatternChecker::default();
    checker.check(&memory[..buffers * 100 - 30]);
    assert_eq!(memory[buffers * 100 - 30..], [0; 30]);
}
