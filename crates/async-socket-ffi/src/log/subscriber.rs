//! What `tracing` hands its events to.

use super::line::Line;
use super::{deliver, limit};
use std::fmt::{self, Write as _};
use std::sync::OnceLock;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::{Interest, Subscriber};
use tracing::{Dispatch, Event, Metadata, dispatcher, span};

/// One line for each event; spans are nothing to it.
struct Log;

/// Makes this the process's subscriber, once. `false` if the Rust program around us has one of its own.
pub(super) fn install() -> bool {
    static IS_OURS: OnceLock<bool> = OnceLock::new();
    *IS_OURS.get_or_init(|| dispatcher::set_global_default(Dispatch::new(Log)).is_ok())
}

/// `tracing` remembers at each place what is wanted of it.
pub(super) fn levels_changed() {
    tracing::callsite::rebuild_interest_cache();
}

impl Subscriber for Log {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(limit())
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= limit()
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::new();
        // What happened comes first, then to what.
        event.record(&mut Message(&mut line));
        event.record(&mut Fields(&mut line));
        deliver(*event.metadata().level(), &line);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

const MESSAGE: &str = "message";

struct Message<'l>(&'l mut Line);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == MESSAGE {
            let _ = write!(self.0, "{value:?}");
        }
    }
}

struct Fields<'l>(&'l mut Line);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() != MESSAGE {
            let _ = write!(self.0, " {}={value:?}", field.name());
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let _ = write!(self.0, " {}={value}", field.name());
        let mut source = value.source();
        while let Some(error) = source {
            let _ = write!(self.0, ": {error}");
            source = error.source();
        }
    }
}
