//! Processes that the program does not notice, and system calls that `nix` does not have.

use std::ffi::{CStr, c_int, c_void};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::SigSet;
use nix::unistd::setsid;
use pmi_board::process::{close_all_but, exit_now};

/// Bytes of the stack on which a helper lives. Only what is touched takes memory.
const STACK: usize = 1 << 20;

/// What the process in between returns if it could not fork; no errno is as large.
const NO_NUMBER: c_int = 255;

/// A stack, unmapped at the end; its lowest page stays inaccessible.
struct Stack(*mut c_void);

impl Stack {
    fn new() -> io::Result<Stack> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
        // SAFETY: a mapping at an address of the kernel's choice touches no existing memory; the guard is inside of it.
        unsafe {
            let base = libc::mmap(
                ptr::null_mut(),
                STACK,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                -1,
                0,
            );
            if base == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            libc::mprotect(base, 4096, libc::PROT_NONE);
            Ok(Stack(base))
        }
    }

    fn top(&self) -> *mut c_void {
        // SAFETY: one past the mapping.
        unsafe { self.0.add(STACK) }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`; whoever ran on it in this process has ended.
        unsafe { libc::munmap(self.0, STACK) };
    }
}

/// Starts a process that runs `body`, and of which the program sees nothing: it is nobody's child, in a session of its
/// own, with no descriptor but those in `keep` and `/dev/null` as its standard streams, with all signals blocked, on any
/// processor, and with a name of its own.
///
/// The way there is a process in between that shares this one's memory, as with vfork(2): it has no exit signal, so its end
/// raises no SIGCHLD, and no `wait` of the program takes it (`__WCLONE`, waitpid(2)). *It* forks, with the C library's
/// fork: whatever locks other threads of the program hold then, those of malloc are taken first, and are free in the child.
///
/// # Errors
/// The system gives no process.
pub fn start_apart<F: FnOnce()>(name: &'static CStr, keep: &[RawFd], body: F) -> io::Result<()> {
    let stack = Stack::new()?;
    let mut launch = Launch { name, keep, body: Some(body) };
    let mask = SigSet::all().thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_SETMASK)?;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK;
    // SAFETY: this thread stands still until the process in between has ended; `launch` and the stack live on until
    // then. No signal handler can run in it, for all signals are blocked.
    let pid = unsafe {
        libc::clone(between::<F>, stack.top(), flags, (&raw mut launch).cast::<c_void>())
    };
    let result = if pid == -1 { Err(io::Error::last_os_error()) } else { reap(pid) };
    // It cannot fail for a mask that was in force.
    let _ = mask.thread_set_mask();
    result
}

/// What the new process needs.
struct Launch<'a, F> {
    name: &'static CStr,
    keep: &'a [RawFd],
    body: Option<F>,
}

/// The process in between.
extern "C" fn between<F: FnOnce()>(argument: *mut c_void) -> c_int {
    // SAFETY: the pointer that `start_apart` has passed; its owner stands still.
    let launch = unsafe { &mut *argument.cast::<Launch<'_, F>>() };
    // SAFETY: this process shares the thread's memory and nobody else runs on its behalf, so the C library's fork finds
    // what it would find in the thread itself.
    match unsafe { libc::fork() } {
        -1 => io::Error::last_os_error().raw_os_error().unwrap_or(NO_NUMBER),
        0 => {
            settle(launch.name, launch.keep);
            // A panic must not unwind into the program's frames; there is nobody to tell.
            let _ = catch_unwind(AssertUnwindSafe(|| launch.body.take().map(|body| body())));
            exit_now(0)
        }
        _ => 0,
    }
}

fn reap(pid: libc::pid_t) -> io::Result<()> {
    let mut status = 0;
    loop {
        // SAFETY: the status lives here. Without an exit signal only `__WCLONE` finds the process.
        match unsafe { libc::waitpid(pid, &raw mut status, libc::__WCLONE) } {
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            -1 => return Err(io::Error::last_os_error()),
            _ if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0 => return Ok(()),
            _ if libc::WIFEXITED(status) => {
                return Err(io::Error::from_raw_os_error(libc::WEXITSTATUS(status)));
            }
            _ => return Err(io::Error::other("the process in between was killed")),
        }
    }
}

/// Forks a process that runs `body` from one that [`start_apart`] has started, and returns its process id.
pub fn fork_again<F: FnOnce()>(name: &'static CStr, keep: &[RawFd], body: F) -> io::Result<u32> {
    // SAFETY: the caller has one thread, so that no lock is held that the child could wait for.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            settle(name, keep);
            let _ = catch_unwind(AssertUnwindSafe(body));
            exit_now(0)
        }
        pid => Ok(pid as u32),
    }
}

/// None of this can fail in a way that matters: what could not be had is not needed to go on.
fn settle(name: &'static CStr, keep: &[RawFd]) {
    close_all_but(keep);
    let _ = setsid();
    let _ = prctl::set_name(name);
    let _ = nix::unistd::chdir(c"/");
    run_anywhere();
    open_many_files();
}

/// A rank takes two descriptors, and the user's own limit may be for programs that open few files.
fn open_many_files() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// A rank may be bound to a processor, on which it spins. The kernel cuts the set down to what the job may use.
fn run_anywhere() {
    // SAFETY: a set of all ones is a set; the call reads it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::memset((&raw mut set).cast(), 0xff, size_of_val(&set));
        libc::sched_setaffinity(0, size_of_val(&set), &raw const set);
    }
}

/// A descriptor that a system call has just made.
pub fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: `accept4` is the only caller's source: nobody else knows the number yet.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Random bytes from the kernel.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        // SAFETY: the kernel writes at most as many bytes as are left.
        let got = unsafe { libc::getrandom(bytes[filled..].as_mut_ptr().cast(), N - filled, 0) };
        match usize::try_from(got) {
            Ok(got) => filled += got,
            Err(_) => return Err(io::Error::last_os_error()),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::{AsFd, AsRawFd};

    /// Reads what a helper writes; it ends when all copies of the other end are closed.
    fn from_helper(body: impl FnOnce(&mut dyn io::Write)) -> String {
        let (mut reader, mut writer) = io::pipe().unwrap();
        let keep = [writer.as_fd().as_raw_fd()];
        start_apart(c"pmi-step-test", &keep, || body(&mut writer)).unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_helper_is_nobodys_child_and_has_its_own_name_and_session() {
        let ours = std::process::id();
        let seen = from_helper(|out| {
            let name = prctl::get_name().unwrap();
            let fds = std::fs::read_dir("/proc/self/fd").unwrap().count();
            let own = nix::unistd::getsid(None).unwrap() == nix::unistd::getpid();
            let child = std::os::unix::process::parent_id() == ours;
            let _ = write!(out, "{} {fds} {own} {child}", name.to_string_lossy());
        });
        // Three standard streams, the pipe, and the directory that is read.
        assert_eq!(seen, "pmi-step-test 5 true false");
    }

    #[test]
    fn a_helper_that_panics_ends() {
        assert_eq!(from_helper(|_| std::panic::resume_unwind(Box::new(()))), "");
    }

    #[test]
    fn a_helper_can_allocate_although_other_threads_do() {
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        std::hint::black_box(vec![0u8; 300]);
                    }
                });
            }
            for _ in 0..50 {
                let sum = from_helper(|out| {
                    let many: Vec<Vec<u8>> = (0..1000).map(|n| vec![1; n]).collect();
                    let _ = write!(out, "{}", many.iter().map(Vec::len).sum::<usize>());
                });
                assert_eq!(sum, "499500");
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}
