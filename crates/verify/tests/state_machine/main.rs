//! Compares the socket with a reference model: on mocks, where the whole order is known, and on real sockets.
//!
//! `PROPTEST_CASES` sets the number of sequences of operations; `cargo xtask verify state-machine` tries many.

mod mocked;
mod mocked_acts;
mod mocked_model;
mod real;
mod real_model;

use async_socket_linux::EndReason;
use proptest::test_runner::Config;

/// A few cases unless the environment asks for more.
fn config(few: u32) -> Config {
    // proptest redraws an act that the model's state does not allow. The number of redraws over all cases says nothing.
    let usual =
        Config { failure_persistence: None, max_shrink_iters: 2_000, max_local_rejects: u32::MAX, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_some() { usual } else { Config { cases: few, ..usual } }
}

/// `length` bytes that only `number` has.
fn bytes_of(number: u32, length: usize) -> Vec<u8> {
    (0..length).map(|at| ((at as u32 * 131) ^ (number * 29 + 7)).to_le_bytes()[0]).collect()
}

/// The result of an operation, for sends and receives alike.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    number: u32,
    reason: EndReason,
    bytes: u32,
    /// The bytes that a receive delivered.
    data: Vec<u8>,
}

impl Outcome {
    /// Sends and receives have the same numbers.
    fn result(&self) -> u32 {
        self.reason.send_result() as u32
    }
}

const OK: u32 = 1;
const ERROR: u32 = 2;
const ABANDONED: u32 = 3;
