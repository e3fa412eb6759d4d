//! The unsafe room of this crate: starting a process, forking the guardian, the table of process groups they
//! share, reaping, and random bytes. Everything else is safe code on top of it.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::sys::signal::SigSet;
use nix::unistd::Pid;

/// Bytes of the stack on which a new process runs until it executes its program; it calls a dozen functions of
/// libc, none of which needs much.
const CHILD_STACK: usize = 64 * 1024;

/// Most processes that are on their way to their programs at once. More would only wait for one another.
const FLIGHTS_MAX: usize = 32;

/// A NULL-terminated array of C strings, ready for `execve`.
pub struct CArray {
    strings: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
    /// Owner of the strings that are not ours.
    base: Option<Rc<CArray>>,
}

impl CArray {
    /// Takes the strings over.
    pub fn new(strings: Vec<CString>) -> Self {
        let ends = [ptr::null()];
        let pointers = strings.iter().map(|string| string.as_ptr()).chain(ends).collect();
        CArray { strings, pointers, base: None }
    }

    /// The array that begins with `strings`, and goes on as `base` does after so many.
    ///
    /// # Panics
    /// If `base` is shorter.
    pub fn replacing_first(strings: Vec<CString>, base: &Rc<CArray>) -> Self {
        let rest = base.pointers[strings.len()..].iter().copied();
        let pointers = strings.iter().map(|string| string.as_ptr()).chain(rest).collect();
        CArray { strings, pointers, base: Some(base.clone()) }
    }

