//! The process-wide completion ports of C programs.

use async_socket::{platform_deinit, platform_get_completion_port, platform_init, platform_set_thread_stack_size};
use integration_tests::eventually;
use integration_tests::process::{alone, is_child, port_threads, run_child};

/// The bytes of stack that are asked for.
const ASKED: usize = 500 << 20;

/// Whether there is a piece of memory that can be written and has about the size that is asked for. An address sanitizer has
/// much larger ones.
fn has_such_a_stack() -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc");
    let bytes = |line: &str| {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let is_writable = words.next()?.starts_with("rw");
        Some(is_writable).filter(|is_writable| *is_writable)?;
        Some(usize::from_str_radix(end, 16).ok()? - usize::from_str_radix(start, 16).ok()?)
    };
    maps.lines().filter_map(bytes).any(|bytes| (ASKED..2 * ASKED).contains(&bytes))
}

// Tests_SRS_PLATFORM_01_003, Tests_SRS_PLATFORM_01_005
#[test]
fn the_thread_of_the_platform_has_the_stack_that_was_asked_for_and_ends_with_the_platform() {
    let _alone = alone();
    if !is_child() {
        return run_child(
            "the_thread_of_the_platform_has_the_stack_that_was_asked_for_and_ends_with_the_platform",
            |_| {},
        );
    }
    assert!(!has_such_a_stack());
    platform_set_thread_stack_size(ASKED);

    assert_eq!(platform_init(), 0);

    assert!(has_such_a_stack());
    eventually("the thread has its name", || port_threads().len() == 1);
    platform_deinit();
    eventually("the thread ends", || port_threads().is_empty());
    assert!(platform_get_completion_port().is_null());
}
