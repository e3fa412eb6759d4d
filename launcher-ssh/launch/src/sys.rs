//! The unsafe room of this crate: starting a process, forking the guardian, the table of process groups they
//! share, reaping, and random bytes. Everything else is safe code on top of it.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::sys::signal::SigSet;
use nix::unistd::Pid;

/// Bytes of the stack on which a new process runs until it executes its program; it calls a dozen
/// functions of libc, none of which needs much.
const CHILD_STACK: usize = 64 * 1024;

/// A NULL-terminated array of C strings, ready for `execve`.
pub struct CArray {
    strings: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

impl CArray {
    /// Takes the strings over.
    pub fn new(strings: Vec<CString>) -> Self {
        let mut pointers: Vec<_> = strings.iter().map(|string| string.as_ptr()).collect();
        pointers.push(ptr::null());
        CArray { strings, pointers }
    }

    /// Puts `string` in the place of the string at `index`.
    ///
    /// # Panics
    /// If there is no such place.
    pub fn replace(&mut self, index: usize, string: CString) {
        self.strings[index] = string;
        self.pointers[index] = self.strings[index].as_ptr();
    }

    /// The strings.
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }
}

/// What the launcher changed for itself, and each new process shall have as it was.
#[derive(Clone, Copy)]
pub struct Inherited {
    /// The signal mask.
    pub mask: SigSet,
    /// Soft and hard limit of open files.
    pub open_files: (libc::rlim_t, libc::rlim_t),
}

/// Which process group a new process is put into.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// One of its own, in our session: the terminal's keys reach it through us only, and it can be stopped.
    Own,
    /// A session of its own: it never sees the terminal.
    Session,
}

/// A process to be started.
pub struct Child<'a> {
    /// Path of the program, with a slash.
    pub path: &'a CStr,
    /// Its arguments, from `argv[0]` on.
    pub argv: &'a CArray,
    /// Arguments for `/bin/sh`, tried when the program is a script without a `#!` line, as `execvp` does.
    pub shell_argv: Option<&'a CArray>,
    /// Its environment.
    pub envp: &'a CArray,
    /// Its working directory; `None`: ours.
    pub wdir: Option<&'a CStr>,
    /// Its standard input, output and error.
    pub stdio: [BorrowedFd<'a>; 3],
    /// Further descriptors that it inherits under their numbers.
    pub keep: &'a [BorrowedFd<'a>],
    /// Where it belongs.
    pub group: Group,
    /// Where it writes down its process group, before its program begins.
    pub slot: Option<&'a AtomicI32>,
    /// What it gets back.
    pub inherited: &'a Inherited,
}

/// The step at which a new process failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Stage {
    /// The system gave us no process.
    Fork = 1,
    /// Its process group, its lifeline or its descriptors could not be set up.
    Setup,
    /// Its working directory could not be entered.
    Directory,
    /// Its program could not be executed.
    Execute,
}

impl Stage {
    fn from_number(number: i32) -> Stage {
        use Stage::*;
        [Fork, Setup, Directory]
            .into_iter()
            .find(|stage| *stage as i32 == number)
            .unwrap_or(Execute)
    }
}

/// Why a process could not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpawnError {
    /// The step that failed.
    pub stage: Stage,
    /// What the system said.
    pub errno: Errno,
}

/// Starts processes, one after the other, on one small stack.
///
/// A new process shares our memory until it executes its program, and we stand still for so long
/// (`CLONE_VM | CLONE_VFORK`, as `posix_spawn` does): no page tables are copied, which makes starting many
/// ranks about 15 % faster than with `fork`, and a failure is known at once.
pub struct Spawner {
    stack: Vec<MaybeUninit<u8>>,
    parent: Pid,
}

/// What parent and child share while the parent stands still.
struct Handover<'a> {
    child: &'a Child<'a>,
    parent: libc::pid_t,
    stage: AtomicI32,
    errno: AtomicI32,
}

impl Spawner {
    /// A spawner for the calling process.
    pub fn new() -> Self {
        Spawner { stack: vec![MaybeUninit::uninit(); CHILD_STACK], parent: Pid::this() }
    }

