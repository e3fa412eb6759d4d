//! Slurm's side of the plugin, made safe: its handle, its option, its log, and the environment of the process that
//! has loaded us.

use std::cell::UnsafeCell;
use std::ffi::{CStr, CString, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::words::Word;

/// What bindgen makes of `slurm/spank.h`.
#[allow(missing_docs, non_camel_case_types, non_upper_case_globals)]
pub mod spank {
    include!(concat!(env!("OUT_DIR"), "/spank.rs"));
}

pub use spank::{SLURM_VERSION_NUMBER, spank_t};

/// Where a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// srun.
    Local,
    /// sbatch or salloc.
    Allocator,
    /// slurmstepd.
    Remote,
    /// slurmd, a prolog or an epilog.
    Other,
}

/// Where this hook runs.
pub fn context() -> Context {
    // SAFETY: it takes nothing and may be called from any hook.
    match unsafe { spank::spank_context() } {
        spank::S_CTX_LOCAL => Context::Local,
        spank::S_CTX_ALLOCATOR => Context::Allocator,
        spank::S_CTX_REMOTE => Context::Remote,
        _ => Context::Other,
    }
}

/// Tells the user, or the log of a daemon, what went wrong.
pub fn complain(text: &str) {
    let text = c_string(format!("spank_pmi: {text}"));
    // SAFETY: the format takes one string, which lives as long as the call.
    unsafe { spank::slurm_error(c"%s".as_ptr(), text.as_ptr()) }
}

fn c_string(text: impl Into<Vec<u8>>) -> CString {
    let mut bytes = text.into();
    bytes.retain(|byte| *byte != 0);
    CString::new(bytes).expect("it holds no NUL byte")
}

/// The arguments of a hook: those of plugstack.conf.
///
/// # Safety
/// `values` has `count` strings that live as long as the hook runs.
pub unsafe fn arguments<'a>(count: c_int, values: *mut *mut c_char) -> Vec<&'a str> {
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: by this function's own condition. What is not text is no argument that we know.
    let text = |at| unsafe { CStr::from_ptr(*values.add(at)) }.to_str().unwrap_or("\u{fffd}");
    (0..count).map(text).collect()
}

/// The handle that Slurm gives to a hook; valid while the hook runs.
pub struct Spank(spank_t);

impl Spank {
    /// # Safety
    /// Slurm has just given this handle to the hook that runs, and it is not used after the hook's end.
    pub unsafe fn new(handle: spank_t) -> Spank {
        Spank(handle)
    }

    /// The task's environment.
    pub fn environment(&self) -> Result<Vec<(OsString, OsString)>, String> {
        let mut variables: *mut *mut c_char = std::ptr::null_mut();
        // SAFETY: S_JOB_ENV takes a `char ***` (spank.h).
        let code = unsafe { spank::spank_get_item(self.0, spank::S_JOB_ENV, &raw mut variables) };
        checked("read the task's environment", code)?;
        let mut pairs = Vec::new();
        if variables.is_null() {
            return Ok(pairs);
        }
        // SAFETY: it is an array of strings that ends with a null pointer, and changes with `apply` only.
        unsafe {
            while !(*variables).is_null() {
                pairs.extend(pair(CStr::from_ptr(*variables).to_bytes()));
                variables = variables.add(1);
            }
        }
        Ok(pairs)
    }

    /// Does to the task's environment what a program of ours has said.
    pub fn apply(&self, words: Vec<Word>) -> Result<(), String> {
        for word in words {
            let code = match word {
                Word::Export(name, value) => {
                    let (name, value) = (c_string(name.into_vec()), c_string(value.into_vec()));
                    // SAFETY: the handle is valid, and Slurm copies the strings.
                    unsafe { spank::spank_setenv(self.0, name.as_ptr(), value.as_ptr(), 1) }
                }
                Word::Unset(name) => {
                    let name = c_string(name.into_vec());
                    // SAFETY: the handle is valid, and Slurm copies the string.
                    unsafe { spank::spank_unsetenv(self.0, name.as_ptr()) }
                }
                Word::Print(_) => continue,
            };
            checked("change the task's environment", code)?;
        }
        Ok(())
    }

