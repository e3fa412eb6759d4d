//! Whether other processes live.

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use pmi_board::process::{pidfd_open, pidfd_signal};

/// No chain of processes is as long: the search ends even if process ids are used again under way.
const DEPTH_MAX: usize = 64;

/// A process that is watched.
pub struct Life {
    pid: u32,
    /// None before Linux 5.3: then somebody has to look, and may take a newcomer for it.
    pidfd: Option<OwnedFd>,
}

impl Life {
    /// Watches a process from now on. None if it has ended.
    pub fn of(pid: u32) -> Option<Life> {
        let life = Life { pid, pidfd: pidfd_open(Pid::from_raw(pid as i32)).ok() };
        (!life.is_gone()).then_some(life)
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Readable when the process has ended.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// Has it ended?
    pub fn is_gone(&self) -> bool {
        match &self.pidfd {
            Some(pidfd) => {
                let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
                matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..))
            }
            None => kill(Pid::from_raw(self.pid as i32), None) == Err(Errno::ESRCH),
        }
    }

    /// Sends it a signal. It may have ended meanwhile.
    pub fn signal(&self, signal: libc::c_int) {
        if let Some(pidfd) = &self.pidfd {
            let _ = pidfd_signal(pidfd.as_fd(), signal);
        }
    }

    /// Appends a line to its standard error, if that can be opened and takes it now: nobody may be reading there.
    pub fn say(&self, line: &str) {
        let mut options = fs::File::options();
        options.append(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        let stderr = options.open(format!("/proc/{}/fd/2", self.pid));
        let _ = stderr.and_then(|mut stderr| stderr.write_all(line.as_bytes()));
    }
}

/// The process whose end is the end of the step on this node, seen from a task: slurmstepd, which is the parent of
/// `task` (`SLURM_TASK_PID`) if that is this process or above it; else, inside of a container say, this process's parent.
pub fn anchor(task: Option<u32>) -> u32 {
    let parent = std::os::unix::process::parent_id();
    let mut pid = std::process::id();
    for _ in 0..DEPTH_MAX {
        match parent_of(pid) {
            Some(above) if Some(pid) == task => return above,
            Some(above) if above > 1 => pid = above,
            _ => break,
        }
    }
    parent
}

/// From `1234 (name) S 1 …`; the name may have anything in it, parentheses too.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{FcntlArg, OFlag, fcntl};

    #[test]
    fn the_anchor_is_the_parent_of_the_task() {
        let parent = std::os::unix::process::parent_id();
        assert_eq!(anchor(Some(std::process::id())), parent);
        assert_eq!(anchor(None), parent);
        if let Some(above) = parent_of(parent).filter(|above| *above > 1) {
            assert_eq!(anchor(Some(parent)), above);
        }
    }

    /// The test hangs if it waits for a reader.
    #[test]
    fn who_does_not_read_is_told_in_vain() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let stderr = writer.try_clone().unwrap();
        let mut child =
            std::process::Command::new("sleep").arg("100").stderr(stderr).spawn().unwrap();
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        while writer.write(&[0; 4096]).is_ok() {}
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
        let life = Life::of(child.id()).unwrap();
        life.say("the pipe is full\n");
        drop(reader);
        life.say("nobody is there\n");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn the_end_of_a_process_is_seen() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let life = Life::of(child.id()).unwrap();
        assert!(!life.is_gone());
        life.signal(libc::SIGKILL);
        child.wait().unwrap();
        assert!(life.is_gone());
        assert!(Life::of(child.id()).is_none());
    }
}
