//! MUNGE, through its library, which is loaded when it is needed: `libmunge.so.2`, munge(3).
//!
//! The functions and numbers are those of `munge.h` (0.5.x, stable since 2004).

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::mem;
use std::ptr;
use std::slice;

/// Its soname has been the same in all versions with this interface.
const LIBRARY: &CStr = c"libmunge.so.2";

/// `MUNGE_OPT_CIPHER_TYPE`
const OPT_CIPHER: c_int = 0;
/// `MUNGE_OPT_UID_RESTRICTION`
const OPT_UID: c_int = 9;
/// `MUNGE_CIPHER_AES128`, which every build of MUNGE has. The default could be none.
const AES128: c_int = 4;

const SUCCESS: c_int = 0;
/// `EMUNGE_SOCKET`: the daemon does not answer.
const NO_DAEMON: c_int = 6;
/// `EMUNGE_CRED_REPLAYED`: somebody on this host has decoded it before. The payload is there all the same.
const REPLAYED: c_int = 17;

type Encode = unsafe extern "C" fn(*mut *mut c_char, *mut c_void, *const c_void, c_int) -> c_int;
type Decode = unsafe extern "C" fn(
    *const c_char,
    *mut c_void,
    *mut *mut c_void,
    *mut c_int,
    *mut libc::uid_t,
    *mut libc::gid_t,
) -> c_int;
type Create = unsafe extern "C" fn() -> *mut c_void;
type Destroy = unsafe extern "C" fn(*mut c_void);
type Set = unsafe extern "C" fn(*mut c_void, c_int, ...) -> c_int;
type Text = unsafe extern "C" fn(c_int) -> *const c_char;

/// The loaded library. It stays loaded: a helper that was forked while it was needs it for as long as it lives.
#[derive(Clone, Copy)]
pub struct Munge {
    encode: Encode,
    decode: Decode,
    create: Create,
    destroy: Destroy,
    set: Set,
    text: Text,
}

/// Why MUNGE is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The library cannot be loaded; what the loader says.
    Library(String),
    /// The daemon does not answer.
    Daemon(String),
    /// It refuses this credential.
    Refused(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Library(text) => write!(f, "MUNGE's library cannot be loaded ({text})"),
            Trouble::Daemon(text) => write!(f, "MUNGE's daemon, munged, does not answer ({text})"),
            Trouble::Refused(text) => write!(f, "MUNGE says: {text}"),
        }
    }
}

/// A symbol as a function of this type.
///
/// # Safety
/// The library's symbol of this name must be such a function.
unsafe fn symbol<F: Copy>(library: *mut c_void, name: &CStr) -> Result<F, Trouble> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: a handle that `dlopen` gave, and a C string; a function pointer has the size of a pointer as just checked.
    unsafe {
        match libc::dlsym(library, name.as_ptr()) {
            address if address.is_null() => Err(Trouble::Library(loader_says())),
            address => Ok(mem::transmute_copy(&address)),
        }
    }
}

fn loader_says() -> String {
    // SAFETY: returns NULL or a C string that stays until this thread's next call of the loader.
    unsafe {
        match libc::dlerror() {
            text if text.is_null() => "no reason given".into(),
            text => CStr::from_ptr(text).to_string_lossy().into_owned(),
        }
    }
}

impl Munge {
    /// Loads the library.
    pub fn load() -> Result<Munge, Trouble> {
        // SAFETY: MUNGE's library runs nothing when it is loaded. The symbols have the types of munge.h.
        unsafe {
            let library = libc::dlopen(LIBRARY.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
            if library.is_null() {
                return Err(Trouble::Library(loader_says()));
            }
            Ok(Munge {
                encode: symbol(library, c"munge_encode")?,
                decode: symbol(library, c"munge_decode")?,
                create: symbol(library, c"munge_ctx_create")?,
                destroy: symbol(library, c"munge_ctx_destroy")?,
                set: symbol(library, c"munge_ctx_set")?,
                text: symbol(library, c"munge_strerror")?,
            })
        }
    }

    fn trouble(&self, number: c_int) -> Trouble {
        // SAFETY: takes any number, and returns a C string that stays.
        let text = unsafe { CStr::from_ptr((self.text)(number)) }.to_string_lossy().into_owned();
        match number {
            NO_DAEMON => Trouble::Daemon(text),
            _ => Trouble::Refused(text),
        }
    }

    fn check(&self, number: c_int) -> Result<(), Trouble> {
        if number == SUCCESS { Ok(()) } else { Err(self.trouble(number)) }
    }

    /// Makes a credential, encrypted, that only processes of this user can decode. Asks the daemon.
    pub fn encode(&self, payload: &[u8], reader: u32) -> Result<Vec<u8>, Trouble> {
        let context = Context::new(self)?;
        context.set(OPT_UID, reader as c_int)?;
        context.set(OPT_CIPHER, AES128)?;
        let mut credential = ptr::null_mut();
        let length = c_int::try_from(payload.len()).map_err(|_| self.trouble(3))?;
        // SAFETY: the pointers are to live values of the types of munge.h; on success the credential is a C string
        // that is ours to free.
        unsafe {
            self.check((self.encode)(
                &mut credential,
                context.raw,
                payload.as_ptr().cast(),
                length,
            ))?;
            let bytes = CStr::from_ptr(credential).to_bytes().to_vec();
            libc::free(credential.cast());
            Ok(bytes)
        }
    }

    /// Payload and maker of a credential. Asks the daemon. One that was decoded on this host before is good: nobody
    /// but its reader could have done so.
    pub fn decode(&self, credential: &[u8]) -> Result<(Vec<u8>, u32), Trouble> {
        let credential = CString::new(credential)
            .map_err(|_| Trouble::Refused("a credential with NUL".into()))?;
        let (mut payload, mut length, mut uid, mut gid) = (ptr::null_mut(), 0, u32::MAX, u32::MAX);
        // SAFETY: the pointers are to live values of the types of munge.h, without a context. The payload, of so many
        // bytes, is ours to free where there is one.
        unsafe {
            let result = (self.decode)(
                credential.as_ptr(),
                ptr::null_mut(),
                &mut payload,
                &mut length,
                &mut uid,
                &mut gid,
            );
            let bytes = match usize::try_from(length) {
                Ok(length) if !payload.is_null() => {
                    slice::from_raw_parts(payload.cast::<u8>(), length).to_vec()
                }
                _ => Vec::new(),
            };
            libc::free(payload);
            match result {
                SUCCESS | REPLAYED => Ok((bytes, uid)),
                other => Err(self.trouble(other)),
            }
        }
    }
}

/// Options of one call.
struct Context<'a> {
    munge: &'a Munge,
    raw: *mut c_void,
}

impl<'a> Context<'a> {
    fn new(munge: &'a Munge) -> Result<Context<'a>, Trouble> {
        // SAFETY: returns NULL or a context that is ours.
        match unsafe { (munge.create)() } {
            raw if raw.is_null() => Err(munge.trouble(5)),
            raw => Ok(Context { munge, raw }),
        }
    }

    fn set(&self, option: c_int, value: c_int) -> Result<(), Trouble> {
        // SAFETY: a live context; both options take one int (uid_t has its size).
        let result = unsafe { (self.munge.set)(self.raw, option, value) };
        self.munge.check(result)
    }
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        // SAFETY: made in `new`, and not used after this.
        unsafe { (self.munge.destroy)(self.raw) }
    }
}

/// Is there a MUNGE that makes credentials here?
pub fn probe() -> Result<(), Trouble> {
    Munge::load()?.encode(b"", nix::unistd::geteuid().as_raw()).map(|_| ())
}
