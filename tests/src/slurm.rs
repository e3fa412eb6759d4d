//! A real Slurm that the tests bring up and take down: `scripts/testbed-slurm hold`, held by a pipe.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::leftovers::process_ids;
use crate::{Job, source_tree, until};

/// Hosts of the testbed's larger cluster.
const HOSTS: u32 = 4;

/// A user of the testbed: exists on all of its hosts and nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// Name, which is also that of the group.
    pub name: &'static str,
    /// Number of user and group. `scripts/testbeds/slurm/common.sh` gives them.
    pub uid: u32,
    home: &'static str,
}

/// Whose jobs are meant where no user is named.
pub const ALICE: User = User { name: "alice", uid: 60101, home: "/run/testbed/home/alice" };
/// Another user.
pub const BOB: User = User { name: "bob", uid: 60102, home: "/run/testbed/home/bob" };
/// Another user.
pub const CAROL: User = User { name: "carol", uid: 60103, home: "/run/testbed/home/carol" };
/// Another user.
pub const DAVE: User = User { name: "dave", uid: 60104, home: "/run/testbed/home/dave" };

/// A Slurm cluster. It ends with this value, or with this process at the latest: the kernel then closes the pipe
/// that holds it, and nothing of it is in a file system that would stay.
pub struct Slurm {
    testbed: Child,
    switch: i32,
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
    /// Brings a cluster of one host up, which takes about a second. Needs root and Debian's slurm-wlm.
    pub fn start() -> Slurm {
        Slurm::of(1)
    }

    /// Brings a cluster up of `hosts` hosts that compute; with several there is one more, `login`.
    pub fn of(hosts: u32) -> Slurm {
        Slurm::with_options(&["--hosts", &hosts.to_string()])
    }

    /// The same, with options of `scripts/testbed-slurm`, such as `--plugstack`.
    pub fn with_options(options: &[&str]) -> Slurm {
        let mut testbed = Command::new(script())
            .args(options)
            .arg("hold")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the testbed's script can be run");
        let lines = lines_until_ready(&mut testbed);
        let switch = lines.iter().find_map(|line| line.strip_prefix("switch ")?.parse().ok());
        let hosts = lines.iter().filter_map(|line| host(line)).collect();
        Slurm { hosts, switch: switch.expect("the testbed names its switch"), testbed }
    }

    /// The cluster of one host that all tests of this process share.
    pub fn shared() -> &'static Slurm {
        static SHARED: OnceLock<Slurm> = OnceLock::new();
        SHARED.get_or_init(Slurm::start)
    }

    /// The cluster of four hosts that all tests of this process share: none of them may crash a host.
    pub fn shared_of_four() -> &'static Slurm {
        static SHARED: OnceLock<Slurm> = OnceLock::new();
        SHARED.get_or_init(|| Slurm::of(HOSTS))
    }

    /// The hosts. Users log in on the first, where the controller is too; if there are several, it does not compute.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// A program on the login host, as [`ALICE`].
    pub fn login(&self, program: &Path) -> Job {
        self.login_as(ALICE, program)
    }

    /// A program on the login host, as this user, in the job's own directory, which belongs to the user.
    pub fn login_as(&self, user: User, program: &Path) -> Job {
        self.on(&self.hosts[0].name, user, program)
    }

    /// A program on any host, as this user, in the job's own directory.
    pub fn on(&self, host: &str, user: User, program: &Path) -> Job {
        let init = self.init_of(host).to_string();
        let enter = ["--mount", "--uts", "--ipc", "--net", "--pid"];
        let job = Job::new(Path::new("nsenter")).args(["--target", &init]).args(enter);
        let directory = job.directory().to_path_buf();
        chown(&directory, Some(user.uid), Some(user.uid)).expect("the tests run as root");
        let job = job.args(["--", "setpriv", "--reuid", user.name, "--regid", user.name]);
        let job = job.args(["--init-groups", "env", "--chdir"]).arg(directory).arg(program);
        let job = job.env("HOME", user.home).env("SHELL", "/bin/bash");
        job.env("USER", user.name).env("LOGNAME", user.name)
    }

    /// `srun` with these options, as [`ALICE`]; append the program and its arguments.
    pub fn srun(&self, options: &[&str]) -> Job {
        self.srun_as(ALICE, options)
    }

    /// `srun` as this user.
    pub fn srun_as(&self, user: User, options: &[&str]) -> Job {
        self.login_as(user, Path::new("srun")).args(options)
    }

    /// Pulls the cable of a host, then ends all of its processes at once: what its peers see of a power failure.
    pub fn crash(&self, host: &str) {
        self.control(&["crash", host]);
    }

    /// A command of root on a host, to its end: for settings of its network.
    pub fn as_root(&self, host: &str, command: &[&str]) {
        self.control(&[&["as", "root", host], command].concat());
    }

    /// From now on loses so many percent of the UDP datagrams between hosts over IPv4; 0 ends that.
    pub fn loss(&self, percent: u32) {
        self.control(&["loss", &percent.to_string()]);
    }

    /// Waits until no process of this user is left on any host, then looks for shared-memory files of theirs. Abstract
    /// sockets live no longer than the processes that hold them. For users with a job under way it waits in vain.
    pub fn assert_nothing_left(&self, user: User) {
        let processes = || self.processes_of(user).is_empty().then_some(());
        until(&format!("the last process of {} to end", user.name), processes);
        let left: Vec<PathBuf> =
            self.hosts.iter().flat_map(|host| memory_files(host, user)).collect();
        assert!(left.is_empty(), "{} has left {left:?}", user.name);
    }

    /// Process ids, as seen from outside, of what the user runs on all hosts.
    pub fn processes_of(&self, user: User) -> Vec<i32> {
        let networks: Vec<PathBuf> =
            self.hosts.iter().filter_map(|host| network(host.init)).collect();
        let theirs = |pid: &i32| {
            owner(*pid) == Some(user.uid)
                && network(*pid).is_some_and(|network| networks.contains(&network))
        };
        process_ids().filter(theirs).collect()
    }

    /// Process ids, as seen from outside, of what the user runs on this host.
    pub fn processes_on(&self, host: &str, user: User) -> Vec<i32> {
        let here = network(self.init_of(host));
        self.processes_of(user).into_iter().filter(|pid| network(*pid) == here).collect()
    }

    fn init_of(&self, name: &str) -> i32 {
        let host = self.hosts.iter().find(|host| host.name == name);
        host.unwrap_or_else(|| panic!("the testbed has no host {name}")).init
    }

    fn control(&self, words: &[&str]) {
        let switch = self.switch.to_string();
        let output = Command::new(script()).args(["--switch", &switch]).args(words).output();
        let output = output.expect("the testbed's script can be run");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "testbed-slurm {words:?}: {complaint}");
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        drop(self.testbed.stdin.take());
        let _ = self.testbed.wait();
    }
}

fn script() -> PathBuf {
    source_tree().join("scripts/testbed-slurm")
}

/// The user whose rights a process has. The owner of its files in `/proc` is root if it has changed its user.
fn owner(pid: i32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The kernel's name of the network that a process is in.
fn network(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/net")).ok()
}

/// The shared-memory files of a user on a host.
fn memory_files(host: &Host, user: User) -> Vec<PathBuf> {
    let directory = format!("/proc/{}/root/dev/shm", host.init);
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let theirs = entries.filter(|entry| entry.metadata().is_ok_and(|data| data.uid() == user.uid));
    theirs.map(|entry| entry.path()).collect()
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
