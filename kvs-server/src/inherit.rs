//! Descriptors that the launcher hands over by number.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// Takes over the inherited descriptor `number`. Call it once for each number, before others are opened.
pub fn take(number: RawFd) -> io::Result<OwnedFd> {
    let missing = |_| {
        io::Error::other(format!(
            "descriptor {number} is not open: the launcher must let it be inherited"
        ))
    };
    if number < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the number is not negative, and fcntl on a closed descriptor only fails.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(missing)?;
    // SAFETY: the descriptor is open, was given to this process by its launcher for this purpose, and the
    // caller takes each number once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
