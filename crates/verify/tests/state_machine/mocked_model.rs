//! The model: the right behaviour of the socket over scripted system calls and events.

use crate::mocked_acts::{Act, Answer, Step, acts};
use crate::{ABANDONED, ERROR, OK, Outcome, bytes_of};
use async_socket_linux::{PayloadError, ReceiveError, SendError, SocketState};
use nix::libc::{EAGAIN, ECONNRESET, EINTR, ENOTCONN, ENOTSOCK, EPIPE};
use proptest::strategy::{BoxedStrategy, Just, Strategy};
use proptest_state_machine::ReferenceStateMachine;
use std::collections::VecDeque;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Closed,
    Open,
    /// Closed for good.
    Gone,
}

#[derive(Debug, Clone)]
struct Waiting {
    number: u32,
    is_send: bool,
    length: usize,
    sent: usize,
    again: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    phase: Phase,
    /// In the order they were accepted.
    waiting: Vec<Waiting>,
    next: u32,
    readable: bool,
    writable: bool,
    read_hang_up: bool,
    error: bool,
    /// The error that `SO_ERROR` will report once.
    pending_error: Option<i32>,
    /// The reported error, and the number below which operations were told of it.
    told: (Option<i32>, u32),
    stream_broken: bool,
    sends: VecDeque<Step>,
    receives: VecDeque<Step>,
    delivered: u32,
    pub(crate) answer: Answer,
    pub(crate) log: Vec<Outcome>,
    pub(crate) wire: Vec<u8>,
}

/// The bytes of a script's `nth` delivery.
pub(crate) fn delivery(nth: u32, length: usize) -> Vec<u8> {
    bytes_of(nth + 1000, length)
}

enum Sent {
    All,
    Some,
    Blocked,
    Failed(i32),
}

impl Model {
    pub(crate) fn state(&self) -> SocketState {
        if self.phase == Phase::Open { SocketState::Open } else { SocketState::Closed }
    }

    pub(crate) fn waiting(&self, sends: bool) -> usize {
        self.waiting.iter().filter(|it| it.is_send == sends).count()
    }

    fn open(&mut self, refused: Option<Answer>) -> Answer {
        match (self.phase, refused) {
            (Phase::Open, _) => Answer::NotClosed,
            (Phase::Gone, _) => Answer::DescriptorClosed,
            (Phase::Closed, Some(refused)) => refused,
            (Phase::Closed, None) => {
                self.phase = Phase::Open;
                Answer::Accepted
            }
        }
    }

    fn take_number(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }

    fn send(&mut self, lengths: &[usize]) -> Result<(), SendError> {
        let number = self.take_number();
        check(lengths).map_err(SendError::Payload)?;
        if self.phase != Phase::Open {
            return Err(SendError::NotOpen { state: self.state() });
        }
        if self.stream_broken {
            return Err(SendError::StreamBroken);
        }
        let mut send = Waiting { number, is_send: true, length: lengths.iter().sum(), sent: 0, again: false };
        if self.waiting(true) > 0 {
            self.waiting.push(send);
            return Ok(());
        }
        loop {
            match self.send_some(&mut send) {
                Sent::All => {
                    self.end(&send, OK, None, Vec::new());
                    return Ok(());
                }
                Sent::Some => {}
                Sent::Blocked => {
                    self.writable = false;
                    self.waiting.push(send);
                    return Ok(());
                }
                Sent::Failed(os_error) => {
                    let bytes_sent = u32::try_from(send.sent).expect("small");
                    self.stream_broken |= bytes_sent > 0;
                    return Err(match os_error {
                        ECONNRESET | ENOTCONN | EPIPE => SendError::Disconnected { os_error, bytes_sent },
                        _ => SendError::Os { os_error, bytes_sent },
                    });
                }
            }
        }
    }

    /// One system call's worth.
    fn send_some(&mut self, send: &mut Waiting) -> Sent {
        let left = send.length - send.sent;
        let taken = match self.sends.pop_front() {
            None => left,
            Some(Step::Moves(0) | Step::Fails(EAGAIN)) => return Sent::Blocked,
            Some(Step::Moves(most)) => most.min(left),
            Some(Step::Fails(EINTR)) => return self.send_some(send),
            Some(Step::Fails(errno)) => return Sent::Failed(errno),
        };
        self.wire.extend(&bytes_of(send.number, send.length)[send.sent..send.sent + taken]);
        send.sent += taken;
        if send.sent == send.length { Sent::All } else { Sent::Some }
    }

    fn receive(&mut self, lengths: &[usize], again: bool) -> Result<(), ReceiveError> {
        let number = self.take_number();
        check(lengths).map_err(ReceiveError::Payload)?;
        if self.phase != Phase::Open {
            return Err(ReceiveError::NotOpen { state: self.state() });
        }
        self.waiting.push(Waiting { number, is_send: false, length: lengths.iter().sum(), sent: 0, again });
        Ok(())
    }

    /// Handles an event. Conditions that it does not report are over.
    fn event(&mut self, readable: bool, writable: bool, read_hang_up: bool, error: bool) {
        if self.phase == Phase::Open {
            self.readable |= readable;
            self.writable |= writable;
            (self.read_hang_up, self.error) = (read_hang_up, error);
        }
    }

