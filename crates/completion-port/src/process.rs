//! Matters of the whole process: `fork`, and descriptors that other code has closed.
//!
//! Invariants:
//! * The handler that runs in the child of a `fork` only stores to atomics, because another thread of the parent may have
//!   been anywhere at that moment, even inside the allocator.
//! * No thread of a child waits for a lock that a thread of the parent held, because that thread does not exist in the
//!   child.
//!
//! It has `unsafe` code because no safe crate offers `pthread_atfork` alone.
#![allow(unsafe_code, reason = "calls C functions, and keeps what a child of fork inherits")]
#![cfg_attr(loom, allow(dead_code, reason = "a model neither forks nor starts threads"))]

use crate::room::try_box;
use std::fmt;
use std::io;
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, Ordering};

/// The number of `fork`s between this process and the first that used the crate.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// What an unlocked lane and the flags of an idle port are compared with: 0. In the child of a `fork` it is a value that these
/// never have. So the comparisons on the usual path, which are made anyway, fail in a child, and the slow path looks at the
/// generation.
static UNTOUCHED: AtomicU8 = AtomicU8::new(0);

const IN_A_CHILD: u8 = 1 << 7;

/// The process in which something was made: a number that `fork` changes in the child.
///
/// The child *inherits* what was made before a `fork`: it has a copy of the memory and the descriptors, but none of the
/// threads. `vfork` and `posix_spawn` do not count; raw `clone` system calls and `_Fork` are not noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation(u32);

impl Generation {
    /// The generation of this process. From now on every `fork` is noticed.
    ///
    /// # Errors
    /// `ENOMEM` from `pthread_atfork`.
    pub fn watched() -> io::Result<Self> {
        watch()?;
        Ok(Self::current())
    }

    /// The generation of this process. Forks count from the first call of [`watched`](Self::watched) on. Creating a port
    /// calls it.
    #[must_use]
    pub fn current() -> Self {
        Self(GENERATION.load(Ordering::Relaxed))
    }

    /// Whether this process is a child, or a later one, of the process that took the generation.
    #[must_use]
    pub fn is_inherited(self) -> bool {
        self != Self::current()
    }
}

extern "C" fn in_the_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    UNTOUCHED.store(IN_A_CHILD, Ordering::Relaxed);
}

/// Installs `in_the_child`, to be called in every child. Two threads that come here at once install it twice, which does no
/// harm. A lock could do harm, because a thread could hold it at a `fork`.
fn watch() -> io::Result<()> {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    if WATCHED.load(Ordering::Acquire) {
        return Ok(());
    }
    // SAFETY: the handler is a function that lives as long as this library is loaded; libc forgets it when it is unloaded.
    match unsafe { libc::pthread_atfork(None, None, Some(in_the_child)) } {
        0 => {
            WATCHED.store(true, Ordering::Release);
            Ok(())
        }
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// See [`UNTOUCHED`].
#[inline(always)]
pub(crate) fn untouched() -> u8 {
    UNTOUCHED.load(Ordering::Relaxed)
}

/// Why a call was refused in the child of a `fork`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("made before fork, in the parent process: make a new one in this process")]
pub struct Inherited;

impl From<Inherited> for io::Error {
    fn from(inherited: Inherited) -> Self {
        Self::other(inherited)
    }
}

/// A lock that threads try but never wait for. One locked instruction takes it, and a plain store gives it back. It belongs
/// to the process that made it. A child of that process never gets it.
#[derive(Debug)]
pub(crate) struct TryLock(AtomicU8);

const FREE: u8 = 0;
const TAKEN: u8 = 1;

impl TryLock {
    pub(crate) const fn new() -> Self {
        Self(AtomicU8::new(FREE))
    }

    /// Locks it unless a thread has. `made_in` is the process that made it.
    #[inline(always)]
    pub(crate) fn try_lock(&self, made_in: &Generation) -> bool {
        // In a child, no lock has the value that the first `take` expects.
        self.take(untouched()) || (untouched() != 0 && self.try_lock_in_child(*made_in))
    }

    /// Only by the thread that has locked it.
    #[inline(always)]
    pub(crate) fn unlock(&self) {
        self.0.store(FREE, Ordering::Release);
    }

    /// Whether a parent of this process made the lock.
    #[inline]
    pub(crate) fn is_inherited(made_in: &Generation) -> bool {
        untouched() != 0 && made_in.is_inherited()
    }

    /// Locks an inherited lock that was free at the `fork`.
    pub(crate) fn try_lock_inherited(&self) -> bool {
        self.take(FREE)
    }

    #[inline(always)]
    fn take(&self, free: u8) -> bool {
        self.0.compare_exchange(free, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    // Codes_SRS_COMPLETION_PORT_01_084
    #[cold]
    fn try_lock_in_child(&self, made_in: Generation) -> bool {
        !made_in.is_inherited() && self.take(FREE)
    }
}

/// A static that each process has for itself. In the child of a `fork` it begins anew, whatever state the parent's was in.
///
/// A child leaks the inherited value, because it may be half changed, or locked by a thread that does not exist.
pub struct PerProcess<T: 'static> {
    newest: AtomicPtr<Slot<T>>,
}

struct Slot<T: 'static> {
    made_in: Generation,
    value: T,
    /// Keeps the inherited values reachable, for leak checkers.
    _inherited: Option<&'static Self>,
}

impl<T: Default + Send + Sync> PerProcess<T> {
    /// The value is made by `Default` at the first call of [`get`](Self::get).
    #[must_use]
    pub const fn new() -> Self {
        Self { newest: AtomicPtr::new(ptr::null_mut()) }
    }

    /// This process's value. Threads that call at the same time get the same value.
    ///
    /// # Errors
    /// `ENOMEM`, if forks cannot be noticed, and [`OutOfMemory`](io::ErrorKind::OutOfMemory).
    pub fn get(&'static self) -> io::Result<&'static T> {
        let now = Generation::watched()?;
        let mut newest = self.newest.load(Ordering::Acquire);
        loop {
            // SAFETY: null, or from a box that is never freed.
            let seen: Option<&'static Slot<T>> = unsafe { newest.as_ref() };
            // Codes_SRS_PLATFORM_01_004
            if let Some(slot) = seen.filter(|slot| slot.made_in == now) {
                return Ok(&slot.value);
            }
            let fresh = Slot { made_in: now, value: T::default(), _inherited: seen };
            let fresh = try_box(fresh).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
            let fresh = Box::into_raw(fresh).cast();
            newest = match self.newest.compare_exchange(newest, fresh, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => fresh,
                Err(other) => {
                    // SAFETY: no other thread has seen it.
                    drop(unsafe { Box::from_raw(fresh) });
                    other
                }
            };
        }
    }
}

impl<T: Default + Send + Sync> Default for PerProcess<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for PerProcess<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerProcess").finish_non_exhaustive()
    }
}

/// Closes a descriptor that other code may have closed already. Dropping an `OwnedFd` would then end a program that is
/// built with debug assertions.
pub fn close(descriptor: OwnedFd) {
    // SAFETY: the descriptor has no owner any more. If its number belongs to other code, the program is at fault, as with
    // any other double close.
    unsafe { libc::close(descriptor.into_raw_fd()) };
}

/// Closes the child's copy of a descriptor whose owner is leaked. The caller neither drops nor uses the owner again.
pub(crate) fn close_inherited(descriptor: RawFd) {
    // SAFETY: a number, which the kernel checks.
    unsafe { libc::close(descriptor) };
}
