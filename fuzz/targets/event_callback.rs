//! The event callback: any script of system calls, any events, any operations in between.
//!
//! The model: an accepted operation ends exactly once, in the order of its direction. A send that is OK sent all its
//! bytes, and the bytes of two sends are never mixed. Bytes that the kernel delivered reach a receive, whole and in
//! order.

#![no_main]

use arbitrary::Arbitrary;
use async_socket_linux::sys::Errno;
use async_socket_linux::{AsyncSocket, AsyncSocketLinux, ReceiveCompletion, ReceiveResult, SendCompletion, SendResult};
use completion_port::{Direction, Readiness};
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, Mutex};
use test_doubles::{MockPort, ScriptedSockets, Step, any_descriptor};

#[derive(Debug, Arbitrary)]
enum Event {
    Send(Vec<u8>),
    Receive(Vec<u8>),
    /// The outcome of the next system call that sends.
    Sending(Outcome),
    /// The outcome of the next system call that receives.
    Receiving(Outcome),
    Deliver(u8),
    RunScheduled,
    ErrorMessages(u8),
    PendingError(u8),
    Close,
}

#[derive(Debug, Arbitrary)]
enum Outcome {
    Bytes(u8),
    Again,
    Interrupted,
    Fails(u8),
}

type Sent = SendCompletion<Vec<Vec<u8>>>;
type Received = ReceiveCompletion<Vec<Vec<u8>>>;

/// The accepted operations of one direction, and the ended ones in order.
struct Ledger<T> {
    accepted: usize,
    ended: Arc<Mutex<Vec<(usize, T)>>>,
}

impl<T: Send + 'static> Ledger<T> {
    fn new() -> Self {
        Self { accepted: 0, ended: Arc::default() }
    }

    fn callback(&self) -> impl FnOnce(T) + Send + 'static {
        let (number, ended) = (self.accepted, Arc::clone(&self.ended));
        move |completion| ended.lock().unwrap().push((number, completion))
    }

    /// All completions, in the order in which the operations ended.
    fn all(self) -> Vec<T> {
        let ended = Arc::into_inner(self.ended).expect("no callback is left").into_inner().unwrap();
        assert_eq!(ended.len(), self.accepted, "each ends exactly once");
        let in_order = ended.iter().enumerate().all(|(place, (number, _))| place == *number);
        assert!(in_order, "each direction ends in the order in which it was accepted");
        ended.into_iter().map(|(_, completion)| completion).collect()
    }
}

fuzz_target!(|events: Vec<Event>| {
    let (port, sys) = (MockPort::new(), ScriptedSockets::new());
    let socket = AsyncSocketLinux::create_with(port.clone(), sys.clone(), any_descriptor());
    socket.open_async(|_| {}).expect("the mock opens it");
    let (mut sends, mut receives) = (Ledger::<Sent>::new(), Ledger::<Received>::new());
    let (mut payloads, mut refused) = (Vec::new(), Vec::new());
    let (mut delivered, mut closed) = (Vec::new(), false);

    for event in events {
        match event {
            Event::Send(sizes) => {
                // Each byte of a send is the send's number.
                let payload = buffers(&sizes, u8::try_from(sends.accepted % 251).unwrap());
                if socket.send_async(payload.clone(), sends.callback()).is_ok() {
                    sends.accepted += 1;
                    payloads.push(payload.concat());
                } else {
                    refused.push(payload.concat());
                }
            }
            Event::Receive(sizes) => {
                let accepted = socket.receive_async(buffers(&sizes, 0), receives.callback()).is_ok();
                receives.accepted += usize::from(accepted);
            }
            Event::Sending(outcome) => sys.script_send([step(outcome, |count| Step::Takes(count.into()))]),
            Event::Receiving(outcome) => sys.script_recv([step(outcome, |count| {
                delivered.extend((count > 0).then_some(count));
                Step::Delivers(vec![u8::try_from(delivered.len() % 251).unwrap(); count.into()])
            })]),
            Event::Deliver(events) if !closed => port.deliver(readiness(events)),
            Event::RunScheduled if !closed => drop(port.run_scheduled()),
            Event::ErrorMessages(count) => sys.queue_error_messages(count.into()),
            Event::PendingError(errno) => sys.set_error(errno_of(errno)),
            Event::Close => {
                socket.close();
                closed = true;
            }
            Event::Deliver(_) | Event::RunScheduled => {}
        }
        if !closed {
            let pending = port.queued(Direction::In) + port.queued(Direction::Out);
            let ended = sends.ended.lock().unwrap().len() + receives.ended.lock().unwrap().len();
            assert_eq!(pending + ended, sends.accepted + receives.accepted, "each waits or has ended");
        }
    }
    drop(socket);

    check_sends(&sends.all(), &payloads, &refused, &sys.sent());
    check_receives(&receives.all(), &delivered);
    drop(sys);
    assert_eq!(port.references(), 1, "the socket has let go of the port");
});

/// Checks that the wire has the bytes of the sends, one after the other. Only the send that broke the stream may be
/// there in part, and its call may have been refused for that.
fn check_sends(sends: &[Sent], payloads: &[Vec<u8>], refused: &[Vec<u8>], wire: &[u8]) {
    let mut rest = wire;
    for (sent, payload) in sends.iter().zip(payloads) {
        let count = sent.bytes_sent as usize;
        assert!(sent.buffers.concat() == *payload, "the buffers come back as they were lent");
        assert!(sent.result != SendResult::Ok || count == payload.len(), "OK means all of it");
        let went = rest.split_off(..count).expect("what is reported was sent");
        assert_eq!(went, &payload[..count], "bytes of sends are not mixed");
        assert!(sent.result == SendResult::Ok || count == 0 || rest.is_empty(), "nothing follows a broken send");
    }
    assert!(rest.is_empty() || refused.iter().any(|payload| payload.starts_with(rest)), "no bytes but those of sends");
}

/// Checks that the delivered bytes reach the receives in order, and that no delivery is left out.
fn check_receives(receives: &[Received], delivered: &[u8]) {
    let mut next = delivered.iter().enumerate();
    for received in receives {
        let count = received.bytes_received as usize;
        if received.result != ReceiveResult::Ok {
            assert_eq!(count, 0, "no bytes without OK");
            continue;
        }
        let (index, size) = next.next().expect("OK means that something was delivered");
        let mark = u8::try_from((index + 1) % 251).unwrap();
        let buffers = received.buffers.concat();
        assert_eq!(count, buffers.len().min(usize::from(*size)), "as much as came and fits");
        assert!(buffers[..count].iter().all(|byte| *byte == mark), "in order, none lost");
    }
}

fn buffers(sizes: &[u8], fill: u8) -> Vec<Vec<u8>> {
    sizes.iter().take(8).map(|size| vec![fill; usize::from(*size)]).collect()
}

fn step(outcome: Outcome, bytes: impl FnOnce(u8) -> Step) -> Step {
    match outcome {
        Outcome::Bytes(count) => bytes(count),
        Outcome::Again => Step::Fails(Errno::AGAIN),
        Outcome::Interrupted => Step::Fails(Errno::INTR),
        Outcome::Fails(errno) => Step::Fails(errno_of(errno)),
    }
}

/// Maps eight bits to the events of epoll. EPOLLRDHUP is bit 5 here.
fn readiness(bits: u8) -> Readiness {
    Readiness::from_bits_truncate(u32::from(bits & 0x1f) | u32::from(bits & 0x20) << 8)
}

/// Any errno there is.
fn errno_of(number: u8) -> Errno {
    Errno::from_raw_os_error(i32::from(number % 133) + 1)
}
