//! Attempts on the caller's own thread, with real sockets.

use completion_port::sys::Errno;
use completion_port::{Action, Cancel, ClaimError, Direction, Phase};
use integration_tests::call::Outbox;
use integration_tests::port::{A_WHILE, Watched, port, reads, round_trip, settled, socket, start, writes};
use integration_tests::{Inbox, inbox, spawn, wait, within};
use rustix::io::read;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn refusal(registration: &Watched, direction: Direction) -> Option<ClaimError> {
    registration.try_claim(direction).err()
}

// Tests_SRS_COMPLETION_PORT_01_020
#[test]
fn a_direction_is_granted_while_it_is_idle_only() {
    let port = port().1;
    let (registration, mut peer) = socket(&port);
    assert_eq!(refusal(&registration, Direction::In), None);

    let claim = registration.try_claim(Direction::In).unwrap();
    assert_eq!(refusal(&registration, Direction::In), Some(ClaimError::InUse), "claimed");
    assert_eq!(refusal(&registration, Direction::Out), None);
    drop(claim);

    let pending = start(&registration, Direction::In, reads(1));
    assert_eq!(refusal(&registration, Direction::In), Some(ClaimError::InUse), "something waits");
    peer.write_all(b"x").unwrap();
    pending.only();
    assert_eq!(refusal(&registration, Direction::In), None);

    assert!(registration.remove());
    assert_eq!(refusal(&registration, Direction::In), Some(ClaimError::NotRegistered));
}

/// Writes all of `bytes` at once or queues the rest, as a socket's send does.
fn send(registration: &Watched, bytes: &[u8]) -> Inbox<Action> {
    let (tell, told) = inbox();
    match registration.try_claim(Direction::Out) {
        Ok(claim) => match rustix::io::write(claim.descriptor(), bytes) {
            Ok(written) if written == bytes.len() => claim.complete(|| tell.put(Action::Out)),
            written => {
                let rest = bytes[written.unwrap_or(0)..].to_vec();
                claim.queue(writes(rest).then(move |done| tell.put(done.action))).expect("there is memory");
            }
        },
        Err(_) => {
            let operation = writes(bytes.to_vec()).then(move |done| tell.put(done.action));
            registration.add(Direction::Out, operation).expect("it is registered");
        }
    }
    told
}

// Tests_SRS_COMPLETION_PORT_01_020, Tests_SRS_COMPLETION_PORT_01_021
#[test]
fn sends_from_several_threads_do_not_interleave() {
    const THREADS: usize = 4;
    const SENDS: usize = 50;
    const SIZE: usize = 20_000;
    let port = port().1;
    let (registration, mut peer) = socket(&port);
    let reading = spawn("the reader", move || {
        let mut bytes = vec![0; THREADS * SENDS * SIZE];
        peer.read_exact(&mut bytes).map(|()| bytes)
    });

    let sent: Vec<_> = std::thread::scope(|scope| {
        let send_all = |name: u8, registration: Arc<Watched>| {
            move || (0..SENDS).map(|_| send(&registration, &[name; SIZE])).collect::<Vec<_>>()
        };
        let threads: Vec<_> =
            (0..THREADS).map(|name| scope.spawn(send_all(name as u8, Arc::clone(&registration)))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("the sends are accepted")).collect()
    });

    sent.into_iter().for_each(|told| assert_eq!(told.only(), Action::Out));
    let bytes = reading.join().unwrap();
    assert!(bytes.chunks(SIZE).all(|chunk| chunk.iter().all(|byte| *byte == chunk[0])), "each send is in one piece");
}

// Tests_SRS_COMPLETION_PORT_01_021, Tests_SRS_COMPLETION_PORT_01_107
#[test]
fn what_a_claim_leaves_is_read_before_what_was_added_meanwhile() {
    let port = port().1;
    let (registration, mut peer) = socket(&port);
    let claim = registration.try_claim(Direction::In).unwrap();
    assert_eq!(read(claim.descriptor(), &mut [0; 1]), Err(Errno::AGAIN));
    let second = start(&registration, Direction::In, reads(1));
    let (tell, first) = inbox();
    claim.queue(reads(1).then(move |done| tell.put(done))).unwrap();

    peer.write_all(b"12").unwrap();

    assert_eq!((first.only().bytes, second.only().bytes), (b"1".to_vec(), b"2".to_vec()));
}

