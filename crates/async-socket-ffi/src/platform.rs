//! `platform_*`: the process-wide completion ports.

use crate::boundary::guarded;
use crate::log;
use crate::port::COMPLETION_PORT_TAG;
use crate::types::COMPLETION_PORT_HANDLE;
use parking_lot::Mutex;
use std::ffi::c_int;
use std::ptr;
use std::sync::Arc;

static PLATFORM: Mutex<Platform> = Mutex::new(Platform { threads: 1, users: 0, ports: Vec::new(), next: 0 });

struct Platform {
    threads: u32,
    /// How many inits have not been undone.
    users: usize,
    ports: Vec<Arc<COMPLETION_PORT_TAG>>,
    next: usize,
}

/// Starts the platform: one completion port, and so one thread, or as many as were set. Returns 0 on success.
/// It may be called again; each call needs its `platform_deinit`.
#[unsafe(no_mangle)]
pub extern "C" fn platform_init() -> c_int {
    guarded(1, || {
        log::start();
        let mut platform = PLATFORM.lock();
        if platform.users == 0 {
            let ports: Result<Vec<_>, _> = (0..platform.threads).map(|_| COMPLETION_PORT_TAG::create()).collect();
            match ports {
                Ok(ports) => platform.ports = ports,
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "platform_init");
                    return 1;
                }
            }
        }
        platform.users += 1;
        0
    })
}

/// Undoes one `platform_init`; the last one stops the threads. Sockets that are left stay valid until they are
/// destroyed.
#[unsafe(no_mangle)]
pub extern "C" fn platform_deinit() {
    guarded((), || {
        let mut platform = PLATFORM.lock();
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
    guarded((), || PLATFORM.lock().threads = thread_count.max(1));
}

pub(crate) fn next_port() -> Option<Arc<COMPLETION_PORT_TAG>> {
    let mut platform = PLATFORM.lock();
    let index = platform.next.checked_rem(platform.ports.len())?;
    platform.next = platform.next.wrapping_add(1);
    platform.ports.get(index).cloned()
}
