//! Intended panics of callbacks, of lent buffers, and of the subscriber of log lines.

use std::panic::resume_unwind;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use tracing::subscriber::{Interest, set_global_default};
use tracing::{Event, Metadata, Subscriber, span};

/// Panics without a message: `resume_unwind` bypasses the panic hook, which would print one.
pub(super) fn panic_quietly() -> ! {
    resume_unwind(Box::new("on purpose"));
}

/// The percentage of log lines at which the subscriber panics.
const PANICS_IN_A_HUNDRED: u8 = 30;

static LISTENS: AtomicBool = AtomicBool::new(false);
static PANICS: AtomicU64 = AtomicU64::new(0);

/// The number of panics of the subscriber so far.
pub(super) fn of_the_subscriber() -> u64 {
    PANICS.load(Relaxed)
}

/// Switches the subscriber on or off. While on, it panics now and then.
pub(super) fn subscribe(listens: bool) {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| set_global_default(Panicky).expect("the only subscriber"));
    LISTENS.store(listens, Relaxed);
}

struct Panicky;

impl Subscriber for Panicky {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // `sometimes` makes tracing ask each time, because the subscriber listens to some programs only.
        Interest::sometimes()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        LISTENS.load(Relaxed)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {
        // A panic needs memory, which the thread may not have at this moment.
        let has_memory = Vec::<u8>::new().try_reserve(1).is_ok();
        if has_memory && fastrand::u8(..100) < PANICS_IN_A_HUNDRED {
            PANICS.fetch_add(1, Relaxed);
            panic_quietly();
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
