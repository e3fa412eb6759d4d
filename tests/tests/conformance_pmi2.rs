//! The C programs of `tests/c/pmi2`, under Slurm's libpmi2 where that works without a server, and under ours.

use pmi_tests::artifacts::library_dir;
use pmi_tests::conform::{Library, Program, compare_with_file};
use pmi_tests::{Job, Slurm, job};

fn program(name: &str) -> Program {
    Program::compile(&format!("pmi2/{name}"), Library::Pmi2)
}

/// Lines of two programs that differ, as pairs.
fn differences<'a>(theirs: &'a str, ours: &'a str) -> Vec<(&'a str, &'a str)> {
    assert_eq!(theirs.lines().count(), ours.lines().count(), "as many lines\n{theirs}\n{ours}");
    theirs.lines().zip(ours.lines()).filter(|(theirs, ours)| theirs != ours).collect()
}

#[test]
fn a_process_outside_any_job() {
    let program = program("alone");
    let theirs = program.under(Library::Pmi2.slurms()).run();
    let ours = program.under_ours().run();
    let (theirs, ours) =
        (theirs.assert_success().stdout.clone(), ours.assert_success().stdout.clone());
    // Slurm's library never takes the mark back that PMI2_Init has set.
    let expected = ("initialised: 1", "initialised: 0");
    assert_eq!(differences(&theirs, &ours), [expected], "(Slurm's, ours)");
}

#[test]
fn calls_outside_the_membership() {
    let outcome = program("outside").under_ours().run();
    let calls = outcome.assert_success().stdout.lines().filter(|line| line.starts_with("PMI"));
    let (init, rest): (Vec<_>, Vec<_>) = calls.partition(|line| line.ends_with(": PMI2_ERR_INIT"));
    assert_eq!(init.len(), 2 * 18, "{}", outcome.stdout);
    assert_eq!(rest, ["PMI2_Finalize(): PMI2_SUCCESS"; 2], "{}", outcome.stdout);
}

#[test]
fn arguments_that_crash_slurms_library() {
    let outcome = compare_with_file("pmi2/hostile", Library::Pmi2);
    outcome.assert_says(&["PMI2_Job_Spawn", "cannot create processes"]);
    outcome.assert_says(&["PMI2_KVS_Get", "another job is not this job"]);
}

#[test]
fn loading_and_unloading_leaves_nothing() {
    compare_with_file("pmi2/loading", Library::Pmi2);
}

#[test]
fn a_job_of_one_answers_like_a_process_outside_any_job() {
    for name in ["outside", "hostile"] {
        let program = program(name);
        let (job, alone) = (program.ranks(1).run(), program.under_ours().run());
        assert_eq!(job.assert_success().stdout, alone.assert_success().stdout, "{name}");
    }
}

/// Runs a program alone and on several numbers of ranks.
fn on_all_sizes(name: &str, arguments: &[&str], text: &str) {
    let program = program(name);
    program.under_ours().args(arguments).run().assert_each_says(1, text);
    for ranks in [1, 2, 7] {
        program.ranks(ranks).args(arguments).run().assert_each_says(ranks, text);
    }
}

#[test]
fn ranks_exchange() {
    on_all_sizes("exchange", &[], ": exchanged");
}

/// What these programs expect is what Slurm's library does with Slurm's server, and ours with either.
#[test]
fn the_portable_programs_pass_under_slurm_with_both_libraries() {
    for (name, text) in [
        ("exchange", ": exchanged"),
        ("attributes", ": attributes shared"),
        ("ring", ": round the ring"),
    ] {
        let program = program(name);
        for library in [Library::Pmi2.slurms(), &library_dir()] {
            let job = Slurm::shared().srun(&["--mpi=pmi2", "--ntasks=4"]).arg(program.path());
            job.env("LD_LIBRARY_PATH", library).run().assert_each_says(4, text);
        }
    }
}

#[test]
fn values_of_all_bytes_and_lengths() {
    on_all_sizes("values", &[], ": all bytes came back");
}

#[test]
fn attributes_of_node_and_job() {
    on_all_sizes("attributes", &["-all"], ": attributes shared");
}

#[test]
fn values_go_round_the_ring() {
    on_all_sizes("ring", &[], ": round the ring");
}

#[test]
fn abort_with_a_flag_ends_the_job_with_that_code() {
    let outcome = program("abort").ranks(4).arg("42").run();
    outcome.assert_code(42).assert_says(&["rank 0", "PMI2_Abort(42): by intent"]);
}

#[test]
fn abort_without_a_flag_ends_the_process_only() {
    let outcome = program("abort").ranks(4).arg("0").run();
    outcome.assert_each_says(3, ": went on");
    outcome.assert_says(&["rank 0", "PMI2_Abort(0): by intent"]);
}

#[test]
fn whoever_waits_for_an_attribute_hears_that_all_others_have_left() {
    let outcome = program("waiting").ranks(2).arg("leave").run();
    outcome.assert_code(3).assert_says(&["rank 1", "no other rank of its node is left"]);
    assert_eq!(outcome.stdout, "waited: PMI2_FAIL, found 7\n");
}

#[test]
fn whoever_waits_for_an_attribute_hears_of_a_death() {
    let outcome = program("waiting").ranks(2).arg("die").run();
    outcome.assert_code(128 + 9).assert_says(&["rank 0", "signal 9"]);
    outcome.assert_says(&["rank 1", "PMI2_Info_GetNodeAttr", "rank 0"]);
}

#[test]
fn whoever_waits_for_an_attribute_gives_up_in_time() {
    let program = program("waiting");
    let outcome = program.ranks(2).arg("stay").env("PMI_TIMEOUT", "1").run();
    outcome.assert_says(&["rank 1", "node attribute never", "PMI_TIMEOUT"]);
}

#[test]
fn ranks_that_share_no_memory_share_no_attributes_and_hear_why() {
    let program = program("waiting");
    let job = Job::of(2).args(job::apart()).arg(program.path()).arg("stay");
    let outcome = job.env("LD_LIBRARY_PATH", library_dir()).run();
    outcome.assert_says(&["rank 1 cannot share memory", "pid namespace"]);
}

#[test]
fn both_libraries_in_one_process_are_refused_and_the_first_goes_on() {
    let outcome = program("both").ranks(3).run();
    assert_eq!(outcome.assert_success().stdout, "first 0, second -1, then 0\n".repeat(3));
    outcome.assert_says(&["PMI_Init", "both libpmi.so and libpmi2.so", "use one of them"]);
}
