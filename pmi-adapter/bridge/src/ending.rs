//! Ending a program whose job is over: it is told by its next answer; if that does not help, by signals.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::sys::pidfd_signal;

/// From the answer that says so to SIGTERM, and from there to SIGKILL.
const GRACE: [(Duration, Signal); 2] =
    [(Duration::from_secs(2), Signal::SIGTERM), (Duration::from_secs(5), Signal::SIGKILL)];

/// The steps that are still to come.
#[derive(Default)]
pub struct Ending {
    begun: Option<Instant>,
    taken: usize,
}

impl Ending {
    /// The job is over.
    pub fn begin(&mut self) {
        self.begun.get_or_insert_with(Instant::now);
    }

    /// When the next step is due.
    pub fn deadline(&self) -> Option<Instant> {
        let waits = GRACE.get(..=self.taken)?.iter().map(|(wait, _)| *wait).sum::<Duration>();
        Some(self.begun? + waits)
    }

    /// Takes the next step if it is due.
    pub fn step(&mut self, program: BorrowedFd<'_>) {
        if self.deadline().is_some_and(|due| due <= Instant::now()) {
            let (_, signal) = GRACE[self.taken];
            self.taken += 1;
            // It may have ended meanwhile.
            let _ = pidfd_signal(program, signal as i32);
        }
    }
}
