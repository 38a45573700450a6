//! The process-wide completion ports of C programs.

use async_socket::{platform_deinit, platform_get_completion_port, platform_init, platform_set_thread_stack_size};
use integration_tests::eventually;
use integration_tests::process::{alone, is_child, port_threads, run_child};

/// The bytes of the largest piece of memory that can be written.
fn largest_piece() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc");
    let bytes = |line: &str| {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let is_writable = words.next()?.starts_with("rw");
        Some(is_writable).filter(|is_writable| *is_writable)?;
        Some(usize::from_str_radix(end, 16).ok()? - usize::from_str_radix(start, 16).ok()?)
    };
    maps.lines().filter_map(bytes).max().unwrap_or(0)
}

// Tests_SRS_PLATFORM_01_003, Tests_SRS_PLATFORM_01_005
#[test]
fn the_thread_of_the_platform_has_the_stack_that_was_asked_for_and_ends_with_the_platform() {
    const ASKED: usize = 500 << 20;
    let _alone = alone();
    if !is_child() {
        return run_child(
            "the_thread_of_the_platform_has_the_stack_that_was_asked_for_and_ends_with_the_platform",
            |_| {},
        );
    }
    assert!(largest_piece() < ASKED);
    platform_set_thread_stack_size(ASKED);

    assert_eq!(platform_init(), 0);

    assert!(largest_piece() >= ASKED);
    eventually("the thread has its name", || port_threads().len() == 1);
    platform_deinit();
    eventually("the thread ends", || port_threads().is_empty());
    assert!(platform_get_completion_port().is_null());
}
