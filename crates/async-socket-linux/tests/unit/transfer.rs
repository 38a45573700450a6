//! Whole transfers between real sockets whose system calls fail and fall short at random.
//!
//! With harmless faults every byte arrives, in order, and every operation completes once. With all faults
//! connections break, but still every operation completes once.

use crate::common::PATIENCE;
use async_socket_linux::{AsyncSocket, AsyncSocketLinux, ReceiveCompletion, ReceiveResult, SendCompletion, SendResult};
use completion_port::CompletionPort;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use test_doubles::{Faults, FaultySyscalls};

/// The most bytes of one transfer.
const MOST_BYTES: usize = 200_000;

/// The lengths of an operation's buffers.
type Lengths = Vec<usize>;

/// One transfer.
#[derive(Debug, Clone)]
struct Plan {
    seed: u64,
    sends: Vec<Lengths>,
    /// Used over and over until everything has arrived.
    receives: Vec<Lengths>,
    /// How many receives wait at once.
    receives_waiting: usize,
}

fn plans() -> impl Strategy<Value = Plan> {
    let length = || prop_oneof![1..=16_usize, 1..=1_000_usize, 1..=6_000_usize];
    let operations = move || vec(vec(length(), 1..=40), 1..=4);
    (any::<u64>().no_shrink(), operations(), operations(), 1..=3_usize).prop_map(
        |(seed, mut sends, receives, receives_waiting)| {
            let mut room = MOST_BYTES;
            for lengths in &mut sends {
                lengths.retain(|length| {
                    room.checked_sub(*length).is_some_and(|rest| std::mem::replace(&mut room, rest) > 0)
                });
            }
            sends.retain(|lengths| !lengths.is_empty());
            Plan { seed, sends, receives, receives_waiting }
        },
    )
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, max_shrink_iters: 30, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn with_harmless_faults_every_byte_arrives_and_every_operation_completes_once(plan in plans()) {
        transfer_whole(&plan);
    }

    #[test]
    fn with_all_faults_every_accepted_operation_completes_once(plan in plans()) {
        transfer_what_may_be(&plan);
    }
}

proptest! {
    #![proptest_config(config(4))]

    #[test]
    fn more_buffers_than_iov_max_arrive_whole_in_spite_of_harmless_faults(
        seed in any::<u64>().no_shrink(),
        sent in vec(1..=20_usize, 1_100..2_300),
        received in vec(1..=20_usize, 1_100..2_300),
    ) {
        transfer_whole(&Plan { seed, sends: vec![sent], receives: vec![received], receives_waiting: 1 });
    }
}

fn transfer_whole(plan: &Plan) {
    let mut connection = Connection::new(Faults::harmless(), plan);
    let everything = bytes(plan.sends.iter().flatten().sum());

    connection.send_all(|error| panic!("a send was refused: {error}"));
    let mut arrived = Vec::new();
    while arrived.len() < everything.len() {
        connection.keep_receiving();
        let receive = connection.next_received();
        assert_eq!((receive.result, receive.os_error()), (ReceiveResult::Ok, None));
        arrived.extend(filled(&receive));
    }
    assert!(arrived == everything, "the bytes arrive as they were sent");
    let mut returned = Vec::new();
    for send in connection.all_sent() {
        let payload = send.buffers.concat();
        assert_eq!((send.result, send.os_error(), send.bytes_sent as usize), (SendResult::Ok, None, payload.len()));
        returned.extend(payload);
    }
    assert!(returned == everything, "the buffers come back untouched");

    connection.end();
}

fn transfer_what_may_be(plan: &Plan) {
    let mut connection = Connection::new(Faults::all(), plan);

    connection.send_all(|_| {});
    while connection.sends_waiting > 0 {
        connection.keep_receiving();
        connection.next_event();
    }

    connection.end();
}

/// Two sockets on one port, and their pending operations.
struct Connection {
    faulty: FaultySyscalls,
    sender: AsyncSocketLinux<CompletionPort<FaultySyscalls>, FaultySyscalls>,
    receiver: AsyncSocketLinux<CompletionPort<FaultySyscalls>, FaultySyscalls>,
    plan: Plan,
    report: Sender<Event>,
    events: Receiver<Event>,
    /// Completions that the test has not looked at yet.
    received: VecDeque<ReceiveCompletion<Vec<Vec<u8>>>>,
    /// By the number of the send.
    sent: BTreeMap<usize, SendCompletion<Vec<Vec<u8>>>>,
    next_receive: usize,
    sends_waiting: usize,
    receives_waiting: usize,
}

enum Event {
    Sent(usize, SendCompletion<Vec<Vec<u8>>>),
    Received(ReceiveCompletion<Vec<Vec<u8>>>),
}

