//! A port whose process may not call `epoll_pwait2(2)`.
#![allow(unsafe_code, reason = "puts a filter before the system calls of a thread")]

use completion_port::{CompletionPort, Port as _, PortExt};
use integration_tests::inbox;
use integration_tests::process::{is_child, run_child};
use nix::libc;
use std::time::{Duration, Instant};

/// Lets the call fail with `ENOSYS` on the calling thread.
fn refuse_on_this_thread() {
    let code = |code: u32| u16::try_from(code).expect("it has 16 bits");
    let step = |code, jf, k| libc::sock_filter { code, jt: 0, jf, k };
    let call = u32::try_from(libc::SYS_epoll_pwait2).expect("a small number");
    let mut filter = [
        step(code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS), 0, 0),
        step(code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K), 1, call),
        step(code(libc::BPF_RET), 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        step(code(libc::BPF_RET), 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: sets a flag of this thread.
    unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1_u64, 0_u64, 0_u64, 0_u64) };
    // SAFETY: the program lives during the call, which concerns this thread only.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, u64::from(libc::SECCOMP_MODE_FILTER), &raw const program) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

// Tests_SRS_COMPLETION_PORT_01_187
#[test]
fn a_port_that_is_refused_precise_waits_waits_for_whole_milliseconds() {
    if !is_child() {
        return run_child("a_port_that_is_refused_precise_waits_waits_for_whole_milliseconds", |_| {});
    }
    let port = CompletionPort::create().unwrap();
    let (tell, told) = inbox();
    let refuse = move || {
        refuse_on_this_thread();
        tell.put(());
    };
    port.post(refuse).map_err(|refused| refused.error).unwrap();
    told.only();

    let late = (0..20).map(|_| {
        let (tell, told) = inbox();
        let at = port.now() + Duration::from_micros(1400);
        let _timer = port.at(at, move || tell.put(Instant::now())).unwrap();
        told.only().checked_duration_since(at).expect("a timer is never early")
    });

    // After a wait that fails otherwise, the thread pauses for ten milliseconds.
    let best = late.min().expect("there are some");
    assert!(best < Duration::from_millis(5), "{best:?}");
}
