//! `epoll_pwait2(2)`, whose time-out is exact to the nanosecond. Linux has it since 5.11.
//!
//! Invariant: a kernel or a filter of system calls that refuses the call is asked once for each process.
#![allow(unsafe_code, reason = "rustix makes this call either always or never")]

use crate::sys::{Errno, Event};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The kernel's type, which has 64 bits on every architecture.
#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

/// Whether the call is refused.
#[derive(Debug)]
pub(crate) struct Refused(AtomicBool);

/// What this process knows.
pub(crate) static REFUSED: Refused = Refused(AtomicBool::new(false));

impl Refused {
    /// Waits for an event for at most a time, into the spare capacity of `events`. `None` if the call is refused; then
    /// nothing has happened.
    #[cold]
    pub(crate) fn unless(
        &self,
        epoll: BorrowedFd<'_>,
        events: &mut Vec<Event>,
        at_most: Duration,
    ) -> Option<Result<(), Errno>> {
        // Miri does not know the call.
        if cfg!(miri) || self.0.load(Ordering::Relaxed) {
            return None;
        }
        let waited = epoll_pwait2(epoll, events, at_most);
        // Codes_SRS_COMPLETION_PORT_01_187
        // `EPERM` is the answer of some filters to calls that they do not know. The call itself never fails with it.
        if matches!(waited, Err(Errno::NOSYS | Errno::PERM)) {
            self.0.store(true, Ordering::Relaxed);
            return None;
        }
        Some(waited)
    }
}

fn epoll_pwait2(epoll: BorrowedFd<'_>, events: &mut Vec<Event>, at_most: Duration) -> Result<(), Errno> {
    let present = events.len();
    let room = events.spare_capacity_mut();
    let count = i32::try_from(room.len()).unwrap_or(i32::MAX);
    let seconds = i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX);
    let at_most = Timespec { seconds, nanoseconds: at_most.subsec_nanos().into() };
    // SAFETY: there is room for `count` events, which have the kernel's layout, as rustix asserts. The time lives during the
    // call. There is no set of signals, whose size the kernel then ignores.
    let result = unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            epoll.as_raw_fd(),
            room.as_mut_ptr(),
            count,
            &raw const at_most,
            ptr::null::<libc::sigset_t>(),
            size_of::<u64>(),
        )
    };
    match usize::try_from(result) {
        Ok(written) => {
            // SAFETY: the kernel has written this many events, and there was room for them.
            unsafe { events.set_len(present + written) };
            Ok(())
        }
        Err(_) => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use rustix::event::epoll;
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    const SHORT: Duration = Duration::from_micros(300);

    fn instance() -> std::os::fd::OwnedFd {
        epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll instance")
    }

    // Tests_SRS_COMPLETION_PORT_01_187
    #[test]
    fn it_waits_for_the_whole_time_and_not_for_a_millisecond() {
        let (epoll, mut events) = (instance(), Vec::with_capacity(4));
        let mut waits: Vec<_> = (0..40)
            .map(|_| {
                let begin = Instant::now();
                let waited = REFUSED.unless(epoll.as_fd(), &mut events, SHORT);
                assert!(matches!(waited, None | Some(Ok(()))) && events.is_empty(), "{waited:?}");
                waited.map(|_| begin.elapsed())
            })
            .collect();
        waits.sort_unstable();
        // An older kernel refuses.
        if let (Some(shortest), Some(half)) = (waits[0], waits[20]) {
            assert!(shortest >= SHORT && half < 3 * SHORT, "{shortest:?}, {half:?}");
        }
    }

    #[test]
    fn it_reports_events_behind_those_that_are_there() {
        let (epoll, mut events) = (instance(), Vec::with_capacity(4));
        let (one, _other) = UnixStream::pair().expect("a pair");
        epoll::add(&epoll, &one, epoll::EventData::new_u64(7), epoll::EventFlags::OUT).expect("it is watched");
        for count in 1..=2 {
            if REFUSED.unless(epoll.as_fd(), &mut events, SHORT).is_some() {
                assert_eq!(events.iter().map(|event| event.data.u64()).collect::<Vec<_>>(), [7].repeat(count));
            }
        }
        let waited = REFUSED.unless(one.as_fd(), &mut events, SHORT);
        assert!(matches!(waited, None | Some(Err(Errno::INVAL))), "{waited:?}");
    }

    /// Lets the call fail with this error on the calling thread.
    fn refuse_on_this_thread(errno: Errno) {
        let [load, jump_unless, answer] =
            [libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::BPF_RET]
                .map(|code| u16::try_from(code).expect("it has 16 bits"));
        let step = |code, jf, k| libc::sock_filter { code, jt: 0, jf, k };
        let call = u32::try_from(libc::SYS_epoll_pwait2).expect("a small number");
        let refusal = libc::SECCOMP_RET_ERRNO | u32::try_from(errno.raw_os_error()).expect("a small number");
        let mut filter = [
            step(load, 0, 0),
            step(jump_unless, 1, call),
            step(answer, 0, refusal),
            step(answer, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
        // SAFETY: sets a flag of this thread.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1_u64, 0_u64, 0_u64, 0_u64) };
        // SAFETY: the program lives during the call, which concerns this thread only.
        let result =
            unsafe { libc::prctl(libc::PR_SET_SECCOMP, u64::from(libc::SECCOMP_MODE_FILTER), &raw const program) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }

    // Tests_SRS_COMPLETION_PORT_01_187
    #[test]
    fn a_kernel_or_a_filter_that_refuses_is_asked_once() {
        for errno in [Errno::NOSYS, Errno::PERM] {
            let test = move || {
                let (epoll, mut events) = (instance(), Vec::with_capacity(4));
                let refused = Refused(AtomicBool::new(false));
                refuse_on_this_thread(errno);
                assert_eq!(refused.unless(epoll.as_fd(), &mut events, SHORT), None);
                assert!(refused.0.load(Ordering::Relaxed) && events.is_empty());
                // Not even this descriptor, which is none of epoll, is looked at.
                assert_eq!(refused.unless(std::io::stdin().as_fd(), &mut events, SHORT), None);
            };
            std::thread::spawn(test).join().expect("no panic");
        }
    }
}
