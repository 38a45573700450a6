//! async/await on real ports and sockets, with load, and under other executors.

mod adapters;
mod executors;
mod ports;
