//! How much is logged, and to where.

use std::ffi::OsStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use tracing::Level;
use tracing::level_filters::LevelFilter;

/// How much a line matters. As a limit, a level includes the levels above it.
#[allow(missing_docs, reason = "the names say it")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub enum ASYNC_SOCKET_LOG_LEVEL {
    ASYNC_SOCKET_LOG_LEVEL_INVALID = 0,
    ASYNC_SOCKET_LOG_ERROR = 1,
    ASYNC_SOCKET_LOG_WARN = 2,
    ASYNC_SOCKET_LOG_INFO = 3,
    ASYNC_SOCKET_LOG_DEBUG = 4,
    ASYNC_SOCKET_LOG_TRACE = 5,
}

use ASYNC_SOCKET_LOG_LEVEL::{
    ASYNC_SOCKET_LOG_DEBUG, ASYNC_SOCKET_LOG_ERROR, ASYNC_SOCKET_LOG_INFO, ASYNC_SOCKET_LOG_TRACE,
    ASYNC_SOCKET_LOG_WARN,
};

/// In the order of C's values, which begin at 1.
pub(super) const LEVELS: [(ASYNC_SOCKET_LOG_LEVEL, Level); 5] = [
    (ASYNC_SOCKET_LOG_ERROR, Level::ERROR),
    (ASYNC_SOCKET_LOG_WARN, Level::WARN),
    (ASYNC_SOCKET_LOG_INFO, Level::INFO),
    (ASYNC_SOCKET_LOG_DEBUG, Level::DEBUG),
    (ASYNC_SOCKET_LOG_TRACE, Level::TRACE),
];

/// The most detailed level that goes to standard error: 0 is none, 5 is everything.
pub(super) static PRINTED: AtomicUsize = AtomicUsize::new(0);

/// The most detailed level that goes to the program's function: 0 is none, 5 is everything.
pub(super) static HANDED_OVER: AtomicUsize = AtomicUsize::new(0);

/// The most detailed level that goes anywhere.
pub(super) fn limit() -> LevelFilter {
    let wanted = PRINTED.load(Ordering::Relaxed).max(HANDED_OVER.load(Ordering::Relaxed));
    let level = wanted.checked_sub(1).and_then(|index| LEVELS.get(index));
    level.map_or(LevelFilter::OFF, |(_, level)| LevelFilter::from_level(*level))
}

pub(super) fn level_named(value: &OsStr) -> Option<LevelFilter> {
    value.to_str()?.trim().parse().ok()
}

/// C's value of a level; 0 for none.
pub(super) fn number(level: LevelFilter) -> usize {
    let found = LEVELS.iter().position(|(_, it)| LevelFilter::from_level(*it) == level);
    found.map_or(0, |position| position + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_values_are_the_levels_in_any_case() {
        for (name, level) in [("off", 0), ("error", 1), ("WARN", 2), ("Info", 3), (" debug ", 4), ("trace", 5)] {
            assert_eq!(level_named(OsStr::new(name)).map(number), Some(level), "{name}");
        }
        assert_eq!(level_named(OsStr::new("loud")), None);
    }
}
