//! Log lines about calls that are refused.

use crate::log;
use async_socket_linux::PayloadError;
use std::os::fd::RawFd;

/// Says which argument is wrong.
#[cold]
pub(crate) fn reject(function: &'static str, argument: &'static str, why: &'static str) {
    log::start();
    tracing::error!(function, argument, why, "bad argument");
}

/// Says what is wrong with a list of buffers.
#[cold]
pub(crate) fn reject_buffers(function: &'static str, descriptor: RawFd, error: PayloadError) {
    log::start();
    tracing::error!(function, descriptor, %error, "bad argument: buffers");
}

/// Says that a call had no memory for its result.
#[cold]
pub(crate) fn out_of_memory(function: &'static str) {
    log::start();
    tracing::error!(function, "no memory");
}
