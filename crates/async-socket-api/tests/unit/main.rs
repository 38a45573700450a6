//! The crate's tests, a file per module of it.

mod buffers;
#[cfg(not(miri))]
mod compile_errors;
mod io_errors;
mod payload;
mod results;
mod slice;
