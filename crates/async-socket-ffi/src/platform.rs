//! `platform_*`: the process-wide completion ports.
//!
//! Each process has its own. A child of `fork` begins with no ports, and with the settings of its parent.

use crate::boundary::guarded;
use crate::handle::into_handle;
use crate::log;
use crate::port::{COMPLETION_PORT_HANDLE, COMPLETION_PORT_TAG, no_memory};
use completion_port::memory::TryArc;
use completion_port::process::PerProcess;
use completion_port::{CompletionPort, CreatePortError};
use std::ffi::c_int;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

static PLATFORM: PerProcess<Mutex<Platform>> = PerProcess::new();

static THREADS: AtomicU32 = AtomicU32::new(1);

/// Whether ports that are made from now on count what they do.
pub(crate) static METRICS: AtomicBool = AtomicBool::new(false);

/// 0 means the default.
static STACK_SIZE: AtomicUsize = AtomicUsize::new(0);

/// The ports of the platform as handles. Sockets take them in turn, as with `ExecutionEngine`. An engine would not do,
/// because its ports are no handles and do not use the system calls of `kernel.rs`.
#[derive(Default)]
struct Platform {
    /// The calls of `platform_init` that no `platform_deinit` has undone.
    users: usize,
    ports: Vec<TryArc<COMPLETION_PORT_TAG>>,
    next: usize,
}

/// Starts the platform: one completion port with one thread, or as many as `platform_set_thread_count` asked for. Returns 0 on
/// success, otherwise non-zero, and the platform is not started. May be called again; each successful call needs its
/// `platform_deinit`. In a child of `fork` this starts a new platform. What the child has inherited is refused with an error.
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
        platform.ports = create_ports(THREADS.load(Ordering::Relaxed) as usize)?;
    }
    platform.users += 1;
    Ok(())
}

/// If a port cannot be created, drops the ports that were created before it.
// Codes_SRS_C_LIBRARY_01_013
fn create_ports(count: usize) -> Result<Vec<TryArc<COMPLETION_PORT_TAG>>, CreatePortError> {
    let mut ports = Vec::new();
    ports.try_reserve_exact(count).map_err(|_| no_memory())?;
    for _ in 0..count {
        ports.push(create_port()?);
    }
    Ok(ports)
}

// Codes_SRS_PLATFORM_01_005
fn create_port() -> Result<TryArc<COMPLETION_PORT_TAG>, CreatePortError> {
    let port = CompletionPort::builder();
    COMPLETION_PORT_TAG::create(match STACK_SIZE.load(Ordering::Relaxed) {
        0 => port,
        bytes => port.thread_stack_size(bytes),
    })
}

/// Undoes one `platform_init`. Undoing the last one stops the threads. Sockets stay valid until they are destroyed. In a child
/// of `fork` this undoes only a `platform_init` of the child.
// Codes_SRS_PLATFORM_01_003
#[unsafe(no_mangle)]
pub extern "C" fn platform_deinit() {
    guarded((), || {
        let Ok(mut platform) = lock() else { return };
        platform.users = platform.users.saturating_sub(1);
        let ports = if platform.users == 0 { std::mem::take(&mut platform.ports) } else { Vec::new() };
        // The ports are dropped after the lock, because dropping them waits for their threads.
        drop(platform);
        drop(ports);
    });
}

/// A new reference to a completion port of the platform, the next one in turn. Give it up with `completion_port_dec_ref`.
/// NULL before `platform_init`.
#[unsafe(no_mangle)]
pub extern "C" fn platform_get_completion_port() -> COMPLETION_PORT_HANDLE {
    guarded(ptr::null_mut(), || next_port().map_or(ptr::null_mut(), into_handle))
}

/// Sets how many completion ports, each with one thread, the next `platform_init` makes that starts the platform. Without this
/// call it is 1. 0 counts as 1.
#[unsafe(no_mangle)]
pub extern "C" fn platform_set_thread_count(thread_count: u32) {
    THREADS.store(thread_count.max(1), Ordering::Relaxed);
}

/// Sets the bytes of stack of each thread that the next `platform_init` starts. Callbacks run on these stacks. The size is
/// rounded up to whole pages, and to the least that the system needs. 0, or no call of this, means what a pthread gets by
/// default (`ulimit -s`, usually 8 MiB), but at least 2 MiB. Only the part of a stack that is touched takes memory.
// Codes_SRS_PLATFORM_01_005
#[unsafe(no_mangle)]
pub extern "C" fn platform_set_thread_stack_size(bytes: usize) {
    STACK_SIZE.store(bytes, Ordering::Relaxed);
}

pub(crate) fn next_port() -> Option<TryArc<COMPLETION_PORT_TAG>> {
    let mut platform = lock().ok()?;
    let index = platform.next.checked_rem(platform.ports.len())?;
    platform.next = platform.next.wrapping_add(1);
    platform.ports.get(index).cloned()
}

// Codes_SRS_PLATFORM_01_004
fn lock() -> io::Result<MutexGuard<'static, Platform>> {
    Ok(PLATFORM.get()?.lock().unwrap_or_else(PoisonError::into_inner))
}
