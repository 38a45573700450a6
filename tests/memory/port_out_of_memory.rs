//! Real descriptors whose queues cannot grow.

use completion_port::sys::Errno;
use completion_port::{Action, AddError, CompletionPort, Direction, Interest, OneShots};
use integration_tests::inbox;
use integration_tests::port::{Operation, port, reads, socket, start, writes};
use integration_tests::process::alone;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use test_doubles::without_memory;

// Tests_SRS_COMPLETION_PORT_01_012
#[test]
fn an_operation_that_finds_no_memory_comes_back_and_works_later() {
    let _alone = alone();
    let port = port().1;
    let (registration, mut peer) = socket(&port);
    let (tell, told) = inbox();
    let first = start(&registration, Direction::In, reads(1));
    let operation = reads(1).then(move |done| tell.put(done));

    let refused = without_memory(|| registration.add(Direction::In, operation)).expect_err("there is no memory");

    assert_eq!(refused.error, AddError::OutOfMemory);
    registration.add(Direction::In, refused.returned).unwrap();
    peer.write_all(b"xy").unwrap();
    assert_eq!(first.only().bytes, b"x");
    assert_eq!(told.only().bytes, b"y");
}

// Tests_SRS_COMPLETION_PORT_01_012
#[test]
fn what_was_accepted_before_is_served_although_the_queue_cannot_grow() {
    let _alone = alone();
    let port = port().1;
    let (registration, mut peer) = socket(&port);
    let accepted = start(&registration, Direction::In, reads(1));
    let more: Vec<Operation> = (0..1000).map(|_| reads(1)).collect();

    let refused = without_memory(|| more.into_iter().find_map(|more| registration.add(Direction::In, more).err()));

    assert_eq!(refused.expect("the queue is full some time").error, AddError::OutOfMemory);
    peer.write_all(b"x").unwrap();
    assert_eq!(accepted.only().bytes, b"x");
    start(&registration, Direction::Out, writes("y")).only();
}

// Tests_SRS_COMPLETION_PORT_01_126
#[test]
fn a_raw_wait_that_finds_no_memory_is_refused_and_works_later() {
    let _alone = alone();
    // A scripted port would need memory to note each call.
    let waiting = OneShots::new(CompletionPort::create().unwrap());
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let ours = Arc::new(ours);
    let (tell, told) = inbox();
    let waiter = || {
        let tell = tell.clone();
        (Arc::clone(&ours), move |action: Action| tell.put(action))
    };
    waiting.add(Interest::IN, waiter()).expect("there is memory");
    let mut accepted = 1;
    let refused = loop {
        let another = waiter();
        match without_memory(|| waiting.add(Interest::IN, another)) {
            Ok(()) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.raw_os_error(), Some(Errno::NOMEM.raw_os_error()));
    waiting.add(Interest::IN, waiter()).expect("there is memory again");

    peer.write_all(b"x").unwrap();

    assert!(told.take(accepted + 1).iter().all(|action| *action == Action::In));
}
