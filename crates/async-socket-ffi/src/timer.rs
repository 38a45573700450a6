//! Functions that a completion port's thread runs: soon, or at a time.

use crate::boundary::{Context, guarded};
use crate::handle::{borrow, from_handle, into_handle};
use crate::kernel::Kernel;
use crate::platform::next_port;
use crate::port::COMPLETION_PORT_HANDLE;
use crate::refusal::{out_of_memory, reject};
use completion_port::memory::{Reserved, TryArc};
use completion_port::{CompletionPort, Port, PortExt, Timer};
use std::ffi::{c_int, c_void};
use std::mem;
use std::ptr;
use std::time::Duration;

/// Posted work, or what a timer does.
pub type ON_PLATFORM_WORK = Option<unsafe extern "C" fn(context: *mut c_void)>;

/// What a timer handle points to.
#[derive(Debug)]
pub struct PLATFORM_TIMER {
    timer: Timer<CompletionPort<Kernel>>,
    port: CompletionPort<Kernel>,
}

/// A timer, from `platform_timer_start` to `platform_timer_cancel`.
pub type PLATFORM_TIMER_HANDLE = *mut PLATFORM_TIMER;

/// The port that a call names. NULL is the platform's next one.
///
/// # Safety
/// `completion_port` is NULL or a reference that the caller has.
unsafe fn port(function: &'static str, completion_port: COMPLETION_PORT_HANDLE) -> Option<CompletionPort<Kernel>> {
    // SAFETY: the caller's promise.
    let port = unsafe { borrow(completion_port) }.or_else(next_port);
    if port.is_none() {
        reject(function, "completion_port", "NULL means the platform, which is not started in this process");
    }
    port.map(|port| port.port.clone())
}

/// Runs `on_work` on a port's thread soon, exactly once, and never inside this call. Work that one thread posts to one
/// port runs in the order of the calls. `completion_port` says which port. NULL means the next one of the platform, so
/// with several ports a program that needs an order names one. `context` may be NULL.
///
/// The work keeps the port's thread until it has run, so it runs even if the platform is stopped meanwhile.
///
/// Returns 0 on success. Otherwise returns non-zero, and `on_work` does not run: it is NULL, the platform is not started,
/// the port has failed or is a parent process's, or no memory. Works inside every callback.
///
/// # Safety
/// `completion_port` is NULL or a reference that the caller has; `on_work` may be called with `context` on another thread.
// Codes_SRS_C_LIBRARY_01_055
#[unsafe(no_mangle)]
pub unsafe extern "C" fn platform_post(
    completion_port: COMPLETION_PORT_HANDLE,
    on_work: ON_PLATFORM_WORK,
    context: *mut c_void,
) -> c_int {
    const NAME: &str = "platform_post";
    guarded(1, || {
        // Codes_SRS_C_LIBRARY_01_070
        let Some(on_work) = on_work else {
            reject(NAME, "on_work", "is NULL");
            return 1;
        };
        // SAFETY: the caller's promise.
        let Some(port) = (unsafe { port(NAME, completion_port) }) else { return 1 };
        let context = Context::new(context);
        // SAFETY: the caller allows this call.
        match port.post(move || unsafe { on_work(context.pointer()) }) {
            Ok(()) => 0,
            Err(refused) => {
                tracing::error!(error = %refused.error, "{NAME}");
                1
            }
        }
    })
}

