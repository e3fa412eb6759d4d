//! How a job ends that does not end by itself: which of several failures is the reason, and when the ranks
//! that are left are asked to end, and when they are killed. Knows no processes; time comes from outside.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::error::EXIT_FAILURE;
use crate::sys::Exit;

/// After the first failure we wait so long for what explains it: the abort message of a rank that has exited,
/// or the death that made another rank exit with an error.
const SETTLE: Duration = Duration::from_millis(100);

/// Ranks that are released with an error have so long to print it and end, before SIGTERM.
const GRACE: Duration = Duration::from_millis(500);

/// After a signal of the user's, ranks have so long to save what they have, before SIGTERM.
const PATIENCE: Duration = Duration::from_secs(8);

/// From SIGTERM to SIGKILL.
const LAST_GRACE: Duration = Duration::from_secs(2);

/// A second signal to end within this time means: at once.
const AGAIN: Duration = Duration::from_secs(3);

/// A reason for a job to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A rank's program could not be started.
    Start {
        /// The rank.
        rank: u32,
        /// Why.
        reason: String,
        /// The job's exit code.
        code: i32,
    },
    /// A rank exited with a code that is not 0, or was killed by a signal.
    Ended {
        /// The rank.
        rank: u32,
        /// How.
        exit: Exit,
    },
    /// A rank exited with code 0 between `PMI_Init` and `PMI_Finalize`.
    Unfinalized {
        /// The rank.
        rank: u32,
    },
    /// A rank called `PMI_Abort`.
    Abort {
        /// The rank.
        rank: u32,
        /// Its exit code.
        code: i32,
        /// Its message.
        message: String,
    },
    /// The server ended the job.
    Fault {
        /// The rank at fault, where there is one.
        rank: Option<u32>,
        /// Why.
        message: String,
    },
    /// There is no server any more.
    Server(String),
    /// Our standard output cannot be written to.
    Output(Errno),
    /// Nobody reads our standard output any more.
    OutputClosed,
}

impl Failure {
    /// The job's exit code if this is the reason.
    fn exit_code(&self) -> i32 {
        match self {
            Failure::Start { code, .. } => *code,
            Failure::Ended { exit: Exit::Code(code), .. } => *code,
            Failure::Ended { exit: Exit::Signal { number, .. }, .. } => 128 + number,
            // An abort is a failure, whatever the rank thinks; only 8 bits of it reach our parent.
            Failure::Abort { code, .. } if code & 0xff != 0 => code & 0xff,
            Failure::OutputClosed => 128 + Signal::SIGPIPE as i32,
            _ => EXIT_FAILURE,
        }
    }

    fn rank(&self) -> Option<u32> {
        match self {
            Failure::Start { rank, .. } | Failure::Ended { rank, .. } => Some(*rank),
            Failure::Unfinalized { rank } | Failure::Abort { rank, .. } => Some(*rank),
            Failure::Fault { rank, .. } => *rank,
            Failure::Server(_) | Failure::Output(_) | Failure::OutputClosed => None,
        }
    }

    /// Nothing is gained by waiting for the ranks.
    fn is_urgent(&self) -> bool {
        matches!(self, Failure::Start { .. } | Failure::Output(_) | Failure::OutputClosed)
    }
}

/// The next thing to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Say what the reason is.
    Announce,
    /// SIGTERM to every rank.
    Terminate,
    /// SIGKILL to every rank.
    Kill,
}

/// The course of a job's end.
#[derive(Default)]
pub struct Ending {
    failures: Vec<Failure>,
    began: Option<Instant>,
    signal: Option<(Signal, Instant)>,
    announced: bool,
    hurry: bool,
    /// Set with SIGTERM, or by the user's impatience.
    kill_at: Option<Instant>,
    killed: bool,
}

impl Ending {
    /// Notes a failure; true if it is the first. Once the ranks have been told to end, how they do is our doing
    /// and no failure.
    pub fn record(&mut self, failure: Failure, now: Instant) -> bool {
        if self.kill_at.is_some() {
            return false;
        }
        let first = self.began.is_none();
        self.began.get_or_insert(now);
        self.hurry |= failure.is_urgent();
        self.failures.push(failure);
        first
    }

