//! POSIX record locks: the kernel releases them when their process dies, however it dies.
//!
//! They belong to the process, not to the descriptor, are not inherited over `fork(2)`, and are all lost when
//! the process closes *any* descriptor of the file (`fcntl_locking(2)`). So a process keeps exactly one.

use std::fs::File;
use std::io;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

fn byte(kind: libc::c_int, offset: u32) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: offset.into(),
        l_len: 1,
        l_pid: 0,
    }
}

/// Locks the byte `offset` for this process; false if another process holds it.
pub fn try_lock(file: &File, offset: u32) -> io::Result<bool> {
    match fcntl(file, FcntlArg::F_SETLK(&byte(libc::F_WRLCK, offset))) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Gives up this process's lock of the byte `offset`.
pub fn unlock(file: &File, offset: u32) -> io::Result<()> {
    fcntl(file, FcntlArg::F_SETLK(&byte(libc::F_UNLCK, offset)))?;
    Ok(())
}

/// The *other* process that holds a lock of the byte `offset`.
pub fn holder(file: &File, offset: u32) -> io::Result<Option<u32>> {
    let mut lock = byte(libc::F_WRLCK, offset);
    fcntl(file, FcntlArg::F_GETLK(&mut lock))?;
    Ok((lock.l_type != libc::F_UNLCK as libc::c_short).then_some(lock.l_pid as u32))
}