impl Connection {
    fn new(faults: Faults, plan: &Plan) -> Self {
        let faulty = FaultySyscalls::with_seed(faults, plan.seed);
        let port = until_ok(|| CompletionPort::create_with(faulty.clone()));
        let (one, two) = UnixStream::pair().expect("a socket pair");
        let (report, events) = channel();
        Self {
            sender: open(&port, &faulty, one.into()),
            receiver: open(&port, &faulty, two.into()),
            faulty,
            plan: plan.clone(),
            report,
            events,
            received: VecDeque::new(),
            sent: BTreeMap::new(),
            next_receive: 0,
            sends_waiting: 0,
            receives_waiting: 0,
        }
    }

    /// Sends all payloads, one behind the other.
    fn send_all(&mut self, on_refused: impl Fn(&dyn std::error::Error)) {
        let mut rest = bytes(self.plan.sends.iter().flatten().sum());
        for (number, lengths) in self.plan.sends.iter().enumerate() {
            let buffers: Vec<Vec<u8>> = lengths.iter().map(|length| rest.drain(..*length).collect()).collect();
            let report = self.report.clone();
            match self.sender.send_async(buffers, move |sent| report.send(Event::Sent(number, sent)).unwrap_or(())) {
                Ok(_) => self.sends_waiting += 1,
                Err(refused) => on_refused(&refused.error),
            }
        }
    }

    /// Makes receives until as many wait as planned.
    fn keep_receiving(&mut self) {
        while self.receives_waiting < self.plan.receives_waiting {
            let lengths = &self.plan.receives[self.next_receive % self.plan.receives.len()];
            let buffers: Vec<_> = lengths.iter().map(|length| vec![0_u8; *length]).collect();
            let report = self.report.clone();
            self.receiver
                .receive_async(buffers, move |received| report.send(Event::Received(received)).unwrap_or(()))
                .expect("an open socket accepts a receive");
            self.next_receive += 1;
            self.receives_waiting += 1;
        }
    }

    /// Waits for the next completion of either kind.
    fn next_event(&mut self) {
        match self.events.recv_timeout(PATIENCE) {
            Ok(Event::Sent(number, sent)) => {
                self.sends_waiting = self.sends_waiting.checked_sub(1).expect("a send completes once");
                assert!(self.sent.insert(number, sent).is_none(), "send {number} completes once");
            }
            Ok(Event::Received(received)) => {
                self.receives_waiting = self.receives_waiting.checked_sub(1).expect("a receive completes once");
                self.received.push_back(received);
            }
            Err(_) => panic!(
                "hangs with {} sends and {} receives waiting: {:?} {:?} {:?}",
                self.sends_waiting, self.receives_waiting, self.sender, self.receiver, self.faulty
            ),
        }
    }

    fn next_received(&mut self) -> ReceiveCompletion<Vec<Vec<u8>>> {
        loop {
            if let Some(received) = self.received.pop_front() {
                return received;
            }
            self.next_event();
        }
    }

    /// Waits until every send is completed, in whatever order their callbacks run.
    fn all_sent(&mut self) -> impl Iterator<Item = SendCompletion<Vec<Vec<u8>>>> {
        while self.sends_waiting > 0 {
            self.next_event();
        }
        std::mem::take(&mut self.sent).into_values()
    }

    /// The peer's end completes the pending receives, and a close leaves nothing behind.
    fn end(mut self) {
        self.keep_receiving();
        self.sender.close();
        while self.receives_waiting > 0 {
            self.next_event();
        }
        assert_eq!(self.sends_waiting, 0);
        self.receiver.close();
        assert!(self.events.try_recv().is_err(), "nothing completes twice");
    }
}

fn open(
    port: &CompletionPort<FaultySyscalls>,
    faulty: &FaultySyscalls,
    descriptor: OwnedFd,
) -> AsyncSocketLinux<CompletionPort<FaultySyscalls>, FaultySyscalls> {
    let socket = AsyncSocketLinux::create_with(port.clone(), faulty.clone(), descriptor);
    until_ok(|| socket.open_async(|_| {}));
    socket
}

/// Tries again what a fault has made fail.
fn until_ok<T, E: std::fmt::Debug>(mut attempt: impl FnMut() -> Result<T, E>) -> T {
    for _ in 0..100 {
        if let Ok(value) = attempt() {
            return value;
        }
    }
    attempt().expect("works one time in a hundred")
}

/// The first bytes of a sequence that does not repeat at any buffer's length.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|index| (index.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect()
}

/// What has arrived in a receive's buffers.
fn filled(receive: &ReceiveCompletion<Vec<Vec<u8>>>) -> Vec<u8> {
    let mut bytes = receive.buffers.concat();
    bytes.truncate(receive.bytes_received as usize);
    bytes
}
