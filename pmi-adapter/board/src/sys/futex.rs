//! Futexes shared between processes (`futex(2)`).

use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Sleeps while `word` holds `expected`, for at most `patience` (`Duration::MAX`: without a limit). False if that
/// time has passed; true if the word differed, somebody woke us, or a signal came.
pub fn wait(word: &AtomicU32, expected: u32, patience: Duration) -> bool {
    let limit = libc::time_t::try_from(patience.as_secs())
        .ok()
        .map(|tv_sec| libc::timespec { tv_sec, tv_nsec: patience.subsec_nanos().into() });
    let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `word` and `limit` (null, or a timespec that lives in this frame) are readable during the call;
    // FUTEX_WAIT reads both and writes nothing.
    let rc =
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, expected, limit) };
    rc == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ETIMEDOUT)
}

/// Wakes up to `count` processes that sleep on `word`.
pub fn wake(word: &AtomicU32, count: u32) {
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    // SAFETY: FUTEX_WAKE only uses the address of `word` to find sleepers. It fails for no valid address.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count) };
}
