//! Randomness from the kernel.

use std::io;

/// A random number that is not zero.
pub fn nonzero() -> io::Result<u64> {
    loop {
        let mut bytes = [0u8; 8];
        // SAFETY: the kernel writes at most `bytes.len()` bytes to `bytes`, which lives here.
        let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        match u64::from_ne_bytes(bytes) {
            _ if got < 0 => return Err(io::Error::last_os_error()),
            number if got == 8 && number != 0 => return Ok(number),
            _ => continue,
        }
    }
}
