//! When to send again: exponential backoff with jitter, and how long the other side has been silent.

use crate::limits::{RETRANSMIT_FIRST_US, RETRANSMIT_MAX_US, SILENCE_MAX_US};

/// A point in time, in microseconds since an origin of the caller's choice. It never goes back.
pub type Micros = u64;

/// A small seeded generator (SplitMix64) for jitter; not for secrets.
#[derive(Clone, Debug)]
pub struct Jitter(u64);

impl Jitter {
    /// A generator whose sequence follows from `seed` alone.
    pub fn new(seed: u64) -> Self {
        Jitter(seed)
    }

    /// The next number of the sequence.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number around `middle`, at most a quarter away from it.
    pub fn around(&mut self, middle: u64) -> u64 {
        middle - middle / 4 + self.draw() % (middle / 2 + 1)
    }
}

/// The retransmission clock of one exchange.
#[derive(Clone, Debug)]
pub struct Pace {
    due: Micros,
    first: Micros,
    interval: Micros,
    /// When the question was put that has no answer yet.
    asked: Option<Micros>,
    heard: Micros,
    jitter: Jitter,
}

impl Pace {
    /// A clock that is due at once.
    pub fn new(now: Micros, seed: u64) -> Self {
        let first = RETRANSMIT_FIRST_US;
        Pace {
            due: now,
            first,
            interval: first,
            asked: None,
            heard: now,
            jitter: Jitter::new(seed),
        }
    }

    /// Others ask as well: the first answer may be `crowd` later than usual.
    pub fn expect_crowd(&mut self, crowd: Micros) {
        self.first = RETRANSMIT_FIRST_US.saturating_add(crowd).min(RETRANSMIT_MAX_US);
        self.interval = self.first;
    }

    /// When to send next.
    pub fn due(&self) -> Micros {
        self.due
    }

    /// Something has been sent: the next time is a jittered interval away, which doubles.
    pub fn sent(&mut self, now: Micros) {
        self.asked.get_or_insert(now);
        self.due = now + self.jitter.around(self.interval);
        self.interval = (self.interval * 2).min(RETRANSMIT_MAX_US);
    }

    /// The other side has spoken.
    pub fn heard(&mut self, now: Micros) {
        self.heard = self.heard.max(now);
    }

    /// Things move: send again `after` from now, and begin with short intervals.
    pub fn progress(&mut self, now: Micros, after: Micros) {
        self.asked = None;
        self.interval = self.first;
        self.due = now + after;
    }

    /// The question has its answer: put the next one at once, and expect the next answer to take as long.
    pub fn answered(&mut self, now: Micros) {
        let took = self.asked.take().map_or(0, |asked| now.saturating_sub(asked));
        self.interval = (2 * took).clamp(self.first, RETRANSMIT_MAX_US);
        self.due = now;
    }

    /// The answer has begun to come: wait `after` for its rest.
    pub fn wait(&mut self, now: Micros, after: Micros) {
        self.due = now + after;
    }

    /// The caller comes at `now`, perhaps long after the due time, because its process was stopped. Nobody
    /// listened meanwhile, so that was not silence of the other side.
    pub fn excuse_lateness(&mut self, now: Micros) {
        self.heard = (self.heard + now.saturating_sub(self.due)).min(now);
    }

    /// The time at which silence becomes an error.
    pub fn silent_at(&self) -> Micros {
        self.heard + SILENCE_MAX_US
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_process_does_not_take_its_own_absence_for_silence() {
        let mut pace = Pace::new(0, 1);
        pace.sent(0);
        let woken = pace.due() + 10 * SILENCE_MAX_US;
        pace.excuse_lateness(woken);
        assert!(pace.silent_at() > woken + SILENCE_MAX_US / 2);
    }

    #[test]
    fn intervals_double_up_to_their_limit_and_progress_resets_them() {
        let mut pace = Pace::new(0, 1);
        let mut now = 0;
        for _ in 0..20 {
            pace.sent(now);
            assert!(pace.due() > now && pace.due() <= now + RETRANSMIT_MAX_US * 5 / 4);
            now = pace.due();
        }
        pace.progress(now, 5);
        assert_eq!(pace.due(), now + 5);
        pace.sent(now);
        assert!(pace.due() <= now + RETRANSMIT_FIRST_US * 5 / 4);
    }

    #[test]
    fn a_slow_answer_makes_the_next_wait_longer_and_a_quick_one_short_again() {
        let mut pace = Pace::new(0, 1);
        pace.sent(0);
        pace.answered(100_000);
        assert_eq!(pace.due(), 100_000);
        pace.sent(100_000);
        assert!(pace.due() >= 100_000 + 150_000);
        pace.answered(101_000);
        pace.sent(101_000);
        assert!(pace.due() <= 101_000 + RETRANSMIT_FIRST_US * 5 / 4);
    }
}
