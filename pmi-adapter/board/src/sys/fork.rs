//! Telling the process that made something from a child that was forked off it later.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};

/// The kernel's page size where it is smallest; a mapping is rounded up to what it really is.
const PAGE: usize = 4096;

/// A page that the kernel wipes in forked children (`MADV_WIPEONFORK`, Linux 4.14), so that asking costs no system
/// call.
#[derive(Debug)]
pub struct OwnerMark {
    page: NonNull<AtomicU32>,
    /// Where the kernel cannot wipe pages: the owner's process id.
    pid: Option<u32>,
}

// SAFETY: the page stays mapped as long as the value lives, and is only read and written atomically.
unsafe impl Send for OwnerMark {}
// SAFETY: as above.
unsafe impl Sync for OwnerMark {}

impl OwnerMark {
    /// Marks the calling process.
    pub fn new() -> std::io::Result<OwnerMark> {
        let len = PAGE.try_into().expect("not zero");
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no existing memory.
        let page = unsafe { mmap_anonymous(None, len, access, MapFlags::MAP_PRIVATE) }?;
        // SAFETY: the whole page was just mapped and is ours.
        let wiped = unsafe { madvise(page, PAGE, MmapAdvise::MADV_WIPEONFORK) }.is_ok();
        let mark = OwnerMark { page: page.cast(), pid: (!wiped).then(std::process::id) };
        mark.word().store(1, Relaxed);
        Ok(mark)
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: mapped, aligned and zero-initialised by the kernel, until drop.
        unsafe { self.page.as_ref() }
    }

    /// Is this the process that made the mark, and not a forked child?
    pub fn is_owner(&self) -> bool {
        self.word().load(Relaxed) == 1 && self.pid.is_none_or(|pid| pid == std::process::id())
    }
}

impl Drop for OwnerMark {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, not used after this. It cannot fail for a mapping of ours.
        let _ = unsafe { munmap(self.page.cast(), PAGE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Board, BoardConfig, ClaimError};
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    /// Exit code of `act` in a forked child.
    fn in_child(act: impl FnOnce() -> i32) -> i32 {
        // SAFETY: the child runs `act` and exits; nothing here holds a lock that it could need.
        match unsafe { fork() }.unwrap() {
            // SAFETY: `_exit` ends the child without running the test harness's exit handlers.
            ForkResult::Child => unsafe { libc::_exit(act()) },
            ForkResult::Parent { child } => match waitpid(child, None).unwrap() {
                WaitStatus::Exited(_, code) => code,
                other => panic!("the child ended with {other:?}"),
            },
        }
    }

    #[test]
    fn a_forked_child_is_not_the_owner() {
        let mark = OwnerMark::new().unwrap();
        assert!(mark.is_owner());
        assert_eq!(in_child(|| i32::from(mark.is_owner())), 0);
        assert!(mark.is_owner());
    }

    const JOB: &str = "PMI_BOARD_TEST_FORK_JOB";

    /// Not a test by itself: forks in a process without other tests, whose threads could hold locks.
    #[test]
    fn forking_rank() {
        let Ok(job) = std::env::var(JOB) else { return };
        let (secret, local_size) = (&[4; 32], Some(1));
        let log_ceiling = 1 << 20;
        let config = BoardConfig {
            secret,
            job: &job,
            node: None,
            size: 1,
            local_size,
            log_ceiling,
            share: true,
        };
        let board = Board::open(&config).unwrap();
        let slot = board.claim(0).unwrap();
        let taken = ClaimError::RankTaken { pid: std::process::id() };
        let mut inherited = Some((board, slot));
        let code = in_child(|| {
            let (board, slot) = inherited.take().unwrap();
            let acts = board.is_owner() || board.release(&slot);
            drop(board);
            let again = Board::open(&config).unwrap();
            let refused = again.claim(0).err() == Some(taken) && !again.is_host();
            i32::from(acts) + 2 * i32::from(!refused)
        });
        assert_eq!(code, 0);
    }

    #[test]
    fn a_forked_child_leaves_the_rank_alone() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sys::fork::tests::forking_rank", "--test-threads=1"])
            .env(JOB, format!("fork-{}", std::process::id()))
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
    }
}
