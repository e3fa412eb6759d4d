//! The launcher's standard output or error: a bounded buffer in front of a descriptor that must never block us.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{self, OFlag};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::stat::{self, Mode, SFlag};
use nix::unistd;

/// With so many bytes waiting, no more are taken from the ranks.
const HIGH_WATER: usize = 256 * 1024;

/// With so few bytes waiting, they are taken again.
const LOW_WATER: usize = 64 * 1024;

/// Most bytes that a pipe known to be writable takes without blocking (`PIPE_BUF` on Linux).
const ATOMIC_WRITE: usize = 4096;

/// How a descriptor is written to without ever waiting for its reader.
enum Manner {
    /// A regular file: it takes everything at once.
    File,
    /// A description of our own that we could set to non-blocking, to the same pipe or terminal.
    NonBlocking(OwnedFd),
    /// A shared one, whose mode is not ours to change: asked before each small write.
    Asking,
}

/// What came of an attempt to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Nothing is waiting any more.
    Empty,
    /// The reader is slow.
    Blocked,
    /// It cannot be written to; everything waiting has been dropped, and so will be what comes.
    Broken(Errno),
}

/// A buffer in front of a descriptor.
pub struct Sink<'a> {
    fd: BorrowedFd<'a>,
    manner: Manner,
    buffer: Vec<u8>,
    start: usize,
    broken: Option<Errno>,
}

impl<'a> Sink<'a> {
    /// A sink to `fd`.
    pub fn new(fd: BorrowedFd<'a>) -> Self {
        Sink { fd, manner: manner_of(fd), buffer: Vec::new(), start: 0, broken: None }
    }

    /// The descriptor to watch while blocked.
    pub fn watched(&self) -> BorrowedFd<'_> {
        match &self.manner {
            Manner::NonBlocking(own) => own.as_fd(),
            _ => self.fd,
        }
    }

    /// Is it a terminal?
    pub fn is_terminal(&self) -> bool {
        unistd::isatty(self.fd).unwrap_or(false)
    }

    /// Where to append bytes.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Are no more bytes wanted for now?
    pub fn is_full(&self) -> bool {
        self.waiting() >= HIGH_WATER
    }

    /// Are more bytes wanted again?
    pub fn has_room(&self) -> bool {
        self.waiting() <= LOW_WATER
    }

    /// Bytes that wait to be written.
    pub fn waiting(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Writes what it can.
    pub fn flush(&mut self) -> Flushed {
        while self.broken.is_none() && self.waiting() > 0 {
            match self.write_some() {
                Ok(count) => self.start += count,
                Err(Errno::EAGAIN) => return self.blocked(),
                Err(Errno::EINTR) => {}
                Err(errno) => self.broken = Some(errno),
            }
        }
        self.buffer.clear();
        self.start = 0;
        self.broken.map_or(Flushed::Empty, Flushed::Broken)
    }

    /// Moves the rest to the front once most of the buffer has been written.
    fn blocked(&mut self) -> Flushed {
        if self.start > self.buffer.len() / 2 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        Flushed::Blocked
    }

    fn write_some(&self) -> Result<usize, Errno> {
        let bytes = &self.buffer[self.start..];
        match &self.manner {
            Manner::File => unistd::write(self.fd, bytes),
            Manner::NonBlocking(own) => unistd::write(own, bytes),
            Manner::Asking if is_writable(self.fd)? => {
                unistd::write(self.fd, &bytes[..bytes.len().min(ATOMIC_WRITE)])
            }
            Manner::Asking => Err(Errno::EAGAIN),
        }
    }
}

fn manner_of(fd: BorrowedFd) -> Manner {
    let kind = stat::fstat(fd).map_or(SFlag::empty(), |found| {
        SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits())
    });
    match kind {
        SFlag::S_IFREG => Manner::File,
        SFlag::S_IFIFO | SFlag::S_IFCHR => reopened(fd).map_or(Manner::Asking, Manner::NonBlocking),
        _ => Manner::Asking,
    }
}

/// A second description of the same pipe or terminal. The first one is shared with whoever started us: a
/// shell whose terminal became non-blocking would lose its input.
fn reopened(fd: BorrowedFd) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    fcntl::open(format!("/proc/self/fd/{}", fd.as_raw_fd()).as_str(), flags, Mode::empty())
}

fn is_writable(fd: BorrowedFd) -> Result<bool, Errno> {
    let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
    Ok(nix::poll::poll(&mut fds, PollTimeout::ZERO)? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Read};

    #[test]
    fn a_slow_reader_blocks_nobody_and_loses_nothing() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut sink = Sink::new(writer.as_fd());
        let text: Vec<u8> = (0..300_000_u32).map(|n| b'a' + (n % 26) as u8).collect();
        sink.buffer().extend_from_slice(&text);
        assert!(sink.is_full());
        let mut got = Vec::new();
        let mut piece = vec![0; 50_000];
        while sink.flush() == Flushed::Blocked {
            let count = reader.read(&mut piece).unwrap();
            got.extend_from_slice(&piece[..count]);
        }
        assert!(sink.has_room() && sink.waiting() == 0);
        drop(sink);
        drop(writer);
        reader.read_to_end(&mut got).unwrap();
        assert!(got == text);
    }

    #[test]
    fn a_socket_is_asked_before_each_write() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut sink = Sink::new(ours.as_fd());
        sink.buffer().resize(4_000_000, b'x');
        assert_eq!(sink.flush(), Flushed::Blocked);
        drop(theirs);
        assert_eq!(sink.flush(), Flushed::Broken(Errno::EPIPE));
        sink.buffer().push(b'x');
        assert_eq!(sink.flush(), Flushed::Broken(Errno::EPIPE));
        assert_eq!(sink.waiting(), 0);
    }
}