    /// Starts a process. When this returns, its program is running, or it never will.
    pub fn spawn(&mut self, child: &Child) -> Result<Pid, SpawnError> {
        let handover = Handover {
            child,
            parent: self.parent.as_raw(),
            stage: AtomicI32::new(0),
            errno: AtomicI32::new(0),
        };
        let arg = ptr::from_ref(&handover).cast_mut().cast();
        // SAFETY: the stack's end is inside one allocation, and aligned down to 16 bytes as the ABI wants. The
        // child runs `child_main` on it and shares our memory, but we do not run before it has executed its
        // program or ended (CLONE_VFORK), so that `handover` and all it borrows outlive its use.
        let pid = unsafe {
            let end = self.stack.as_mut_ptr().add(CHILD_STACK);
            let end = end.sub(end as usize % 16);
            let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
            libc::clone(child_main, end.cast(), flags, arg)
        };
        if pid < 0 {
            return Err(SpawnError { stage: Stage::Fork, errno: Errno::last() });
        }
        match handover.stage.load(Ordering::Relaxed) {
            0 => Ok(Pid::from_raw(pid)),
            stage => {
                reap_one(Pid::from_raw(pid));
                let errno = Errno::from_raw(handover.errno.load(Ordering::Relaxed));
                Err(SpawnError { stage: Stage::from_number(stage), errno })
            }
        }
    }
}

impl Default for Spawner {
    fn default() -> Self {
        Self::new()
    }
}

/// The new process. It may neither allocate nor panic: it runs in its parent's memory.
extern "C" fn child_main(arg: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `spawn` passes its `Handover`, which lives while its caller stands still.
    let handover = unsafe { &*arg.cast::<Handover>() };
    let child = handover.child;
    let stage = if !set_up(child, handover.parent) {
        Stage::Setup
    } else if !enter_directory(child) {
        Stage::Directory
    } else {
        execute(child);
        Stage::Execute
    };
    handover.errno.store(Errno::last_raw(), Ordering::Relaxed);
    handover.stage.store(stage as i32, Ordering::Relaxed);
    // SAFETY: ends this process at once, without running anything of its parent's.
    unsafe { libc::_exit(127) }
}

fn set_up(child: &Child, parent: libc::pid_t) -> bool {
    join_group(child) && tie_to(parent) && place_descriptors(child) && restore(child.inherited)
}

fn join_group(child: &Child) -> bool {
    // SAFETY: system calls on plain numbers.
    let done = unsafe {
        match child.group {
            Group::Own => libc::setpgid(0, 0) == 0,
            Group::Session => libc::setsid() >= 0,
        }
    };
    if let Some(slot) = child.slot {
        // SAFETY: `getpid` has no conditions.
        slot.store(unsafe { libc::getpid() }, Ordering::SeqCst);
    }
    done
}

/// Has the kernel kill this process when its parent dies, also when it has died already.
fn tie_to(parent: libc::pid_t) -> bool {
    // SAFETY: system calls on plain numbers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0 && libc::getppid() == parent }
}

fn place_descriptors(child: &Child) -> bool {
    let [input, output, error] = child.stdio.map(|fd| fd.as_raw_fd());
    place(input, 0) && place(output, 1) && place(error, 2) && child.keep.iter().all(keep)
}

/// Makes `from` the standard stream `to`. Everything of the launcher's lies above 2 (the runtime opens
/// `/dev/null` on standard streams that are missing), so that no `dup2` destroys a later source, but for
/// standard streams that are passed on as they are.
fn place(from: RawFd, to: RawFd) -> bool {
    // SAFETY: system call on plain numbers.
    from == to || unsafe { libc::dup2(from, to) == to }
}

fn keep(fd: &BorrowedFd) -> bool {
    // SAFETY: a system call on a descriptor that its owner lent us.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) == 0 }
}

/// Gives back what the launcher changed: SIGPIPE (ignored by Rust's runtime), the limit of open files, and
/// last the signal mask.
fn restore(inherited: &Inherited) -> bool {
    let (rlim_cur, rlim_max) = inherited.open_files;
    let limit = libc::rlimit { rlim_cur, rlim_max };
    // SAFETY: the pointers are to values on this stack or in the standing parent.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL) != libc::SIG_ERR
            && libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0
            && libc::sigprocmask(libc::SIG_SETMASK, inherited.mask.as_ref(), ptr::null_mut()) == 0
    }
}

fn enter_directory(child: &Child) -> bool {
    // SAFETY: the path is a C string.
    child.wdir.is_none_or(|wdir| unsafe { libc::chdir(wdir.as_ptr()) == 0 })
}

