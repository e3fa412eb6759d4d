//! A set of watched descriptors: the heart of an event loop.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Most events taken at once.
const BATCH: usize = 64;

/// What a descriptor is wanted for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// It can be read, or has ended.
    Read,
    /// It can be written to.
    Write,
    /// Either.
    Both,
    /// Something has come since the last time it was said to be ready.
    News,
}

impl Interest {
    fn flags(self) -> EpollFlags {
        match self {
            Interest::Read => EpollFlags::EPOLLIN,
            Interest::Write => EpollFlags::EPOLLOUT,
            Interest::Both => EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT,
            Interest::News => EpollFlags::EPOLLIN | EpollFlags::EPOLLET,
        }
    }
}

/// A set of watched descriptors, each with a number that its owner gave it.
pub struct Poller {
    epoll: Epoll,
    /// Files that cannot be watched because they are always ready: regular files, `/dev/null`.
    always: BTreeSet<u64>,
}

impl Poller {
    /// An empty set.
    pub fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Poller { epoll, always: BTreeSet::new() })
    }

    /// Watches `fd` under the number `token`.
    pub fn add(&mut self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        match self.epoll.add(fd, EpollEvent::new(interest.flags(), token)) {
            Err(Errno::EPERM) => {
                self.always.insert(token);
                Ok(())
            }
            other => other.map_err(io::Error::from),
        }
    }

    /// Watches `fd` for something else from now on.
    pub fn modify(&mut self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(self.epoll.modify(fd, &mut EpollEvent::new(interest.flags(), token))?)
    }

    /// Watches `fd` no longer.
    pub fn remove(&mut self, fd: impl AsFd, token: u64) {
        if !self.always.remove(&token) {
            // Fails only for a descriptor that is not watched, which is what was wanted.
            let _ = self.epoll.delete(fd);
        }
    }

    /// Waits until something is ready, or until `deadline`; the numbers of what is ready go into `ready`.
    pub fn wait(&self, deadline: Option<Instant>, ready: &mut Vec<u64>) -> io::Result<()> {
        ready.clear();
        ready.extend(&self.always);
        let timeout = match deadline {
            _ if !ready.is_empty() => EpollTimeout::ZERO,
            None => EpollTimeout::NONE,
            Some(deadline) => timeout_until(deadline),
        };
        let mut events = [EpollEvent::empty(); BATCH];
        match self.epoll.wait(&mut events, timeout) {
            Ok(count) => ready.extend(events[..count].iter().map(EpollEvent::data)),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }
}

impl AsFd for Poller {
    /// A poller can be watched by another one.
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

/// Whole milliseconds, rounded up, so that nobody wakes just before a deadline, again and again.
fn timeout_until(deadline: Instant) -> EpollTimeout {
    let left = deadline.saturating_duration_since(Instant::now());
    let millis = (left + Duration::from_micros(999)).as_millis();
    EpollTimeout::try_from(millis.min(i32::MAX as u128) as i32).unwrap_or(EpollTimeout::NONE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn pipes_and_regular_files_can_both_be_watched() {
        let mut poller = Poller::new().unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        poller.add(&reader, 1, Interest::Read).unwrap();
        let mut ready = Vec::new();
        poller.wait(Some(Instant::now()), &mut ready).unwrap();
        assert!(ready.is_empty());
        writer.write_all(b"x").unwrap();
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        poller.add(&file, 2, Interest::Read).unwrap();
        poller.wait(None, &mut ready).unwrap();
        assert_eq!(ready, [2, 1]);
        poller.remove(&file, 2);
        poller.remove(&reader, 1);
        poller.wait(Some(Instant::now()), &mut ready).unwrap();
        assert!(ready.is_empty());
    }
}
