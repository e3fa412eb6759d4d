//! Shared memory: memfds, mappings, and giving pages back.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mmap_anonymous, munmap};
use nix::sys::resource::{Resource, getrlimit};

/// With these a file keeps its length, so that no access to a mapping of it can raise `SIGBUS`.
const FIXED_LENGTH: SealFlag = SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW);

/// Makes a sparse memory file of a fixed length. Its name shows up in `/proc/<pid>/fd`.
pub fn create_file(name: &str, len: u64) -> io::Result<File> {
    let (limit, _) = getrlimit(Resource::RLIMIT_FSIZE)?;
    if len > limit {
        // Trying would not just fail: the kernel would send SIGXFSZ.
        return Err(io::Error::other(format!("RLIMIT_FSIZE forbids a memory file of {len} bytes")));
    }
    let file = File::from(memory_file(&CString::new(name)?)?);
    file.set_len(len)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(FIXED_LENGTH | SealFlag::F_SEAL_SEAL))?;
    Ok(file)
}

/// `MFD_NOEXEC_SEAL` is refused before Linux 6.3, and can be compulsory after it (`vm.memfd_noexec`).
fn memory_file(name: &CString) -> nix::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let noexec = MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    match memfd_create(name.as_c_str(), flags | noexec) {
        Err(Errno::EINVAL) => memfd_create(name.as_c_str(), flags),
        made => made,
    }
}

/// Can nobody change the length of this memory file any more?
fn has_fixed_length(file: &File) -> bool {
    let seals = fcntl(file, FcntlArg::F_GET_SEALS).unwrap_or(0);
    SealFlag::from_bits_retain(seals).contains(FIXED_LENGTH)
}

/// A shared, readable and writable mapping of zero-initialised memory.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is plain memory that stays mapped as long as the value lives; how it is accessed is the
// business of `segment`.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps a whole file, whose length must be fixed.
    pub fn of_file(file: &File) -> io::Result<Mapping> {
        if !has_fixed_length(file) {
            return Err(io::Error::other("the memory file could change its length"));
        }
        let (len, access, flags) = Self::arguments(file.metadata()?.len())?;
        // SAFETY: a mapping at an address of the kernel's choice touches no existing memory.
        let start = unsafe { mmap(None, len, access, flags, file, 0) }?;
        Ok(Mapping { start: start.cast(), len: len.get() })
    }

    /// Maps `len` bytes that no other process can open.
    pub fn anonymous(len: u64) -> io::Result<Mapping> {
        let (len, access, flags) = Self::arguments(len)?;
        // SAFETY: a mapping at an address of the kernel's choice touches no existing memory.
        let start = unsafe { mmap_anonymous(None, len, access, flags) }?;
        Ok(Mapping { start: start.cast(), len: len.get() })
    }

    fn arguments(len: u64) -> io::Result<(NonZeroUsize, ProtFlags, MapFlags)> {
        let len = usize::try_from(len).ok().and_then(NonZeroUsize::new);
        let len = len.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE;
        Ok((len, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, flags))
    }

    /// First byte. Page-aligned.
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Has the kernel map the pages of `[from, from + len)` now, all at once, instead of by a page fault each
    /// (`MADV_POPULATE_WRITE`, Linux 5.14). Where the kernel refuses, they fault as ever.
    pub fn populate(&self, from: u64, len: u64) {
        let (from, len) = (from as usize, len as usize);
        assert!(from.checked_add(len).is_some_and(|end| end <= self.len));
        // SAFETY: inside the mapping as just checked; the contents stay as they are.
        let done = unsafe {
            libc::madvise(self.start.add(from).as_ptr().cast(), len, libc::MADV_POPULATE_WRITE)
        };
        if done != 0 {
            let error = io::Error::last_os_error();
            tracing::debug!(%error, "pages could not be mapped ahead");
        }
    }

    /// Gives the pages of `[from, from + len)` back to the kernel: they read as zero afterwards. Where the kernel
    /// refuses, they keep their memory and contents.
    ///
    /// # Safety
    /// Nobody may hold a reference to other than atomics there, or rely on their contents.
    pub unsafe fn discard(&self, from: u64, len: u64) {
        let (from, len) = (from as usize, len as usize);
        assert!(from.checked_add(len).is_some_and(|end| end <= self.len));
        // SAFETY: inside the mapping as just checked; the caller vouches for the contents.
        let done = unsafe { madvise(self.start.add(from).cast(), len, MmapAdvise::MADV_REMOVE) };
        if let Err(error) = done {
            tracing::debug!(%error, "pages could not be given back");
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in a constructor, and nothing borrowed from `self` outlives it.
        let _ = unsafe { munmap(self.start.cast(), self.len) };
    }
}
