//! The crate's tests, a file per module of it.

mod buffers;
mod payload;
mod results;
