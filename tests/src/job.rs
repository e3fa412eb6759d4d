//! A job under `pmi-ssh`, or any other program, with a time limit, a directory of its own and a check of what it
//! has left behind.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::leftovers::{
    MARK, assert_nothing_left, kill_marked, marked_processes, process_name, sockets_of,
};
use crate::{binary, until};

/// A command to run, with a directory for its files.
pub struct Job {
    command: Command,
    directory: TempDir,
    mark: String,
}

impl Job {
    /// A job of `ranks` ranks under `pmi-ssh`.
    pub fn of(ranks: u32) -> Job {
        Job::new(&binary("pmi-ssh")).args(["-n", &ranks.to_string()])
    }

    /// Any program.
    pub fn new(program: &Path) -> Job {
        let mark = unique_mark();
        let mut command = Command::new(program);
        command.env(MARK, &mark).stdin(Stdio::null());
        remove_foreign_settings(&mut command);
        Job { command, directory: TempDir::new().expect("temporary directories can be made"), mark }
    }

    /// Appends arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Job {
        self.command.args(arguments);
        self
    }

    /// Appends one argument.
    pub fn arg(self, argument: impl AsRef<OsStr>) -> Job {
        self.args([argument])
    }

    /// Sets an environment variable of the launcher, which its ranks inherit.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Job {
        self.command.env(name, value);
        self
    }

    /// The job's own directory, removed at its end.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Appends the job's own directory as an argument.
    pub fn arg_directory(self) -> Job {
        let directory = self.directory().to_path_buf();
        self.arg(directory)
    }

    /// Starts it.
    pub fn start(mut self) -> Running {
        let output = |name| {
            File::create(self.directory.path().join(name)).expect("temporary files can be made")
        };
        self.command.stdout(output("stdout")).stderr(output("stderr"));
        let child = self
            .command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {:?}: {error}", self.command));
        Running { child, directory: self.directory, mark: self.mark }
    }

    /// Runs it to its end and checks that nothing is left.
    pub fn run(self) -> Outcome {
        self.start().finish()
    }
}

/// The beginning of a command that runs the rest of it in a pid namespace of its own: such ranks cannot share memory, so
/// each is a node of its own.
pub fn apart() -> Vec<&'static str> {
    let root = nix::unistd::geteuid().is_root();
    let user: &[&str] = if root { &[] } else { &["--user", "--map-root-user"] };
    [&["unshare"], user, &["--pid", "--fork"]].concat()
}

/// A mark that no other process on this machine carries.
fn unique_mark() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now =
        SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_nanos();
    format!("{}-{}-{now}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The tests may themselves run under a scheduler or with a library path set by cargo.
fn remove_foreign_settings(command: &mut Command) {
    let foreign = |name: &str| {
        ["PMI_", "PMIX_", "SLURM_", "I_MPI_", "OMPI_", "FLUX_"].iter().any(|p| name.starts_with(p))
    };
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| foreign(name) || name == "LD_LIBRARY_PATH") {
            command.env_remove(name);
        }
    }
}

/// A job under way. Dropped early, all its processes are killed.
pub struct Running {
    child: Child,
    directory: TempDir,
    mark: String,
}

impl Running {
    /// Process id of the launcher.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Path of a file in the job's directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Waits for the process id that a rank of `trouble` writes.
    fn rank_pid(&self, rank: u32) -> i32 {
        let path = self.file(&format!("rank-{rank}"));
        until(&format!("rank {rank} to join the job"), || {
            fs::read_to_string(&path).ok()?.parse().ok()
        })
    }

    /// Waits until `ranks` ranks have written their process ids; returns them in the order of ranks.
    pub fn rank_pids(&self, ranks: u32) -> Vec<i32> {
        (0..ranks).map(|rank| self.rank_pid(rank)).collect()
    }

    /// Waits for a process of the job with this name.
    pub fn process_named(&self, name: &str) -> i32 {
        let find =
            || marked_processes(&self.mark).into_iter().find(|pid| process_name(*pid) == name);
        until(&format!("a process called {name}"), find)
    }

    /// Sends a signal to a process of this job.
    pub fn signal(&self, pid: i32, signal: Signal) {
        kill(Pid::from_raw(pid), signal)
            .unwrap_or_else(|error| panic!("cannot signal process {pid}: {error}"));
    }

    /// What the job has written to stderr so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.file("stderr")).unwrap_or_default()).into_owned()
    }

    fn stdout(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.file("stdout")).unwrap_or_default()).into_owned()
    }

    /// Waits for the end and checks that nothing is left.
    pub fn finish(mut self) -> Outcome {
        let sockets = sockets_of(&self.mark);
        let status =
            until("the job to end", || self.child.try_wait().expect("a child can be waited for"));
        let outcome = Outcome { status, stdout: self.stdout(), stderr: self.stderr() };
        assert_nothing_left(&self.mark, &sockets);
        outcome
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- stdout of the job\n{}\n--- stderr of the job\n{}",
                self.stdout(),
                self.stderr()
            );
        }
        kill_marked(&self.mark);
        let _ = self.child.wait();
    }
}

/// How a job ended.
#[derive(Debug)]
pub struct Outcome {
    status: ExitStatus,
    /// All that it wrote to stdout.
    pub stdout: String,
    /// All that it wrote to stderr.
    pub stderr: String,
}

impl Outcome {
    /// The exit code, or 128 + the signal that ended it.
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| 128 + self.status.signal().expect("no code means a signal"))
    }

    /// Panics unless it ended with code 0.
    pub fn assert_success(&self) -> &Outcome {
        assert!(
            self.status.success(),
            "the job failed with {}\n{}\n{}",
            self.code(),
            self.stdout,
            self.stderr
        );
        self
    }

    /// Panics unless it ended with this code.
    pub fn assert_code(&self, code: i32) -> &Outcome {
        assert_eq!(self.code(), code, "exit code\n{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Panics if it ended with code 0.
    pub fn assert_failure(&self) -> &Outcome {
        assert!(!self.status.success(), "the job did not fail\n{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Panics unless one line of stderr has all of these texts.
    pub fn assert_says(&self, texts: &[&str]) -> &Outcome {
        let says = |line: &str| texts.iter().all(|text| line.contains(text));
        assert!(self.stderr.lines().any(says), "no line of stderr has {texts:?}\n{}", self.stderr);
        self
    }
}
