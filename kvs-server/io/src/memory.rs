//! The log memory: a memfd that outlives a crashed server because its launcher holds it too.
//!
//! The file is sparse. Its first page counts the incarnations; each group has a region of its own, a page
//! with the length of its log and then the log. The length is stored after the bytes, so an append that is
//! cut short by a crash has not happened.

use std::ffi::CString;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, munmap};
use pmi_protocol::limits::LOG_CEILING_MAX;
use pmi_protocol::log::LogMemory;

const PAGE: u64 = 4096;
/// Bytes of a log whose page faults are taken while the ranks still start.
const AHEAD: usize = 64 * 1024;
/// Distance of two regions: the largest log with its page.
const STRIDE: u64 = LOG_CEILING_MAX + PAGE;
const MAGIC: u64 = u64::from_le_bytes(*b"pmi-log\x01");

/// Creates the file of a job's log memory, to be given to each incarnation of its server.
pub fn create() -> io::Result<OwnedFd> {
    let name = CString::new("pmi-log").expect("no NUL in it");
    Ok(memfd_create(name.as_c_str(), MFdFlags::MFD_CLOEXEC)?)
}

/// The file that holds the logs of all groups of a job.
#[derive(Debug)]
pub struct LogFile {
    file: std::fs::File,
    regions: u64,
    incarnation: u32,
}

impl LogFile {
    /// Opens the memory for one more incarnation of the server.
    pub fn open(fd: OwnedFd) -> io::Result<Self> {
        let file = std::fs::File::from(fd);
        let mut first = [0; 16];
        let empty = file.metadata()?.len() == 0;
        if !empty {
            file.read_exact_at(&mut first, 0)?;
            if first[..8] != MAGIC.to_le_bytes() {
                return Err(io::Error::other("the log memory was not made by pmi-kvs-server"));
            }
        }
        let incarnation = u32::from_le_bytes([first[8], first[9], first[10], first[11]]) + 1;
        first[..8].copy_from_slice(&MAGIC.to_le_bytes());
        first[8..12].copy_from_slice(&incarnation.to_le_bytes());
        file.write_all_at(&first, 0)?;
        let regions = file.metadata()?.len().saturating_sub(PAGE).div_ceil(STRIDE);
        Ok(LogFile { file, regions, incarnation })
    }

    /// 1 at first, one more after each restart.
    pub fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// The logs that earlier incarnations have begun, in order.
    pub fn existing(&self) -> io::Result<Vec<Region>> {
        let end = self.file.metadata()?.len();
        let regions = (0..self.regions).map(|index| {
            let start = PAGE + index * STRIDE;
            Region::map(&self.file, start, (end - start).min(STRIDE))
        });
        let mut regions = regions.collect::<io::Result<Vec<_>>>()?;
        regions.retain(|region| region.len().load(Ordering::Acquire) > 0);
        Ok(regions)
    }

    /// Memory for one more log of at most `ceiling` bytes.
    pub fn add(&mut self, ceiling: u64) -> io::Result<Region> {
        let start = PAGE + self.regions * STRIDE;
        let len = PAGE + ceiling.next_multiple_of(PAGE);
        self.file.set_len(start + len)?;
        self.regions += 1;
        Region::map(&self.file, start, len)
    }
}

/// The memory of one log.
#[derive(Debug)]
pub struct Region {
    base: NonNull<u8>,
    mapped: usize,
}

// SAFETY: a region is owned by one value, and nothing else in this process has its address.
unsafe impl Send for Region {}

impl Region {
    fn map(file: &std::fs::File, start: u64, len: u64) -> io::Result<Region> {
        let mapped = NonZeroUsize::new(len as usize).ok_or(io::ErrorKind::InvalidData)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE;
        // SAFETY: the kernel chooses the address, so no existing mapping is touched.
        let base = unsafe { mmap(None, mapped, protection, flags, file.as_fd(), start as i64)? };
        let ahead = mapped.get().min(AHEAD);
        // SAFETY: inside the mapping just made, whose contents stay as they are. Where the kernel refuses (before
        // Linux 5.14), pages fault as they are written.
        let _ = unsafe { madvise(base, ahead, MmapAdvise::MADV_POPULATE_WRITE) };
        Ok(Region { base: base.cast(), mapped: mapped.get() })
    }

    fn len(&self) -> &AtomicU64 {
        // SAFETY: the mapping begins with a page of its own, aligned and alive as long as `self`, whose first
        // word is only ever used as this atomic.
        unsafe { self.base.cast::<AtomicU64>().as_ref() }
    }

    fn capacity(&self) -> usize {
        self.mapped - PAGE as usize
    }
}

impl LogMemory for Region {
    fn bytes(&self) -> &[u8] {
        let len = (self.len().load(Ordering::Acquire) as usize).min(self.capacity());
        // SAFETY: [PAGE, PAGE + len) is inside the mapping, and bytes below the stored length are never
        // written again while `self` is borrowed: `append` takes it mutably.
        unsafe { std::slice::from_raw_parts(self.base.add(PAGE as usize).as_ptr(), len) }
    }

    fn append(&mut self, parts: &[&[u8]]) {
        let mut end = self.bytes().len();
        for part in parts {
            assert!(part.len() <= self.capacity() - end, "the log checks its ceiling first");
            // SAFETY: the target [end, end + part.len()) is inside the mapping by the assertion, beyond what
            // `bytes` lends, and cannot overlap `part`, which lies elsewhere or below the length.
            unsafe {
                let target = self.base.add(PAGE as usize + end).as_ptr();
                std::ptr::copy_nonoverlapping(part.as_ptr(), target, part.len());
            }
            end += part.len();
        }
        self.len().store(end as u64, Ordering::Release);
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the range is exactly what `map` mapped, and no reference into it outlives `self`.
        let _ = unsafe { munmap(self.base.cast(), self.mapped) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_found_again_by_the_next_incarnation() {
        let fd = create().unwrap();
        let mut first = LogFile::open(fd.try_clone().unwrap()).unwrap();
        assert_eq!((first.incarnation(), first.existing().unwrap().len()), (1, 0));
        let mut a = first.add(5000).unwrap();
        let mut b = first.add(100).unwrap();
        a.append(&[b"one", b"two"]);
        b.append(&[b"three"]);
        a.append(&[&[7; 4000]]);
        drop(first);

        let second = LogFile::open(fd).unwrap();
        let logs = second.existing().unwrap();
        assert_eq!(second.incarnation(), 2);
        assert_eq!(logs.len(), 2);
        assert_eq!((logs[0].bytes().len(), &logs[0].bytes()[..6]), (4006, &b"onetwo"[..]));
        assert_eq!(logs[1].bytes(), b"three");
    }

    #[test]
    fn foreign_memory_is_refused() {
        let fd = create().unwrap();
        let file = std::fs::File::from(fd.try_clone().unwrap());
        file.write_all_at(&[9; 100], 0).unwrap();
        assert!(LogFile::open(fd).is_err());
    }
}