/// Runs `on_timer` once on a port's thread, `milliseconds` from now: never earlier, and usually less than two milliseconds
/// later. Time during which the system sleeps does not count. `completion_port` and `context` are as for `platform_post`.
///
/// Returns a handle, which `platform_timer_cancel` frees, also when the timer has fired. The callback may run before this
/// returns. The timer keeps the port's thread until the handle is freed. There is no limit to the number of timers; none
/// has a thread or a descriptor of its own.
///
/// Returns NULL, and `on_timer` does not run, for the reasons of `platform_post`. Works inside every callback.
///
/// # Safety
/// That of `platform_post`.
// Codes_SRS_C_LIBRARY_01_056
#[unsafe(no_mangle)]
pub unsafe extern "C" fn platform_timer_start(
    completion_port: COMPLETION_PORT_HANDLE,
    milliseconds: u32,
    on_timer: ON_PLATFORM_WORK,
    context: *mut c_void,
) -> PLATFORM_TIMER_HANDLE {
    const NAME: &str = "platform_timer_start";
    guarded(ptr::null_mut(), || {
        // Codes_SRS_C_LIBRARY_01_070
        let Some(on_timer) = on_timer else {
            reject(NAME, "on_timer", "is NULL");
            return ptr::null_mut();
        };
        // SAFETY: the caller's promise.
        let Some(port) = (unsafe { port(NAME, completion_port) }) else { return ptr::null_mut() };
        let Some(memory) = Reserved::try_new() else {
            out_of_memory(NAME);
            return ptr::null_mut();
        };
        let context = Context::new(context);
        // SAFETY: the caller allows this call.
        let fire = move || unsafe { on_timer(context.pointer()) };
        match port.after(Duration::from_millis(milliseconds.into()), fire) {
            Ok(timer) => into_handle(memory.fill(PLATFORM_TIMER { timer, port })),
            Err(refused) => {
                tracing::error!(error = %refused.error, "{NAME}");
                ptr::null_mut()
            }
        }
    })
}

/// Moves a timer: it fires `milliseconds` from now. Moving it to a later time costs a store, however many timers there
/// are, and needs no memory. Returns 0 if that was in time. Otherwise returns non-zero: the callback has run or runs, or
/// `timer` is NULL. Works inside every callback.
///
/// # Safety
/// `timer` is NULL or a valid handle.
// Codes_SRS_C_LIBRARY_01_057
#[unsafe(no_mangle)]
pub unsafe extern "C" fn platform_timer_reset(timer: PLATFORM_TIMER_HANDLE, milliseconds: u32) -> c_int {
    guarded(1, || {
        // SAFETY: NULL or a valid handle.
        let Some(handle) = (unsafe { borrow(timer) }) else {
            reject("platform_timer_reset", "timer", "is NULL");
            return 1;
        };
        // In a child of `fork` a thread of the parent may have held the timer's lock.
        let is_moved = !handle.port.is_inherited()
            && handle.timer.reset(handle.port.now() + Duration::from_millis(milliseconds.into()));
        c_int::from(!is_moved)
    })
}

/// Cancels a timer and frees its handle. Each timer needs this once, also one that has fired. Returns 0 if that was in
/// time: the callback has not run and never will, so what its context points to can be freed. Otherwise returns non-zero:
/// the callback has run or runs, or `timer` is NULL.
///
/// Never waits, not even for a callback that runs on another thread. Works inside every callback, also the timer's own. In
/// a child of `fork` it frees nothing and returns non-zero.
///
/// # Safety
/// `timer` is NULL or a handle that the program does not use again.
// Codes_SRS_C_LIBRARY_01_058
#[unsafe(no_mangle)]
pub unsafe extern "C" fn platform_timer_cancel(timer: PLATFORM_TIMER_HANDLE) -> c_int {
    guarded(1, || {
        // SAFETY: NULL or a handle that the caller gives up.
        let Some(handle) = (unsafe { from_handle(timer) }) else {
            reject("platform_timer_cancel", "timer", "is NULL");
            return 1;
        };
        // Codes_SRS_C_LIBRARY_01_071
        if handle.port.is_inherited() {
            // A thread of the parent may have held the timer's lock at the fork.
            mem::forget(handle);
            return 1;
        }
        // A call of `platform_timer_reset` that has not returned has the other reference.
        let is_in_time = TryArc::into_inner(handle).is_some_and(|it| it.timer.cancel());
        c_int::from(!is_in_time)
    })
}
