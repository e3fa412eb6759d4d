//! Nothing is left, whatever is killed.

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::harness::{Job, Notes, children, is_alive, run, wait_for};

/// Each rank is a shell with a child in the background and one in the foreground; all three note themselves.
const FAMILY: &str = "echo $$ > $0/$PMI_RANK.shell
    sh -c 'echo $$ > $0/$PMI_RANK.back; exec sleep 1000' $0 &
    sh -c 'echo $$ > $0/$PMI_RANK.front; exec sleep 1000' $0; exit 0";

fn start_family(notes: &Notes) -> (Job, Vec<i32>) {
    let job = Job::start(&["-n", "3", "sh", "-c", FAMILY, notes.directory()]);
    let family = notes.numbers(9);
    (job, family)
}

fn wait_until_gone(pids: &[i32]) {
    wait_for("all processes to end", || (!pids.iter().any(|pid| is_alive(*pid))).then_some(()));
}

#[test]
fn nothing_is_left_of_a_launcher_that_is_killed() {
    let notes = Notes::new();
    let (job, mut family) = start_family(&notes);
    let helpers = ["pmi-kvs-server", "pmi-guardian"];
    let helpers = helpers.into_iter().flat_map(|name| children(job.pid(), name));
    family.extend(helpers);
    assert_eq!(family.len(), 11);
    job.signal(Signal::SIGKILL);
    wait_until_gone(&family);
    assert_eq!(job.finish().code(), None);
}

#[test]
fn nothing_is_left_of_a_launcher_whose_whole_group_is_killed() {
    let notes = Notes::new();
    let mut command = crate::harness::launcher();
    command.args(["-n", "3", "sh", "-c", FAMILY, notes.directory()]);
    let job = Job::of(std::os::unix::process::CommandExt::process_group(&mut command, 0));
    let family = notes.numbers(9);
    killpg(Pid::from_raw(job.pid()), Signal::SIGKILL).unwrap();
    wait_until_gone(&family);
    assert_eq!(job.finish().code(), None);
}

#[test]
fn a_guardian_that_dies_is_replaced() {
    let notes = Notes::new();
    let (job, family) = start_family(&notes);
    let first = children(job.pid(), "pmi-guardian")[0];
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    wait_for("another guardian", || {
        let now = children(job.pid(), "pmi-guardian");
        (now.len() == 1 && now[0] != first).then_some(())
    });
    job.signal(Signal::SIGKILL);
    wait_until_gone(&family);
    assert_eq!(job.finish().code(), None);
}

#[test]
fn what_ranks_leave_behind_ends_with_the_job() {
    let notes = Notes::new();
    let leaving =
        "sh -c 'echo $$ > $0; exec sleep 1000' $0/$PMI_RANK & while [ ! -s $0/$PMI_RANK ]; do
        sleep 0.01; done";
    let done = run(&["-n", "3", "sh", "-c", leaving, notes.directory()]);
    done.expect(0, &[]);
    wait_until_gone(&notes.numbers(3));
}

#[test]
fn the_guardian_holds_nothing_of_the_job() {
    let notes = Notes::new();
    let (job, _family) = start_family(&notes);
    let guardian = children(job.pid(), "pmi-guardian")[0];
    let entries = std::fs::read_dir(format!("/proc/{guardian}/fd")).unwrap().flatten();
    let links: Vec<_> = entries.map(|entry| std::fs::read_link(entry.path()).unwrap()).collect();
    let null = links.iter().filter(|link| link.to_str() == Some("/dev/null")).count();
    assert_eq!((links.len(), null), (4, 3), "{links:?}");
    job.signal(Signal::SIGTERM);
    assert_eq!(job.finish().code(), Some(143));
}
