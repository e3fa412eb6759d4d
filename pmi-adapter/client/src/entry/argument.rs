//! Arguments as C passes them. Each kind is the pointer itself, and can only come from a C caller; its
//! methods refuse NULL and what is too long, and rely on `pmi.h`'s promises for the rest.

use std::ffi::{CStr, c_char, c_int};
use std::fmt;
use std::ptr::NonNull;

use crate::error::{Code, Failure};

/// Longest part of a string that a trace shows.
const SHOWN_MAX: usize = 64;

/// `const char *`: NULL or a string.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Text(*const c_char);

impl Text {
    /// The bytes of the string; `code` if it is NULL or longer than `max`.
    pub fn at_most<'a>(self, max: usize, code: Code) -> Result<&'a [u8], Failure> {
        let pointer = NonNull::new(self.0.cast_mut()).ok_or(code)?;
        // SAFETY: a string ends with NUL; beyond `max` bytes nothing is read.
        let length = unsafe { libc::strnlen(pointer.as_ptr(), max.saturating_add(1)) };
        if length > max {
            return Err(code.into());
        }
        // SAFETY: `length` bytes have just been read, and the caller keeps them for the time of the call.
        Ok(unsafe { std::slice::from_raw_parts(pointer.as_ptr().cast(), length) })
    }

    /// As [`at_most`](Self::at_most), but NULL is no string.
    pub fn optional<'a>(self, max: usize, code: Code) -> Result<Option<&'a [u8]>, Failure> {
        if self.0.is_null() { Ok(None) } else { self.at_most(max, code).map(Some) }
    }

    /// The string, whatever its length.
    pub fn or<'a>(self, code: Code) -> Result<&'a [u8], Failure> {
        let pointer = NonNull::new(self.0.cast_mut()).ok_or(code)?;
        // SAFETY: not NULL, hence a string that the caller keeps for the time of the call.
        Ok(unsafe { CStr::from_ptr(pointer.as_ptr()) }.to_bytes())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(pointer) = NonNull::new(self.0.cast_mut()) else { return f.write_str("NULL") };
        // SAFETY: as in `at_most`.
        let length = unsafe { libc::strnlen(pointer.as_ptr(), SHOWN_MAX) };
        // SAFETY: `length` bytes have just been read.
        let bytes = unsafe { std::slice::from_raw_parts(pointer.as_ptr().cast(), length) };
        let more = if length == SHOWN_MAX { "…" } else { "" };
        write!(f, "{:?}{more}", String::from_utf8_lossy(bytes))
    }
}

/// `T *` for a result: NULL or room for one `T`, which is initialised where a call also reads it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Out<T>(*mut T);

impl<T> Out<T> {
    /// The place, or `code` if it is NULL.
    pub fn or(self, code: Code) -> Result<Slot<T>, Failure> {
        Ok(Slot(NonNull::new(self.0).ok_or(code)?))
    }

    /// The place, which may be missing.
    pub fn optional(self) -> Option<Slot<T>> {
        NonNull::new(self.0).map(Slot)
    }
}

impl<T> fmt::Display for Out<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_null() { "NULL" } else { "ptr" })
    }
}

/// Room for one `T`.
pub struct Slot<T>(NonNull<T>);

impl<T: Copy> Slot<T> {
    /// Stores a value.
    pub fn set(&self, value: T) {
        // SAFETY: not NULL, hence room for a `T`.
        unsafe { self.0.as_ptr().write(value) }
    }

    /// What the caller stored there: only for arguments that go both ways.
    pub fn value(&self) -> T {
        // SAFETY: not NULL, and initialised where a call reads it.
        unsafe { self.0.as_ptr().read() }
    }

    /// Stores values into as many places in a row, which the caller has said to be there.
    pub fn set_all(&self, values: impl Iterator<Item = T>) {
        for (index, value) in values.enumerate() {
            // SAFETY: the call has compared the number of values with that of the caller's places.
            unsafe { self.0.as_ptr().add(index).write(value) }
        }
    }
}

/// `const T *` for an array: NULL or as many elements as another argument says.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Array<T>(*const T);

impl<T> Array<T> {
    /// The array, or `code` if it is NULL or its length is negative.
    pub fn slice<'a>(self, length: c_int, code: Code) -> Result<&'a [T], Failure> {
        let length = usize::try_from(length).map_err(|_| code)?;
        let pointer = NonNull::new(self.0.cast_mut()).ok_or(code)?;
        // SAFETY: not NULL, hence `length` elements, which the caller keeps for the time of the call.
        Ok(unsafe { std::slice::from_raw_parts(pointer.as_ptr(), length) })
    }

    /// Is it NULL?
    pub fn is_null(&self) -> bool {
        self.0.is_null()
    }
}

impl<T> fmt::Display for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_null() { "NULL" } else { "array" })
    }
}

/// `char *` for a result: NULL or a buffer as long as another argument says.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Chars(*mut c_char);

impl Chars {
    /// The buffer, or `code` if it is NULL. A negative length is no room at all.
    pub fn sized(self, length: c_int, code: Code) -> Result<Buffer, Failure> {
        let pointer = NonNull::new(self.0).ok_or(code)?;
        Ok(Buffer { pointer, length: length.max(0) as usize })
    }

    /// A row of `count` buffers, of `length` bytes each.
    pub fn row(self, count: u32, length: c_int, code: Code) -> Result<Buffer, Failure> {
        let Buffer { pointer, length } = self.sized(length, code)?;
        let length = length.checked_mul(count as usize).ok_or(code)?;
        Ok(Buffer { pointer, length })
    }
}

impl fmt::Display for Chars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_null() { "NULL" } else { "buffer" })
    }
}

/// Room for a string and its NUL.
pub struct Buffer {
    pointer: NonNull<c_char>,
    length: usize,
}

// SAFETY: the memory is the C caller's, who lends it for the time of the call, or until a request is complete; nothing in
// it depends on the thread.
unsafe impl Send for Buffer {}

impl Buffer {
    /// `too_long` if a string of this length does not fit.
    pub fn check(&self, length: usize, too_long: Code) -> Result<(), Failure> {
        if length < self.length { Ok(()) } else { Err(too_long.into()) }
    }

    /// Stores a string with its NUL; `too_long`, and nothing stored, if it does not fit.
    pub fn write(&self, string: &[u8], too_long: Code) -> Result<(), Failure> {
        self.check(string.len(), too_long)?;
        self.store(string);
        Ok(())
    }

    /// Stores as much of a string as fits, with its NUL.
    pub fn write_truncated(&self, string: &[u8]) {
        if let Some(room) = self.length.checked_sub(1) {
            self.store(&string[..string.len().min(room)]);
        }
    }

    /// Part of the buffer: `length` bytes from `from` on. The caller has checked that they are in it.
    pub fn part(&self, from: usize, length: usize) -> Buffer {
        assert!(from.checked_add(length).is_some_and(|end| end <= self.length));
        // SAFETY: inside the buffer as just checked, or one past its end.
        Buffer { pointer: unsafe { self.pointer.add(from) }, length }
    }

    fn store(&self, string: &[u8]) {
        let target: *mut u8 = self.pointer.as_ptr().cast();
        // SAFETY: `string.len()` is below the length of the buffer, which has room for the NUL too; the
        // library's own bytes do not overlap the caller's buffer.
        unsafe {
            target.copy_from_nonoverlapping(string.as_ptr(), string.len());
            target.add(string.len()).write(0);
        }
    }
}
