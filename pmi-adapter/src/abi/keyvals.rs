//! Command lines as arrays of `PMI_keyval_t`, in memory from `malloc`.

use std::ffi::{c_char, c_int, c_void};
use std::fmt;
use std::ptr;

use crate::keyval::{self, Pair};
use pmi_client::entry;
use pmi_client::entry::argument::{Array, Out, Text};
use pmi_client::error::{Code, Failure};

/// `PMI_keyval_t`
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Keyval {
    key: *mut c_char,
    val: *mut c_char,
}

/// The words of an argument vector; `code` if the vector or a word is NULL, or the number negative.
fn words<'a>(args: Array<Text>, count: c_int, code: Code) -> Result<Vec<&'a [u8]>, Failure> {
    args.slice(count, code)?.iter().map(|word| word.or(code)).collect()
}

/// The pairs as a C array; NULL for none.
fn allocate(pairs: &[Pair<'_>]) -> Result<*mut Keyval, Failure> {
    if pairs.is_empty() {
        return Ok(ptr::null_mut());
    }
    // SAFETY: calloc has no preconditions; all-zero bytes are a `Keyval` of two NULLs.
    let array: *mut Keyval = unsafe { libc::calloc(pairs.len(), size_of::<Keyval>()) }.cast();
    if array.is_null() {
        return Err(Failure::because("out of memory"));
    }
    for (index, pair) in pairs.iter().enumerate() {
        let keyval = Keyval { key: duplicate(pair.key), val: duplicate(pair.value) };
        // SAFETY: `index` is below the number of elements allocated above.
        unsafe { array.add(index).write(keyval) };
    }
    Ok(array)
}

/// A C string with these bytes; NULL for `None`, or if there is no memory, which reads as a missing half.
fn duplicate(half: Option<&[u8]>) -> *mut c_char {
    half.map_or(ptr::null_mut(), |bytes| {
        // SAFETY: strndup reads at most `bytes.len()` bytes.
        unsafe { libc::strndup(bytes.as_ptr().cast(), bytes.len()) }
    })
}

entry! {
    /// Reads leading `PMI_name=value` arguments.
    fn PMI_Parse_option(
        num_args: c_int,
        args: Array<Text>,
        num_parsed: Out<c_int>,
        keyvalp: Out<*mut Keyval>,
        size: Out<c_int>,
    ) {
        let num_parsed = num_parsed.or(Code::InvalidNumParsed)?;
        let keyvalp = keyvalp.or(Code::InvalidKeyvalp)?;
        let size = size.or(Code::InvalidSize)?;
        if num_args < 0 {
            return Err(Code::InvalidNumArgs.into());
        }
        let words = words(args, num_args, Code::InvalidArgs)?;
        let pairs = keyval::parse_options(&words);
        keyvalp.set(allocate(&pairs)?);
        num_parsed.set(pairs.len() as c_int);
        size.set(pairs.len() as c_int);
        Ok(())
    }
}

entry! {
    /// Reads a whole command line.
    fn PMI_Args_to_keyval(
        argcp: Out<c_int>,
        argvp: Array<Text>,
        keyvalp: Out<*mut Keyval>,
        size: Out<c_int>,
    ) {
        let argcp = argcp.or(Code::InvalidArg)?;
        let keyvalp = keyvalp.or(Code::InvalidArg)?;
        let size = size.or(Code::InvalidArg)?;
        let words = words(argvp, argcp.value(), Code::InvalidArg)?;
        let pairs = keyval::args_to_keyvals(&words)?;
        keyvalp.set(allocate(&pairs)?);
        size.set(pairs.len() as c_int);
        Ok(())
    }
}

entry! {
    /// Frees what the two functions above made.
    fn PMI_Free_keyvals(keyvalp: Owned, size: c_int) {
        keyvalp.free(size)
    }
}

/// An array of pairs that comes back to be freed: NULL, or from [`allocate`].
#[repr(transparent)]
pub(super) struct Owned(*mut Keyval);

impl Owned {
    fn free(&self, size: c_int) -> Result<(), Failure> {
        let size = usize::try_from(size).map_err(|_| Code::InvalidArg)?;
        if self.0.is_null() && size > 0 {
            return Err(Code::InvalidArg.into());
        }
        for index in 0..size {
            // SAFETY: the array has `size` elements, whose halves are NULL or from strndup; nobody uses them again.
            unsafe {
                let pair = self.0.add(index).read();
                libc::free(pair.key.cast());
                libc::free(pair.val.cast());
            }
        }
        // SAFETY: NULL or from calloc; nobody uses it again.
        unsafe { libc::free(self.0.cast()) }
        Ok(())
    }
}

impl fmt::Display for Owned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:p}", self.0)
    }
}

entry! {
    /// The draft's `PMI_Args_to_keyval`: takes this library's own arguments out of a command line. There are
    /// none, so the command line stays as it is, and the caller's info object, whose type only it knows, too.
    fn PMI_Args_to_info(argcp: Out<c_int>, argvp: Out<Array<Text>>, infop: Out<c_void>) {
        let count = argcp.or(Code::InvalidArg)?.value();
        words(argvp.or(Code::InvalidArg)?.value(), count, Code::InvalidArg).map(drop)
    }
}
