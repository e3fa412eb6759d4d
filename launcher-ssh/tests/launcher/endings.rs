//! How a job ends: exit codes and messages.

use std::time::{Duration, Instant};

use crate::harness::run;

#[test]
fn a_job_that_succeeds_says_nothing() {
    let done = run(&["-n", "8", "true"]);
    done.expect(0, &[]);
    assert_eq!((&*done.stdout, &*done.stderr), ("", ""));
}

#[test]
fn the_first_failing_rank_gives_the_exit_code() {
    let done = run(&["-n", "4", "sh", "-c", "if [ $PMI_RANK = 2 ]; then exit 3; fi; sleep 100"]);
    done.expect(3, &["pmi-ssh: rank 2 on host ", " (sh) exited with code 3; ending the job\n"]);
    assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
}

#[test]
fn a_killed_rank_gives_128_and_the_signal() {
    let done = run(&["-n", "3", "sh", "-c", "[ $PMI_RANK = 1 ] && kill -SEGV $$; sleep 100"]);
    done.expect(139, &["pmi-ssh: rank 1 on host ", " (sh) was killed by signal 11 (SIGSEGV)"]);
    let done = run(&["sh", "-c", "kill -40 $$"]);
    done.expect(168, &["rank 0 on host ", "was killed by signal 40;"]);
}

#[test]
fn a_signal_explains_the_exit_of_others() {
    let victim = "[ $PMI_RANK = 1 ] && sleep 0.03 && kill -KILL $$; sleep 0.01; exit 1";
    run(&["-n", "2", "sh", "-c", victim]).expect(137, &["rank 1 on host ", "(SIGKILL)"]);
}

#[test]
fn ranks_that_ignore_sigterm_are_killed() {
    let begin = Instant::now();
    let stubborn = "trap '' TERM; [ $PMI_RANK = 0 ] && exit 9; while :; do sleep 1; done";
    run(&["-n", "2", "sh", "-c", stubborn]).expect(9, &["exited with code 9"]);
    assert!(begin.elapsed() < Duration::from_secs(30));
}

#[test]
fn nothing_of_a_stopped_rank_is_left() {
    let stopped = "[ $PMI_RANK = 0 ] && sleep 0.2 && exit 4; kill -STOP $$; exit 0";
    run(&["-n", "2", "sh", "-c", stopped]).expect(4, &["rank 0 on host"]);
}

#[test]
fn many_ranks_start_and_end() {
    let done = run(&["-n", "200", "sh", "-c", "echo $PMI_RANK"]);
    assert_eq!(done.code(), Some(0));
    let mut ranks: Vec<u32> = done.stdout.lines().map(|line| line.parse().unwrap()).collect();
    ranks.sort_unstable();
    assert_eq!(ranks, (0..200).collect::<Vec<_>>());
}

#[test]
fn too_many_ranks_for_the_limit_of_open_files_are_refused() {
    let program = env!("CARGO_BIN_EXE_pmi-ssh");
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", &format!("ulimit -n 100; exec '{program}' -n 50 true")]);
    let done = crate::harness::Job::of(&mut limited).finish();
    done.expect(1, &["50 ranks need 164 open files, but the limit is 100; raise it"]);
}
