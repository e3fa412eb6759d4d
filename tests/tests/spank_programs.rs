//! srun --pmi-kvs: when there is a server and when not, in steps, batch scripts and allocations. slurm_ways.rs and
//! slurm_options.rs have what is the same for each way.

use std::fs;
use std::path::Path;

use pmi_tests::step::{with_plugin, write_script};
use pmi_tests::{Job, Mpi, Slurm, Way, binary, c_program};

const EIGHT: [&str; 3] = ["--nodes=4", "--ntasks=8", "--ntasks-per-node=2"];

fn srun(options: &[&str]) -> Job {
    Way::Plugin.srun(options)
}

fn hello(mpi: Mpi, options: &[&str], ranks: u32, largest_node: u32) {
    Way::Plugin.hello(mpi, options, ranks, largest_node);
}

/// One component that has the option is enough.
#[test]
fn a_heterogeneous_step_is_one_job() {
    let first = srun(&["--ntasks=2"]);
    let second = Way::Plugin.cluster().srun(&["--ntasks=2"]);
    for (job, option) in [(first, "--ntasks=3"), (second, "--pmi-kvs")] {
        let job = Mpi::Mpich5.hello(job, 5);
        let outcome = Mpi::Mpich5.hello(job.args([":", "--ntasks=3", option]), 5).run();
        outcome.assert_success();
        assert!(outcome.stdout.contains("hello: 5 ranks"), "{}", outcome.stdout);
    }
}

#[test]
fn steps_side_by_side_in_a_batch_script_that_has_the_option() {
    let step = format!("srun --overlap -N 1 -n 2 {} 2", c_program("exchange").display());
    let lines = format!("{step} & {step} & wait; {step}");
    for export in ["--export=NONE", "--export=ALL"] {
        let printed = Way::Plugin.batch(&["--ntasks=4", "--pmi-kvs", export], &lines);
        let right = printed.matches("exchange: 2 ranks, all values right").count();
        assert_eq!(right, 3, "{printed}");
    }
}

#[test]
fn inside_of_salloc_with_and_without_the_option() {
    for (allocation, step) in [("--pmi-kvs", "--quiet"), ("--quiet", "--pmi-kvs")] {
        let job = Way::Plugin.cluster().login(Path::new("salloc"));
        let job = job.args(["--quiet", "-N1", "-n3", allocation, "srun", step]);
        let outcome = job.arg(c_program("exchange")).arg("3").run();
        outcome.assert_success();
        assert_eq!(outcome.stdout, "exchange: 3 ranks, all values right\n");
    }
}

#[test]
fn a_step_inside_of_a_task_is_a_job_of_its_own() {
    let program = c_program("exchange");
    for inner in [Way::Plugin, Way::Wrapper] {
        let inner = format!("{} --overlap -N1 -n2 {} 2", inner.words(), program.display());
        let outcome = srun(&["-N1", "-n2"]).args(["sh", "-c", &inner]).run();
        outcome.assert_success();
        assert_eq!(outcome.stdout.matches("exchange: 2 ranks").count(), 2, "{}", outcome.stdout);
    }
}

#[test]
fn the_users_own_task_prolog_runs() {
    let job = srun(&["-n2"]);
    let prolog = job.directory().join("prolog");
    write_script(&prolog, "echo export MINE=$PMI_RANK");
    let mut option = std::ffi::OsString::from("--task-prolog=");
    option.push(&prolog);
    let outcome = job.arg(option).args(["sh", "-c", "echo $MINE of $PMI_SIZE"]).run();
    outcome.assert_success();
    let mut lines: Vec<&str> = outcome.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["0 of 2", "1 of 2"]);
}

#[test]
fn a_server_of_slurms_gives_way_where_ours_is_asked_for() {
    let job = srun(&["--mpi=pmi2", "-n1"]);
    let outcome = job.args(["sh", "-c", "echo $PMI_FD$PMI_JOBID:${PMI_PORT%:*}"]).run();
    outcome.assert_success();
    assert_eq!(outcome.stdout, ":127.0.0.1\n");
    let options = ["--mpi=pmi2", "--nodes=4", "--ntasks=4"];
    hello(Mpi::Mpich5, &options, 4, 1);
}

