//! The allocations that still end the process.

use std::ops::RangeInclusive;

/// The case, the numbers of its allocations, and where they are. A number can depend on how fast the port's thread is.
pub(crate) const KNOWN: &[(&str, RangeInclusive<usize>, &str)] = &[
    ("platform_init", 1..=1, "completion-port: PerProcess"),
    ("platform_init", 5..=11, "completion-port: the port, its thread, OneShots::new"),
    ("platform_init, 3 threads", 1..=1, "completion-port: PerProcess"),
    ("platform_init, 3 threads", 5..=11, "completion-port: the first port, its thread, OneShots::new"),
    ("platform_init, 3 threads", 14..=20, "completion-port: the second port, its thread, OneShots::new"),
    ("platform_init, 3 threads", 23..=29, "completion-port: the third port, its thread, OneShots::new"),
    ("platform_init, in the thread", 1..=4, "completion-port: the thread's name, its events, its table, its changes"),
    ("completion_port_create", 3..=9, "completion-port: the port, its thread, OneShots::new"),
    ("completion_port_add, first", 2..=4, "completion-port: the watch, and the change that is noted"),
    ("completion_port_add, another descriptor", 1..=1, "completion-port: the watch"),
    ("completion_port_add, ready", 2..=4, "completion-port: the watch, and the change that is noted"),
    ("completion_port_add, refused", 2..=6, "completion-port: the watch, and the changes that are noted"),
    (
        "completion_port_remove",
        1..=2,
        "completion-port: the change that is noted, if the thread has taken the earlier ones",
    ),
    (
        "completion_port_dec_ref",
        1..=2,
        "completion-port: the change that is noted, if the thread has taken the earlier ones",
    ),
    ("async_socket_create", 2..=3, "async-socket-linux and completion-port: Core and Registration"),
    ("async_socket_open_async", 1..=1, "completion-port: the change that is noted"),
    ("async_socket_receive_async, ready", 2..=2, "completion-port: the run queue"),
    ("async_socket_close", 1..=1, "completion-port: the change that is noted"),
    ("async_socket_destroy", 1..=1, "completion-port: the change that is noted"),
    ("an event, in the thread", 1..=2, "completion-port: the table of the port"),
    ("a callback that destroys, in the thread", 1..=3, "completion-port: the change that is noted, and the table"),
    // It stays: `Dispatch::new` cannot be refused memory, and is called only if 64 KiB could be had just before.
    ("async_socket_set_log", 3..=4, "tracing-core: Dispatch::new, the first time in a process"),
];

/// Whether an allocation with one of these numbers is known to end the process.
pub(crate) fn is_known(name: &str, numbers: RangeInclusive<usize>) -> bool {
    KNOWN.iter().any(|(known, at, _)| *known == name && at.start() <= numbers.end() && numbers.start() <= at.end())
}
