//! The model: the right behaviour of the socket over scripted system calls and events.

use crate::mocked_acts::{Act, Answer, Step, acts};
use crate::{Outcome, bytes_of};
use EndReason::{Cancelled, Closed, Completed, HungUp, PeerFinished, StreamBroken, TimedOut};
use async_socket_linux::{Cancel, EndReason, IntoFdError, PayloadError, ReceiveError, SendError, SocketState};
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
    /// The end of the stream, which is sent behind the sends.
    shuts: bool,
    /// When it is over, and the time that it was given.
    deadline: Option<u64>,
    within: Option<u64>,
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
    /// A shutdown was accepted and has not failed.
    shut: bool,
    high_water: Option<usize>,
    /// Milliseconds.
    now: u64,
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

    /// The bytes of sends that wait which the kernel has not taken.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.waiting.iter().filter(|it| it.is_send).map(|it| it.length - it.sent).sum()
    }

    /// An operation with the next number.
    fn operation(&mut self, is_send: bool, length: usize, within: Option<u64>) -> Waiting {
        let deadline = within.map(|within| self.now + within);
        Waiting { number: self.take_number(), is_send, length, sent: 0, again: false, shuts: false, deadline, within }
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

    fn may_send(&self) -> Result<(), SendError> {
        if self.phase != Phase::Open {
            return Err(SendError::NotOpen { state: self.state() });
        }
        if self.stream_broken {
            return Err(SendError::StreamBroken);
        }
        if self.shut { Err(SendError::ShutDown) } else { Ok(()) }
    }

    fn send(&mut self, lengths: &[usize], within: Option<u64>) -> Result<(), SendError> {
        let mut send = self.operation(true, lengths.iter().sum(), within);
        check(lengths).map_err(SendError::Payload)?;
        self.may_send()?;
        if self.waiting(true) > 0 {
            let queued_bytes = self.queued_bytes();
            if self.high_water.is_some_and(|mark| queued_bytes > 0 && queued_bytes >= mark) {
                return Err(SendError::TooMuchQueued { queued_bytes });
            }
            self.waiting.push(send);
            return Ok(());
        }
        loop {
            match self.send_some(&mut send) {
                Sent::All => {
                    self.end(&send, Completed, Vec::new());
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

    /// A send of the end of the stream.
    fn shut_down(&mut self) -> Result<(), SendError> {
        let shutdown = Waiting { shuts: true, ..self.operation(true, 0, None) };
        self.may_send()?;
        self.shut = true;
        if self.waiting(true) > 0 {
            self.waiting.push(shutdown);
        } else {
            self.end(&shutdown, Completed, Vec::new());
        }
        Ok(())
    }

    /// Cancels one of the latest operations: the last is 0.
    fn cancel(&mut self, nth: u32) -> Cancel {
        let number = self.next.checked_sub(nth + 1);
        let Some(index) = self.waiting.iter().position(|it| Some(it.number) == number) else {
            return Cancel::NotWaiting;
        };
        if self.waiting[index].sent > 0 {
            return Cancel::Started;
        }
        self.finish(index, Cancelled, Vec::new());
        Cancel::Cancelled
    }

    /// Time goes by. At each deadline, what is over ends: first receives, then sends, and what waits behind a fragment.
    fn wait(&mut self, milliseconds: u64) {
        let end = self.now + milliseconds;
        while let Some(at) = self.waiting.iter().filter_map(|it| it.deadline).filter(|at| *at <= end).min() {
            self.now = self.now.max(at);
            let now = self.now;
            for sends in [false, true] {
                let is_over = |it: &Waiting| it.is_send == sends && it.deadline.is_some_and(|deadline| deadline <= now);
                self.end_all(TimedOut, is_over);
            }
            if self.stream_broken {
                self.end_all(StreamBroken, |it| it.is_send);
            }
            self.run();
        }
        self.now = end;
    }

    fn end_all(&mut self, reason: EndReason, is_over: impl Fn(&Waiting) -> bool) {
        while let Some(index) = self.waiting.iter().position(&is_over) {
            self.finish(index, reason, Vec::new());
        }
    }

    fn receive(&mut self, lengths: &[usize], again: bool, within: Option<u64>) -> Result<(), ReceiveError> {
        let receive = Waiting { again, ..self.operation(false, lengths.iter().sum(), within) };
        check(lengths).map_err(ReceiveError::Payload)?;
        if self.phase != Phase::Open {
            return Err(ReceiveError::NotOpen { state: self.state() });
        }
        self.waiting.push(receive);
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
                self.finish(index, PeerFinished, Vec::new());
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
            return self.finish(index, StreamBroken, Vec::new());
        }
        if self.waiting[index].shuts {
            return self.finish(index, Completed, Vec::new());
        }
        let mut send = self.waiting[index].clone();
        let sent = self.send_some(&mut send);
        self.waiting[index] = send;
        match sent {
            Sent::All => self.finish(index, Completed, Vec::new()),
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
                let reason = if length == 0 { PeerFinished } else { Completed };
                self.finish(index, reason, data[..fits].to_vec());
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
        self.finish(index, errno.map_or(HungUp, EndReason::of_os_error), Vec::new());
    }

    fn finish(&mut self, index: usize, reason: EndReason, data: Vec<u8>) {
        let operation = self.waiting.remove(index);
        self.stream_broken |= reason != Completed && operation.sent > 0;
        self.shut &= !operation.shuts || reason == Completed;
        self.end(&operation, reason, data);
        if operation.again && reason == Completed && self.phase == Phase::Open {
            let again = Waiting { again: true, ..self.operation(false, operation.length, operation.within) };
            self.waiting.push(again);
        }
    }

    fn end(&mut self, operation: &Waiting, reason: EndReason, data: Vec<u8>) {
        let bytes = u32::try_from(if operation.is_send { operation.sent } else { data.len() }).expect("small");
        self.log.push(Outcome { number: operation.number, reason, bytes, data });
    }

    fn close(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Gone;
            while !self.waiting.is_empty() {
                self.finish(0, Closed, Vec::new());
            }
        }
    }
}

impl Model {
    fn close_async(&mut self) -> Answer {
        let number = self.take_number();
        if self.phase != Phase::Open {
            return Answer::NotOpen;
        }
        self.close();
        self.log.push(Outcome { number, reason: Completed, bytes: 0, data: Vec::new() });
        Answer::Accepted
    }

    /// Goes on with another socket, unless the descriptor is not given back.
    fn take_descriptor(&mut self) -> Answer {
        let (receives, sends) = (self.waiting(false), self.waiting(true));
        if receives + sends > 0 {
            return Answer::IntoFd(IntoFdError::OperationsWait { receives, sends });
        }
        if self.phase == Phase::Gone {
            return Answer::IntoFd(IntoFdError::DescriptorClosed);
        }
        self.begin_anew();
        Answer::Accepted
    }

    fn begin_anew(&mut self) {
        let (next, log) = (self.next, std::mem::take(&mut self.log));
        *self = Self { next, log, ..Self::default() };
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

    /// While a callback has a weak reference to the socket, the socket stays where it is.
    fn preconditions(model: &Self, act: &Act) -> bool {
        !matches!(act, Act::IntoFd) || !model.waiting.iter().any(|it| it.again)
    }

    fn apply(mut self_: Self, act: &Act) -> Self {
        let model = &mut self_;
        model.answer = Answer::Accepted;
        match act {
            Act::Open { fails } => model.answer = model.open(fails.map(Answer::NotRegistered)),
            Act::OpenNoSocket => model.answer = model.open(Some(Answer::NotASocket(ENOTSOCK))),
            Act::Send { lengths, within } => {
                model.answer = model.send(lengths, *within).map_or_else(Answer::Send, |()| Answer::Accepted);
            }
            Act::ShutDown => model.answer = model.shut_down().map_or_else(Answer::Send, |()| Answer::Accepted),
            Act::Cancel(nth) => model.answer = Answer::Cancel(model.cancel(*nth)),
            Act::HighWater(mark) => model.high_water = *mark,
            Act::Wait(milliseconds) => model.wait(*milliseconds),
            Act::CloseAsync => model.answer = model.close_async(),
            Act::IntoFd => model.answer = model.take_descriptor(),
            Act::Receive { lengths, again, within } => {
                model.answer =
                    model.receive(lengths, *again, *within).map_or_else(Answer::Receive, |()| Answer::Accepted);
            }
            Act::ScriptSend(step) => model.sends.push_back(step.clone()),
            Act::ScriptFragment(bytes) => model.sends.extend([Step::Moves(*bytes), Step::Fails(EAGAIN)]),
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
                model.begin_anew();
            }
        }
        model.run();
        self_
    }
}
