//! What the port is built with.
//!
//! The locks are those of the standard library, which keep all of their state in themselves. `parking_lot` has one table of
//! sleeping threads for the whole process, and a child of `fork` can inherit that table locked.

pub(crate) use crate::process::TryLock;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, fence};
pub(crate) use std::thread_local as per_thread;

use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::time::Duration;

pub(crate) mod thread {
    pub(crate) use crate::port_thread::{JoinHandle, spawn};
    pub(crate) use std::thread::{sleep, yield_now};
}

/// A mutex without poison. Only foreign code panics under it, and that leaves nothing half done.
#[derive(Default)]
pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

/// Empty while its owner waits.
pub(crate) struct MutexGuard<'a, T>(Option<std::sync::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.0.as_ref().expect("the lock is held")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("the lock is held")
    }
}

#[derive(Default)]
pub(crate) struct Condvar(std::sync::Condvar);

impl Condvar {
    pub(crate) const fn new() -> Self {
        Self(std::sync::Condvar::new())
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.0.take().expect("the lock is held");
        guard.0 = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn wait_at_most<T>(&self, guard: &mut MutexGuard<'_, T>, limit: Duration) {
        let held = guard.0.take().expect("the lock is held");
        guard.0 = Some(self.0.wait_timeout(held, limit).unwrap_or_else(PoisonError::into_inner).0);
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}
