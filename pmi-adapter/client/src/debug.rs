//! What the library writes to stderr: reasons of failures, and traces under `PMI_DEBUG`.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, Once};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// The rank that stands in every line; negative until it is known.
static RANK: AtomicI64 = AtomicI64::new(-1);

/// The failure told last, so that a program that goes on calling does not flood stderr.
static TOLD: Mutex<String> = Mutex::new(String::new());

/// Makes every further line name this rank, or none.
pub fn set_rank(rank: Option<u32>) {
    RANK.store(rank.map_or(-1, i64::from), Ordering::Relaxed);
}

/// Writes `pmi: rank 3: text` to stderr in one piece. A closed stderr is no error.
pub fn say(text: &str) {
    let line = match RANK.load(Ordering::Relaxed) {
        rank @ 0.. => format!("pmi: rank {rank}: {text}\n"),
        _ => format!("pmi: {text}\n"),
    };
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Like [`say`], but not twice in a row. The lock is only tried: a forked child may find it taken for good.
pub fn say_once(text: &str) {
    if let Ok(mut told) = TOLD.try_lock() {
        if *told == text {
            return;
        }
        told.clear();
        told.push_str(text);
    }
    say(text);
}

/// Reads `PMI_DEBUG`, once per process, and turns tracing on if it asks for it.
pub fn start() {
    static START: Once = Once::new();
    START.call_once(|| {
        let value = std::env::var("PMI_DEBUG").unwrap_or_default();
        if let Some(level) = level(&value) {
            // A Rust program that links this crate may have a subscriber of its own: that one wins.
            let _ = tracing::subscriber::set_global_default(Stderr { level });
        }
    });
}

/// The level that a value of `PMI_DEBUG` asks for: 1 traces the calls, 2 what happens inside them as well.
fn level(value: &str) -> Option<LevelFilter> {
    match value.trim() {
        "" | "0" => None,
        "1" => Some(LevelFilter::DEBUG),
        "2" => Some(LevelFilter::TRACE),
        other => {
            say(&format!(
                "PMI_DEBUG={other}: expected 0 (off), 1 (calls) or 2 (everything); taken as 1"
            ));
            Some(LevelFilter::DEBUG)
        }
    }
}

/// A subscriber that writes each event as one line. Spans are accepted and not shown.
struct Stderr {
    level: LevelFilter,
}

impl Subscriber for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        say(&(line.message + &line.fields));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// An event on its way to text: the message first, then ` name=value` for each field.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_follow_the_documented_values() {
        for (value, expected) in [
            ("", None),
            ("0", None),
            ("1", Some(LevelFilter::DEBUG)),
            (" 2 ", Some(LevelFilter::TRACE)),
            ("yes", Some(LevelFilter::DEBUG)),
        ] {
            assert_eq!(level(value), expected, "PMI_DEBUG={value}");
        }
    }
}