    /// The strings.
    pub fn strings(&self) -> impl Iterator<Item = &CStr> {
        let rest = self.base.iter().flat_map(|base| &base.strings[self.strings.len()..]);
        self.strings.iter().chain(rest).map(CString::as_c_str)
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
pub struct Child {
    /// Path of the program, with a slash.
    pub path: Rc<CString>,
    /// Its arguments, from `argv[0]` on.
    pub argv: Rc<CArray>,
    /// Arguments for `/bin/sh`, tried when the program is a script without a `#!` line, as `execvp` does.
    pub shell_argv: Option<Rc<CArray>>,
    /// Its environment.
    pub envp: CArray,
    /// Its working directory; `None`: ours.
    pub wdir: Option<Rc<CString>>,
    /// Where it belongs.
    pub group: Group,
    /// Where its process group is written down before its program begins.
    pub slot: Option<(Rc<GroupTable>, usize)>,
    /// What it gets back.
    pub inherited: Inherited,
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

/// A process on its way to its program, with everything it reads and writes on that way.
struct Flight {
    child: Child,
    stdio: [RawFd; 3],
    keep: Vec<RawFd>,
    parent: libc::pid_t,
    /// Its process id.
    pid: AtomicI32,
    /// Zeroed by the kernel when it has let go of our memory (CLONE_CHILD_CLEARTID).
    under_way: AtomicI32,
    /// The [`Stage`] that failed, or 0.
    stage: AtomicI32,
    errno: AtomicI32,
    stack: Vec<MaybeUninit<u8>>,
}

impl Flight {
    fn has_landed(&self) -> bool {
        self.under_way.load(Ordering::Acquire) == 0
    }

    fn failure(&self) -> Option<SpawnError> {
        let stage = self.stage.load(Ordering::Acquire);
        let errno = Errno::from_raw(self.errno.load(Ordering::Acquire));
        (stage != 0).then(|| SpawnError { stage: Stage::from_number(stage), errno })
    }

    /// Waits until the process has let go of our memory.
    fn wait(&self) {
        while !self.has_landed() {
            let null = ptr::null::<libc::timespec>();
            // SAFETY: the futex word outlives the call; the kernel compares it with 1 before it sleeps.
            unsafe {
                libc::syscall(libc::SYS_futex, &self.under_way, libc::FUTEX_WAIT, 1, null);
            }
        }
    }
}

/// Starts processes.
///
/// A new process shares our memory until it executes its program, as with `posix_spawn`, but we do not stand
/// still for so long (`CLONE_VM` without `CLONE_VFORK`): each runs on a stack of its own and reads nothing that
/// changes meanwhile. No page tables are copied, and no start waits for the scheduler to run the one before:
/// 256 ranks start in three quarters of the time that `fork` takes, in half of it on a busy machine.
pub struct Spawner {
    /// The kernel and the processes know their addresses.
    flights: Vec<Rc<Flight>>,
}

impl Spawner {
    /// A spawner for the calling process, which must be single-threaded.
    pub fn new() -> Self {
        Spawner { flights: Vec::new() }
    }

    /// Starts a process with these standard streams, and with further descriptors that it inherits under their
    /// numbers. Whether its program could be executed is known from [`outcome`](Self::outcome) when it has ended.
    pub fn spawn(
        &mut self,
        child: Child,
        stdio: [BorrowedFd; 3],
        keep: &[BorrowedFd],
    ) -> Result<Pid, SpawnError> {
        let mut stack = self.stack();
        let top = stack.as_mut_ptr_range().end;
        let flight = Rc::new(Flight {
            child,
            stdio: stdio.map(|fd| fd.as_raw_fd()),
            keep: keep.iter().map(AsRawFd::as_raw_fd).collect(),
            parent: Pid::this().as_raw(),
            pid: AtomicI32::new(0),
            under_way: AtomicI32::new(1),
            stage: AtomicI32::new(0),
            errno: AtomicI32::new(0),
            stack,
        });
        let arg = ptr::from_ref(&*flight).cast_mut().cast();
        // SAFETY: the stack's end is inside one allocation, and aligned down to 16 bytes as the ABI wants. The
        // child runs `child_main` on it beside us, as a thread would: all it reads belongs to `flight`, which
        // is not touched until the kernel has zeroed `under_way`, but for atomics. It calls only functions of
        // libc that are system calls and nothing else. `errno` is the one thing that both may write; the system
        // calls that can be expected to fail leave it alone.
        let pid = unsafe {
            let end = top.sub(top as usize % 16);
            let flags = libc::CLONE_VM | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD;
            let (none, word) = (ptr::null_mut::<libc::c_void>(), flight.under_way.as_ptr());
            libc::clone(child_main, end.cast(), flags, arg, none, none, word)
        };
        if pid < 0 {
            return Err(SpawnError { stage: Stage::Fork, errno: Errno::last() });
        }
        flight.pid.store(pid, Ordering::Relaxed);
        claim_group(&flight.child, pid);
        self.flights.push(flight);
        Ok(Pid::from_raw(pid))
    }

    /// A stack that nobody uses: a new one, or that of a process that has reached its program.
    fn stack(&mut self) -> Vec<MaybeUninit<u8>> {
        let under_way = self.flights.iter().filter(|flight| !flight.has_landed());
        if under_way.clone().count() >= FLIGHTS_MAX {
            under_way.take(1).for_each(|flight| flight.wait());
        }
        let arrived = |flight: &Rc<Flight>| flight.has_landed() && flight.failure().is_none();
        let index = self.flights.iter().position(arrived);
        let landed = index.and_then(|index| Rc::into_inner(self.flights.swap_remove(index)));
        landed.map_or_else(|| vec![MaybeUninit::uninit(); CHILD_STACK], |flight| flight.stack)
    }

    /// Why a process that has ended never began its program; `None` if it did.
    pub fn outcome(&mut self, pid: Pid) -> Option<SpawnError> {
        let failed = |flight: &Rc<Flight>| {
            flight.pid.load(Ordering::Relaxed) == pid.as_raw() && flight.failure().is_some()
        };
        let index = self.flights.iter().position(failed)?;
        self.flights.swap_remove(index).failure()
    }
}

impl Default for Spawner {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Spawner {
    /// Nobody may free memory that a process still uses.
    fn drop(&mut self) {
        self.flights.iter().for_each(|flight| flight.wait());
    }
}

/// Parent and child both see to it that the process has its group, and that it is known: whoever comes first,
/// nobody can look too early.
fn claim_group(child: &Child, pid: libc::pid_t) {
    if child.group == Group::Own {
        // SAFETY: system call on plain numbers. It fails if the program has begun already.
        unsafe { libc::setpgid(pid, pid) };
    }
    note_group(child, pid);
}

fn note_group(child: &Child, pid: libc::pid_t) {
    if let Some((table, index)) = &child.slot {
        table.slots()[*index].store(pid, Ordering::SeqCst);
    }
}

/// The new process. It may neither allocate nor panic: it runs in its parent's memory.
extern "C" fn child_main(arg: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `spawn` passes its `Flight`, which stays as it is until this process has let go of it.
    let flight = unsafe { &*arg.cast::<Flight>() };
    let (stage, errno) = if !set_up(flight) {
        (Stage::Setup, Errno::last_raw())
    } else if let Err(errno) = enter_directory(&flight.child) {
        (Stage::Directory, errno)
    } else {
        (Stage::Execute, execute(&flight.child))
    };
    flight.errno.store(errno, Ordering::Release);
    flight.stage.store(stage as i32, Ordering::Release);
    // SAFETY: ends this process at once, without running anything of its parent's.
    unsafe { libc::_exit(127) }
}

fn set_up(flight: &Flight) -> bool {
    let child = &flight.child;
    join_group(child)
        && tie_to(flight.parent)
        && place_descriptors(flight)
        && restore(&child.inherited)
}

fn join_group(child: &Child) -> bool {
    // SAFETY: system calls on plain numbers.
    unsafe {
        note_group(child, libc::getpid());
        match child.group {
            Group::Own => libc::setpgid(0, 0) == 0,
            Group::Session => libc::setsid() >= 0,
        }
    }
}

/// Has the kernel kill this process when its parent dies, also when it has died already.
fn tie_to(parent: libc::pid_t) -> bool {
    // SAFETY: system calls on plain numbers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0 && libc::getppid() == parent }
}

fn place_descriptors(flight: &Flight) -> bool {
    let [input, output, error] = flight.stdio;
    let placed = place(input, 0) && place(output, 1) && place(error, 2);
    placed && flight.keep.iter().all(|fd| keep(*fd))
}

/// Makes `from` the standard stream `to`. Everything of the launcher's lies above 2 (the runtime opens
/// `/dev/null` on standard streams that are missing), so that no `dup2` destroys a later source, but for
/// standard streams that are passed on as they are.
fn place(from: RawFd, to: RawFd) -> bool {
    // SAFETY: system call on plain numbers.
    from == to || unsafe { libc::dup2(from, to) == to }
}

fn keep(fd: RawFd) -> bool {
    // SAFETY: a system call on a descriptor that this process has of its own.
    unsafe { libc::fcntl(fd, libc::F_SETFD, 0) == 0 }
}

/// Gives back what the launcher changed: SIGPIPE (ignored by Rust's runtime), the limit of open files, and
/// last the signal mask.
fn restore(inherited: &Inherited) -> bool {
    let (rlim_cur, rlim_max) = inherited.open_files;
    let limit = libc::rlimit { rlim_cur, rlim_max };
    // SAFETY: the pointers are to values on this stack or in our `Flight`.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL) != libc::SIG_ERR
            && libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0
            && libc::sigprocmask(libc::SIG_SETMASK, inherited.mask.as_ref(), ptr::null_mut()) == 0
    }
}

fn enter_directory(child: &Child) -> Result<(), i32> {
    let Some(wdir) = &child.wdir else { return Ok(()) };
    // SAFETY: the path is a C string.
    match unsafe { system_call(libc::SYS_chdir, [wdir.as_ptr() as usize, 0, 0]) } {
        0 => Ok(()),
        negative => Err(-negative as i32),
    }
}

/// Returns, with the error, only if the program could not be executed.
fn execute(child: &Child) -> i32 {
    // SAFETY: all arrays end in NULL and point to C strings that `CArray` owns.
    let run = |path: &CStr, argv: &CArray| unsafe {
        let arrays = [argv.pointers.as_ptr(), child.envp.pointers.as_ptr()];
        let [argv, envp] = arrays.map(|array| array as usize);
        -system_call(libc::SYS_execve, [path.as_ptr() as usize, argv, envp]) as i32
    };
    match (run(&child.path, &child.argv), &child.shell_argv) {
        (libc::ENOEXEC, Some(shell)) => run(c"/bin/sh", shell),
        (errno, _) => errno,
    }
}

/// A system call that may well fail, and returns the negative error instead of writing it to `errno`: that is
/// shared with the parent.
///
/// # Safety
/// As the system call says.
#[cfg(target_arch = "x86_64")]
unsafe fn system_call(number: libc::c_long, args: [usize; 3]) -> isize {
    let mut result = number as isize;
    // SAFETY: by this function's own condition; the registers are those of the system call convention.
    unsafe {
        std::arch::asm!("syscall", inlateout("rax") result, in("rdi") args[0], in("rsi") args[1],
            in("rdx") args[2], lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// As above, on processors that we cannot test on: parent and child may misread each other's `errno` if both fail
/// within the same few nanoseconds.
///
/// # Safety
/// As the system call says.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn system_call(number: libc::c_long, args: [usize; 3]) -> isize {
    // SAFETY: by this function's own condition.
    match unsafe { libc::syscall(number, args[0], args[1], args[2]) } {
        0.. => 0,
        _ => -(Errno::last_raw() as isize),
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
