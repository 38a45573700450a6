//! Real descriptors whose queues cannot grow.

use completion_port::sys::Errno;
use completion_port::{
    Action, AddError, Attempt, CompletionPort, Direction, Handler, Interest, OneShots, RegisterError, Registration,
};
use integration_tests::inbox;
use integration_tests::port::{Operation, port, reads, socket, start, writes};
use integration_tests::process::alone;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use test_doubles::{allocations_tried, fail_nth_allocation, with_memory, without_memory};

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
    // The second one makes the queue, whose room is used up later.
    let [accepted, _behind] = [(); 2].map(|()| start(&registration, Direction::In, reads(1)));
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

// Tests_SRS_COMPLETION_PORT_01_135
#[test]
fn a_descriptor_that_finds_no_memory_is_not_registered_and_can_be_later() {
    let _alone = alone();
    // Not a scripted port, as above.
    let port = CompletionPort::create().unwrap();
    let (ours, mut peer) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let again = without_memory(|| Registration::try_new(port, Reading, ours)).expect_err("there is no memory").returned;
    let registration = Registration::new(again.0, again.1, again.2);

    let refused = without_memory(|| registration.register(|| ())).expect_err("there is no memory");

    assert!(
        matches!(refused, RegisterError::Kernel(error) if error.raw_os_error() == Some(Errno::NOMEM.raw_os_error()))
    );
    registration.register(|| ()).expect("there is memory again");
    let (tell, told) = inbox();
    let operation: Callback = Box::new(move |bytes| tell.put(bytes));
    registration.add(Direction::In, operation).map_err(|refused| refused.error).unwrap();
    peer.write_all(b"x").unwrap();
    assert_eq!(told.only(), 1);
}

// Tests_SRS_COMPLETION_PORT_01_136
#[test]
fn what_is_ready_is_scheduled_and_what_waits_is_abandoned_without_memory() {
    let _alone = alone();
    let port = CompletionPort::create().unwrap();
    let (ours, mut peer) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let registration = Registration::new(port, Reading, ours);
    registration.register(|| ()).unwrap();
    let [(warms_up, warm), (first, scheduled), (second, abandoned)] = [(); 3].map(|()| {
        let (tell, told) = inbox();
        (Box::new(move |bytes| with_memory(|| tell.put(bytes))) as Callback, told)
    });
    registration.add(Direction::In, warms_up).map_err(|refused| refused.error).unwrap();
    peer.write_all(b"xy").unwrap();
    assert_eq!(warm.only(), 1_usize);

    let added = without_memory(|| registration.add(Direction::In, first).map_err(|refused| refused.error));
    added.expect("an idle direction has room for one");
    assert_eq!(scheduled.only(), 1_usize, "no event came for it: it was scheduled");
    registration.add(Direction::In, second).map_err(|refused| refused.error).unwrap();
    without_memory(|| drop(registration));
    assert_eq!(abandoned.only(), 0_usize, "abandoned");
}

// Tests_SRS_COMPLETION_PORT_01_137
#[test]
fn a_port_that_finds_no_memory_is_an_error() {
    let _alone = alone();
    for nth in 1..4 {
        fail_nth_allocation(nth);
        let created = CompletionPort::create();
        let tried = allocations_tried();
        let error = created.expect_err("an allocation has failed").source;
        assert_eq!((tried, error.raw_os_error()), (nth, Some(Errno::NOMEM.raw_os_error())));
    }
}

type Callback = Box<dyn FnOnce(usize) + Send>;

/// Reads a byte for each operation.
struct Reading;

impl Handler for Reading {
    type Descriptor = UnixStream;
    type Operation = Callback;

    fn attempt(&self, operation: Callback, _: Action, attempt: Attempt<'_, Self>) {
        match attempt.run(|mut stream| stream.read(&mut [0])) {
            Some(Err(error)) if error.kind() == ErrorKind::WouldBlock => attempt.pending(operation),
            got => {
                let bytes = got.and_then(Result::ok).unwrap_or(0);
                attempt.complete(false, None, || operation(bytes));
            }
        }
    }
}
