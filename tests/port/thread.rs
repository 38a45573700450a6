//! The thread of a port: its signals and its stack.

use completion_port::{CompletionPort, CompletionPortBuilder, PortExt};
use integration_tests::inbox;
use nix::sys::signal::Signal;
use std::fs;
use std::hint::black_box;

/// Runs something on the thread of a new port.
fn on_the_thread<T: Send + 'static>(builder: CompletionPortBuilder, call: impl FnOnce() -> T + Send + 'static) -> T {
    let port = builder.create().expect("the port is created");
    let (tell, told) = inbox();
    port.post(move || tell.put(call())).map_err(|refused| refused.error).expect("the port accepts work");
    told.only()
}

/// The signals that the calling thread blocks, a bit for each.
fn blocked() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").expect("/proc");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).expect("SigBlk");
    u64::from_str_radix(mask.trim(), 16).expect("hexadecimal")
}

// Tests_SRS_COMPLETION_PORT_01_087
#[test]
fn the_thread_blocks_all_signals_but_those_of_a_fault_and_its_creator_none_more() {
    let before = blocked();
    let on_the_thread = on_the_thread(CompletionPort::builder(), blocked);

    assert_eq!(blocked(), before);
    let blocks = |signal| on_the_thread & 1 << (signal as i32 - 1) != 0;
    assert!(
        [Signal::SIGUSR1, Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD, Signal::SIGPIPE].into_iter().all(blocks)
    );
    let of_a_fault = [
        Signal::SIGSEGV,
        Signal::SIGBUS,
        Signal::SIGFPE,
        Signal::SIGILL,
        Signal::SIGTRAP,
        Signal::SIGSYS,
        Signal::SIGABRT,
    ];
    assert!(!of_a_fault.into_iter().any(blocks));
}

// Tests_SRS_COMPLETION_PORT_01_089
#[test]
fn the_stack_is_as_large_as_was_asked_for_or_two_mebibytes_at_least() {
    let usual = || {
        let half = [1_u8; 1 << 20];
        black_box(&half).len()
    };
    assert_eq!(on_the_thread(CompletionPort::builder(), usual), 1 << 20);
    let large = || {
        let half = [1_u8; 16 << 20];
        black_box(&half).len()
    };
    assert_eq!(on_the_thread(CompletionPort::builder().thread_stack_size(32 << 20), large), 16 << 20);

    let refused = CompletionPort::builder().thread_stack_size(usize::MAX).create().expect_err("no memory is so large");

    assert_eq!(refused.call, "pthread_create");
}
