//! What the models are built with: loom's primitives, behind the interface of those in `native.rs`.
//!
//! `Arc` stays the standard one: loom's cannot hold a `dyn Source`.

use ::loom::sync as model;
use ::loom::thread::LocalKey;
use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

pub(crate) use ::loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, fence};

pub(crate) mod thread {
    pub(crate) use ::loom::thread::{Builder, JoinHandle};
    pub(crate) use std::thread::sleep;
}

/// Whether the code shall have a defect, for the models to find: the one that `PLANTED` names.
pub(crate) fn planted(defect: &'static str) -> bool {
    static PLANTED: OnceLock<Option<String>> = OnceLock::new();
    PLANTED.get_or_init(|| std::env::var("PLANTED").ok()).as_deref() == Some(defect)
}

/// loom's own `try_lock` waits for who takes the lock just before it, and never fails for one who has just left.
/// The real one does neither: it looks at a flag, which may be old news.
pub(crate) struct Mutex<T> {
    value: model::Mutex<T>,
    held: AtomicBool,
}

pub(crate) struct MutexGuard<'a, T> {
    /// There but for the moments of waiting and of leaving.
    value: Option<model::MutexGuard<'a, T>>,
    held: &'a AtomicBool,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: model::Mutex::new(value), held: AtomicBool::new(false) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.guard(self.value.lock().expect("nobody panics in a model"))
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        if self.held.load(Ordering::Relaxed) {
            return None;
        }
        self.value.try_lock().ok().map(|value| self.guard(value))
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.value.get_mut().expect("nobody panics in a model")
    }

    fn guard<'a>(&'a self, value: model::MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.held.store(true, Ordering::Relaxed);
        MutexGuard { value: Some(value), held: &self.held }
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("the lock is held")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("the lock is held")
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.held.store(false, Ordering::Release);
    }
}

#[derive(Default)]
pub(crate) struct Condvar(model::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let value = guard.value.take().expect("the lock is held");
        guard.held.store(false, Ordering::Release);
        guard.value = Some(self.0.wait(value).expect("nobody panics in a model"));
        guard.held.store(true, Ordering::Relaxed);
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// A thread-local of the model's threads, which all run on one thread of the system.
pub(crate) struct PerThread<T: 'static>(pub(crate) &'static LocalKey<T>);

impl<T: Copy> PerThread<Cell<T>> {
    pub(crate) fn get(&'static self) -> T {
        self.0.with(Cell::get)
    }

    pub(crate) fn set(&'static self, value: T) {
        self.0.with(|cell| cell.set(value));
    }

    pub(crate) fn replace(&'static self, value: T) -> T {
        self.0.with(|cell| cell.replace(value))
    }
}

impl<T> PerThread<RefCell<T>> {
    pub(crate) fn with_borrow<R>(&'static self, look: impl FnOnce(&T) -> R) -> R {
        self.0.with(|cell| look(&cell.borrow()))
    }

    pub(crate) fn with_borrow_mut<R>(&'static self, change: impl FnOnce(&mut T) -> R) -> R {
        self.0.with(|cell| change(&mut cell.borrow_mut()))
    }
}

macro_rules! per_thread {
    ($($(#[$about:meta])* static $name:ident: $type:ty = const { $value:expr };)*) => {$(
        $(#[$about])*
        static $name: $crate::sync::PerThread<$type> = {
            ::loom::thread_local! { static KEY: $type = $value; }
            $crate::sync::PerThread(&KEY)
        };
    )*};
}
pub(crate) use per_thread;
