//! The guardian: a small process that outlives a launcher killed by SIGKILL, and then kills what the ranks
//! have started. (The ranks themselves are killed by the kernel, see `PR_SET_PDEATHSIG`; their children are
//! not.)
//!
//! It sleeps in a read of a pipe whose other end only the launcher holds. A byte says that the job has ended;
//! the end of the pipe says that the launcher is dead. The process groups to kill stand in shared memory, so
//! that nobody has to wake the guardian when one begins.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::{self, Pid};

use pmi_bridge::sys::fork_apart;

use crate::sys::{self, GroupTable};

/// A running guardian, seen from the launcher.
pub struct Guardian {
    pid: Pid,
    lifeline: OwnedFd,
}

impl Guardian {
    /// Forks a guardian over `groups`. The caller must be single-threaded.
    pub fn start(groups: &GroupTable) -> io::Result<Self> {
        let (theirs, lifeline) = unistd::pipe2(OFlag::O_CLOEXEC)?;
        let pid = fork_apart(&[theirs.as_raw_fd()], || watch(theirs.as_fd(), groups))?;
        Ok(Guardian { pid, lifeline })
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Lets it go: the job has ended, and nothing is left to kill.
    pub fn dismiss(self) {
        // If it is dead already, there is nobody to tell.
        let _ = unistd::write(&self.lifeline, b"x");
        sys::reap_one(self.pid);
    }
}

/// The guardian's life.
fn watch(lifeline: BorrowedFd, groups: &GroupTable) -> i32 {
    // A session of its own, and no signal but SIGKILL: what ends the launcher must not end the guardian.
    // None of the three fails for a process that has just been forked.
    let _ = unistd::setsid();
    let _ = SigSet::all().thread_set_mask();
    let _ = prctl::set_name(c"pmi-guardian");
    if !launcher_died(lifeline) {
        return 0;
    }
    for slot in groups.slots() {
        kill_group(slot.load(Ordering::SeqCst));
    }
    0
}

fn launcher_died(lifeline: BorrowedFd) -> bool {
    let mut byte = [0];
    loop {
        match unistd::read(lifeline, &mut byte) {
            Err(Errno::EINTR) => {}
            result => return result != Ok(1),
        }
    }
}

/// Kills a whole process group; 0 stands for none.
pub fn kill_group(group: i32) {
    if group > 0 {
        // It may have ended meanwhile.
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
}
