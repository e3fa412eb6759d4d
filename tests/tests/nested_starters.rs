//! A starter inside a rank of another: each program joins the job of the starter that started it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pmi_tests::artifacts::conformance_program;
use pmi_tests::{Job, Slurm, Starter, binary};

fn who() -> PathBuf {
    conformance_program("who", "libpmi.so.0")
}

/// Runs `job`, which starts `who` in `jobs` jobs of `ranks` ranks each, and checks that nobody was in another's.
fn assert_jobs(job: Job, jobs: usize, ranks: usize) {
    let outcome = job.arg(who()).arg("inside").run();
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in outcome.assert_success().stdout.lines() {
        let (place, rest) = line.split_once(" in ").expect("who prints the job");
        let (kvsname, next) = rest.split_once(": the next is ").expect("and the next rank");
        assert_eq!(next, format!("inside-in-{kvsname}"));
        found.entry(kvsname).or_default().push(place);
    }
    assert_eq!(found.len(), jobs, "{}", outcome.stdout);
    let expected: Vec<String> = (0..ranks).map(|rank| format!("rank {rank} of {ranks}")).collect();
    for places in found.values_mut() {
        places.sort_unstable();
        assert_eq!(*places, expected, "{}", outcome.stdout);
    }
}

/// Appends what starts `ranks` ranks with another process manager.
fn mpiexec(job: Job, starter: Starter, ranks: usize) -> Job {
    job.arg(starter.mpiexec()).args(["-n", &ranks.to_string()])
}

const FOREIGN: [Starter; 4] =
    [Starter::Hydra4, Starter::Hydra5, Starter::Gforker, Starter::IntelHydra];

#[test]
fn other_starters_inside_pmi_ssh() {
    for starter in FOREIGN {
        // With one rank of each, rank and size are the same inside and outside.
        for (outer, inner) in [(2, 2), (1, 1), (2, 3), (1, 4)] {
            assert_jobs(mpiexec(Job::of(outer), starter, inner), outer as usize, inner);
        }
    }
}

#[test]
fn hydra_by_port_inside_pmi_ssh() {
    for starter in [Starter::Hydra4, Starter::Hydra5] {
        for (outer, inner) in [(2, 2), (1, 1)] {
            let job = mpiexec(Job::of(outer), starter, inner).arg("-pmi-port");
            assert_jobs(job, outer as usize, inner);
        }
    }
}

#[test]
fn pmi_ssh_inside_other_starters() {
    for starter in FOREIGN {
        for (outer, inner) in [(2, 2), (1, 1)] {
            let job = starter.job(outer).arg(binary("pmi-ssh")).args(["-n", &inner.to_string()]);
            assert_jobs(job, outer as usize, inner);
        }
    }
}

#[test]
fn pmi_ssh_inside_pmi_ssh() {
    for (outer, inner) in [(2, 2), (1, 1), (2, 3)] {
        let job = Job::of(outer).arg(binary("pmi-ssh")).args(["-n", &inner.to_string()]);
        assert_jobs(job, outer as usize, inner);
    }
}

#[test]
fn pmi_ssh_inside_pmi_ssh_inside_hydra_inside_pmi_ssh() {
    let job = mpiexec(Job::of(1), Starter::Hydra5, 1).arg(binary("pmi-ssh"));
    let job = job.args(["-n", "1"]).arg(binary("pmi-ssh")).args(["-n", "2"]);
    assert_jobs(job, 1, 2);
}

#[test]
fn a_program_that_a_rank_starts_through_others_is_that_rank() {
    assert_jobs(Job::of(2).args(["sh", "-c", "\"$0\" \"$1\""]), 1, 2);
    assert_jobs(Job::of(2).args(["env", "OMP_NUM_THREADS=1"]), 1, 2);
    // It closes PMI_FD.
    let script = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))";
    assert_jobs(Job::of(2).args(["python3", "-c", script]), 1, 2);
}

#[test]
fn what_scripts_set_inside_ranks_does_no_harm() {
    let aliases = "MPI_LOCALRANKID=$PMI_LOCAL_RANK OMPI_COMM_WORLD_RANK=$PMI_RANK \
        MV2_COMM_WORLD_LOCAL_RANK=$PMI_LOCAL_RANK SLURM_PROCID=$PMI_RANK SLURM_LOCALID=0 RANK=$PMI_RANK \
        WORLD_SIZE=$PMI_SIZE \"$0\" \"$1\"";
    assert_jobs(Job::of(2).args(["sh", "-c", aliases]), 1, 2);
}

#[test]
fn a_place_that_a_script_has_changed_is_told_so() {
    let job = Job::of(2).args(["sh", "-c", "PMI_SIZE=5 \"$0\" \"$1\""]);
    let outcome = job.arg(who()).arg("inside").run();
    outcome.assert_code(9).assert_says(&["of 5", "or a script, has since set PMI_SIZE"]);
}

/// Open MPI's mpirun speaks PMIx only: its ranks must not take the outer job for theirs.
#[test]
fn ranks_of_a_starter_without_pmi_are_told_so() {
    let job = Job::of(1).args(["-no-pmi-library", "mpirun.openmpi", "--allow-run-as-root"]);
    let outcome = job.args(["--oversubscribe", "-n", "2"]).arg(who()).arg("inside").run();
    outcome.assert_code(9).assert_says(&[
        "of 2 (by Open MPI)",
        "pmi-ssh",
        "another starter, or a script, has since set",
    ]);
    assert_eq!(outcome.stdout.lines().filter(|line| line.contains("inside-in")).count(), 0);
}

#[test]
fn srun_inside_pmi_ssh_and_pmi_ssh_inside_srun() {
    let slurm = Slurm::shared();
    for (outer, inner) in [(2, 2), (1, 1)] {
        let (outer_text, inner_text) = (outer.to_string(), inner.to_string());
        let job = slurm.login(&binary("pmi-ssh")).args(["-n", &outer_text]);
        let srun = ["srun", "--mpi=pmi2", "--chdir=/", "--ntasks", &inner_text];
        assert_jobs(job.args(srun), outer, inner);
        let job = slurm.srun(&["--mpi=pmi2", "--ntasks", &outer_text]).arg(binary("pmi-ssh"));
        assert_jobs(job.args(["-n", &inner_text]), outer, inner);
    }
}

/// srun sets its rank beside the old one of pmi-ssh, which must not be read.
#[test]
fn srun_without_pmi_inside_pmi_ssh_and_pmi_ssh_inside_it() {
    let slurm = Slurm::shared();
    let job = slurm.login(&binary("pmi-ssh")).args(["-n", "2"]);
    assert_jobs(job.args(["srun", "--mpi=none", "--chdir=/", "--ntasks", "2"]), 2, 2);
    let job = slurm.srun(&["--mpi=none", "--ntasks=2"]).arg(binary("pmi-ssh"));
    assert_jobs(job.args(["-n", "2"]), 2, 2);
}

#[test]
fn hydra_inside_a_step_without_pmi() {
    let step = Slurm::shared().srun(&["--mpi=none", "--ntasks=2"]);
    let job = step.arg(Starter::Hydra5.mpiexec()).args(["-launcher", "fork", "-n", "2"]);
    assert_jobs(job, 2, 2);
}
