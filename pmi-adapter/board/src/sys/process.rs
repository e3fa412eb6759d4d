//! Processes of ours beside a program: their descriptors, and descriptors of processes.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::unistd::Pid;

/// In a process that has just been forked, and will only use the descriptors in `keep`: closes all others, and puts
/// `/dev/null` in place of the standard streams that are not kept.
pub fn close_all_but(keep: &[RawFd]) {
    let mut kept = keep.to_vec();
    kept.sort_unstable();
    kept.dedup();
    // SAFETY: the process is about to forget every object that owned one of the closed descriptors.
    unsafe {
        let mut first = 3;
        for fd in kept.iter().copied().filter(|fd| *fd >= 3) {
            close_range(first, fd - 1);
            first = fd + 1;
        }
        close_range(first, RawFd::MAX);
        // Only now: before, there may have been no number left for one more.
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
        for fd in (0..3).filter(|fd| !kept.contains(fd)) {
            libc::dup2(null, fd);
        }
        if null > 2 {
            libc::close(null);
        }
    }
}

/// # Safety
/// Nothing may use these descriptors any more.
unsafe fn close_range(first: RawFd, last: RawFd) {
    if first > last {
        return;
    }
    // SAFETY: by this function's own condition; the system call is younger than some kernels in use
    // (Linux 5.9), hence the loop.
    unsafe {
        if libc::syscall(libc::SYS_close_range, first, last, 0) != 0 {
            let end = last.min(libc::sysconf(libc::_SC_OPEN_MAX) as RawFd);
            for fd in first..=end {
                libc::close(fd);
            }
        }
    }
}

/// Ends this process without running destructors of things that belong to its parent.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: always allowed.
    unsafe { libc::_exit(code) }
}

/// A descriptor that is readable when the process has ended (Linux 5.3).
pub fn pidfd_open(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: the system call takes numbers, and returns a descriptor that nobody else knows, with `O_CLOEXEC`.
    unsafe {
        match libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd as RawFd)),
        }
    }
}

/// Sends a signal to that very process, and not to one that has its number later.
pub fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let (fd, none) = (pidfd.as_raw_fd(), ptr::null::<libc::siginfo_t>());
    // SAFETY: no information is passed beside the number of the signal.
    match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, none, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
