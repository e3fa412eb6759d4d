//! What a job may leave behind: processes, shared-memory files, abstract sockets.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::until;

/// The environment variable that marks every process of a job, the launcher, the server and the ranks alike.
pub const MARK: &str = "PMITEST_MARK";

/// Process ids whose environment carries the mark. Zombies have none, and are nobody's leftovers.
pub fn marked_processes(mark: &str) -> Vec<i32> {
    let wanted = format!("{MARK}={mark}").into_bytes();
    let is_marked = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted)
    };
    process_ids().filter(is_marked).collect()
}

/// Every process id of this machine.
pub fn process_ids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Name of a process, as the kernel has it.
pub fn process_name(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_string()
}

/// Ends every process of a job that a failed test has left.
pub fn kill_marked(mark: &str) {
    for pid in marked_processes(mark) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// Waits until no process of the job is left, then looks for shared-memory files and for `sockets`, which the
/// job held.
pub fn assert_nothing_left(mark: &str, sockets: &[String]) {
    until("the job's last process to end", || marked_processes(mark).is_empty().then_some(()));
    let open = abstract_sockets();
    let left = open.iter().filter(|(_, name)| sockets.contains(name)).map(|(_, name)| name.clone());
    let left: Vec<String> = shared_memory_files().chain(left).collect();
    assert!(left.is_empty(), "the job has left {left:?}");
}

/// Shared-memory files that anything of this project could have made: there are none at any time.
fn shared_memory_files() -> impl Iterator<Item = String> {
    let entries = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.contains("pmi"))
}

/// Names of the abstract sockets that a job's processes hold now.
pub fn sockets_of(mark: &str) -> Vec<String> {
    let held: Vec<String> = marked_processes(mark).into_iter().flat_map(open_files).collect();
    let open = abstract_sockets().into_iter();
    let ours = open.filter(|(inode, _)| held.contains(&format!("socket:[{inode}]")));
    ours.map(|(_, name)| name).collect()
}

/// What the descriptors of a process lead to.
fn open_files(pid: i32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let links = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.map(|link| link.display().to_string()).collect()
}

/// Inode and name of every abstract socket.
fn abstract_sockets() -> Vec<(String, String)> {
    let table = fs::read_to_string("/proc/net/unix").expect("/proc is mounted");
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let named = rows.filter(|row| row.get(7).is_some_and(|name| name.starts_with('@')));
    named.map(|row| (row[6].to_string(), row[7].to_string())).collect()
}
