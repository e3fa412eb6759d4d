//! How a step of srun --pmi-kvs ends: within seconds, for a reason that names rank and node, and with nothing left; and
//! what is said where the plugin cannot do its work. No node is drained by any of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use pmi_tests::slurm::{ALICE, BOB, CAROL, DAVE, User};
use pmi_tests::step::{with_plugin, with_plugstack};
use pmi_tests::{Job, Running, Slurm, Way, binary, c_program, until};

/// A step of four ranks on four nodes that gets into this trouble. Each test has a user of its own, whose processes are
/// counted at its end.
fn trouble(user: User, kind: &str) -> Job {
    let job = Way::Plugin.srun_as(user, &["-N4", "-n4"]);
    job.arg(c_program("trouble")).arg(kind).arg_directory()
}

fn joined(job: &Running) {
    for rank in 0..4 {
        let file = job.file(&format!("rank-{rank}"));
        until(&format!("rank {rank} to join the job"), || file.exists().then_some(()));
    }
}

/// Nothing of the user is left, and every node is as it was.
fn assert_all_well(slurm: &Slurm, user: User) {
    slurm.assert_nothing_left(user);
    let drained = slurm.login(Path::new("sinfo")).args(["--noheader", "--list-reasons"]).run();
    assert_eq!(drained.assert_success().stdout, "");
}

#[test]
fn an_abort_ends_all_ranks_with_its_code() {
    let outcome = trouble(BOB, "abort").arg("9").run();
    outcome.assert_code(9).assert_says(&["spank_pmi: rank 1 on node1 called PMI_Abort(9)"]);
    assert_all_well(Way::Plugin.cluster(), BOB);
}

#[test]
fn a_rank_that_exits_without_finalize_is_missed() {
    let outcome = trouble(CAROL, "quit").arg("0").run();
    outcome
        .assert_failure()
        .assert_says(&["spank_pmi: rank 1 died without PMI_Finalize", "host node1"]);
    assert_all_well(Way::Plugin.cluster(), CAROL);
}

#[test]
fn a_rank_that_is_killed_is_missed() {
    let job = trouble(DAVE, "wait").start();
    joined(&job);
    let kill = format!("kill -KILL $(cat {})", job.file("rank-2").display());
    let job_on_node = Way::Plugin.cluster().on("node2", DAVE, Path::new("sh"));
    job_on_node.args(["-c", &kill]).run().assert_success();
    job.finish().assert_failure().assert_says(&["rank 2 died", "host node2"]);
    assert_all_well(Way::Plugin.cluster(), DAVE);
}

#[test]
fn scancel_ends_the_step() {
    let job = trouble(CAROL, "wait").start();
    joined(&job);
    let cancel = Way::Plugin.cluster().login_as(CAROL, Path::new("scancel"));
    cancel.args(["--user", CAROL.name]).run().assert_success();
    job.finish().assert_failure();
    assert_all_well(Way::Plugin.cluster(), CAROL);
}

#[test]
fn srun_killed_leaves_no_server_no_helper_and_no_rank() {
    let job = trouble(ALICE, "wait").start();
    joined(&job);
    job.signal(job.process_named("srun"), Signal::SIGKILL);
    job.finish().assert_failure();
    assert_all_well(Way::Plugin.cluster(), ALICE);
}

/// The name of what each descriptor of a process leads to.
fn open_files(pid: i32) -> Vec<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
    entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok()).collect()
}

/// sruns own sockets, pipes and standard streams are not open in what we start: standard error alone is.
#[test]
fn the_server_and_its_supervisor_have_nothing_of_sruns_but_standard_error() {
    let job = trouble(BOB, "wait").start();
    joined(&job);
    let srun: Vec<PathBuf> = open_files(job.process_named("srun"));
    for name in ["pmi-step-server", "pmi-kvs-server"] {
        let shared = open_files(job.process_named(name));
        let shared = shared.into_iter().filter(|file| srun.contains(file));
        let odd: Vec<_> = shared.filter(|file| !file.ends_with("stderr")).collect();
        let odd: Vec<_> = odd.iter().filter(|file| !file.ends_with("/dev/null")).collect();
        assert_eq!(odd, Vec::<&PathBuf>::new(), "{name}");
    }
    job.signal(job.process_named("srun"), Signal::SIGTERM);
    job.finish().assert_failure();
    assert_all_well(Way::Plugin.cluster(), BOB);
}

#[test]
fn two_users_at_once_have_a_job_each() {
    let programs = [ALICE, BOB, CAROL, DAVE].map(|user| {
        let job = Way::Plugin.srun_as(user, &["-N4", "-n8", "--ntasks-per-node=2"]);
        job.args(["sh", "-c", "echo $PMI_KVS_JOB $PMI_KVS_SECRET"]).start()
    });
    let said = programs.map(|job| job.finish().assert_success().stdout.clone());
    let mut own: Vec<&str> = said.iter().flat_map(|text| text.lines().next()).collect();
    for (text, own) in said.iter().zip(&own) {
        assert_eq!(text.lines().filter(|line| line == own).count(), 8);
    }
    own.sort_unstable();
    own.dedup();
    assert_eq!(own.len(), 4);
}

