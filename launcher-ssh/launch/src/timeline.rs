//! What happened when, for `-verbose`.

use std::time::Instant;

/// Moments of a job's start, in order.
pub struct Timeline {
    start: Instant,
    moments: Vec<(&'static str, Instant)>,
}

impl Timeline {
    /// Begins now.
    pub fn begin() -> Self {
        Timeline { start: Instant::now(), moments: Vec::new() }
    }

    /// Notes that something is done now. The first time counts.
    pub fn note(&mut self, what: &'static str) {
        if self.moments.iter().all(|(known, _)| *known != what) {
            self.moments.push((what, Instant::now()));
        }
    }

    /// The moments in milliseconds since the beginning: `programs found 0.2, …`.
    pub fn summary(&self) -> String {
        let moment = |(what, when): &(&str, Instant)| {
            format!("{what} {:.1}", (*when - self.start).as_secs_f64() * 1e3)
        };
        self.moments.iter().map(moment).collect::<Vec<_>>().join(", ")
    }
}