    /// Notes a signal that is passed on to the ranks; true if it is one that ends a job.
    pub fn signalled(&mut self, signal: Signal, now: Instant) -> bool {
        if !matches!(signal, Signal::SIGINT | Signal::SIGTERM | Signal::SIGQUIT | Signal::SIGHUP) {
            return false;
        }
        if self.signal.is_some_and(|(_, before)| now - before < AGAIN) {
            self.kill_at = Some(now);
        }
        self.signal = Some((signal, now));
        true
    }

    /// The signal came before all ranks had been started: the job fails, whatever the others make of it.
    pub fn cancel(&mut self, now: Instant) {
        self.began.get_or_insert(now);
    }

    /// Is the job failing?
    pub fn has_begun(&self) -> bool {
        self.began.is_some()
    }

    fn next(&self) -> Option<(Instant, Step)> {
        let announce =
            self.began.filter(|_| !self.announced).map(|began| (began + SETTLE, Step::Announce));
        let end = match self.kill_at {
            None => self.terminate_at().map(|at| (at, Step::Terminate)),
            Some(_) if self.killed => None,
            Some(at) => Some((at, Step::Kill)),
        };
        [announce, end].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    fn terminate_at(&self) -> Option<Instant> {
        match (self.began, self.signal) {
            (Some(began), _) if self.hurry => Some(began),
            (Some(began), Some((_, signal))) if signal <= began => Some(signal + PATIENCE),
            (Some(began), _) => Some(began + GRACE),
            (None, Some((Signal::SIGTERM | Signal::SIGHUP, signal))) => Some(signal + PATIENCE),
            (None, _) => None,
        }
    }

    /// When the next step is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.next().map(|(at, _)| at)
    }

    /// The step that is due, if one is; it counts as taken.
    pub fn take_due(&mut self, now: Instant) -> Option<Step> {
        let (_, step) = self.next().filter(|(at, _)| *at <= now)?;
        match step {
            Step::Announce => self.announced = true,
            Step::Terminate => self.kill_at = Some(now + LAST_GRACE),
            Step::Kill => self.killed = true,
        }
        Some(step)
    }

    /// Every rank has ended: the reason may be announced now. True if it has not been yet.
    pub fn take_announcement(&mut self) -> bool {
        let failed = self.has_begun() || self.signal().is_some();
        failed && !std::mem::replace(&mut self.announced, true)
    }

    /// The signal of the user's that ended the job: it came before the first failure.
    pub fn signal(&self) -> Option<Signal> {
        let (signal, at) = self.signal?;
        match self.began {
            Some(began) => (at <= began).then_some(signal),
            None => self.kill_at.map(|_| signal),
        }
    }

    /// The failure that explains the others.
    pub fn reason(&self) -> Option<&Failure> {
        let find = |wanted: &dyn Fn(&Failure) -> bool| {
            self.failures.iter().find(|failure| wanted(failure))
        };
        let blamed =
            find(&|failure| matches!(failure, Failure::Fault { .. })).and_then(Failure::rank);
        let ended = |failure: &Failure| {
            matches!(failure, Failure::Ended { .. } | Failure::Unfinalized { .. })
        };
        let killed =
            |failure: &Failure| matches!(failure, Failure::Ended { exit: Exit::Signal { .. }, .. });
        find(&|failure| failure.is_urgent() || matches!(failure, Failure::Abort { .. }))
            .or_else(|| {
                find(&|failure| ended(failure) && blamed.is_some() && failure.rank() == blamed)
            })
            .or_else(|| find(&killed))
            .or_else(|| {
                find(&|failure| matches!(failure, Failure::Fault { .. } | Failure::Server(_)))
            })
            .or_else(|| self.failures.first())
    }

