//! Plain srun with nothing of ours but the libraries: the step starts its server itself, and agrees on a key through MUNGE.

use std::fs;
use std::path::{Path, PathBuf};

use pmi_tests::artifacts::conformance_program;
use pmi_tests::slurm::{ALICE, User};
use pmi_tests::{Job, Slurm, binary, c_program};

/// `srun` with these options, and nothing else, on the cluster of four hosts.
fn srun(options: &[&str]) -> Job {
    Slurm::shared_of_four().srun(&["--mpi=none"]).args(options)
}

fn libpmi(name: &str) -> PathBuf {
    conformance_program(name, "libpmi.so.0")
}

fn libpmi2(name: &str) -> PathBuf {
    conformance_program(&format!("pmi2/{name}"), "libpmi2.so.0")
}

#[test]
fn node_attributes_and_split_barriers() {
    let options = ["--nodes=4", "--ntasks=8", "--ntasks-per-node=2"];
    srun(&options).arg(libpmi2("attributes")).run().assert_each_says(8, ": attributes shared");
    srun(&options).arg(libpmi("overlap")).run().assert_each_says(8, ": overlapped");
}

#[test]
fn a_layout_by_hand_in_which_rank_0_is_not_on_the_first_node() {
    let job = srun(&["--distribution=arbitrary", "--ntasks=3"]);
    let hosts = job.directory().join("hosts");
    fs::write(&hosts, "node2\nnode0\nnode2\n").expect("the job's directory is writable");
    let job = job.env("SLURM_HOSTFILE", &hosts).arg(libpmi("exchange"));
    job.run().assert_each_says(3, ": exchanged");
}

#[test]
fn a_heterogeneous_step_is_one_job() {
    let (program, options) = (libpmi("exchange"), ["--nodes=1", "--ntasks=2"]);
    let job = srun(&options).arg(&program).args([":", "--nodes=2", "--ntasks=3"]).arg(&program);
    job.run().assert_each_says(5, ": exchanged");
}

#[test]
fn several_programs_and_no_environment() {
    let job = srun(&["--nodes=2", "--ntasks=4", "--export=NONE", "--multi-prog"]);
    let (file, program) = (job.directory().join("programs"), libpmi("exchange"));
    let lines = format!("0 {0}\n1-3 {0}\n", program.display());
    fs::write(&file, lines).expect("the job's directory is writable");
    job.arg(&file).run().assert_each_says(4, ": exchanged");
}

#[test]
fn steps_side_by_side_in_one_allocation() {
    let job = Slurm::shared_of_four().login(Path::new("salloc")).args(["--quiet", "-N2", "-n4"]);
    let step = format!("srun --overlap -N2 -n4 {}", libpmi("exchange").display());
    let job = job.args(["sh", "-c", &format!("{step} & {step} & {step} & wait; {step}")]);
    let outcome = job.run();
    outcome.assert_success();
    assert_eq!(outcome.stdout.matches(" of 4: exchanged").count(), 16, "{}", outcome.stdout);
}

/// A shell that salloc starts as an interactive step has a step id, and the size of the allocation, and is no rank.
#[test]
fn what_srun_has_not_started_as_a_task_is_no_rank() {
    let job = srun(&["--ntasks=1", "env", "SLURM_STEP_ID=4294967290", "SLURM_NTASKS=8"]);
    let outcome = job.arg(libpmi("exchange")).run();
    outcome.assert_failure().assert_says(&["rank 0 of 8 (by Slurm)", "pmi-srun"]);
}

#[test]
fn a_starter_inside_of_the_step_is_not_taken_for_slurm() {
    let theirs = ["env", "OMPI_COMM_WORLD_RANK=3", "OMPI_COMM_WORLD_SIZE=4"];
    let job = srun(&["--ntasks=2"]).args(theirs);
    let outcome = job.arg(libpmi("exchange")).run();
    outcome.assert_failure().assert_says(&["of 2 by Slurm", "Open MPI", "another place"]);
}

/// It is for programs with a client of their own, which only a server's own starter serves.
#[test]
fn pmi_exec_does_not_make_singletons_of_ranks() {
    let outcome = srun(&["--ntasks=2"]).arg(binary("pmi-exec")).arg("true").run();
    outcome.assert_failure().assert_says(&["no PMI server is named", "pmi-srun"]);
}

#[test]
fn one_program_after_another_is_told_to_take_steps_of_their_own() {
    let program = libpmi("exchange");
    let script = format!("{0}; {0}", program.display());
    let outcome = srun(&["--nodes=2", "--ntasks=2"]).args(["sh", "-c", &script]).run();
    outcome.assert_failure().assert_says(&["cannot join again"]);
}

