//! A real Slurm that the tests bring up and take down: `scripts/testbeds/slurm`, held by a pipe.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::{Job, source_tree};

/// The configuration file, as seen from inside of a host.
const CONFIGURATION: &str = "/run/slurm/slurm.conf";

/// A Slurm cluster. It ends with this value, or with this process at the latest: the kernel then closes the pipe
/// that holds it, and nothing of it is in a file system that would stay.
pub struct Slurm {
    testbed: Child,
    hosts: Vec<Host>,
}

/// A host of the cluster: namespaces of its own.
pub struct Host {
    /// Host name, as Slurm knows it.
    pub name: String,
    /// Process id of its init, seen from outside.
    pub init: i32,
}

impl Slurm {
    /// Brings a cluster of one host up, which takes less than a second. Needs root and Debian's slurm-wlm.
    pub fn start() -> Slurm {
        let mut testbed = Command::new(source_tree().join("scripts/testbeds/slurm"))
            .arg("--hold")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the testbed's script can be run");
        let lines = lines_until_ready(&mut testbed);
        Slurm { hosts: lines.iter().filter_map(|line| host(line)).collect(), testbed }
    }

    /// The cluster that all tests of this process share.
    pub fn shared() -> &'static Slurm {
        static SHARED: OnceLock<Slurm> = OnceLock::new();
        SHARED.get_or_init(Slurm::start)
    }

    /// The hosts; srun and the controller are on the first.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// A program on the first host, where a user would be logged in.
    pub fn login(&self, program: &Path) -> Job {
        let enter = ["--mount", "--uts", "--ipc", "--net", "--pid"];
        let init = self.hosts[0].init.to_string();
        let job = Job::new(Path::new("nsenter")).args(["--target", &init]).args(enter);
        job.arg("--").arg(program).env("SLURM_CONF", CONFIGURATION)
    }

    /// `srun` with these options; append the program and its arguments.
    pub fn srun(&self, options: &[&str]) -> Job {
        let job = self.login(Path::new("srun"));
        let directory = job.directory().to_path_buf();
        job.arg("--chdir").arg(directory).args(options)
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        drop(self.testbed.stdin.take());
        let _ = self.testbed.wait();
    }
}

/// What the testbed says before it is ready; panics with its complaint if it does not get there.
fn lines_until_ready(testbed: &mut Child) -> Vec<String> {
    let stdout = BufReader::new(testbed.stdout.take().expect("stdout is a pipe"));
    let mut lines = Vec::new();
    for line in stdout.lines().map_while(Result::ok) {
        if line == "ready" {
            return lines;
        }
        lines.push(line);
    }
    let mut complaint = String::new();
    let mut stderr = testbed.stderr.take().expect("stderr is a pipe");
    let _ = stderr.read_to_string(&mut complaint);
    panic!("there is no Slurm to test with: {complaint}");
}

/// `host NAME PID`.
fn host(line: &str) -> Option<Host> {
    let mut words = line.split(' ');
    let (Some("host"), Some(name), Some(init)) = (words.next(), words.next(), words.next()) else {
        return None;
    };
    Some(Host { name: name.to_string(), init: init.parse().ok()? })
}
