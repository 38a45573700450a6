//! `platform_*`: the process-wide completion ports.
//!
//! Each process has its own: a child of `fork` begins without any, but with the settings of its parent.

use crate::boundary::guarded;
use crate::kernel::Kernel;
use crate::log;
use crate::port::COMPLETION_PORT_TAG;
use crate::types::COMPLETION_PORT_HANDLE;
use completion_port::process::PerProcess;
use completion_port::{CompletionPort, CreatePortError};
use std::ffi::c_int;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

static PLATFORM: PerProcess<Mutex<Platform>> = PerProcess::new();

static THREADS: AtomicU32 = AtomicU32::new(1);

/// 0 if none was set.
static STACK_SIZE: AtomicUsize = AtomicUsize::new(0);

#[derive(Default)]
struct Platform {
    /// How many inits have not been undone.
    users: usize,
    ports: Vec<Arc<COMPLETION_PORT_TAG>>,
    next: usize,
}

/// Starts the platform: one completion port, and so one thread, or as many as were set. Returns 0 on success.
/// It may be called again; each call needs its `platform_deinit`. In a child of `fork` it starts afresh, whatever the parent
/// had; what the child has inherited is refused with an error.
// Codes_SRS_PLATFORM_01_004
#[unsafe(no_mangle)]
pub extern "C" fn platform_init() -> c_int {
    guarded(1, || {
        log::start();
        match start() {
            Ok(()) => 0,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "platform_init");
                1
            }
        }
    })
}

fn start() -> Result<(), CreatePortError> {
    let mut platform = lock().map_err(|source| CreatePortError { call: "pthread_atfork", source })?;
    if platform.users == 0 {
        platform.ports = (0..THREADS.load(Ordering::Relaxed)).map(|_| create_port()).collect::<Result<_, _>>()?;
    }
    platform.users += 1;
    Ok(())
}

// Codes_SRS_PLATFORM_01_005
fn create_port() -> Result<Arc<COMPLETION_PORT_TAG>, CreatePortError> {
    let port = CompletionPort::builder();
    let port = match STACK_SIZE.load(Ordering::Relaxed) {
        0 => port,
        bytes => port.thread_stack_size(bytes),
    };
    Ok(COMPLETION_PORT_TAG::on(port.create_with(Kernel)?))
}

/// Undoes one `platform_init`; the last one stops the threads. Sockets that are left stay valid until they are
/// destroyed. In a child of `fork` it undoes only the child's own.
// Codes_SRS_PLATFORM_01_003
#[unsafe(no_mangle)]
pub extern "C" fn platform_deinit() {
    guarded((), || {
        let Ok(mut platform) = lock() else { return };
        platform.users = platform.users.saturating_sub(1);
        let ports = if platform.users == 0 { std::mem::take(&mut platform.ports) } else { Vec::new() };
        // Dropped without the lock: that waits for the threads.
        drop(platform);
        drop(ports);
    });
}

/// A new reference to a completion port of the platform, the next one in turn; give it up with
/// `completion_port_dec_ref`. NULL before `platform_init`.
#[unsafe(no_mangle)]
pub extern "C" fn platform_get_completion_port() -> COMPLETION_PORT_HANDLE {
    guarded(ptr::null_mut(), || next_port().map_or(ptr::null_mut(), |port| Arc::into_raw(port).cast_mut()))
}

/// How many completion ports, and so threads, the next `platform_init` that starts the platform makes; 1 unless set.
/// 0 counts as 1.
#[unsafe(no_mangle)]
pub extern "C" fn platform_set_thread_count(thread_count: u32) {
    THREADS.store(thread_count.max(1), Ordering::Relaxed);
}

/// The bytes of stack of each thread that the next `platform_init` starts, on which callbacks run; rounded up to whole pages
/// and to what the system needs at least. 0, or nothing set: what a pthread gets by default (`ulimit -s`, usually 8 MiB), but
/// not less than 2 MiB. Only what is touched takes memory.
// Codes_SRS_PLATFORM_01_005
#[unsafe(no_mangle)]
pub extern "C" fn platform_set_thread_stack_size(bytes: usize) {
    STACK_SIZE.store(bytes, Ordering::Relaxed);
}

pub(crate) fn next_port() -> Option<Arc<COMPLETION_PORT_TAG>> {
    let mut platform = lock().ok()?;
    let index = platform.next.checked_rem(platform.ports.len())?;
    platform.next = platform.next.wrapping_add(1);
    platform.ports.get(index).cloned()
}

fn lock() -> io::Result<MutexGuard<'static, Platform>> {
    Ok(PLATFORM.get()?.lock().unwrap_or_else(PoisonError::into_inner))
}