    /// Runs the oldest runnable operation until none is left.
    fn run(&mut self) {
        while let Some(index) = self.runnable() {
            let is_send = self.waiting[index].is_send;
            let ready = if is_send { self.writable } else { self.readable };
            if ready && is_send {
                self.go_on_sending(index);
            } else if ready {
                self.try_to_receive(index);
            } else if !is_send && self.read_hang_up {
                self.finish(index, ABANDONED, None, Vec::new());
            } else {
                self.tell_error(index);
            }
        }
    }

    fn runnable(&self) -> Option<usize> {
        let first = |sends: bool| self.waiting.iter().position(|it| it.is_send == sends);
        let send = first(true).filter(|_| self.writable || self.error);
        let receive = first(false).filter(|_| self.readable || self.read_hang_up || self.error);
        send.into_iter().chain(receive).min()
    }

    fn go_on_sending(&mut self, index: usize) {
        if self.stream_broken {
            return self.finish(index, ABANDONED, None, Vec::new());
        }
        let mut send = self.waiting[index].clone();
        let sent = self.send_some(&mut send);
        self.waiting[index] = send;
        match sent {
            Sent::All => self.finish(index, OK, None, Vec::new()),
            Sent::Some => {}
            Sent::Blocked => self.writable = false,
            Sent::Failed(errno) => self.fail(index, Some(errno)),
        }
    }

    fn try_to_receive(&mut self, index: usize) {
        match self.receives.pop_front() {
            None | Some(Step::Fails(EAGAIN)) => (self.readable, self.read_hang_up) = (false, false),
            Some(Step::Fails(EINTR)) => {}
            Some(Step::Fails(errno)) => self.fail(index, Some(errno)),
            Some(Step::Moves(length)) => {
                let data = delivery(self.delivered, length);
                self.delivered += 1;
                let fits = length.min(self.waiting[index].length);
                let result = if length == 0 { ABANDONED } else { OK };
                self.finish(index, result, None, data[..fits].to_vec());
            }
        }
    }

    fn tell_error(&mut self, index: usize) {
        if self.waiting[index].number >= self.told.1 {
            self.told = (self.pending_error.take(), self.next);
        }
        self.fail(index, self.told.0);
    }

    fn fail(&mut self, index: usize, errno: Option<i32>) {
        self.finish(index, if errno == Some(ECONNRESET) { ABANDONED } else { ERROR }, errno, Vec::new());
    }

    fn finish(&mut self, index: usize, result: u32, os_error: Option<i32>, data: Vec<u8>) {
        let operation = self.waiting.remove(index);
        self.stream_broken |= result != OK && operation.sent > 0;
        self.end(&operation, result, os_error, data);
        if operation.again && result == OK && self.phase == Phase::Open {
            let number = self.take_number();
            self.waiting.push(Waiting { number, ..operation });
        }
    }

    fn end(&mut self, operation: &Waiting, result: u32, os_error: Option<i32>, data: Vec<u8>) {
        let bytes = u32::try_from(if operation.is_send { operation.sent } else { data.len() }).expect("small");
        self.log.push(Outcome { number: operation.number, result, os_error, bytes, data });
    }

    fn close(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Gone;
            while !self.waiting.is_empty() {
                self.finish(0, ABANDONED, None, Vec::new());
            }
        }
    }
}

fn check(lengths: &[usize]) -> Result<(), PayloadError> {
    if lengths.is_empty() {
        return Err(PayloadError::NoBuffers);
    }
    lengths.iter().position(|length| *length == 0).map_or(Ok(()), |index| Err(PayloadError::EmptyBuffer { index }))
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Act;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::default()).boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Act> {
        acts()
    }

    fn apply(mut self_: Self, act: &Act) -> Self {
        let model = &mut self_;
        model.answer = Answer::Accepted;
        match act {
            Act::Open { fails } => model.answer = model.open(fails.map(Answer::NotRegistered)),
            Act::OpenNoSocket => model.answer = model.open(Some(Answer::NotASocket(ENOTSOCK))),
            Act::Send(lengths) => model.answer = model.send(lengths).map_or_else(Answer::Send, |()| Answer::Accepted),
            Act::Receive { lengths, again } => {
                model.answer = model.receive(lengths, *again).map_or_else(Answer::Receive, |()| Answer::Accepted);
            }
            Act::ScriptSend(step) => model.sends.push_back(step.clone()),
            Act::ScriptReceive(step) => model.receives.push_back(step.clone()),
            Act::Readable => model.event(true, false, false, false),
            Act::Writable => model.event(false, true, false, false),
            Act::Both => model.event(true, true, false, false),
            Act::ReadHangUp => model.event(false, false, true, false),
            Act::Error(errno) => {
                model.pending_error = errno.or(model.pending_error);
                model.event(false, false, false, true);
            }
            Act::Close => model.close(),
            Act::Destroy => {
                model.close();
                let (next, log) = (model.next, std::mem::take(&mut model.log));
                *model = Self { next, log, ..Self::default() };
            }
        }
        model.run();
        self_
    }
}
