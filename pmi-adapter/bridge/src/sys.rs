//! System calls that `nix` does not have, and forks.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, socketpair,
};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, setsid};
use pmi_board::process::close_all_but;
pub use pmi_board::process::{exit_now, pidfd_open, pidfd_signal};

/// Exit code of a forked process that has panicked, as of a Rust program.
const PANICKED: i32 = 101;

/// Forks a process that runs `body` with no descriptors but those in `keep`, standard error if `keep` has it, and
/// `/dev/null` in place of the other standard streams. Its exit code is `body`'s result.
///
/// The caller must be single-threaded: the child goes on with its memory as it is.
pub fn fork_apart(keep: &[RawFd], body: impl FnOnce() -> i32) -> io::Result<Pid> {
    // SAFETY: the caller has one thread, so that no lock is held that the child could wait for.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            close_all_but(keep);
            // A panic must not unwind into frames that belong to the parent. It has said what it had to say.
            exit_now(catch_unwind(AssertUnwindSafe(body)).unwrap_or(PANICKED))
        }
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// Starts a helper of somebody else's program: a process without a parent of ours, that runs `body` as in [`fork_apart`],
/// in a session of its own if `apart`. It is a grandchild: the program must not find a child that it has not started.
/// When this returns, the session has been made.
pub fn start_helper(keep: &[RawFd], apart: bool, body: impl FnOnce() -> i32) -> io::Result<()> {
    with_children_kept(|| {
        let middle = fork_apart(keep, || {
            if apart {
                // Fails only for the leader of a group, which a process that has just been forked is not.
                let _ = setsid();
            }
            match fork_apart(keep, body) {
                Ok(_) => 0,
                Err(error) => error.raw_os_error().unwrap_or(libc::EAGAIN),
            }
        })?;
        match waitpid(middle, None)? {
            WaitStatus::Exited(_, 0) => Ok(()),
            WaitStatus::Exited(_, errno) => Err(io::Error::from_raw_os_error(errno)),
            _ => Err(io::Error::other("the helper's parent was killed")),
        }
    })
}

/// Makes this process one that does not push others aside when it wakes up (`SCHED_BATCH`), unless somebody has
/// chosen a policy for it already. Meant to let
/// clients queue up while it waits for its turn, so that one wake-up serves many; no gain of it alone has been shown.
pub fn prefer_batches() {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: both calls take numbers and one initialised structure, and change this process only.
    unsafe {
        if libc::sched_getscheduler(0) == libc::SCHED_OTHER {
            // If the kernel refuses, nothing is lost but speed.
            libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters);
        }
    }
}

/// Two connected stream sockets for one rank: the bridge's end, and the rank's.
pub fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Receives a message of at most `bytes.len()` bytes and two descriptors, which nobody else in this process inherits
/// (`SCM_RIGHTS`, unix(7)).
pub fn receive(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut room = nix::cmsg_space!([RawFd; 2]);
    let mut parts = [IoSliceMut::new(bytes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut room), flags)?;
    let mut descriptors = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            // SAFETY: the kernel has just made these descriptors for this process.
            let owned = |number| unsafe { OwnedFd::from_raw_fd(number) };
            descriptors.extend(numbers.into_iter().map(owned));
        }
    }
    Ok((message.bytes, descriptors))
}

/// Lets `MSG_PEEK` go on where it ended the last time (`SO_PEEK_OFF`, unix(7)).
pub fn keep_peek_offset(socket: BorrowedFd<'_>) -> io::Result<()> {
    let start: libc::c_int = 0;
    let (value, size) = (&raw const start, size_of_val(&start) as libc::socklen_t);
    // SAFETY: the option's value is one initialised int.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEEK_OFF,
            value.cast(),
            size,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets a descriptor be inherited by the program that this process becomes.
pub fn inherit(fd: BorrowedFd<'_>) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}

/// Makes the kernel keep the exit status of children for this process, and tell of their end. It does neither where the
/// starter has set SIGCHLD to be ignored. Returns what was set.
pub fn keep_children() -> nix::Result<SigHandler> {
    // SAFETY: the default is no handler of ours.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }
}

/// Runs `act` while children are kept ([`keep_children`]).
pub fn with_children_kept<R>(act: impl FnOnce() -> R) -> R {
    let before = keep_children();
    let result = act();
    if let Ok(before) = before {
        // SAFETY: what the starter has left is no handler in this program. It cannot fail for this signal.
        let _ = unsafe { signal(Signal::SIGCHLD, before) };
    }
    result
}

/// Undoes what Rust does to SIGPIPE: programs expect the default.
pub fn default_sigpipe() {
    // SAFETY: the default is no handler of ours. It cannot fail for this signal.
    let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
}
