//! What the models are built with: loom's primitives, behind the interface of those that it replaces.

use ::loom::sync as model;
use ::loom::thread::LocalKey;
use std::cell::Cell;

use ::loom::sync::atomic::AtomicBool;
pub(crate) use ::loom::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, fence};

/// Whether the code has this defect. `INJECTED_BUG` names the defect that the models have to find.
pub(crate) fn injected_bug(defect: &'static str) -> bool {
    static INJECTED_BUG: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    INJECTED_BUG.get_or_init(|| std::env::var("INJECTED_BUG").ok()).as_deref() == Some(defect)
}

/// Without poison.
pub(crate) struct Mutex<T>(model::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(model::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> model::MutexGuard<'_, T> {
        self.0.lock().expect("nobody panics in a model")
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

/// A cell that is written once. The flag has the orderings of the real one, and only the models see it.
pub(crate) struct OnceLock<T> {
    is_set: AtomicBool,
    value: std::sync::OnceLock<T>,
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        Self { is_set: AtomicBool::new(false), value: std::sync::OnceLock::new() }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        if self.is_set.load(std::sync::atomic::Ordering::Acquire) { self.value.get() } else { None }
    }

    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        self.value.set(value)?;
        self.is_set.store(true, std::sync::atomic::Ordering::Release);
        Ok(())
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
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
