//! A process without memory. Whichever allocation of a call fails, the call is refused or does all that it promises, and the
//! process goes on.
//!
//! An allocation that cannot fail would end the process, so each case and each failing allocation has a process of its own.
#![allow(unsafe_code, reason = "calls of the C ABI")]
#![allow(clippy::unwrap_used, reason = "a panic is the test's failure")]

#[path = "../common/mod.rs"]
mod common;

mod beyond;
mod inside;
mod known;
mod log_and_names;
mod operation;
mod platform;
mod port_thread;
mod ports;
mod sockets;

use ASYNC_SOCKET_RECEIVE_RESULT::ASYNC_SOCKET_RECEIVE_OK;
use ASYNC_SOCKET_SEND_RESULT::ASYNC_SOCKET_SEND_OK;
use ASYNC_SOCKET_SEND_SYNC_RESULT::{ASYNC_SOCKET_SEND_SYNC_ERROR, ASYNC_SOCKET_SEND_SYNC_OK};
use async_socket::*;
use common::{Call, Calls, Open, Platform, buffer};
use known::{KNOWN, is_known};
use operation::Which;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::env;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::ptr::null_mut;
use test_doubles::{FailingAllocator, without_memory};

#[global_allocator]
static ALLOCATOR: FailingAllocator = FailingAllocator;

// Tests_SRS_ASYNC_SOCKET_LINUX_11_078
#[test]
fn a_receive_that_cannot_be_queued_fails_and_the_next_one_works() {
    let _platform = Platform::start();
    let (mut socket, calls) = (Open::new(), Calls::new());
    let (mut bytes, mut more) = ([0; 8], [0; 8]);
    assert_ne!(without_memory(|| socket.receive(&mut [buffer(&mut bytes)], &calls)), 0);
    let mut list = [buffer(&mut bytes), buffer(&mut more)];
    assert_ne!(without_memory(|| socket.receive(&mut list, &calls)), 0);
    assert!(calls.none());

    socket.write_from_peer(b"later");
    assert_eq!(socket.receive(&mut list, &calls), 0);
    assert_eq!(calls.next(), Call::Received(ASYNC_SOCKET_RECEIVE_OK, 5));
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_063
#[test]
fn a_list_of_buffers_that_cannot_be_copied_is_an_error_and_nothing_is_sent() {
    let _platform = Platform::start();
    let (socket, calls, mut one, mut two) = (Open::new(), Calls::new(), *b"one", *b"two");
    let list = [buffer(&mut one), buffer(&mut two)];
    assert_eq!(without_memory(|| socket.send(&list, &calls)), ASYNC_SOCKET_SEND_SYNC_ERROR);
    assert!(calls.none());
    assert_eq!(socket.send(&list, &calls), ASYNC_SOCKET_SEND_SYNC_OK);
    assert_eq!(calls.next(), Call::Sent(ASYNC_SOCKET_SEND_OK));
}

#[test]
fn a_refused_argument_needs_no_memory() {
    let _platform = Platform::start();
    let (socket, calls) = (Open::new(), Calls::new());
    assert_eq!(without_memory(|| socket.send(&[], &calls)), ASYNC_SOCKET_SEND_SYNC_ERROR);
    // SAFETY: NULL is allowed.
    without_memory(|| unsafe { async_socket_destroy(null_mut()) });
}

// Tests_SRS_C_LIBRARY_01_013, Tests_SRS_ASYNC_SOCKET_LINUX_11_006
#[test]
fn whichever_allocation_of_a_call_fails_the_call_is_refused_or_complete() {
    let mut all = 0;
    let mut ended = Vec::new();
    for (name, _) in CASES {
        let mut failed = 0;
        for number in 1.. {
            assert!(number < 100, "{name} does not come to an end");
            run(name, number, usize::MAX);
            match run(name, number, number) {
                Some(tried) if tried < number => break,
                Some(_) => {}
                None => ended.push((*name, number)),
            }
            failed = number;
        }
        println!("{name}: {failed} allocations failed, each alone, and each with all that followed");
        all += failed;
    }
    println!("{all} allocations in {} cases; {} ended the process, as is known", CASES.len(), ended.len());
    for (name, numbers, place) in KNOWN {
        if !ended.iter().any(|(ended, number)| ended == name && numbers.contains(number)) {
            println!("{name}, {numbers:?} ({place}) did not end the process this time: is it still known?");
        }
    }
    assert!(all >= 25, "{all} allocations are too few to show anything");
}

/// Runs a case in a process of its own. Returns how many allocations it tried, or `None` if a known one ended the
/// process.
fn run(name: &str, first: usize, last: usize) -> Option<usize> {
    let mut child = Command::new(env::current_exe().expect("this test is a file"));
    child.args(["--exact", "one_case", "--ignored", "--nocapture", "--test-threads=1"]).env("RUST_BACKTRACE", "0");
    child.env("OUT_OF_MEMORY_CASE", name);
    child.env("OUT_OF_MEMORY_FIRST", first.to_string()).env("OUT_OF_MEMORY_LAST", last.to_string());
    let output = child.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        let tried = said.lines().find_map(|line| line.strip_prefix("tried "));
        return Some(tried.expect("it says how many").parse().expect("a number"));
    }
    let why = String::from_utf8_lossy(&output.stderr);
    let is_known = aborted(output.status) && is_known(name, first..=last);
    assert!(is_known, "{name}, allocations {first} to {last}: {}\n{said}{why}", output.status);
    None
}