#[test]
fn the_program_notices_nothing_of_what_is_started() {
    let outcome = srun(&["--nodes=4", "--ntasks=4"]).arg(c_program("undisturbed")).run();
    outcome.assert_success();
    assert_eq!(outcome.stdout, "no child, 0 signals\n".repeat(4));
}

/// A step of two tasks without MUNGE, and what its ranks say.
fn without_munge(job: Job, says: &[&str]) {
    let outcome = job.arg(libpmi("exchange")).run();
    outcome.assert_failure().assert_says(says).assert_says(&["install libmunge.so.2", "pmi-srun"]);
}

#[test]
fn without_munges_library_it_is_refused() {
    let job = srun(&["--nodes=2", "--ntasks=2"]);
    let broken = job.directory().join("libmunge.so.2");
    fs::write(broken, "").expect("the job's directory is writable");
    let path = format!("LD_LIBRARY_PATH={}", job.directory().display());
    without_munge(job.args(["env", &path]), &["PMI_Init", "MUNGE's library cannot be loaded"]);
}

/// The task sees an empty directory where munged has its socket.
#[test]
fn without_munges_daemon_it_is_refused() {
    let hide = "mount -t tmpfs tmpfs /run/munge && exec \"$@\"";
    let apart = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", hide, "sh"];
    let job = srun(&["--nodes=2", "--ntasks=2"]).args(apart);
    without_munge(job, &["PMI_Init", "munged, does not answer"]);
}

#[test]
fn ports_that_leave_no_choice_are_an_error() {
    let job = srun(&["--nodes=1", "--ntasks=2"]).env("PMI_STEP_PORTS", "5-");
    let outcome = job.arg(libpmi("exchange")).run();
    outcome.assert_failure().assert_says(&["PMI_STEP_PORTS=5-", "LOW-HIGH"]);
}

/// Two users' jobs of one shape, on the same hosts at the same time.
#[test]
fn users_do_not_meet() {
    let job = |user: User| {
        let slurm = Slurm::shared_of_four();
        let job = slurm.srun_as(user, &["--mpi=none", "--overcommit", "--nodes=4", "--ntasks=8"]);
        job.arg(libpmi("exchange")).start()
    };
    let jobs = [ALICE, pmi_tests::slurm::BOB].map(job);
    for job in jobs {
        job.finish().assert_each_says(8, ": exchanged");
    }
}

/// Somebody else sits on all but one of the ports where the server could be. He sends back what comes, passes
/// questions on to the server, and tries to read its answers.
const SQUATTER: &str = r#"
import socket, subprocess, sys, select
host, directory = sys.argv[1:]
held = []
for port in range(20000, 20003):
    held.append(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
    held[-1].bind(("::", port))
open(directory + "/squatting", "w").close()
tried = False
while True:
    for ours in select.select(held, [], [])[0]:
        question, asker = ours.recvfrom(4096)
        ours.sendto(question, asker)
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        other.settimeout(0.5)
        other.sendto(question, (host, 20003))
        try:
            answer = other.recv(4096)
        except OSError:
            continue
        ours.sendto(answer, asker)
        if not tried:
            tried = True
            told = subprocess.run(["unmunge"], input=answer[21:], capture_output=True)
            with open(directory + "/told", "wb") as file:
                file.write(told.stdout + told.stderr)
"#;

#[test]
fn a_stranger_on_the_ports_learns_nothing_and_hinders_nobody() {
    let (slurm, stranger) = (Slurm::shared_of_four(), pmi_tests::slurm::DAVE);
    let squatter = slurm.on("node0", stranger, Path::new("python3"));
    let squatter = squatter.args(["-c", SQUATTER, "10.213.0.1"]).arg_directory().start();
    pmi_tests::until("the stranger to sit down", || {
        squatter.file("squatting").exists().then_some(())
    });
    let options = ["--nodes=4", "--ntasks=8", "--nodelist=node[0-3]"];
    for _ in 0..4 {
        let job = srun(&options).env("PMI_STEP_PORTS", "20000-20003");
        job.arg(libpmi("exchange")).run().assert_each_says(8, ": exchanged");
    }
    let told = pmi_tests::until("the stranger to try his luck", || {
        fs::read_to_string(squatter.file("told")).ok().filter(|text| !text.is_empty())
    });
    assert!(told.contains("Unauthorized"), "{told}");
}

#[test]
fn a_rank_may_leave_long_before_the_others() {
    for early in ["0", "1"] {
        let job = srun(&["--nodes=4", "--ntasks=4"]).arg(c_program("trouble")).arg("early");
        job.arg_directory().arg(early).run().assert_success();
    }
}
