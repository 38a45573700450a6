//! The model: the right behaviour of the socket on one end of a Unix socket pair, as far as the kernel leaves no
//! choice.

use crate::{ABANDONED, ERROR, OK, bytes_of};
use async_socket_linux::{Cancel, SocketState};
use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;
use std::collections::VecDeque;

/// More bytes than the kernel takes while the peer reads nothing.
pub(crate) const FLOOD: usize = 4 << 20;

/// A number of bytes that the kernel takes in any case.
const ROOM: usize = 20_000;

#[derive(Debug, Clone)]
pub(crate) enum Act {
    Open,
    Send(Vec<usize>),
    Flood,
    Receive(Vec<usize>),
    /// A receive with a deadline, while there is nothing to receive, not even the end.
    ReceiveSoon(Vec<usize>),
    /// Cancels the newest operation that waits.
    CancelNewest,
    ShutDown,
    CloseAsync,
    PeerWrites(usize),
    PeerReadsAll,
    PeerFinishes,
    PeerCloses,
    Close,
    Destroy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Answer {
    #[default]
    Accepted,
    NotClosed,
    DescriptorClosed,
    NotOpen,
    Disconnected,
    StreamBroken,
    ShutDown,
    Cancel(Cancel),
}

/// The expected result of an operation. The kernel decides how much of a flood goes out before the peer leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) number: u32,
    pub(crate) results: Vec<u32>,
    pub(crate) bytes: Option<usize>,
    pub(crate) data: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Peer {
    #[default]
    Writes,
    /// It sends no more.
    Finished,
    Gone,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    number: u32,
    is_send: bool,
    length: usize,
    /// The end of the stream, which is sent behind the sends.
    shuts: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    is_open: bool,
    is_gone: bool,
    peer: Peer,
    next: u32,
    waiting: Vec<Waiting>,
    stream_broken: bool,
    /// A shutdown was accepted and has not failed.
    shut: bool,
    incoming: VecDeque<u8>,
    written: u32,
    /// The bytes that the peer will read, including those of waiting sends.
    pub(crate) unread: Vec<u8>,
    pub(crate) answer: Answer,
    /// The operations that the last act has completed.
    pub(crate) completed: Vec<Expected>,
}

/// The bytes of the peer's `nth` write.
pub(crate) fn written(nth: u32, length: usize) -> Vec<u8> {
    bytes_of(nth + 5_000, length)
}

impl Model {
    pub(crate) fn state(&self) -> SocketState {
        if self.is_open { SocketState::Open } else { SocketState::Closed }
    }

    /// The newest operation that waits.
    pub(crate) fn newest(&self) -> Option<u32> {
        self.waiting.last().map(|it| it.number)
    }

    fn send(&mut self, length: usize) -> Answer {
        let number = self.next;
        self.next += 1;
        if !self.is_open {
            return Answer::NotOpen;
        }
        if self.stream_broken {
            return Answer::StreamBroken;
        }
        if self.shut {
            return Answer::ShutDown;
        }
        if self.peer == Peer::Gone {
            return Answer::Disconnected;
        }
        let behind = self.waiting.iter().any(|it| it.is_send);
        self.unread.extend(bytes_of(number, length));
        if behind || length == FLOOD {
            self.waiting.push(Waiting { number, is_send: true, length, shuts: false });
        } else {
            self.complete(number, vec![OK], Some(length), Vec::new());
        }
        Answer::Accepted
    }

    fn receive(&mut self, length: usize) -> Answer {
        let number = self.next;
        self.next += 1;
        if !self.is_open {
            return Answer::NotOpen;
        }
        self.waiting.push(Waiting { number, is_send: false, length, shuts: false });
        Answer::Accepted
    }

    /// The receive ends by its deadline.
    fn receive_soon(&mut self, length: usize) -> Answer {
        let answer = self.receive(length);
        if answer == Answer::Accepted {
            let Some(Waiting { number, .. }) = self.waiting.pop() else { unreachable!("it has just been pushed") };
            self.complete(number, vec![ERROR], Some(0), Vec::new());
        }
        answer
    }

    fn shut_down(&mut self) -> Answer {
        let number = self.next;
        self.next += 1;
        if !self.is_open {
            return Answer::NotOpen;
        }
        if self.stream_broken {
            return Answer::StreamBroken;
        }
        if std::mem::replace(&mut self.shut, true) {
            return Answer::ShutDown;
        }
        if self.waiting.iter().any(|it| it.is_send) {
            self.waiting.push(Waiting { number, is_send: true, length: 0, shuts: true });
        } else {
            self.complete(number, vec![OK], Some(0), Vec::new());
        }
        Answer::Accepted
    }

    /// Nothing waits behind the newest operation.
    fn cancel_newest(&mut self) -> Cancel {
        let Some(newest) = self.waiting.last().copied() else { return Cancel::NotWaiting };
        // The kernel has taken a part of the first send.
        if newest.is_send && self.waiting.iter().filter(|it| it.is_send).count() == 1 {
            return Cancel::Started;
        }
        self.waiting.pop();
        if newest.is_send {
            self.unread.truncate(self.unread.len() - newest.length);
            self.shut &= !newest.shuts;
        }
        self.complete(newest.number, vec![ABANDONED], Some(0), Vec::new());
        Cancel::Cancelled
    }