fn aborted(status: ExitStatus) -> bool {
    const SIGABRT: i32 = 6;
    status.signal() == Some(SIGABRT)
}

/// Runs one case with some allocations failing. Returns how many it tried.
type Case = fn(Which) -> usize;

const CASES: &[(&str, Case)] = &[
    ("platform_init", platform::platform_init_starts_or_fails),
    ("platform_init, 3 threads", platform::three_threads_start_or_none),
    ("platform_init, in the thread", platform::the_platforms_thread_starts_or_the_call_fails),
    ("platform_init, again", platform::a_second_init_is_counted),
    ("platform_deinit", platform::deinit_needs_nothing),
    ("platform_get_completion_port", platform::a_reference_to_the_platforms_port),
    ("completion_port_create", ports::a_port_is_created_or_not),
    ("completion_port_inc_ref and dec_ref", ports::references_need_nothing),
    ("completion_port_dec_ref", ports::the_last_reference_abandons_what_waits),
    ("completion_port_add, first", ports::a_first_wait),
    ("completion_port_add, second", ports::a_second_wait),
    ("completion_port_add, another descriptor", ports::a_wait_for_another_descriptor),
    ("completion_port_add, ready", ports::a_wait_for_what_is_ready),
    ("completion_port_add, refused", ports::a_refused_wait),
    ("completion_port_remove", ports::a_removal_abandons_what_waits),
    ("async_socket_create", sockets::a_socket_is_created_or_the_descriptor_stays_the_callers),
    ("async_socket_open_async", sockets::an_open_succeeds_or_can_be_tried_again),
    ("async_socket_send_async", sockets::a_send_that_is_done_at_once),
    ("async_socket_send_async, blocked", sockets::a_send_that_has_to_wait),
    ("async_socket_send_async, queued", sockets::a_send_behind_another),
    ("async_socket_send_async, several buffers", sockets::a_send_of_several_buffers),
    ("async_socket_receive_async", sockets::a_receive_that_waits),
    ("async_socket_receive_async, ready", sockets::a_receive_of_what_is_there),
    ("async_socket_receive_async, queued", sockets::a_receive_behind_another),
    ("async_socket_receive_async, several buffers", sockets::a_receive_into_several_buffers),
    ("async_socket_close", |which| {
        sockets::an_end_abandons_what_is_pending(which, async_socket_close, async_socket_destroy)
    }),
    ("async_socket_destroy", |which| {
        sockets::an_end_abandons_what_is_pending(which, async_socket_destroy, sockets::keep)
    }),
    ("async_socket_destroy, not open", sockets::a_socket_that_is_not_open_is_destroyed),
    ("async_socket_receive_async_within", beyond::a_receive_with_a_time_limit),
    ("async_socket_send_async_within", beyond::a_send_with_a_time_limit_that_has_to_wait),
    ("async_socket_cancel", beyond::a_cancel_needs_nothing),
    ("async_socket_shutdown_async", beyond::a_shutdown_behind_a_send),
    ("async_socket_close_async", beyond::a_close_that_does_not_wait),
    ("the settings of a socket", beyond::settings_of_a_socket),
    ("async_socket_create_and_open", beyond::a_socket_is_created_and_opened_or_the_descriptor_stays_the_callers),
    ("async_socket_buffer_pool_create", inside::a_pool_is_made_or_refused),
    ("async_socket_receive_pooled_async", inside::a_receive_from_a_pool),
    ("the metrics and addresses of a socket", inside::metrics_and_addresses_of_a_socket),
    ("async_socket_release_descriptor", inside::a_descriptor_is_given_back_or_the_socket_goes_on),
    ("platform_post", beyond::posted_work),
    ("platform_timer_start and reset", beyond::a_timer_fires_or_is_refused),
    ("async_socket_listener_start", beyond::a_listener_listens_or_is_refused),
    ("async_socket_connect_async", beyond::a_connect_ends_or_is_refused),
    ("async_socket_set_log", log_and_names::a_log_function_is_set_or_not),
    ("async_socket_set_log, again", log_and_names::a_log_function_is_replaced_or_not),
    ("the names and settings", log_and_names::names_and_settings),
    ("an event, in the thread", port_thread::the_thread_serves_events),
    ("a callback that destroys, in the thread", port_thread::the_thread_serves_a_callback_that_destroys),
];

/// The child of the test above.
#[test]
#[ignore = "a process of `whichever_allocation_of_a_call_fails_the_call_is_refused_or_complete`"]
fn one_case() {
    let Ok(name) = env::var("OUT_OF_MEMORY_CASE") else { return };
    let number = |name| env::var(name).expect("the test sets it").parse::<usize>().expect("a number");
    // A process that ends here leaves no core file.
    setrlimit(Resource::Core, Rlimit { current: Some(0), ..getrlimit(Resource::Core) }).expect("the limit lowers");
    let (_, case) = CASES.iter().find(|(case, _)| *case == name).expect("a case of this name");
    let tried = case(number("OUT_OF_MEMORY_FIRST")..=number("OUT_OF_MEMORY_LAST"));
    println!("\ntried {tried}");
}