    /// The job's exit code.
    pub fn exit_code(&self) -> i32 {
        match self.signal() {
            Some(signal) => 128 + signal as i32,
            None => self.reason().map_or(0, Failure::exit_code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(rank: u32, code: i32) -> Failure {
        Failure::Ended { rank, exit: Exit::Code(code) }
    }

    fn signal(rank: u32, number: i32) -> Failure {
        Failure::Ended { rank, exit: Exit::Signal { number, core: false } }
    }

    fn abort(rank: u32, code: i32) -> Failure {
        Failure::Abort { rank, code, message: String::new() }
    }

    fn fault(rank: Option<u32>) -> Failure {
        Failure::Fault { rank, message: String::new() }
    }

    /// Records failures at once and returns the reason and the exit code.
    fn reason_of(failures: &[Failure]) -> (Failure, i32) {
        let (mut ending, now) = (Ending::default(), Instant::now());
        for (index, failure) in failures.iter().enumerate() {
            assert_eq!(ending.record(failure.clone(), now), index == 0);
        }
        (ending.reason().unwrap().clone(), ending.exit_code())
    }

    /// The steps of an ending, with the milliseconds since `start` at which they are due.
    fn steps(mut ending: Ending, start: Instant) -> Vec<(u128, Step)> {
        let next = || {
            let at = ending.deadline()?;
            Some(((at - start).as_millis(), ending.take_due(at).unwrap()))
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn the_failure_that_explains_the_others_is_the_reason() {
        for (failures, reason, exit_code) in [
            (vec![code(1, 3), code(0, 1)], code(1, 3), 3),
            (vec![code(1, 1), signal(0, 11)], signal(0, 11), 139),
            (vec![code(1, 7), abort(1, 7)], abort(1, 7), 7),
            (vec![abort(1, 256)], abort(1, 256), 1),
            (vec![fault(Some(2)), code(1, 1), code(2, 5)], code(2, 5), 5),
            (vec![code(1, 9), fault(None)], fault(None), 1),
            (vec![fault(Some(2)), code(1, 9)], fault(Some(2)), 1),
            (vec![Failure::OutputClosed], Failure::OutputClosed, 141),
        ] {
            assert_eq!(reason_of(&failures), (reason, exit_code), "{failures:?}");
        }
    }

    #[test]
    fn ranks_are_given_time_then_asked_then_killed() {
        let (mut ending, start) = (Ending::default(), Instant::now());
        ending.record(code(0, 1), start);
        let expected = [(100, Step::Announce), (500, Step::Terminate), (2500, Step::Kill)];
        assert_eq!(steps(ending, start), expected);
    }

    #[test]
    fn nobody_waits_for_a_job_that_cannot_start() {
        let (mut ending, start) = (Ending::default(), Instant::now());
        ending.record(Failure::Start { rank: 0, reason: String::new(), code: 127 }, start);
        let expected = [(0, Step::Terminate), (100, Step::Announce), (2000, Step::Kill)];
        assert_eq!(steps(ending, start), expected);
    }

    #[test]
    fn after_a_signal_ranks_have_time_to_save_their_work() {
        let (mut ending, start) = (Ending::default(), Instant::now());
        ending.signalled(Signal::SIGTERM, start);
        assert_eq!(ending.exit_code(), 0);
        assert_eq!(steps(ending, start), [(8000, Step::Terminate), (10_000, Step::Kill)]);

        let mut ending = Ending::default();
        ending.signalled(Signal::SIGINT, start);
        assert_eq!(ending.deadline(), None);
        ending.record(signal(0, 2), start + GRACE);
        assert_eq!(ending.exit_code(), 130);
        let expected = [(600, Step::Announce), (8000, Step::Terminate), (10_000, Step::Kill)];
        assert_eq!(steps(ending, start), expected);
    }

    #[test]
    fn a_second_signal_kills_and_others_do_not() {
        let (mut ending, start) = (Ending::default(), Instant::now());
        ending.signalled(Signal::SIGUSR1, start);
        ending.signalled(Signal::SIGINT, start);
        ending.signalled(Signal::SIGINT, start + AGAIN);
        assert_eq!(ending.deadline(), None);
        let second = start + AGAIN * 3 / 2;
        ending.signalled(Signal::SIGINT, second);
        assert!(!ending.record(signal(0, 9), second));
        assert_eq!(steps(ending, start), [(4500, Step::Kill)]);
    }

    #[test]
    fn what_happens_after_sigterm_is_no_failure() {
        let (mut ending, start) = (Ending::default(), Instant::now());
        ending.record(code(0, 3), start);
        assert_eq!(ending.take_due(start + GRACE), Some(Step::Announce));
        assert_eq!(ending.take_due(start + GRACE), Some(Step::Terminate));
        assert!(!ending.record(signal(1, 15), start + GRACE));
        assert!(!ending.take_announcement());
        assert_eq!(ending.exit_code(), 3);
    }
}
