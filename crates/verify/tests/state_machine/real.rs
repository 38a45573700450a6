//! Runs the socket on one end of a real Unix socket pair and compares it with the model.

use crate::real_model::{Act, Answer, Expected, FLOOD, Model, written};
use crate::{Outcome, bytes_of, config};
use async_socket_linux::{
    AsyncSocket, AsyncSocketLinux, Cancel, ExecutionEngine, OpenError, ReceiveCompletion, SendCompletion, SendError,
};
use completion_port::OperationId;
use integration_tests::wait::{comes_true, eventually};
use proptest_state_machine::{StateMachineTest, prop_state_machine};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

prop_state_machine! {
    #![proptest_config(config(30))]

    #[test]
    fn on_a_real_socket_pair_the_socket_does_what_the_model_says(sequential 1..40 => Real);
}

struct Real {
    engine: ExecutionEngine,
    socket: AsyncSocketLinux,
    peer: Option<UnixStream>,
    next: u32,
    written: u32,
    /// The bytes that the peer has not read yet, by the model before the act.
    unread: Vec<u8>,
    /// The names of the operations that were queued, and the newest that waits, by the model before the act.
    names: HashMap<u32, OperationId>,
    newest: Option<u32>,
    report: Sender<Outcome>,
    log: Receiver<Outcome>,
}

fn socket_on(engine: &ExecutionEngine) -> (AsyncSocketLinux, Option<UnixStream>) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    ours.set_nonblocking(true).expect("O_NONBLOCK");
    theirs.set_read_timeout(Some(integration_tests::LIMIT)).expect("SO_RCVTIMEO");
    (AsyncSocketLinux::create(Some(engine), ours.into()).expect("a socket"), Some(theirs))
}

impl Real {
    fn send(&mut self, lengths: &[usize]) -> Answer {
        let number = self.take_number();
        let mut rest = bytes_of(number, lengths.iter().sum());
        let list: Vec<Vec<u8>> = lengths.iter().map(|length| rest.drain(..*length).collect()).collect();
        let report = self.report.clone();
        let result = self.socket.send_async(list, move |completion: SendCompletion<Vec<Vec<u8>>>| {
            let SendCompletion { reason, bytes_sent: bytes, .. } = completion;
            let _ = report.send(Outcome { number, reason, bytes, data: Vec::new() });
        });
        self.sent(number, result.map_err(|refused| refused.error))
    }

    fn sent(&mut self, number: u32, result: Result<Option<OperationId>, SendError>) -> Answer {
        match result {
            Ok(id) => {
                self.names.extend(id.map(|id| (number, id)));
                Answer::Accepted
            }
            Err(SendError::ShutDown) => Answer::ShutDown,
            Err(SendError::NotOpen { .. }) => Answer::NotOpen,
            Err(SendError::Disconnected { bytes_sent: 0, .. }) => Answer::Disconnected,
            Err(SendError::StreamBroken) => Answer::StreamBroken,
            Err(error) => panic!("{error}"),
        }
    }

    fn receive(&mut self, lengths: &[usize], within: Option<Duration>) -> Answer {
        let number = self.take_number();
        let list: Vec<Vec<u8>> = lengths.iter().map(|length| vec![0; *length]).collect();
        let report = self.report.clone();
        let done = move |completion: ReceiveCompletion<Vec<Vec<u8>>>| {
            let ReceiveCompletion { reason, bytes_received: bytes, buffers, .. } = completion;
            let mut data = buffers.concat();
            data.truncate(bytes as usize);
            let _ = report.send(Outcome { number, reason, bytes, data });
        };
        let result = match within {
            Some(within) => self.socket.receive_async_within(list, within, done),
            None => self.socket.receive_async(list, done),
        };
        let Ok(id) = result else { return Answer::NotOpen };
        self.names.insert(number, id);
        Answer::Accepted
    }

    fn take_number(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }

