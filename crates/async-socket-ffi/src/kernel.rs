//! The system calls of the C library's ports: those of [`completion_port::Kernel`], with another `epoll_wait`.
//!
//! rustix calls `epoll_pwait` and sets five of its six arguments. The kernel ignores the sixth, but memcheck reads that
//! register and reports it. C teams let their tests fail for a report of memcheck, so this module sets every register
//! that the call reads. libc's `epoll_wait` would do too, but it is a cancellation point, which costs more
//! instructions.
//!
//! `epoll_pwait2` is not called, because valgrind 3.19 reports that it does not know the call. So the timers of these ports
//! are up to a millisecond later than those of Rust programs.

use completion_port::PortSyscalls;
use completion_port::sys::{EpollOp, Errno, Event, Milliseconds};
use std::os::fd::{BorrowedFd, OwnedFd};

/// The real system calls.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Kernel;

const REST: completion_port::Kernel = completion_port::Kernel;

impl PortSyscalls for Kernel {
    fn epoll_create(&self) -> Result<OwnedFd, Errno> {
        REST.epoll_create()
    }

    fn eventfd(&self) -> Result<OwnedFd, Errno> {
        REST.eventfd()
    }

    fn epoll_ctl(&self, epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, op: EpollOp) -> Result<(), Errno> {
        #[cfg(test)]
        if matches!(op, EpollOp::Add { .. }) {
            held::wait();
        }
        REST.epoll_ctl(epoll, fd, op)
    }

    // Codes_SRS_C_LIBRARY_01_030
    #[inline]
    fn epoll_wait(&self, epoll: BorrowedFd<'_>, events: &mut Vec<Event>, at_most: Milliseconds) -> Result<(), Errno> {
        wait::epoll_wait(epoll, events, at_most)
    }

    fn wake(&self, epoll: BorrowedFd<'_>, eventfd: BorrowedFd<'_>, data: u64) -> Result<(), Errno> {
        REST.wake(epoll, eventfd, data)
    }
}

/// Lets a test hold a thread that opens a socket.
#[cfg(test)]
pub(crate) mod held {
    use std::sync::mpsc::{Receiver, Sender};
    use std::sync::{Mutex, PoisonError};
    use std::time::Duration;

    /// The next `epoll_ctl(EPOLL_CTL_ADD)` sends on the first channel, and then waits for the second.
    pub(crate) static NEXT_ADD: Mutex<Option<(Sender<()>, Receiver<()>)>> = Mutex::new(None);

    pub(super) fn wait() {
        let held = NEXT_ADD.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((entered, until)) = held {
            entered.send(()).expect("the test waits for this");
            until.recv_timeout(Duration::from_secs(20)).expect("the test lets go");
        }
    }
}

/// For the targets whose instruction is known here. An event has the kernel's layout, which rustix asserts.
#[cfg(any(all(target_arch = "x86_64", target_pointer_width = "64"), target_arch = "aarch64"))]
mod wait {
    use super::{Errno, Event, Milliseconds};
    use std::arch::asm;
    use std::os::fd::{AsRawFd as _, BorrowedFd};

    #[inline]
    pub(super) fn epoll_wait(
        epoll: BorrowedFd<'_>,
        events: &mut Vec<Event>,
        at_most: Milliseconds,
    ) -> Result<(), Errno> {
        let present = events.len();
        let room = events.spare_capacity_mut();
        let count = i32::try_from(room.len()).unwrap_or(i32::MAX);
        let milliseconds = i32::try_from(at_most).unwrap_or(i32::MAX);
        // SAFETY: there is room for `count` events.
        let result = unsafe { system_call(epoll.as_raw_fd(), room.as_mut_ptr().cast(), count, milliseconds) };
        match usize::try_from(result) {
            Ok(written) => {
                // SAFETY: the kernel has written this many events, and there was room for them.
                unsafe { events.set_len(present + written) };
                Ok(())
            }
            // The kernel returns an error as its negative number.
            Err(_) => Err(Errno::from_raw_os_error(i32::try_from(-result).unwrap_or_default())),
        }
    }

    /// # Safety
    /// There is room for `count` events.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    unsafe fn system_call(epoll: i32, events: *mut Event, count: i32, milliseconds: i32) -> isize {
        const EPOLL_WAIT: isize = 232;
        let result;
        // SAFETY: the kernel writes at most `count` events, to where there is room for them, and changes these registers.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") EPOLL_WAIT => result,
                in("edi") epoll, in("rsi") events, in("edx") count, in("r10d") milliseconds,
                lateout("rcx") _, lateout("r11") _,
                options(nostack, preserves_flags),
            );
        }
        result
    }

    /// # Safety
    /// There is room for `count` events.
    #[cfg(target_arch = "aarch64")]
    #[inline]
    unsafe fn system_call(epoll: i32, events: *mut Event, count: i32, milliseconds: i32) -> isize {
        // There is no `epoll_wait`; this is the same without a set of signals.
        const EPOLL_PWAIT: isize = 22;
        let result;
        // SAFETY: the kernel writes at most `count` events, to where there is room for them.
        unsafe {
            asm!(
                "svc 0",
                in("x8") EPOLL_PWAIT,
                inlateout("x0") epoll as isize => result,
                in("x1") events, in("x2") count as isize, in("x3") milliseconds as isize, in("x4") 0, in("x5") 0,
                options(nostack, preserves_flags),
            );
        }
        result
    }
}

#[cfg(not(any(all(target_arch = "x86_64", target_pointer_width = "64"), target_arch = "aarch64")))]
mod wait {
    use super::{Errno, Event, Milliseconds, PortSyscalls as _, REST};
    use std::os::fd::BorrowedFd;

    pub(super) fn epoll_wait(
        epoll: BorrowedFd<'_>,
        events: &mut Vec<Event>,
        at_most: Milliseconds,
    ) -> Result<(), Errno> {
        REST.epoll_wait(epoll, events, at_most)
    }
}
