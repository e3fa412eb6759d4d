//! Running `pmi-ssh` with a time limit, and looking at processes.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// No job of these tests takes a tenth of this.
const LIMIT: Duration = Duration::from_secs(60);

/// The program under test. Its server is built beside it, for which `cargo test -p pmi-ssh` does not care.
pub fn launcher() -> Command {
    static BUILT: OnceLock<()> = OnceLock::new();
    let program = Path::new(env!("CARGO_BIN_EXE_pmi-ssh"));
    BUILT.get_or_init(|| build_server(program));
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

fn build_server(program: &Path) {
    let profile = program.parent().unwrap();
    let target = profile.parent().unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "-p", "pmi-kvs-server", "--target-dir"]).arg(target);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.status().unwrap().success(), "pmi-kvs-server cannot be built");
}

/// A job in the background; killed when dropped.
pub struct Job {
    child: Child,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
}

impl Job {
    /// Starts `pmi-ssh` with these arguments.
    pub fn start(args: &[&str]) -> Job {
        Job::of(launcher().args(args))
    }

    /// Starts a prepared command, with its output collected.
    pub fn of(command: &mut Command) -> Job {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = collect(child.stdout.take().unwrap());
        let stderr = collect(child.stderr.take().unwrap());
        Job { child, stdout: Some(stdout), stderr: Some(stderr) }
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Waits for the end of `pmi-ssh`, though somebody may still hold its output open.
    pub fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child)
    }

    /// Waits for the end.
    pub fn finish(mut self) -> Done {
        let status = wait(&mut self.child);
        let text = |thread: &mut Option<JoinHandle<String>>| thread.take().unwrap().join().unwrap();
        Done { status, stdout: text(&mut self.stdout), stderr: text(&mut self.stderr) }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // Nothing to do when it has ended; only after a failed test has it not.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut stream: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    })
}

/// Waits for a process, and kills it when that takes too long.
pub fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("the job did not end within {LIMIT:?}");
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// What came of a job.
#[derive(Debug)]
pub struct Done {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The lines of its standard output, sorted.
    pub fn sorted(&self) -> Vec<&str> {
        let mut lines: Vec<_> = self.stdout.lines().collect();
        lines.sort_unstable();
        lines
    }

    /// Fails unless it ended with this code, and said all this on standard error.
    #[track_caller]
    pub fn expect(&self, code: i32, said: &[&str]) {
        assert_eq!(self.code(), Some(code), "{self:?}");
        for text in said {
            assert!(self.stderr.contains(text), "'{text}' is not in {self:?}");
        }
    }
}

/// Runs `pmi-ssh` to its end.
pub fn run(args: &[&str]) -> Done {
    Job::start(args).finish()
}

/// Runs something else to its end.
pub fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

/// Waits until `check` has something to say.
#[track_caller]
pub fn wait_for<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// State letter and parent of a process, as `/proc/<pid>/stat` has them; `None` if there is none.
pub fn state(pid: i32) -> Option<(char, i32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Does a process run (and is no zombie)?
pub fn is_alive(pid: i32) -> bool {
    state(pid).is_some_and(|(letter, _)| letter != 'Z')
}

/// The children of a process with this name.
pub fn children(parent: i32, name: &str) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let named = |pid: &i32| {
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        comm.trim_end() == name
    };
    pids.filter(|pid| state(*pid).is_some_and(|(_, ppid)| ppid == parent)).filter(named).collect()
}

/// A file in a directory of its own, that processes of the job write to.
pub struct Notes {
    directory: tempfile::TempDir,
}

impl Notes {
    pub fn new() -> Notes {
        Notes { directory: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn directory(&self) -> &str {
        self.directory.path().to_str().unwrap()
    }

    /// Waits until `count` files have been written, each holding a number and a newline.
    #[track_caller]
    pub fn numbers(&self, count: usize) -> Vec<i32> {
        let read = || {
            let entries = std::fs::read_dir(self.directory.path()).unwrap().flatten();
            let texts = entries.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
            let whole = texts.filter(|text| text.ends_with('\n'));
            let numbers: Vec<i32> = whole.filter_map(|text| text.trim().parse().ok()).collect();
            (numbers.len() == count).then_some(numbers)
        };
        wait_for("the ranks to write their files", read)
    }
}
