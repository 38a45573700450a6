//! The sync primitives of what the models in `tests/models` check, in one place so that a model checker can swap them:
//! `--cfg loom` does.

#[cfg(loom)]
mod loom;

#[cfg(loom)]
pub(crate) use self::loom::{
    AtomicU8, AtomicU32, AtomicUsize, Mutex, OnceLock, PerThread, fence, injected_bug, per_thread,
};
#[cfg(not(loom))]
pub(crate) use parking_lot::Mutex;
#[cfg(not(loom))]
pub(crate) use std::sync::OnceLock;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, fence};
#[cfg(not(loom))]
pub(crate) use std::thread_local as per_thread;

pub(crate) use std::sync::atomic::Ordering;
