//! The thread of a port: its signals, its name and its stack.
//!
//! It is a pthread because `std::thread` ends the process if there is no memory for a thread. Inside it,
//! `std::thread::current` has no name, but the kernel knows the name.
#![allow(unsafe_code, reason = "pthreads, signal masks and thread attributes are C functions")]
#![cfg_attr(loom, allow(dead_code, reason = "the threads of a model are loom's"))]

use crate::room::try_box;
use std::ffi::c_void;
use std::io;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

/// The kernel's limit, including the 0 at the end. A longer name is cut to its first 15 bytes.
const NAME_BYTES: usize = 16;

/// A running thread. If the handle is dropped, the thread runs on alone.
pub(crate) struct JoinHandle(libc::pthread_t);

// SAFETY: any thread may join or detach another one.
unsafe impl Send for JoinHandle {}
// SAFETY: a shared handle does nothing.
unsafe impl Sync for JoinHandle {}

impl JoinHandle {
    /// Waits for the end of the thread. An error if it has panicked.
    pub(crate) fn join(self) -> Result<(), Panicked> {
        let mut returned = ptr::null_mut();
        // SAFETY: the thread was neither joined nor detached: both end the handle.
        let joined = unsafe { libc::pthread_join(ManuallyDrop::new(self).0, &raw mut returned) };
        if joined == 0 && returned.is_null() { Ok(()) } else { Err(Panicked) }
    }
}

impl Drop for JoinHandle {
    fn drop(&mut self) {
        // SAFETY: as in `join`.
        unsafe { libc::pthread_detach(self.0) };
    }
}

/// The error of `join` if the thread has panicked.
#[derive(Debug)]
pub(crate) struct Panicked;

/// What a new thread begins with.
struct Start<F> {
    name: [u8; NAME_BYTES],
    run: F,
}

/// Starts a thread in which all signals except those of a fault are blocked.
pub(crate) fn spawn<F: FnOnce() + Send + 'static>(name: &str, stack_size: usize, run: F) -> io::Result<JoinHandle> {
    let mut start = Start { name: [0; NAME_BYTES], run };
    start.name.iter_mut().zip(name.bytes().take(NAME_BYTES - 1)).for_each(|(to, byte)| *to = byte);
    // Codes_SRS_COMPLETION_PORT_01_137
    let Ok(start) = try_box(start) else { return Err(io::Error::from_raw_os_error(libc::ENOMEM)) };
    let start = Box::into_raw(start);
    // SAFETY: the pointer is that of the box.
    let created = blocking_signals(|| unsafe { create(stack_size, begin::<F>, start.cast()) });
    // Codes_SRS_COMPLETION_PORT_01_002
    if created.is_err() {
        // SAFETY: no thread has got it.
        drop(unsafe { Box::from_raw(start) });
    }
    created.map_err(io::Error::from_raw_os_error)
}

type Begin = extern "C" fn(*mut c_void) -> *mut c_void;

/// # Safety
/// `begin` may be called with `start`, once, on another thread.
unsafe fn create(stack_size: usize, begin: Begin, start: *mut c_void) -> Result<JoinHandle, libc::c_int> {
    struct Attributes(libc::pthread_attr_t);

    impl Drop for Attributes {
        fn drop(&mut self) {
            // SAFETY: initialised, and not used again.
            unsafe { libc::pthread_attr_destroy(&raw mut self.0) };
        }
    }

    let done = |errno| if errno == 0 { Ok(()) } else { Err(errno) };
    let mut attributes = MaybeUninit::uninit();
    // SAFETY: initialises the attributes.
    done(unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) })?;
    // SAFETY: just initialised.
    let mut attributes = Attributes(unsafe { attributes.assume_init() });
    // SAFETY: asks for a constant.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let stack_size = stack_size.max(libc::PTHREAD_STACK_MIN).next_multiple_of(page);
    // SAFETY: initialised above.
    done(unsafe { libc::pthread_attr_setstacksize(&raw mut attributes.0, stack_size) })?;
    let mut thread = MaybeUninit::uninit();
    // SAFETY: the caller allows the call of `begin` with `start`.
    done(unsafe { libc::pthread_create(thread.as_mut_ptr(), &raw const attributes.0, begin, start) })?;
    // SAFETY: written by the call, which has succeeded.
    Ok(JoinHandle(unsafe { thread.assume_init() }))
}

/// The whole life of a thread. Returns NULL unless it panics.
extern "C" fn begin<F: FnOnce() + Send + 'static>(start: *mut c_void) -> *mut c_void {
    // SAFETY: `spawn` gave the box away, to this thread alone.
    let [Start { name, run }] = *unsafe { Box::from_raw(start.cast::<[Start<F>; 1]>()) };
    // Codes_SRS_COMPLETION_PORT_01_088
    // SAFETY: the name ends with a 0.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    let panicked = catch_unwind(AssertUnwindSafe(run)).is_err();
    ptr::without_provenance_mut(usize::from(panicked))
}

/// The signals that a thread gets for its own faults. The program handles all others on its own threads.
const OF_A_FAULT: [libc::c_int; 7] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS, libc::SIGABRT];

/// Runs `start`, which starts a thread, with all signals blocked except those of a fault. The new thread inherits the mask,
/// so it never runs without it.
fn blocking_signals<T>(start: impl FnOnce() -> T) -> T {
    let mut mask = MaybeUninit::uninit();
    // SAFETY: fills the whole set.
    unsafe { libc::sigfillset(mask.as_mut_ptr()) };
    // Codes_SRS_COMPLETION_PORT_01_087
    for signal in OF_A_FAULT {
        // SAFETY: the set was filled.
        unsafe { libc::sigdelset(mask.as_mut_ptr(), signal) };
    }
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: reads one set and writes the other.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask.as_ptr(), before.as_mut_ptr()) };
    // SAFETY: written by the call, which cannot fail with a valid `how`.
    let _restore = Restore(unsafe { before.assume_init() });
    start()
}

/// The mask that the creator of a thread gets back.
struct Restore(libc::sigset_t);

impl Drop for Restore {
    fn drop(&mut self) {
        // Codes_SRS_COMPLETION_PORT_01_087
        // SAFETY: a mask that the kernel gave us.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut()) };
    }
}

/// The default size of a stack in Rust.
const STACK_OF_RUST: usize = 2 << 20;

/// The default size of a stack in bytes: the default of a pthread, but at least the default of Rust.
pub(crate) fn default_stack_size() -> usize {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: initialises the attributes.
    if unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) } != 0 {
        return STACK_OF_RUST;
    }
    let mut of_a_pthread = 0;
    // SAFETY: initialised above; writes the size.
    unsafe { libc::pthread_attr_getstacksize(attributes.as_ptr(), &raw mut of_a_pthread) };
    // SAFETY: initialised above, and not used again.
    unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    // Codes_SRS_COMPLETION_PORT_01_089
    of_a_pthread.max(STACK_OF_RUST)
}
