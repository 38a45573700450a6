//! Descriptors by their numbers, as C programs keep them.
#![allow(unsafe_code, reason = "a number is turned into a descriptor")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// A descriptor by its number: the owner may close it, and the number may come back as another descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number(RawFd);

impl Number {
    /// The number of a descriptor.
    pub fn of(descriptor: &impl AsFd) -> Self {
        Self(descriptor.as_fd().as_raw_fd())
    }
}

impl AsFd for Number {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: it was a descriptor's number, so it is not -1. A test that has closed it hands it to system calls that
        // then fail with `EBADF`.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}