    fn step(&mut self, act: &Act) -> Answer {
        match act {
            Act::Open => match self.socket.open_async(|_| {}) {
                Ok(()) => {}
                Err(OpenError::NotClosed { .. }) => return Answer::NotClosed,
                Err(OpenError::DescriptorClosed) => return Answer::DescriptorClosed,
                Err(error) => panic!("{error}"),
            },
            Act::Send(lengths) => return self.send(lengths),
            Act::Flood => return self.send(&[FLOOD]),
            Act::Receive(lengths) => return self.receive(lengths, None),
            Act::ReceiveSoon(lengths) => return self.receive(lengths, Some(Duration::from_millis(1))),
            Act::CancelNewest => {
                let cancelled =
                    self.newest.map_or(Cancel::NotWaiting, |number| self.socket.cancel(self.names[&number]));
                return Answer::Cancel(cancelled);
            }
            Act::ShutDown => {
                let (number, report) = (self.take_number(), self.report.clone());
                let result = self.socket.shutdown_async(move |completion| {
                    let (reason, bytes) = (completion.reason, completion.bytes_sent);
                    let _ = report.send(Outcome { number, reason, bytes, data: Vec::new() });
                });
                return self.sent(number, result);
            }
            Act::CloseAsync => {
                let (done, over) = channel();
                match self.socket.close_async(move || done.send(()).unwrap_or_default()) {
                    Ok(()) => over.recv_timeout(integration_tests::LIMIT).expect("the close ends"),
                    Err(_) => return Answer::NotOpen,
                }
            }
            Act::PeerWrites(length) => {
                let bytes = written(self.written, *length);
                self.written += 1;
                self.peer.as_mut().expect("a peer").write_all(&bytes).expect("the peer writes");
            }
            Act::PeerReadsAll => {
                let mut bytes = vec![0; self.unread.len()];
                self.peer.as_mut().expect("a peer").read_exact(&mut bytes).expect("the peer reads");
                assert!(bytes == self.unread, "what was accepted arrives in order");
            }
            Act::PeerFinishes => self.peer.as_ref().expect("a peer").shutdown(Shutdown::Write).expect("shutdown"),
            Act::PeerCloses => self.peer = None,
            Act::Close => self.socket.close(),
            Act::Destroy => {
                let (socket, peer) = socket_on(&self.engine);
                drop(std::mem::replace(&mut self.socket, socket));
                (self.peer, self.written) = (peer, 0);
            }
        }
        Answer::Accepted
    }

    /// Checks the callbacks since the last act.
    fn completed(&self, expected: &[Expected], in_order: bool) {
        let mut found: Vec<Outcome> = Vec::new();
        let all = comes_true(integration_tests::LIMIT, || {
            found.extend(self.log.try_iter());
            found.len() >= expected.len()
        });
        assert!(all, "{found:?} instead of {expected:?}");
        let mut expected = expected.to_vec();
        if !in_order {
            // Different threads run the callbacks of sends and those of receives.
            found.sort_by_key(|outcome| outcome.number);
            expected.sort_by_key(|expected| expected.number);
        }
        assert_eq!(found.len(), expected.len(), "{found:?} instead of {expected:?}");
        for (found, expected) in found.iter().zip(&expected) {
            let bytes = expected.bytes.is_none_or(|bytes| bytes == found.bytes as usize);
            let right = found.number == expected.number && expected.results.contains(&found.result());
            assert!(right && bytes && found.data == expected.data, "{found:?} instead of {expected:?}");
        }
    }
}

impl StateMachineTest for Real {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(_: &Model) -> Self {
        let engine = ExecutionEngine::builder().build().expect("an engine");
        let ((socket, peer), (report, log)) = (socket_on(&engine), channel());
        let (unread, names) = (Vec::new(), HashMap::new());
        Self { engine, socket, peer, next: 0, written: 0, unread, names, newest: None, report, log }
    }

    fn apply(mut real: Self, model: &Model, act: Act) -> Self {
        let answer = real.step(&act);
        assert_eq!(answer, model.answer);
        real.completed(&model.completed, matches!(act, Act::Close | Act::CloseAsync | Act::Destroy));
        real.unread.clone_from(&model.unread);
        real.newest = model.newest();
        real
    }

    fn check_invariants(real: &Self, model: &Model) {
        assert_eq!(real.socket.state(), model.state());
    }

    /// Nothing comes that was not expected.
    fn teardown(real: Self, _: Model) {
        let Self { socket, log, report, engine, .. } = real;
        drop(socket);
        drop(report);
        let rest: Vec<Outcome> = std::iter::from_fn(|| log.recv_timeout(Duration::from_secs(5)).ok()).collect();
        assert!(rest.iter().all(|outcome| outcome.result() == crate::ABANDONED), "{rest:?}");
        drop(engine);
        eventually("the log is closed", || log.try_recv().is_err());
    }
}