    /// Completes receives with the available bytes, and then with the end.
    fn deliver(&mut self) {
        while let Some(index) = self.waiting.iter().position(|it| !it.is_send) {
            if self.incoming.is_empty() && self.peer == Peer::Writes {
                break;
            }
            let Waiting { number, length, .. } = self.waiting.remove(index);
            let data: Vec<u8> = self.incoming.drain(..length.min(self.incoming.len())).collect();
            let result = if data.is_empty() { ABANDONED } else { OK };
            self.complete(number, vec![result], Some(data.len()), data);
        }
    }

    fn end_sends(&mut self, read: bool) {
        let (sends, others): (Vec<_>, Vec<_>) = self.waiting.iter().copied().partition(|it| it.is_send);
        self.waiting = others;
        for (index, Waiting { number, length, shuts, .. }) in sends.into_iter().enumerate() {
            self.shut &= read || !shuts;
            if read {
                self.complete(number, vec![OK], Some(length), Vec::new());
            } else if index == 0 {
                self.stream_broken = true;
                self.complete(number, vec![ERROR, ABANDONED], None, Vec::new());
            } else {
                self.complete(number, vec![ABANDONED], Some(0), Vec::new());
            }
        }
    }

    fn close(&mut self) {
        if !self.is_open {
            return;
        }
        (self.is_open, self.is_gone) = (false, true);
        let mut first_send = true;
        for Waiting { number, is_send, .. } in std::mem::take(&mut self.waiting) {
            let partial = is_send && std::mem::take(&mut first_send);
            self.complete(number, vec![ABANDONED], (!partial).then_some(0), Vec::new());
        }
    }

    fn complete(&mut self, number: u32, results: Vec<u32>, bytes: Option<usize>, data: Vec<u8>) {
        self.completed.push(Expected { number, results, bytes, data });
    }
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Act;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::default()).boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Act> {
        let lengths = || prop::collection::vec(1..700_usize, 1..4);
        prop_oneof![
            3 => Just(Act::Open),
            6 => lengths().prop_map(Act::Send),
            1 => Just(Act::Flood),
            8 => lengths().prop_map(Act::Receive),
            2 => lengths().prop_map(Act::ReceiveSoon),
            4 => Just(Act::CancelNewest),
            1 => Just(Act::ShutDown),
            1 => Just(Act::CloseAsync),
            8 => (1..2_000_usize).prop_map(Act::PeerWrites),
            3 => Just(Act::PeerReadsAll),
            1 => Just(Act::PeerFinishes),
            1 => Just(Act::PeerCloses),
            1 => Just(Act::Close),
            1 => Just(Act::Destroy),
        ]
        .boxed()
    }

    /// Allows only sends that the kernel certainly takes, and only acts that a peer can do.
    fn preconditions(model: &Self, act: &Act) -> bool {
        let floods = model.waiting.iter().any(|it| it.is_send && it.length == FLOOD);
        match act {
            Act::Send(_) => floods || model.unread.len() < ROOM,
            Act::Flood => !floods && model.unread.len() < ROOM,
            Act::PeerWrites(_) => model.peer == Peer::Writes && !model.is_gone && model.incoming.len() < ROOM,
            Act::PeerFinishes => model.peer == Peer::Writes && !model.is_gone,
            // On a busy machine the time is over before the end of the stream is seen.
            Act::ReceiveSoon(_) => model.incoming.is_empty() && model.peer == Peer::Writes,
            // What the kernel says without a peer depends on the kernel.
            Act::ShutDown => model.peer != Peer::Gone,
            Act::PeerReadsAll | Act::PeerCloses => model.peer != Peer::Gone && !model.is_gone,
            _ => true,
        }
    }

    fn apply(mut model: Self, act: &Act) -> Self {
        model.answer = Answer::Accepted;
        model.completed.clear();
        match act {
            Act::Open if model.is_open => model.answer = Answer::NotClosed,
            Act::Open if model.is_gone => model.answer = Answer::DescriptorClosed,
            Act::Open => model.is_open = true,
            Act::Send(lengths) => model.answer = model.send(lengths.iter().sum()),
            Act::Flood => model.answer = model.send(FLOOD),
            Act::Receive(lengths) => model.answer = model.receive(lengths.iter().sum()),
            Act::ReceiveSoon(lengths) => model.answer = model.receive_soon(lengths.iter().sum()),
            Act::CancelNewest => model.answer = Answer::Cancel(model.cancel_newest()),
            Act::ShutDown => model.answer = model.shut_down(),
            Act::CloseAsync if !model.is_open => model.answer = Answer::NotOpen,
            Act::CloseAsync => model.close(),
            Act::PeerWrites(length) => {
                model.incoming.extend(written(model.written, *length));
                model.written += 1;
            }
            Act::PeerReadsAll => {
                model.unread.clear();
                model.end_sends(true);
            }
            Act::PeerFinishes => model.peer = Peer::Finished,
            Act::PeerCloses => {
                model.peer = Peer::Gone;
                model.end_sends(false);
            }
            Act::Close => model.close(),
            Act::Destroy => {
                model.close();
                let (next, completed) = (model.next, std::mem::take(&mut model.completed));
                model = Self { next, completed, ..Self::default() };
            }
        }
        model.deliver();
        model
    }
}
