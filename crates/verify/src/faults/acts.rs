//! What a program does besides sending and receiving, and how often each of it happened.

use clap::ValueEnum;
use std::sync::atomic::{AtomicU64, Ordering};

/// Something that a program may do, which most programs of users never do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Act {
    /// A callback that a close on a port thread abandons destroys the socket that is being closed.
    DestroyInAbandonedOnPort,
    /// The same on a thread of the program.
    DestroyInAbandonedOnPlain,
    /// The last reference to a socket is dropped in a callback of that socket.
    LastDropInCallback,
    /// A thread of the program closes a socket while a callback of it runs on another thread.
    CloseBesideCallback,
    /// A send inside a callback that another send runs on the caller's thread.
    SendInSendCallback,
    /// A thread of the program adds a receive while a callback of a receive runs and others wait behind it.
    AddBesideBacklog,
    /// A callback destroys the socket of another, never one that was made earlier.
    DestroyOther,
    /// On one port thread a callback destroys another socket, and a callback of that destroys the first.
    DestroyEachOther,
    /// A lent buffer panics when it is asked for its bytes.
    BufferPanic,
    /// A lent buffer shows another length than before.
    BufferChange,
    /// A callback panics.
    CallbackPanic,
    /// The subscriber of log lines panics.
    SubscriberPanic,
    /// Other code closes the epoll instance or the eventfd of a port.
    LosePort,
}

impl Act {
    /// Every act.
    pub const ALL: [Self; 13] = [
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
        Self::LosePort,
    ];

    /// Whether every byte arrives in spite of it.
    fn is_harmless(self) -> bool {
        matches!(self, Self::SendInSendCallback | Self::AddBesideBacklog | Self::CallbackPanic | Self::SubscriberPanic)
    }
}

/// The acts that a program may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acts([bool; Act::ALL.len()]);

impl Acts {
    /// Most of them, so that programs differ; only harmless ones if the program is calm.
    pub(super) fn of(random: &mut fastrand::Rng, calm: bool) -> Self {
        let mut acts = Self(Act::ALL.map(|act| random.u8(..4) > 0 && (!calm || act.is_harmless())));
        // They follow different rules, and two rules in one program could deadlock.
        acts = acts.without(if random.bool() { Act::DestroyOther } else { Act::DestroyEachOther });
        // Everything on that port ends with it.
        if random.bool() { acts.without(Act::LosePort) } else { acts }
    }

    /// Whether a program may do it.
    pub(super) fn has(self, act: Act) -> bool {
        self.0[act as usize]
    }

    /// The same but for one.
    pub(super) fn without(mut self, act: Act) -> Self {
        self.0[act as usize] = false;
        self
    }
}

/// How often each act happened.
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
