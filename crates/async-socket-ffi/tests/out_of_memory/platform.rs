//! `platform_*`.

use crate::common::{Open, Platform};
use crate::operation::{Which, failing, give_up, the_platform_works, works};
use async_socket::*;
use test_doubles::{fail_allocations_of_new_threads, with_memory};

/// A start that failed can be tried again.
pub(crate) fn started(result: i32) {
    if result != 0 {
        assert!(platform_get_completion_port().is_null(), "a start that failed is none");
        assert_eq!(platform_init(), 0);
    }
    the_platform_works();
    platform_deinit();
}

pub(crate) fn platform_init_starts_or_fails(which: Which) -> usize {
    let (result, tried) = failing(which, || platform_init());
    started(result);
    tried
}

pub(crate) fn three_threads_start_or_none(which: Which) -> usize {
    platform_set_thread_count(3);
    platform_init_starts_or_fails(which)
}

pub(crate) fn the_platforms_thread_starts_or_the_call_fails(which: Which) -> usize {
    let (result, tried) = fail_allocations_of_new_threads(which, || {
        let result = platform_init();
        if result == 0 {
            with_memory(the_platform_works);
        }
        result
    });
    if result == 0 {
        platform_deinit();
    } else {
        started(result);
    }
    tried
}

pub(crate) fn a_second_init_is_counted(which: Which) -> usize {
    let _platform = Platform::start();
    let (result, tried) = failing(which, || platform_init());
    if result == 0 {
        platform_deinit();
    }
    the_platform_works();
    tried
}

pub(crate) fn deinit_needs_nothing(which: Which) -> usize {
    assert_eq!(platform_init(), 0);
    let mut socket = Open::new();
    let ((), tried) = failing(which, || platform_deinit());
    works(socket.handle, &mut socket.peer);
    tried
}

pub(crate) fn a_reference_to_the_platforms_port(which: Which) -> usize {
    let _platform = Platform::start();
    let (port, tried) = failing(which, || platform_get_completion_port());
    assert!(!port.is_null(), "it is counted, not allocated");
    give_up(port);
    tried
}
