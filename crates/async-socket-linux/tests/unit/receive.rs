//! `receive_async`: always queued, never completed inside the call.

use crate::common::{Fixture, Outcome, Socket, assert_constant_stack};
use async_socket_linux::{
    AsyncSocket, IoBufMut, PayloadError, RawBuffer, RawBuffers, ReceiveError, ReceiveResult, SocketState,
};
use completion_port::{Action, Direction};
use rstest::rstest;
use std::ptr;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use test_doubles::{PortCall, Step};

// Tests_SRS_ASYNC_SOCKET_LINUX_11_066, Tests_SRS_ASYNC_SOCKET_LINUX_11_068, Tests_SRS_ASYNC_SOCKET_LINUX_11_078
#[rstest]
#[case::no_buffers(vec![], PayloadError::NoBuffers)]
#[case::only_an_empty_one(vec![vec![]], PayloadError::EmptyBuffer { index: 0 })]
#[case::an_empty_one_among_others(vec![vec![1], vec![2], vec![], vec![4]], PayloadError::EmptyBuffer { index: 2 })]
fn a_payload_that_is_not_acceptable_is_refused_with_its_buffers(
    #[case] buffers: Vec<Vec<u8>>,
    #[case] expected: PayloadError,
) {
    let fixture = Fixture::open();

    let refused = fixture.refused_receive(buffers.clone());

    assert_eq!(refused.error, ReceiveError::Payload(expected));
    assert_eq!(refused.returned, buffers);
    assert_eq!(fixture.port.queued(Direction::In), 0);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_067
#[test]
fn a_null_pointer_in_a_list_is_refused_and_named() {
    let fine = RawBuffer { pointer: ptr::dangling_mut(), length: 1 };
    let null = RawBuffer { pointer: ptr::null_mut(), length: 1 };

    assert_eq!(RawBuffers::check(&[null, fine]), Err(PayloadError::NullBuffer { index: 0 }));
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_069, Tests_SRS_ASYNC_SOCKET_LINUX_11_078
#[test]
fn a_payload_of_more_than_u32_max_bytes_is_refused() {
    const HALF: usize = 1 << 31;
    let fixture = Fixture::open();
    // Zeroed memory costs nothing until it is touched.
    let too_long = vec![vec![0_u8; HALF], vec![0_u8; HALF]];

    let refused = fixture.refused_receive(too_long);

    assert_eq!(refused.error, ReceiveError::Payload(PayloadError::TooLong { index: 1 }));
    assert_eq!(refused.returned.len(), 2);
    assert_eq!(fixture.port.queued(Direction::In), 0);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_072
#[rstest]
#[case::never_opened(Fixture::closed())]
#[case::closed(Fixture::after_close())]
fn a_receive_on_a_socket_that_is_not_open_is_refused(#[case] fixture: Fixture) {
    let refused = fixture.refused_receive([1, 2]);

    assert_eq!(refused.error, ReceiveError::NotOpen { state: SocketState::Closed });
    assert_eq!(refused.returned, [1, 2]);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_073, Tests_SRS_ASYNC_SOCKET_LINUX_11_077, Tests_SRS_ASYNC_SOCKET_LINUX_11_102
#[test]
fn a_receive_is_accepted_and_queued_without_any_system_call() {
    let fixture = Fixture::open();
    let before = fixture.sys.calls();
    let (outcome, report) = Outcome::new();

    let result = fixture.receive_async(vec![0; 8], report);

    assert!(result.is_ok());
    outcome.assert_pending();
    assert_eq!((fixture.port.queued(Direction::In), fixture.port.queued(Direction::Out)), (1, 0));
    assert_eq!(fixture.port.calls(), [PortCall::Attach(fixture.descriptor)]);
    assert_eq!(fixture.sys.calls(), before);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_073, Tests_SRS_ASYNC_SOCKET_LINUX_11_074
#[test]
fn a_waiting_receive_holds_all_of_its_buffers_and_its_callback() {
    let fixture = Fixture::open();
    let receive = fixture.receive(vec![vec![0; 2], vec![0; 3], vec![0; 4]]);
    fixture.sys.script_recv([Step::bytes("abcdefg")]);

    fixture.fire(Action::In);

    let completion = receive.take();
    assert_eq!((completion.result, completion.bytes_received), (ReceiveResult::Ok, 7));
    assert_eq!(completion.buffers, [b"ab".to_vec(), b"cde".to_vec(), b"fg\0\0".to_vec()]);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_074
#[rstest]
#[case::of_one(vec![8])]
#[case::of_several(vec![2, 1, 5])]
fn the_list_of_a_raw_receive_may_go_away_once_it_is_accepted(#[case] lengths: Vec<usize>) {
    let fixture = Fixture::open();
    let memory: Vec<Vec<u8>> = lengths.iter().map(|length| vec![0; *length]).collect();
    let (mut list, memory) = raw_buffers_of(memory);

    let receive = fixture.receive(copied(&list));
    list.fill(RawBuffer { pointer: ptr::null_mut(), length: 0 });
    drop(list);
    fixture.sys.script_recv([Step::bytes("12345678")]);
    fixture.fire(Action::In);

    assert_eq!(receive.take().bytes_received, 8);
    assert_eq!(memory.concat(), b"12345678");
}

/// A caller's array of pointers and lengths, and the memory that it describes.
fn raw_buffers_of(mut memory: Vec<Vec<u8>>) -> (Vec<RawBuffer>, Vec<Vec<u8>>) {
    let raw = |buffer: &mut Vec<u8>| RawBuffer {
        pointer: buffer.as_mut_ptr(),
        length: u32::try_from(buffer.len()).expect("short"),
    };
    (memory.iter_mut().map(raw).collect(), memory)
}

#[allow(unsafe_code, reason = "raw buffers are what is tested")]
fn copied(list: &[RawBuffer]) -> RawBuffers {
    // SAFETY: the memory outlives the operation, is disjoint, and is not looked at until that is over.
    unsafe { RawBuffers::copied(list) }.expect("acceptable")
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_102
#[test]
fn a_receive_on_a_readable_socket_is_left_to_the_port_thread() {
    let fixture = Fixture::open();
    fixture.sys.script_recv([Step::bytes("early")]);
    fixture.fire(Action::In);
    assert_eq!(fixture.receive_calls(), 0, "no receive waits for the bytes yet");

    let receive = fixture.receive(vec![0; 8]);

    receive.assert_pending();
    assert_eq!(fixture.receive_calls(), 0);
    assert_eq!(fixture.port.calls()[1..], [PortCall::Schedule]);
    assert_eq!(fixture.port.run_scheduled(), 1);
    assert_eq!(receive.received(), b"early");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_102
#[test]
fn receives_are_filled_in_the_order_of_their_acceptance() {
    let fixture = Fixture::open();
    let (first, second) = (fixture.receive(vec![0; 8]), fixture.receive(vec![0; 8]));
    fixture.sys.script_recv([Step::bytes("one"), Step::bytes("two")]);

    fixture.fire(Action::In);

    assert_eq!(first.received(), b"one");
    assert_eq!(second.received(), b"two");
}

#[test]
fn a_receive_from_inside_a_receive_callback_follows_it() {
    let fixture = Fixture::open();
    let (inner, report) = Outcome::new();
    let socket = Arc::clone(&fixture.socket);
    fixture
        .receive_async(vec![0; 3], move |_| {
            socket.receive_async(vec![0; 3], report).expect("accepted");
        })
        .expect("accepted");
    fixture.sys.script_recv([Step::bytes("one"), Step::bytes("two")]);

    fixture.fire(Action::In);

    assert_eq!(inner.received(), b"two");
}

#[test]
fn an_endless_chain_of_receives_from_receive_callbacks_runs_in_constant_stack() {
    const LINKS: usize = 20_000;
    let fixture = Fixture::open();
    let (note, depths) = channel();
    fixture.sys.script_recv(std::iter::repeat_n(Step::bytes("!"), LINKS));

    receive_chain(&fixture.socket, LINKS, note);
    fixture.fire(Action::In);
    fixture.port.run_scheduled();

    assert_constant_stack(&depths, LINKS);
}

/// Receives a byte, and from its callback the next one. Each callback notes where on the stack it runs.
fn receive_chain(socket: &Arc<Socket>, links: usize, note: Sender<usize>) {
    let next = Arc::clone(socket);
    let on_received = move |_| {
        let here = 0_u8;
        note.send(ptr::from_ref(&here).addr()).expect("the test listens");
        if links > 1 {
            receive_chain(&next, links - 1, note);
        }
    };
    socket.receive_async([0_u8], on_received).expect("accepted");
}

#[test]
fn a_receive_callback_that_panics_leaves_the_socket_usable() {
    let fixture = Fixture::open();
    fixture.receive_async([0], |_| panic!("the user's mistake")).expect("accepted");
    let next = fixture.receive(vec![0; 8]);
    fixture.sys.script_recv([Step::bytes("1"), Step::bytes("two")]);

    fixture.fire(Action::In);

    assert_eq!(next.received(), b"two");
    fixture.close();
}

/// A buffer that shows its room when it is checked, and panics afterwards.
#[derive(Default)]
struct Brittle {
    is_checked: bool,
    room: [u8; 4],
}

impl IoBufMut for Brittle {
    fn as_mut_slice(&mut self) -> &mut [u8] {
        assert!(!self.is_checked, "the user's mistake");
        self.is_checked = true;
        &mut self.room
    }
}

#[test]
fn a_receive_whose_buffer_panics_ends_in_an_error_and_the_next_goes_on() {
    let fixture = Fixture::open();
    let (receive, next) = (fixture.receive(Brittle::default()), fixture.receive(vec![0; 8]));
    fixture.sys.script_recv([Step::bytes("two")]);

    fixture.fire(Action::In);

    assert_eq!(receive.take().result, ReceiveResult::Error);
    assert_eq!(next.received(), b"two");
}