/// Returns only if the program could not be executed.
fn execute(child: &Child) {
    let envp = child.envp.pointers.as_ptr();
    // SAFETY: all arrays end in NULL and point to C strings that `CArray` owns.
    unsafe {
        libc::execve(child.path.as_ptr(), child.argv.pointers.as_ptr(), envp);
        if let (libc::ENOEXEC, Some(shell)) = (Errno::last_raw(), child.shell_argv) {
            libc::execve(c"/bin/sh".as_ptr(), shell.pointers.as_ptr(), envp);
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this exit code.
    Code(i32),
    /// By this signal.
    Signal {
        /// Its number.
        number: i32,
        /// Has a core file been written?
        core: bool,
    },
}

impl Exit {
    fn from_status(status: libc::c_int) -> Exit {
        if libc::WIFSIGNALED(status) {
            Exit::Signal { number: libc::WTERMSIG(status), core: libc::WCOREDUMP(status) }
        } else {
            Exit::Code(libc::WEXITSTATUS(status))
        }
    }
}

/// Takes the next child that has ended, if there is one. Does not wait. (Not `nix`'s: that one loses children
/// that died from a real-time signal.)
pub fn reap() -> Option<(Pid, Exit)> {
    let mut status = 0;
    // SAFETY: `status` is ours.
    let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
    (pid > 0).then(|| (Pid::from_raw(pid), Exit::from_status(status)))
}

/// Waits for one child.
pub fn reap_one(pid: Pid) -> Option<Exit> {
    let mut status = 0;
    // SAFETY: `status` is ours.
    let found = unsafe { libc::waitpid(pid.as_raw(), &mut status, 0) };
    (found == pid.as_raw()).then(|| Exit::from_status(status))
}

/// Forks a process that runs `body`, with no descriptor but 0, 1 and 2, which are `/dev/null`, and `lifeline`.
/// Its exit code is `body`'s result.
///
/// The caller must be single-threaded: the child goes on with its memory as it is.
pub fn fork_apart(lifeline: BorrowedFd, body: impl FnOnce() -> i32) -> io::Result<Pid> {
    // SAFETY: the launcher has one thread, so that no lock is held that the child could wait for.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            close_all_but(lifeline.as_raw_fd());
            let code = body();
            // SAFETY: ends this process without running destructors of things that belong to its parent.
            unsafe { libc::_exit(code) }
        }
        pid => Ok(Pid::from_raw(pid)),
    }
}

fn close_all_but(keep: RawFd) {
    // SAFETY: the process is about to forget every object that owned one of these descriptors.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
        for fd in 0..3 {
            libc::dup2(null, fd);
        }
        close_range(3, keep - 1);
        close_range(keep + 1, RawFd::MAX);
    }
}

/// # Safety
/// Nothing may use these descriptors any more.
unsafe fn close_range(first: RawFd, last: RawFd) {
    if first > last {
        return;
    }
    // SAFETY: by this function's own condition; the system call is younger than some kernels in use
    // (Linux 5.9), hence the loop.
    unsafe {
        if libc::syscall(libc::SYS_close_range, first, last, 0) != 0 {
            let end = last.min(libc::sysconf(libc::_SC_OPEN_MAX) as RawFd);
            for fd in first..=end {
                libc::close(fd);
            }
        }
    }
}

/// The process group of each rank, 0 where there is none: shared memory, written by the launcher and by each
/// rank's process before its program begins, read by the guardian.
pub struct GroupTable {
    slots: *mut AtomicI32,
    len: usize,
}

impl GroupTable {
    /// A table of `len` zeros.
    pub fn new(len: usize) -> io::Result<Self> {
        let bytes = len.max(1) * mem::size_of::<AtomicI32>();
        let (rights, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh mapping, wherever the kernel likes.
        let slots = unsafe { libc::mmap(ptr::null_mut(), bytes, rights, flags, -1, 0) };
        match slots == libc::MAP_FAILED {
            true => Err(io::Error::last_os_error()),
            false => Ok(GroupTable { slots: slots.cast(), len }),
        }
    }

    /// One slot a rank.
    pub fn slots(&self) -> &[AtomicI32] {
        // SAFETY: the mapping holds `len` zeroed, aligned atomics and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.slots, self.len) }
    }
}

impl Drop for GroupTable {
    fn drop(&mut self) {
        // SAFETY: `new` made this mapping, with this length; no slice of it outlives `self`.
        unsafe { libc::munmap(self.slots.cast(), self.len.max(1) * mem::size_of::<AtomicI32>()) };
    }
}

/// Fills `bytes` from the system's random generator. Waits only if the system has just started.
pub fn fill_random(bytes: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        let rest = &mut bytes[done..];
        // SAFETY: the pointer and the length are of one slice.
        match unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) } {
            got if got > 0 => done += got as usize,
            _ if Errno::last() == Errno::EINTR => {}
            _ => return Err(io::Error::last_os_error()),
        }
    }
    Ok(())
}

/// Is `signal` ignored, as it was by whoever started us (`nohup`, a shell's background job)?
pub fn is_ignored(signal: libc::c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks only; an all-zero `sigaction` is a valid value for the system to overwrite.
    unsafe {
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr());
        action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}
