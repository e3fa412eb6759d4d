//! Waiting for something that must happen, with a limit.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longest time that a test waits for anything: far beyond what a loaded two-core machine needs, so that only
/// what hangs reaches it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Asks again and again until there is an answer; panics with `what` after [`PATIENCE`].
pub fn until<T>(what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = answer() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {} s for: {what}", PATIENCE.as_secs());
        sleep(Duration::from_millis(5));
    }
}
