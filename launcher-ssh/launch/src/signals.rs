//! The signals of a launcher, read from a descriptor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::sys;

/// Signals that are passed on to the ranks.
const FORWARDED: [Signal; 8] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGQUIT,
    Signal::SIGHUP,
    Signal::SIGTSTP,
    Signal::SIGCONT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// Signals that must not touch the launcher: a background launcher that reads from or writes to its terminal
/// gets an error, respectively its way, where it would otherwise be stopped, and the job's output with it.
const BLOCKED: [Signal; 2] = [Signal::SIGTTIN, Signal::SIGTTOU];

/// The launcher's signals.
pub struct Signals {
    fd: SignalFd,
    before: SigSet,
}

impl Signals {
    /// Takes the signals over. Signals that were ignored when we were started stay ignored, by us and by the
    /// ranks: that is what `nohup` is for. All but SIGCHLD: a launcher that ignores it never hears of a rank's end.
    pub fn take() -> io::Result<Self> {
        pmi_bridge::sys::keep_children()?;
        let mut wanted = SigSet::empty();
        let heeded = FORWARDED.into_iter().filter(|signal| !sys::is_ignored(*signal as i32));
        heeded.chain([Signal::SIGCHLD]).for_each(|signal| wanted.add(signal));
        let mut blocked = wanted;
        BLOCKED.into_iter().for_each(|signal| blocked.add(signal));
        let before = blocked.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)?;
        let fd = SignalFd::with_flags(&wanted, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Signals { fd, before })
    }

    /// The mask that the ranks get.
    pub fn mask_before(&self) -> SigSet {
        self.before
    }

    /// The next signal, if there is one.
    pub fn next(&self) -> Option<Signal> {
        let info = self.fd.read_signal().ok()??;
        Signal::try_from(info.ssi_signo as i32).ok()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A signal's name, as `SIGSEGV`, or nothing for one that has none.
pub fn name(number: i32) -> Option<&'static str> {
    Signal::try_from(number).ok().map(Signal::as_str)
}
