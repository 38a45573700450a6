//! The models are built with loom's primitives, behind the interface of those in `native.rs`.
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
    pub(crate) use ::loom::thread::yield_now;
    pub(crate) use std::thread::sleep;

    pub(crate) type JoinHandle = ::loom::thread::JoinHandle<()>;

    pub(crate) fn spawn(
        name: &str,
        _stack_size: usize,
        run: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<JoinHandle> {
        ::loom::thread::Builder::new().name(name.to_owned()).spawn(run)
    }
}

/// Whether the code has this defect. `INJECTED_BUG` names the defect that the models have to find.
pub(crate) fn injected_bug(defect: &'static str) -> bool {
    static INJECTED_BUG: OnceLock<Option<String>> = OnceLock::new();
    INJECTED_BUG.get_or_init(|| std::env::var("INJECTED_BUG").ok()).as_deref() == Some(defect)
}

/// loom's own `try_lock` waits for a thread that takes the lock just before it, and never fails because of a thread that
/// has just unlocked. The real one does not wait, and may fail then, because it looks at a flag whose value may be stale.
#[derive(Debug)]
pub(crate) struct TryLock {
    taken: AtomicBool,
    /// What the lock guards, for loom: an access that is not ordered after the last one fails the model.
    guarded: ::loom::cell::UnsafeCell<()>,
}

impl TryLock {
    pub(crate) fn new() -> Self {
        Self { taken: AtomicBool::new(false), guarded: ::loom::cell::UnsafeCell::new(()) }
    }

    pub(crate) fn try_lock(&self, _: &crate::process::Generation) -> bool {
        self.try_lock_inherited()
    }

    pub(crate) fn unlock(&self) {
        self.guarded.with_mut(|_| ());
        self.taken.store(false, Ordering::Release);
    }

    /// A model does not fork.
    pub(crate) fn is_inherited(_: &crate::process::Generation) -> bool {
        false
    }

    pub(crate) fn try_lock_inherited(&self) -> bool {
        if self.taken.load(Ordering::Relaxed) {
            return false;
        }
        let taken = self.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok();
        if taken {
            self.guarded.with_mut(|_| ());
        }
        taken
    }
}

/// As parking_lot has it: without poison.
pub(crate) struct Mutex<T>(model::Mutex<T>);

/// Empty while its owner waits.
pub(crate) struct MutexGuard<'a, T>(Option<model::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(model::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(self.0.lock().expect("nobody panics in a model")))
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().expect("nobody panics in a model")
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
        self.0.as_ref().expect("the lock is held")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("the lock is held")
    }
}

#[derive(Default)]
pub(crate) struct Condvar(model::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let value = guard.0.take().expect("the lock is held");
        guard.0 = Some(self.0.wait(value).expect("nobody panics in a model"));
    }

    /// A model has no time.
    pub(crate) fn wait_at_most<T>(&self, guard: &mut MutexGuard<'_, T>, _: std::time::Duration) {
        self.wait(guard);
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

    pub(crate) fn replace(&'static self, value: T) -> T {
        self.0.with(|cell| cell.replace(value))
    }

    pub(crate) fn set(&'static self, value: T) {
        self.0.with(|cell| cell.set(value));
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
