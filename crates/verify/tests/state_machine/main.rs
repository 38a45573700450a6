//! A reference model of the socket against the real one: on mocks, where the order of everything is known, and on
//! real sockets.
//!
//! `PROPTEST_CASES` says how many sequences of operations are tried; `cargo xtask verify state-machine` tries many.

mod mocked;
mod mocked_acts;
mod mocked_model;
mod real;
mod real_model;

use proptest::test_runner::Config;

/// A few cases unless the environment wants more.
fn config(few: u32) -> Config {
    // An act that the model's state does not allow is drawn anew: how often that happens over all cases says nothing.
    let usual =
        Config { failure_persistence: None, max_shrink_iters: 2_000, max_local_rejects: u32::MAX, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_some() { usual } else { Config { cases: few, ..usual } }
}

/// `length` bytes that only `number` has.
fn bytes_of(number: u32, length: usize) -> Vec<u8> {
    (0..length).map(|at| ((at as u32 * 131) ^ (number * 29 + 7)).to_le_bytes()[0]).collect()
}

/// How an operation ended, for sends and receives alike.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    number: u32,
    result: u32,
    os_error: Option<i32>,
    bytes: u32,
    /// What a receive delivered.
    data: Vec<u8>,
}

const OK: u32 = 1;
const ERROR: u32 = 2;
const ABANDONED: u32 = 3;
