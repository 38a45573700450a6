//! The allocations that still end the process.

use std::ops::RangeInclusive;

/// The case, the numbers of its allocations, and where they are. A number can depend on how fast the port's thread is.
pub(crate) const KNOWN: &[(&str, RangeInclusive<usize>, &str)] = &[
    // Accepted: `Dispatch::new` cannot report a lack of memory, and is called only if 64 KiB were available just
    // before.
    ("async_socket_set_log", 3..=4, "tracing-core: Dispatch::new, the first time in a process"),
];

/// Whether an allocation with one of these numbers is known to end the process.
pub(crate) fn is_known(name: &str, numbers: RangeInclusive<usize>) -> bool {
    KNOWN.iter().any(|(known, at, _)| *known == name && at.start() <= numbers.end() && numbers.start() <= at.end())
}