/// A plugin in `lib/slurm` of a prefix with these programs in `libexec`.
fn installation(prefix: &Path, programs: &[&str]) -> PathBuf {
    let (libexec, directory) = (prefix.join("libexec"), prefix.join("lib/slurm"));
    fs::create_dir_all(&libexec).expect("temporary directories are writable");
    fs::create_dir_all(&directory).expect("temporary directories are writable");
    for program in programs {
        fs::copy(binary(program), libexec.join(program)).expect("it is writable");
    }
    let plugin = directory.join("spank_pmi.so");
    symlink(binary("libspank_pmi.so"), &plugin).expect("it is writable");
    plugin
}

/// A directory that all users can enter.
fn open_directory() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().expect("temporary directories can be made");
    let all = fs::Permissions::from_mode(0o755);
    fs::set_permissions(directory.path(), all).expect("it is ours");
    directory
}

/// The step does not begin, whatever plugstack.conf says of the plugin, and says why; others do.
fn assert_refused(programs: &[&str], texts: &[&str]) {
    for need in ["optional", "required"] {
        let directory = open_directory();
        let plugin = installation(directory.path(), programs);
        let slurm = with_plugstack(2, &format!("{need} {}", plugin.display()));
        let outcome = slurm.srun(&["--pmi-kvs", "-N2", "-n2", "echo", "begun"]).run();
        outcome.assert_failure().assert_says(texts);
        assert_eq!(outcome.stdout, "");
        slurm.srun(&["-N2", "-n2", "true"]).run().assert_success();
        assert_all_well(&slurm, ALICE);
    }
}

#[test]
fn without_our_programs_the_step_does_not_begin() {
    assert_refused(&[], &["spank_pmi:", "libexec/pmi-step-server is missing", "prefix=DIR"]);
}

#[test]
fn without_the_server_the_step_does_not_begin() {
    assert_refused(&["pmi-step-server"], &["spank_pmi:", "pmi-kvs-server"]);
}

#[test]
fn without_the_task_prolog_no_task_begins() {
    let programs = ["pmi-step-server", "pmi-kvs-server"];
    assert_refused(&programs, &["node1", "spank_pmi:", "libexec/pmi-task-prolog is missing"]);
}

#[test]
fn a_mistake_in_plugstack_conf_is_told_to_all_and_stops_those_who_need_the_plugin() {
    let slurm = with_plugin(1, "required", "defualt");
    let texts = ["'defualt' in plugstack.conf", "they are default,"];
    slurm.srun(&["-n1", "true"]).run().assert_success().assert_says(&texts);
    slurm.srun(&["--pmi-kvs", "-n1", "true"]).run().assert_failure().assert_says(&texts);
    let job = slurm.srun(&["-n1", "true"]).env("SLURM_PMI_KVS", "maybe");
    job.run().assert_failure().assert_says(&["SLURM_PMI_KVS is 'maybe'"]);
}

/// The plugin as it would be had it been built with the headers of Slurm 23.11.
fn of_another_slurm(directory: &Path) -> PathBuf {
    use object::{Object, ObjectSection, ObjectSymbol};
    let mut bytes = fs::read(binary("libspank_pmi.so")).expect("it is built");
    let file = object::File::parse(&*bytes).expect("it is a shared object");
    let symbol = file.dynamic_symbols().find(|symbol| symbol.name() == Ok("plugin_version"));
    let symbol = symbol.expect("the plugin tells its version");
    let section = file.section_by_index(symbol.section_index().expect("it is defined"));
    let section = section.expect("it is there");
    let (start, _) = section.file_range().expect("it is in the file");
    let at = usize::try_from(start + symbol.address() - section.address()).expect("it is small");
    bytes[at..at + 4].copy_from_slice(&0x17_0b_00_u32.to_ne_bytes());
    let plugin = directory.join("spank_pmi.so");
    fs::write(&plugin, bytes).expect("temporary directories are writable");
    plugin
}

/// Slurm's own words.
#[test]
fn a_plugin_for_another_slurm_is_not_loaded() {
    let directory = open_directory();
    let plugin = of_another_slurm(directory.path());
    let slurm = with_plugstack(1, &format!("optional {}", plugin.display()));
    let outcome = slurm.srun(&["-n1", "true"]).run();
    outcome.assert_success().assert_says(&["Incompatible", "version (23.11.0)"]);
    slurm.srun(&["--pmi-kvs", "-n1", "true"]).run().assert_failure();
    assert_all_well(&slurm, ALICE);
}