// Tests_SRS_COMPLETION_PORT_01_022
#[test]
fn bytes_that_arrive_between_eagain_and_queueing_are_read() {
    let (calls, port) = port();
    let (registration, mut peer) = socket(&port);
    let claim = registration.try_claim(Direction::In).unwrap();
    assert_eq!(read(claim.descriptor(), &mut [0; 1]), Err(Errno::AGAIN));
    peer.write_all(b"x").unwrap();
    round_trip(&port);
    settled(&calls); // The one event that there will be has been reported.

    let (tell, told) = inbox();
    claim.queue(reads(1).then(move |done| tell.put(done))).unwrap();

    assert_eq!(told.only().bytes, b"x");
}

// Tests_SRS_COMPLETION_PORT_01_022
#[test]
fn the_eagain_of_a_claim_holds_until_the_next_event() {
    let (calls, port) = port();
    let (registration, mut peer) = socket(&port);
    peer.write_all(b"x").unwrap();
    round_trip(&port);
    settled(&calls);
    let claim = registration.try_claim(Direction::In).unwrap();
    assert_eq!(read(claim.descriptor(), &mut [0; 1]), Ok(1));
    assert_eq!(read(claim.descriptor(), &mut [0; 1]), Err(Errno::AGAIN));

    let (tell, told) = inbox();
    claim.queue(reads(1).then(move |done| tell.put(done))).unwrap();

    settled(&calls);
    assert_eq!(registration.handler().attempts(), 0, "no event has come since");
    peer.write_all(b"y").unwrap();
    assert_eq!(told.only().bytes, b"y");
    assert_eq!(registration.handler().attempts(), 1);
}

// Tests_SRS_COMPLETION_PORT_01_022
#[test]
fn room_that_is_made_at_any_moment_of_a_claim_is_used() {
    let port = port().1;
    let (registration, mut peer) = socket(&port);
    let total = within("all sends", move || {
        let reading = spawn("the reader", move || {
            let (mut total, mut chunk) = (0, vec![0; 300_000]);
            while let Ok(count @ 1..) = peer.read(&mut chunk) {
                total += count;
            }
            total
        });
        for _ in 0..300 {
            assert_eq!(send(&registration, &[b'x'; 100_000]).only(), Action::Out);
        }
        drop(registration);
        reading.join()
    });
    assert_eq!(total, 300 * 100_000);
}

// Tests_SRS_COMPLETION_PORT_01_023
#[test]
fn while_a_claims_callback_runs_others_can_claim_and_the_port_can_work() {
    let port = port().1;
    let (registration, _peer) = socket(&port);
    let other = Arc::clone(&registration);
    let (tell, told) = inbox();

    registration.try_claim(Direction::Out).unwrap().complete(move || {
        let claimed = within("the other claim", {
            let other = Arc::clone(&other);
            move || refusal(&other, Direction::Out).is_none()
        });
        let done = start(&other, Direction::Out, writes("x")).only();
        tell.put((claimed, done.action));
    });

    assert_eq!(told.only(), (true, Action::Out));
}

// Tests_SRS_COMPLETION_PORT_01_050
#[test]
fn remove_waits_for_a_claims_callback_on_another_thread() {
    let (registration, _peer) = socket(&port().1);
    let ((gate, barrier), claimer) = (wait::gate(), Arc::clone(&registration));
    let claiming = spawn("claim", move || {
        claimer.try_claim(Direction::Out).expect("it is idle").complete(|| barrier.wait());
    });
    gate.wait_for_arrival();

    let removing = spawn("remove", move || registration.remove());

    assert!(removing.still_runs_after(A_WHILE));
    gate.open();
    assert!(removing.join());
    claiming.join();
}

// Tests_SRS_COMPLETION_PORT_01_102
#[test]
fn a_removal_by_the_thread_that_holds_a_claim_is_finished_when_the_claim_ends() {
    let (registration, _peer) = socket(&port().1);
    let waiting = start(&registration, Direction::In, reads(1));

    let phases = within("the removal", move || {
        let claim = registration.try_claim(Direction::Out).expect("it is idle");
        assert!(registration.remove());
        let before = registration.phase();
        drop(claim);
        [before, registration.phase()]
    });

    assert_eq!(phases, [Phase::Removing, Phase::Removed]);
    assert_eq!(waiting.only().action, Action::Abandoned);
}

/// Sends a number of bytes, each from the callback of the byte before.
struct Chain {
    registration: Arc<Watched>,
    left: usize,
    deepest: Arc<AtomicUsize>,
    /// Gets a message at the end.
    end: Outbox<()>,
}

impl Chain {
    fn go_on(mut self, depth: usize) {
        self.deepest.fetch_max(depth, Ordering::Relaxed);
        if self.left == 0 {
            return self.end.put(());
        }
        self.left -= 1;
        let registration = Arc::clone(&self.registration);
        match registration.try_claim(Direction::Out) {
            Ok(claim) => match rustix::io::write(claim.descriptor(), b"x") {
                Ok(_) => claim.complete(|| self.go_on(depth + 1)),
                Err(_) => _ = claim.queue(writes("x").then(|_| self.go_on(1))).expect("there is memory"),
            },
            Err(_) => {
                _ = registration.add(Direction::Out, writes("x").then(|_| self.go_on(1))).expect("it is registered");
            }
        }
    }
}

