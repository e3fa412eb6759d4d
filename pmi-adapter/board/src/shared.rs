//! What one process holds of a board: the mapping, the one descriptor, and the kernel's answers about it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use crate::kernel::{Kernel, Woken};
use crate::layout::{Founding, Geometry, Header};
use crate::liveness;
use crate::segment::Segment;
use crate::sys::fork::OwnerMark;
use crate::sys::futex;
use crate::sys::memory::Mapping;

/// A mapped board. All boards that one process opens for one job share it.
#[derive(Debug)]
pub struct Shared {
    segment: Segment,
    /// The memory file; `None` for a private board. Never a second descriptor of it in one process: closing either
    /// would drop the record locks.
    file: Option<File>,
    /// Where peers find the board, if this process made it. Never accepted from.
    listeners: Vec<OwnedFd>,
    owner: OwnerMark,
    pid: u32,
}

impl Shared {
    /// Takes possession of a segment.
    pub fn new(
        segment: Segment,
        file: Option<File>,
        listeners: Vec<OwnedFd>,
    ) -> io::Result<Shared> {
        Ok(Shared { segment, file, listeners, owner: OwnerMark::new()?, pid: std::process::id() })
    }

    /// Makes a segment that no other process can see.
    pub fn private(founding: Founding) -> io::Result<Shared> {
        let mapping = Mapping::anonymous(Geometry::new(founding.ceiling).len)?;
        Shared::new(Segment::found(mapping, founding), None, Vec::new())
    }

    /// The segment.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// The segment's head.
    pub fn header(&self) -> &Header {
        self.segment.header()
    }

    /// The memory file, if other processes can see it.
    pub fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// Id of the process that opened the board.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Is this the process that opened the board, and not a forked child?
    pub fn is_owner(&self) -> bool {
        self.owner.is_owner()
    }

    /// Did this process make the board?
    pub fn is_host(&self) -> bool {
        !self.listeners.is_empty()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if !self.is_owner() {
            // Closing the inherited descriptor would drop the locks that the child may have taken through one of
            // its own.
            std::mem::forget(self.file.take());
        }
    }
}

impl Kernel<AtomicU32> for Shared {
    fn wait(&self, word: &AtomicU32, expected: u32, patience: Duration) -> Woken {
        match futex::wait(word, expected, patience) {
            true => Woken::LookAgain,
            false => Woken::TimedOut,
        }
    }

    fn wake(&self, word: &AtomicU32, count: u32) {
        futex::wake(word, count);
    }

    fn is_alive(&self, slot: u32) -> bool {
        liveness::is_alive(self, slot)
    }
}
