//! The acts of a program besides plain sending and receiving, with a counter for each.

use clap::ValueEnum;
use std::sync::atomic::{AtomicU64, Ordering};

/// An act that a program may do, but that most programs of users never do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Act {
    /// A close on a port thread abandons an operation, and the callback of that operation destroys the closing socket.
    DestroyInAbandonedOnPort,
    /// The same on a thread that is not a port thread.
    DestroyInAbandonedOnPlain,
    /// A callback of a socket drops the last reference to that socket.
    LastDropInCallback,
    /// A thread closes a socket while another thread runs a callback of that socket.
    CloseBesideCallback,
    /// A send inside a callback that another send runs on the caller's thread.
    SendInSendCallback,
    /// A thread adds a receive while the callback of a receive runs and other receives wait.
    AddBesideBacklog,
    /// A callback destroys another socket, never an older one.
    DestroyOther,
    /// On one port thread, a callback of one socket destroys another socket, and a callback of that one destroys the
    /// first.
    DestroyEachOther,
    /// A lent buffer panics when the library asks it for its bytes.
    BufferPanic,
    /// A lent buffer shows another length than it did before.
    BufferChange,
    /// A callback panics.
    CallbackPanic,
    /// The subscriber of log lines panics.
    SubscriberPanic,
    /// A thread or a callback cancels a receive that waits, or that is just being completed.
    Cancel,
    /// A callback closes any socket without waiting.
    CloseAsync,
    /// A receive has a deadline and ends by it.
    ReceiveDeadline,
    /// A send has a deadline and ends by it.
    SendDeadline,
    /// An idle time-out is set, changed and removed, and ends an operation.
    IdleTimeout,
    /// The sending half is shut down behind the sends that wait.
    Shutdown,
    /// A queued send is cancelled of which no byte has gone out.
    CancelSend,
    /// A timer fires.
    Timer,
    /// A timer is cancelled before it fires.
    CancelTimer,
    /// A timer is moved to an earlier or later time before it fires.
    ResetTimer,
    /// Posted work runs.
    Post,
    /// A connect ends with a socket, whose descriptor is taken back.
    Connect,
    /// A connect is cancelled before it ends.
    CancelConnect,
    /// A connect fails at every address.
    FailedConnect,
    /// A listener has accepted a connection whose other end a connect has made.
    Accept,
    /// A listener pauses for want of descriptors or memory.
    PauseListener,
    /// A listener is stopped or dropped, perhaps in its own callback.
    StopListener,
    /// Other code closes a port's epoll instance or eventfd.
    LosePort,
}

impl Act {
    /// Every act.
    pub const ALL: [Self; 30] = [
        Self::DestroyInAbandonedOnPort,
        Self::DestroyInAbandonedOnPlain,
        Self::LastDropInCallback,
        Self::CloseBesideCallback,
        Self::SendInSendCallback,
        Self::AddBesideBacklog,
        Self::DestroyOther,
        Self::DestroyEachOther,
        Self::BufferPanic,
        Self::BufferChange,
        Self::CallbackPanic,
        Self::SubscriberPanic,
        Self::Cancel,
        Self::CloseAsync,
        Self::ReceiveDeadline,
        Self::SendDeadline,
        Self::IdleTimeout,
        Self::Shutdown,
        Self::CancelSend,
        Self::Timer,
        Self::CancelTimer,
        Self::ResetTimer,
        Self::Post,
        Self::Connect,
        Self::CancelConnect,
        Self::FailedConnect,
        Self::Accept,
        Self::PauseListener,
        Self::StopListener,
        Self::LosePort,
    ];

    /// Whether every byte arrives in spite of it.
    fn is_harmless(self) -> bool {
        matches!(
            self,
            Self::SendInSendCallback
                | Self::AddBesideBacklog
                | Self::CallbackPanic
                | Self::SubscriberPanic
                | Self::Cancel
                | Self::ReceiveDeadline
                | Self::Timer
                | Self::CancelTimer
                | Self::ResetTimer
                | Self::Post
                | Self::Connect
                | Self::CancelConnect
                | Self::Accept
        )
    }
}

/// The acts that a program may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acts([bool; Act::ALL.len()]);

impl Acts {
    /// Most acts, so that programs differ. A calm program gets only harmless acts.
    pub(super) fn of(random: &mut fastrand::Rng, calm: bool) -> Self {
        let mut acts = Self(Act::ALL.map(|act| random.u8(..4) > 0 && (!calm || act.is_harmless())));
        // The two acts follow different rules, and a program with both could deadlock.
        acts = acts.without(if random.bool() { Act::DestroyOther } else { Act::DestroyEachOther });
        // Everything on that port ends with it.
        if random.bool() { acts.without(Act::LosePort) } else { acts }
    }

    /// Whether a program may do it.
    pub(super) fn has(self, act: Act) -> bool {
        self.0[act as usize]
    }

    /// The same acts without one.
    pub(super) fn without(mut self, act: Act) -> Self {
        self.0[act as usize] = false;
        self
    }
}

/// The number of times that each act happened.
#[derive(Debug, Default)]
pub(super) struct Happened([AtomicU64; Act::ALL.len()]);

impl Happened {
    pub(super) fn note(&self, act: Act) {
        self.0[act as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> [u64; Act::ALL.len()] {
        Act::ALL.map(|act| self.0[act as usize].load(Ordering::Relaxed))
    }
}
