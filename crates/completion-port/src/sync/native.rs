//! What the port is built with.

pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
/// A lock that is tried and never waited for: one locked instruction takes it, and a plain store gives it back.
pub(crate) use spin::lock_api::{Mutex as TryMutex, MutexGuard as TryMutexGuard};
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, fence};
pub(crate) use std::{thread, thread_local as per_thread};

/// Whether the code shall have a defect, for the models to find: never.
#[inline(always)]
pub(crate) const fn planted(_defect: &'static str) -> bool {
    false
}
