//! The subscriber that gets the events of `tracing`.

use super::levels::{HANDED_OVER, LEVELS, PRINTED, limit};
use super::line::Line;
use super::{sink, standard_error};
use crate::memory::is_plenty;
use std::fmt::{self, Write as _};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::{Interest, Subscriber};
use tracing::{Dispatch, Event, Level, Metadata, dispatcher, span};

/// Makes one line of each event, and nothing of spans.
struct Log;

/// Makes this the process's subscriber, once. `false` if a Rust program around the library has one of its own, or if
/// there is no memory.
pub(super) fn install() -> bool {
    static IS_OURS: OnceLock<bool> = OnceLock::new();
    // `tracing` registers a subscriber with two small allocations that end the process if they fail.
    if IS_OURS.get().is_none() && !is_plenty() {
        return false;
    }
    *IS_OURS.get_or_init(|| dispatcher::set_global_default(Dispatch::new(Log)).is_ok())
}

/// `tracing` remembers, at each place that logs, whether a subscriber wants its events.
pub(super) fn levels_changed() {
    tracing::callsite::rebuild_interest_cache();
}

fn deliver(level: Level, line: &Line) {
    let Some(index) = LEVELS.iter().position(|(_, it)| *it == level) else { return };
    if index < PRINTED.load(Ordering::Relaxed) {
        standard_error::say(format_args!("{level} {}", line.as_str()));
    }
    if index < HANDED_OVER.load(Ordering::Relaxed) {
        sink::hand_over(LEVELS[index].0, line);
    }
}

impl Subscriber for Log {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(limit())
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= limit()
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::new();
        // First what happened, then to what.
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
