//! What is open at a descriptor that somebody else has opened.

use std::os::fd::BorrowedFd;

use nix::sys::stat::{SFlag, fstat};

/// The descriptor that the starter has left at this number, if something is open there.
pub fn borrow(number: i32) -> Option<BorrowedFd<'static>> {
    if Descriptor::inspect(number) == Descriptor::Closed {
        return None;
    }
    // SAFETY: it is open. The starter has left it for as long as this process lives: only a program that closes
    // what is not its own could end it, and would be answered with an error by the kernel.
    Some(unsafe { BorrowedFd::borrow_raw(number) })
}

/// What a number stands for in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descriptor {
    /// Nothing is open there.
    Closed,
    /// A socket with this inode, which no other open socket of this host has.
    Socket(u64),
    /// A file, a pipe, or anything else.
    Other,
}

impl Descriptor {
    /// Looks at this process's descriptor of this number.
    pub fn inspect(number: i32) -> Descriptor {
        if number < 0 {
            return Descriptor::Closed;
        }
        // SAFETY: the number is not -1, and it is only asked about: if nothing is open there, the kernel says so.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        match fstat(descriptor) {
            Ok(data)
                if SFlag::from_bits_truncate(data.st_mode) & SFlag::S_IFMT == SFlag::S_IFSOCK =>
            {
                Descriptor::Socket(data.st_ino)
            }
            Ok(_) => Descriptor::Other,
            Err(_) => Descriptor::Closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn sockets_are_told_apart_and_from_files() {
        let (one, other) = UnixStream::pair().unwrap();
        let (one, other) =
            (Descriptor::inspect(one.as_raw_fd()), Descriptor::inspect(other.as_raw_fd()));
        assert!(matches!((one, other), (Descriptor::Socket(a), Descriptor::Socket(b)) if a != b));
        let file = File::open("/dev/null").unwrap();
        assert_eq!(Descriptor::inspect(file.as_raw_fd()), Descriptor::Other);
        for closed in [-1, i32::MIN, i32::MAX] {
            assert_eq!(Descriptor::inspect(closed), Descriptor::Closed);
        }
    }
}