    /// Gives the commands of Slurm an option. Valid in `slurm_spank_init` only.
    pub fn register(&self, option: &'static CommandOption) -> Result<(), String> {
        // SAFETY: the option lives for ever, and Slurm only reads it.
        checked("add the option", unsafe { spank::spank_option_register(self.0, option.0.get()) })
    }
}

fn pair(assignment: &[u8]) -> Option<(OsString, OsString)> {
    let at = assignment.iter().position(|byte| *byte == b'=')?;
    let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
    Some((text(&assignment[..at]), text(&assignment[at + 1..])))
}

fn checked(what: &str, code: spank::spank_err_t) -> Result<(), String> {
    if code == 0 {
        return Ok(());
    }
    // SAFETY: Slurm returns a string of its own for any number.
    let reason = unsafe { CStr::from_ptr(spank::spank_strerror(code)) };
    Err(format!("cannot {what}: {}", reason.to_string_lossy()))
}

/// An option as Slurm knows it.
pub struct CommandOption(UnsafeCell<spank::spank_option>);

// SAFETY: nobody writes to it, and its pointers are those of constants.
unsafe impl Sync for CommandOption {}

/// What Slurm calls where the option is used: with a number of ours, the value, and whether this is slurmstepd.
pub type Callback = unsafe extern "C" fn(c_int, *const c_char, c_int) -> c_int;

impl CommandOption {
    /// An option with a value that may be left out.
    pub const fn new(
        name: &'static CStr,
        value: &'static CStr,
        help: &'static CStr,
        callback: Callback,
    ) -> CommandOption {
        CommandOption(UnsafeCell::new(spank::spank_option {
            name: name.as_ptr().cast_mut(),
            arginfo: value.as_ptr().cast_mut(),
            usage: help.as_ptr().cast_mut(),
            has_arg: 2, // optional_argument of getopt(3)
            val: 0,
            cb: Some(callback),
        }))
    }
}

/// Does to this process's own environment what a program of ours has said.
///
/// The process must have one thread: `slurm_spank_init` and `slurm_spank_init_post_opt` of srun, sbatch and salloc are
/// called before they start any.
pub fn apply_here(words: Vec<Word>) {
    for word in words {
        match word {
            // SAFETY: by this function's own condition.
            Word::Export(name, value) => unsafe { std::env::set_var(name, value) },
            // SAFETY: by this function's own condition.
            Word::Unset(name) => unsafe { std::env::remove_var(name) },
            Word::Print(_) => {}
        }
    }
}

/// The file that this code was loaded from, as plugstack.conf names it.
pub fn plugin_path() -> Result<PathBuf, String> {
    let mut found = libc::Dl_info {
        dli_fname: std::ptr::null(),
        dli_fbase: std::ptr::null_mut(),
        dli_sname: std::ptr::null(),
        dli_saddr: std::ptr::null_mut(),
    };
    // SAFETY: the address is one of this code; the name that is found is a string of the loader's.
    let name = unsafe {
        if libc::dladdr(plugin_path as *const libc::c_void, &raw mut found) == 0
            || found.dli_fname.is_null()
        {
            return Err("cannot find out where spank_pmi.so is".to_owned());
        }
        CStr::from_ptr(found.dli_fname)
    };
    Ok(Path::new(OsStr::from_bytes(name.to_bytes())).to_owned())
}

/// Ends a task that must not begin, whether or not plugstack.conf says `required`.
pub fn end_task(code: c_int) -> ! {
    // SAFETY: always allowed. What slurmstepd has left to do at its exit is not this process's.
    unsafe { libc::_exit(code) }
}