#[test]
fn the_commands_know_the_option() {
    for command in ["srun", "sbatch", "salloc"] {
        let outcome = Way::Plugin.cluster().login(Path::new(command)).arg("--help").run();
        outcome.assert_success();
        assert!(outcome.stdout.contains("--pmi-kvs=[yes|no]"), "{command}: {}", outcome.stdout);
    }
    let outcome = Way::Plugin.cluster().srun(&["--pmi-kvs=maybe", "-n1", "true"]).run();
    outcome.assert_failure().assert_says(&["Invalid --pmi-kvs argument: maybe"]);
}

#[test]
fn without_the_option_there_is_nothing_of_ours() {
    let outcome = Way::Plugin.cluster().srun(&["-n1"]).arg("env").run();
    outcome.assert_success();
    let ours = ["PMI_", "SLURM_PMI_", "SLURM_SPANK_", "FLUX_", "I_MPI_"];
    let is_ours = |line: &&str| ours.iter().any(|start| line.starts_with(start));
    assert_eq!(outcome.stdout.lines().find(is_ours), None);
}

/// Whether a step of this cluster has a server of ours.
fn is_served(slurm: &Slurm, options: &[&str], variable: Option<&str>) -> bool {
    let job = slurm.srun(options);
    let job = match variable {
        Some(value) => job.env("SLURM_PMI_KVS", value),
        None => job,
    };
    let outcome = job.args(["-n1", "sh", "-c", "echo port:$PMI_PORT"]).run();
    outcome.assert_success().stdout.contains("port:127.0.0.1")
}

#[test]
fn by_default_it_serves_those_who_do_not_say_no_and_are_not_served() {
    let slurm = with_plugin(1, "optional", "default");
    assert!(is_served(&slurm, &[], None));
    assert!(!is_served(&slurm, &["--pmi-kvs=no"], None));
    assert!(!is_served(&slurm, &[], Some("no")));
    assert!(is_served(&slurm, &["--pmi-kvs"], Some("no")));
    assert!(!is_served(&slurm, &["--mpi=pmi2"], None));
    let wrapped = slurm.login(&binary("pmi-srun")).args(["-n2"]).arg(c_program("exchange"));
    let outcome = wrapped.arg("2").run();
    outcome.assert_success();
    assert_eq!(outcome.stdout, "exchange: 2 ranks, all values right\n");
}

/// An ordinary user's, on a cluster that knows nothing of it.
#[test]
fn a_private_configuration_is_enough() {
    let slurm = Slurm::shared_of_four();
    let private = |job: Job| {
        let (stack, conf) = (job.directory().join("stack"), job.directory().join("conf"));
        let plugin = binary("libspank_pmi.so");
        fs::write(&stack, format!("required {} srun-only\n", plugin.display())).expect("writable");
        let lines = format!("Include /etc/slurm/slurm.conf\nPlugStackConfig={}\n", stack.display());
        fs::write(&conf, lines).expect("the job's directory is writable");
        job.env("SLURM_CONF", conf)
    };
    let outcome = Mpi::Mpich5.hello(private(slurm.srun(&["--pmi-kvs"]).args(EIGHT)), 8).run();
    outcome.assert_success();
    assert_eq!(outcome.stdout, "hello: 8 ranks, 2 on a node, all results right\n");

    let job = private(slurm.srun(&["-n1"]));
    let prolog = job.directory().join("prolog");
    write_script(&prolog, "echo export MINE=1");
    let script = "echo $MINE$PMI_RANK; test $SLURM_TASK_PROLOG = $0";
    let job = job.env("SLURM_TASK_PROLOG", &prolog).args(["sh", "-c", script]).arg(&prolog);
    assert_eq!(job.run().assert_success().stdout, "1\n");
}
