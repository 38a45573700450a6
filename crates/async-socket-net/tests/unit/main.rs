//! Listeners and connects over a mock port and scripted system calls, a file per subject.

mod address;
mod auto_traits;
mod connect;
mod connect_ends;
mod kernel;
mod listener;
mod listener_errors;
mod random;
mod resolver;
mod script;
mod target;
mod tracker;
