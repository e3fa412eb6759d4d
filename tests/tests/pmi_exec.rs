//! `pmi-exec` becomes its program: process id, exit status, signals and children are the program's own, and the
//! helper beside it leaves nothing behind.

use nix::sys::signal::Signal;
use pmi_tests::{Job, Starter, binary, until};

fn pmi_exec() -> Job {
    Job::new(&binary("pmi-exec"))
}

/// In a job of one rank with a server.
fn in_a_job(script: &str) -> Job {
    Starter::ForkLoop.job(1).args(["bash", "-c", script])
}

#[test]
fn the_program_keeps_the_process_and_its_exit_status() {
    // The loop starts pmi-exec in the background and knows its process id.
    let outcome = pmi_exec().args(["bash", "-c", "echo $$ $PPID; exit 42"]).start();
    let (pid, me) = (outcome.pid(), std::process::id());
    let outcome = outcome.finish();
    outcome.assert_code(42);
    assert_eq!(outcome.stdout.trim(), format!("{pid} {me}"));
    in_a_job("exit 43").run().assert_code(43);
}

#[test]
fn the_program_has_no_child_that_it_has_not_started_and_no_stray_descriptor() {
    let script = "cat /proc/$$/task/$$/children; echo; cd /proc/$$/fd; \
                  for fd in *; do [ $fd = $PMI_FD ] || readlink $fd; done; exit 0";
    let outcome = in_a_job(script).run();
    outcome.assert_success();
    // One child: cat itself.
    let children = outcome.stdout.lines().next().unwrap_or("").split_whitespace().count();
    assert_eq!(children, 1, "{}", outcome.stdout);
    // Files and pipes may come from whoever runs the test; sockets and process descriptors only from us.
    let ours = ["socket:", "anon_inode:"];
    assert!(!ours.iter().any(|kind| outcome.stdout.contains(kind)), "{}", outcome.stdout);
}

#[test]
fn signals_reach_the_program_and_the_helper_goes_with_it() {
    let job = Starter::ForkLoop
        .job(1)
        .args([
            "bash",
            "-c",
            "trap 'exit 7' TERM; printf %s $$ >$0/rank-0; while :; do read -t 1 <> <(:); done",
        ])
        .arg_directory()
        .start();
    let pid = job.rank_pids(1)[0];
    job.process_named("pmi-bridge");
    job.signal(pid, Signal::SIGTERM);
    job.finish().assert_code(7);
}

#[test]
fn the_helper_goes_with_a_program_that_is_killed() {
    let job = Starter::ForkLoop
        .job(1)
        .args(["bash", "-c", "printf %s $$ >$0/rank-0; exec sleep 60"])
        .arg_directory()
        .start();
    let pid = job.rank_pids(1)[0];
    job.signal(pid, Signal::SIGKILL);
    job.finish().assert_code(128 + 9);
}

#[test]
fn variables_of_other_servers_are_gone_and_ours_are_there() {
    let job = in_a_job("env | grep ^PMI | sort").env("PMIX_RANK", "3").env("PMI_JOBID", "7.0");
    let outcome = job.env("PMIX_NAMESPACE", "x").run();
    outcome.assert_success();
    let names: Vec<_> =
        outcome.stdout.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    assert!(
        !names.iter().any(|name| name.starts_with("PMIX_") || *name == "PMI_JOBID"),
        "{names:?}"
    );
    for name in ["PMI_FD", "PMI_RANK", "PMI_SIZE", "PMI_LOCAL_RANK", "PMI_KVS_PLACE"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
}

#[test]
fn a_rank_of_several_without_any_server_is_an_error() {
    let job = pmi_exec().env("PMI_RANK", "0").env("PMI_SIZE", "2").arg("true");
    job.run().assert_code(1).assert_says(&["rank 0 of 2", "pmi-kvs-server"]);
}

#[test]
fn a_program_outside_any_job_runs_as_it_is() {
    let outcome = pmi_exec().args(["bash", "-c", "echo ${PMI_FD-none}"]).run();
    outcome.assert_success();
    assert_eq!(outcome.stdout, "none\n");
}

#[test]
fn a_program_that_cannot_be_run_gives_the_exit_code_of_a_shell() {
    pmi_exec()
        .arg("no-such-program")
        .run()
        .assert_code(127)
        .assert_says(&["no-such-program", "PATH"]);
    pmi_exec().arg("/etc/passwd").run().assert_code(126).assert_says(&["/etc/passwd"]);
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let job = pmi_exec()
        .env("PMI_RANK", "0")
        .env("PMI_SIZE", "2")
        .env("PMI_KVS_SERVER", "no-such-host.invalid:5")
        .env("PMI_KVS_JOB", "j")
        .env("PMI_KVS_SECRET", "0".repeat(64))
        .arg("true");
    job.run().assert_code(1).assert_says(&["PMI_KVS_SERVER"]);
}

#[test]
fn a_starter_may_ignore_its_children() {
    let script = format!("trap '' CHLD; exec {} echo ok", binary("pmi-exec").display());
    let job = Job::new("bash".as_ref()).args(["-c", &script]);
    let job = job.env("PMI_RANK", "0").env("PMI_SIZE", "1").env("PMI_KVS_SERVER", "127.0.0.1:9");
    let job = job.env("PMI_KVS_JOB", "j").env("PMI_KVS_SECRET", "0".repeat(64));
    assert_eq!(job.run().assert_success().stdout, "ok\n");
    let script = format!("trap '' CHLD; exec {} -n 2 echo ok", binary("pmi-ssh").display());
    let outcome = Job::new("bash".as_ref()).args(["-c", &script]).run();
    assert_eq!(outcome.assert_success().stdout, "ok\nok\n");
}

#[test]
fn the_ranks_of_a_dead_peer_are_ended() {
    let script = format!(
        ". {}/tests/programs/wire.sh; join; printf %s $$ >$0/rank-$PMI_RANK; exec sleep 60",
        pmi_tests::source_tree().display()
    );
    let job = Starter::ForkLoop.job(2).args(["bash", "-c", &script]).arg_directory().start();
    let pids = job.rank_pids(2);
    job.signal(pids[1], Signal::SIGKILL);
    until("the other rank to be ended", || {
        (!std::path::Path::new(&format!("/proc/{}/exe", pids[0])).exists()).then_some(())
    });
    job.finish().assert_code(128 + 15).assert_says(&["rank 0", "rank 1 died"]);
}
