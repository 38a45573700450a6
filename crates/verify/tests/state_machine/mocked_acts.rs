//! The acts on a socket over the mocks, and the answers of its calls.

use async_socket_linux::{Cancel, IntoFdError, ReceiveError, SendError};
use nix::libc::{EAGAIN, ECONNRESET, EINTR, EMFILE, ENOBUFS, ENOMEM, ENOTCONN, EPIPE, ETIMEDOUT};
use proptest::prelude::*;

/// The result of a scripted system call.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Moves(usize),
    Fails(i32),
}

#[derive(Debug, Clone)]
pub(crate) enum Act {
    Open {
        fails: Option<i32>,
    },
    OpenNoSocket,
    /// Perhaps with a deadline, in milliseconds.
    Send {
        lengths: Vec<usize>,
        within: Option<u64>,
    },
    Receive {
        lengths: Vec<usize>,
        again: bool,
        within: Option<u64>,
    },
    /// Cancels one of the latest operations: the last is 0.
    Cancel(u32),
    ShutDown,
    HighWater(Option<usize>),
    /// Milliseconds go by.
    Wait(u64),
    ScriptSend(Step),
    /// The next send moves a few bytes, and then finds no room.
    ScriptFragment(usize),
    ScriptReceive(Step),
    Readable,
    Writable,
    Both,
    ReadHangUp,
    Error(Option<i32>),
    Close,
    CloseAsync,
    IntoFd,
    Destroy,
}

/// The result of a call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Answer {
    #[default]
    Accepted,
    NotClosed,
    DescriptorClosed,
    NotRegistered(i32),
    NotASocket(i32),
    Send(SendError),
    Receive(ReceiveError),
    Cancel(Cancel),
    IntoFd(IntoFdError),
    /// A close that does not wait was refused.
    NotOpen,
}

/// Any act, the usual ones more often.
pub(crate) fn acts() -> BoxedStrategy<Act> {
    let lengths =
        || prop_oneof![9 => prop::collection::vec(1..40_usize, 1..5), 1 => prop::collection::vec(0..2_usize, 0..3)];
    let within = || prop::option::weighted(0.3, 0..12_u64);
    let errors = prop::sample::select(vec![ECONNRESET, EPIPE, ENOTCONN, ENOBUFS, ENOMEM, ETIMEDOUT]);
    let step = || {
        let fails =
            prop::sample::select(vec![EAGAIN, EAGAIN, EINTR, ECONNRESET, EPIPE, ENOTCONN, ENOBUFS, ENOMEM, ETIMEDOUT]);
        prop_oneof![5 => (0..60_usize).prop_map(Step::Moves), 2 => fails.prop_map(Step::Fails)]
    };
    prop_oneof![
        3 => prop::option::weighted(0.3, Just(EMFILE)).prop_map(|fails| Act::Open { fails }),
        1 => Just(Act::OpenNoSocket),
        8 => (lengths(), within()).prop_map(|(lengths, within)| Act::Send { lengths, within }),
        8 => (lengths(), any::<bool>(), within())
            .prop_map(|(lengths, again, within)| Act::Receive { lengths, again, within }),
        4 => (0..6_u32).prop_map(Act::Cancel),
        1 => Just(Act::ShutDown),
        2 => prop::option::of(1..80_usize).prop_map(Act::HighWater),
        4 => (0..8_u64).prop_map(Act::Wait),
        6 => step().prop_map(Act::ScriptSend),
        3 => (1..5_usize).prop_map(Act::ScriptFragment),
        6 => step().prop_map(Act::ScriptReceive),
        5 => Just(Act::Readable),
        5 => Just(Act::Writable),
        3 => Just(Act::Both),
        1 => Just(Act::ReadHangUp),
        1 => prop::option::of(errors).prop_map(Act::Error),
        1 => Just(Act::Close),
        1 => Just(Act::CloseAsync),
        1 => Just(Act::IntoFd),
        1 => Just(Act::Destroy),
    ]
    .boxed()
}