// Tests_SRS_COMPLETION_PORT_01_024
#[test]
fn an_endless_chain_of_sends_runs_in_constant_stack() {
    const LINKS: usize = 20_000;
    let port = port().1;
    let (registration, mut peer) = socket(&port);
    let reading = spawn("the reader", move || peer.read_exact(&mut vec![0; LINKS]));
    let (deepest, (tell, told)) = (Arc::new(AtomicUsize::new(0)), inbox());

    Chain { registration, left: LINKS, deepest: Arc::clone(&deepest), end: tell }.go_on(0);

    told.next();
    reading.join().unwrap();
    assert!(deepest.load(Ordering::Relaxed) <= 2, "{deepest:?}");
}

fn is_ready(registration: &Watched) -> bool {
    registration.try_claim(Direction::In).expect("it is idle").is_ready()
}

// Tests_SRS_COMPLETION_PORT_01_180
#[test]
fn a_direction_is_ready_from_its_bytes_until_its_eagain() {
    let (calls, port) = port();
    let (registration, mut peer) = socket(&port);
    settled(&calls);
    assert!(!is_ready(&registration), "there are no bytes yet");

    peer.write_all(b"x").unwrap();
    round_trip(&port);
    assert!(is_ready(&registration));

    let claim = registration.try_claim(Direction::In).unwrap();
    assert_eq!(read(claim.descriptor(), &mut [0; 1]), Ok(1));
    assert_eq!(read(claim.descriptor(), &mut [0; 1]), Err(Errno::AGAIN));
    let id = claim.queue(reads(1)).unwrap();
    assert_eq!(registration.cancel(id), Cancel::Cancelled);
    assert!(!is_ready(&registration), "all was read");
}

// Tests_SRS_COMPLETION_PORT_01_181
#[test]
fn a_drained_direction_is_not_ready_unless_more_was_reported() {
    let port = port().1;
    let (registration, mut peer) = socket(&port);
    let mut send = |bytes: &[u8]| {
        peer.write_all(bytes).unwrap();
        round_trip(&port);
    };
    send(b"x");
    let claim = registration.try_claim(Direction::In).unwrap();
    assert_eq!(read(claim.descriptor(), &mut [0; 8]), Ok(1));
    claim.drained();
    drop(claim);
    assert!(!is_ready(&registration), "nothing has come since");

    send(b"y");
    assert!(is_ready(&registration));
    let claim = registration.try_claim(Direction::In).unwrap();
    assert_eq!(read(claim.descriptor(), &mut [0; 8]), Ok(1));
    send(b"z");
    claim.drained();
    drop(claim);
    assert!(is_ready(&registration), "an event has come while the claim was held");

    drop(peer);
    round_trip(&port);
    let claim = registration.try_claim(Direction::In).unwrap();
    assert_eq!(read(claim.descriptor(), &mut [0; 8]), Ok(1));
    claim.drained();
    drop(claim);
    assert!(is_ready(&registration), "the end of the stream was reported");
}

// Tests_SRS_COMPLETION_PORT_01_180, Tests_SRS_COMPLETION_PORT_01_181
#[test]
fn reads_that_ask_for_the_readiness_miss_no_byte() {
    const BYTES: usize = 50_000;
    let port = port().1;
    let (registration, mut peer) = socket(&port);
    let sending = spawn("the sender", move || {
        for number in 0..BYTES {
            peer.write_all(&[number as u8])?;
        }
        Ok::<_, std::io::Error>(peer)
    });
    let mut bytes = Vec::new();
    while bytes.len() < BYTES {
        let Ok(claim) = registration.try_claim(Direction::In) else {
            std::thread::yield_now();
            continue;
        };
        let mut some = [0; 64];
        let read = if claim.is_ready() { read(claim.descriptor(), &mut some) } else { Err(Errno::AGAIN) };
        match read {
            Ok(count) => {
                bytes.extend(&some[..count]);
                if count < some.len() {
                    claim.drained();
                }
            }
            Err(_) => {
                let (tell, told) = inbox();
                claim.queue(reads(1).then(move |done| tell.put(done.bytes))).expect("there is memory");
                bytes.extend(told.only());
            }
        }
    }
    assert!(bytes.iter().copied().eq((0..BYTES).map(|number| number as u8)));
    drop(sending.join().unwrap());
}
