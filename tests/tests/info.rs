//! `pmi-info` tells what PMI_Init would find, why, and what to do; and measures a job from inside.

use pmi_tests::artifacts::{conformance_program, library_dir};
use pmi_tests::{Job, Mpi, Outcome, Slurm, Starter, binary, ring_program};
use serde_json::Value;

fn info() -> Job {
    Job::new(&binary("pmi-info"))
}

/// The JSON objects that a job has printed, in the order of ranks.
fn objects(outcome: &Outcome) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str::<Value>(line);
    let mut found: Vec<Value> =
        outcome.stdout.lines().filter_map(|line| parse(line).ok()).collect();
    found.sort_by_key(|object| object["rank"]["value"].as_u64());
    found
}

fn object(outcome: &Outcome) -> Value {
    let mut found = objects(outcome);
    assert_eq!(found.len(), 1, "{}\n{}", outcome.stdout, outcome.stderr);
    found.remove(0)
}

/// The report of each rank.
fn reports(job: Job, ranks: usize) -> Vec<Value> {
    let outcome = job.arg(binary("pmi-info")).arg("--json").run();
    let found = objects(outcome.assert_success());
    assert_eq!(found.len(), ranks, "{}\n{}", outcome.stdout, outcome.stderr);
    found
}

/// The report of a single process with these variables.
fn report(words: &str) -> (i32, Value) {
    let job = words.split_whitespace().map(|word| word.split_once('=').expect("NAME=value"));
    let job = job.fold(info().arg("--json"), |job, (name, value)| job.env(name, value));
    let outcome = job.run();
    (outcome.code(), object(&outcome))
}

fn text<'a>(report: &'a Value, key: &str) -> &'a str {
    report[key].as_str().unwrap_or_else(|| panic!("{key} is text: {report}"))
}

fn assert_told(report: &Value, key: &str, value: u64, from: &str) {
    assert_eq!(report[key]["value"], value, "{key}: {report}");
    assert_eq!(report[key]["from"], from, "{key}: {report}");
}

#[test]
fn outside_any_job_it_says_so() {
    let outcome = info().run();
    let last = outcome.assert_success().stdout.lines().last().unwrap_or_default();
    assert!(last.starts_with("pmi-info: outside any job"), "{last}");
    let (code, report) = report("");
    assert_eq!((code, text(&report, "form")), (0, "environment"));
    assert_eq!(report["backend"]["taken"], "alone");
    assert_eq!(report["size"]["value"], 1);
    assert!(report["size"]["from"].is_null() && report["server"].is_null());
}

#[test]
fn the_json_form_has_the_documented_keys() {
    let (_, report) = report("");
    let keys = "form version host pid starter rank size local_rank local_size node between recorded server backend \
                libraries named mpi program notes exit_code advice";
    let mut expected: Vec<&str> = keys.split_whitespace().collect();
    expected.sort_unstable();
    let found: Vec<&String> = report.as_object().expect("an object").keys().collect();
    assert_eq!(found, expected);
    let manual = info().arg("--man").run().stdout.replace("\\-", "-");
    for key in expected {
        assert!(manual.contains(key), "{key} is not in the manual page");
    }
}

#[test]
fn under_pmi_ssh_every_rank_finds_our_server() {
    for ranks in [1, 4] {
        for (rank, report) in (0..).zip(reports(Job::of(ranks), ranks as usize)) {
            assert_told(&report, "rank", rank, "PMI_RANK");
            assert_told(&report, "size", u64::from(ranks), "PMI_SIZE");
            assert_told(&report, "local_size", u64::from(ranks), "PMI_LOCAL_SIZE");
            assert_eq!(report["starter"]["name"], "pmi-ssh");
            assert_eq!(report["backend"]["taken"], "server");
            assert!(text(&report["server"], "job").starts_with("pmi-ssh."), "{report}");
            assert_eq!(
                (&report["between"], &report["recorded"]),
                (&Value::Array(vec![]), &true.into())
            );
        }
    }
}

#[test]
fn only_rank_0_gives_the_whole_text_unless_told() {
    let whole = |job: Job| {
        let outcome = job.run();
        let lines = outcome.assert_success().stdout.lines();
        (lines.clone().filter(|line| line.starts_with("starter")).count(), lines.count())
    };
    let (starters, lines) = whole(Job::of(3).arg(binary("pmi-info")));
    assert!(starters == 1 && lines > 12, "{starters} {lines}");
    assert_eq!(whole(Job::of(3).arg(binary("pmi-info")).arg("--every-rank")).0, 3);
}

/// Not in a report, nor in that of a broken environment, nor in a probe.
#[test]
fn the_jobs_key_is_never_shown() {
    let script = format!(
        "echo $PMI_KVS_SECRET; {info} --every-rank; {info} --json; PMI_RANK= {info}; PMI_KVS_JOB= {info} --json; \
         PMI_KVS_SECRET=${{PMI_KVS_SECRET}}0 {info}; PMI_DEBUG=2 {info} barrier",
        info = binary("pmi-info").display()
    );
    let outcome = Job::of(1).args(["bash", "-c", &script]).run();
    let key = outcome.assert_success().stdout.lines().next().unwrap_or_default().to_string();
    assert_eq!(key.len(), 64, "{key}");
    let all = outcome.stdout.clone() + &outcome.stderr;
    assert_eq!(all.matches(&key).count(), 1, "{all}");
}

#[test]
fn under_pmi_exec_in_a_loop() {
    for report in reports(Starter::ForkLoop.job(2), 2) {
        assert_eq!(report["backend"]["taken"], "server");
        assert!(text(&report["starter"], "name").starts_with("pmi-exec"), "{report}");
        assert_eq!(report["named"], Value::Array(vec![]));
    }
}

#[test]
fn under_hydra_the_server_is_another_starters() {
    for starter in [Starter::Hydra4, Starter::Hydra5] {
        for report in reports(starter.job(2), 2) {
            assert_eq!(report["starter"]["name"], "Hydra");
            assert_eq!(report["backend"]["taken"], "descriptor");
            assert_eq!(report["local_size"]["from"], "MPI_LOCALNRANKS");
            assert!(report["server"].is_null());
        }
    }
}

#[test]
fn at_a_port_the_server_tells_rank_and_size() {
    for report in reports(Starter::Hydra4.job(2).arg("-pmi-port"), 2) {
        assert_eq!(report["backend"]["taken"], "port");
        assert!(report["rank"]["value"].is_null() && report["size"]["value"].is_null());
    }
}

#[test]
fn a_starter_in_between_is_named_with_what_it_has_set() {
    let job = Job::of(1).arg(Starter::Hydra4.mpiexec()).args(["-n", "2"]);
    for report in reports(job, 2) {
        let between = report["between"].as_array().expect("a list");
        assert!(between.contains(&"PMI_SIZE".into()) && report["server"].is_null(), "{report}");
        assert_eq!(report["backend"]["taken"], "descriptor");
        let passed_by = report["backend"]["passed_by"].to_string();
        assert!(passed_by.contains("outer job"), "{passed_by}");
    }
}

const STEP: &str =
    "SLURM_STEP_ID=0 SLURM_PROCID=4 SLURM_NTASKS=8 SLURM_LOCALID=1 SLURM_GTIDS=0,4,5";

#[test]
fn a_step_of_slurm_without_a_server_is_told_what_to_do() {
    let (code, report) = report(STEP);
    assert_eq!(code, 1);
    assert_told(&report, "rank", 4, "SLURM_PROCID");
    assert_told(&report, "size", 8, "SLURM_NTASKS");
    assert_told(&report, "local_rank", 1, "SLURM_LOCALID");
    assert_told(&report, "local_size", 3, "SLURM_GTIDS");
    assert_eq!(report["starter"]["name"], "Slurm");
    for part in ["SLURM_NTASKS=8 but no PMI server", "pmi-ssh", "pmi-kvs-server", "pmi-exec"] {
        assert!(text(&report, "advice").contains(part), "{report}");
    }
}

#[test]
fn a_batch_script_is_no_rank() {
    let (code, report) = report("SLURM_JOB_ID=7 SLURM_PROCID=0 SLURM_NTASKS=8");
    assert_eq!((code, &report["backend"]["taken"]), (0, &"alone".into()));
    assert!(report["notes"].to_string().contains("Slurm's job 7 of 8 tasks"), "{report}");
}

#[test]
fn broken_environments_are_told_what_to_do() {
    for (words, parts) in [
        ("PMI_RANK=0 PMI_SIZE=2", &["PMI_SIZE=2 but no PMI server", "pmi-ssh"][..]),
        ("PMI_RANK=0 PMI_SIZE=2 PMI_FD=99", &["PMI_FD=99", "closed it", "close_fds=False"]),
        ("PMI_RANK=x PMI_SIZE=2", &["PMI_RANK=x", "whole number"]),
        ("PMI_RANK=2 PMI_SIZE=2", &["PMI_RANK=2 contradicts PMI_SIZE=2"]),
        ("PMI_SIZE=2", &["PMI_RANK is not", "set both"]),
        ("PMI_PORT=h:1", &["PMI_ID is not"]),
        ("PMI_RANK=0 PMI_SIZE=2 PMI_KVS_SERVER=h:1", &["PMI_KVS_JOB and PMI_KVS_SECRET"]),
        (
            "PMI_RANK=0 PMI_SIZE=2 PMI_KVS_SERVER=h PMI_KVS_JOB=j PMI_KVS_SECRET=5ec4e7",
            &["PMI_KVS_SERVER=h: expected host:port"],
        ),
        (
            "PMI_RANK=0 PMI_SIZE=2 PMI_KVS_SERVER=h:1 PMI_KVS_JOB=j PMI_KVS_SECRET=5ec4e7",
            &["expected 64 hex digits"],
        ),
    ] {
        let (code, report) = report(words);
        assert_eq!((code, &report["exit_code"]), (1, &1.into()), "{words}");
        assert!(report["backend"]["taken"].is_null(), "{words}");
        assert!(!report.to_string().contains("5ec4e7"), "{report}");
        for part in parts {
            assert!(text(&report, "advice").contains(part), "{words}: {report}");
        }
    }
}

#[test]
fn the_last_line_of_the_text_is_the_advice() {
    let outcome = info().env("PMI_RANK", "0").env("PMI_SIZE", "2").run();
    let last = outcome.assert_code(1).stdout.lines().last().unwrap_or_default();
    assert!(last.starts_with("pmi-info: PMI_SIZE=2 but no PMI server"), "{last}");
}

#[test]
fn the_loader_says_which_libraries_are_taken() {
    let outcome = info().arg("--json").env("LD_LIBRARY_PATH", library_dir()).run();
    let report = object(&outcome);
    for (index, name) in ["libpmi.so.0", "libpmi2.so.0"].into_iter().enumerate() {
        let library = &report["libraries"][index];
        assert_eq!((&library["name"], &library["by"]), (&name.into(), &"LD_LIBRARY_PATH".into()));
        assert!(text(library, "owner").starts_with("pmi-adapter "), "{library}");
        assert!(library["problem"].is_null(), "{library}");
    }
}

#[test]
fn a_library_that_is_none_is_told() {
    let job = info().arg("--json");
    std::fs::write(job.directory().join("libpmi.so.0"), "no library").expect("it can be written");
    let directory = job.directory().to_path_buf();
    let named = directory.join("libpmi.so.0");
    let outcome = job.env("LD_LIBRARY_PATH", directory).env("I_MPI_PMI_LIBRARY", named).run();
    let report = object(&outcome);
    assert!(text(&report["libraries"][0], "problem").contains("file too short"), "{report}");
    assert!(text(&report["named"][0], "problem").contains("not an ELF file"), "{report}");
}

/// What a program is linked with, as rank 0 of two sees it.
fn mpi_of(job: Job) -> (i32, Value) {
    let outcome = job.run();
    let report = objects(&outcome).remove(0);
    (outcome.code(), report["program"]["mpi"][0].clone())
}

fn before(job: Job) -> Job {
    job.arg(binary("pmi-info")).arg("--json")
}

#[test]
fn mpi_programs_are_known_and_how_they_bind() {
    for (mpi, name, version, how) in [
        (Mpi::Mpich4, "MPICH", "4.", "descriptor"),
        (Mpi::Mpich5, "MPICH", "5.", "descriptor"),
        (Mpi::Intel, "Intel MPI", "20", "library"),
    ] {
        let (code, linked) = mpi_of(mpi.hello(before(Job::of(2)), 2));
        assert_eq!((code, text(&linked, "name")), (0, name), "{mpi:?}");
        assert!(text(&linked, "version").starts_with(version), "{linked}");
        assert_eq!(linked["binding"]["how"], how, "{linked}");
    }
}

#[test]
fn a_program_that_would_not_join_is_told() {
    let (code, linked) = mpi_of(before(Job::of(2)).arg(ring_program()));
    assert_eq!((code, &linked["binding"]["how"]), (0, &"library".into()), "{linked}");
    let (code, linked) = mpi_of(before(Job::of(2).arg("-no-pmi-library")).arg(ring_program()));
    assert_eq!((code, &linked["binding"]["joins"]), (3, &false.into()), "{linked}");
    let missing = info().arg("no-such-program").run();
    assert!(missing.assert_code(3).stdout.ends_with("no-such-program is not found in PATH\n"));
}

/// As under Open MPI's own mpirun, which serves PMIx.
#[test]
fn a_program_that_needs_no_pmi_is_told_so() {
    let variables = [
        ("OMPI_COMM_WORLD_RANK", "0"),
        ("OMPI_COMM_WORLD_SIZE", "2"),
        ("PMIX_NAMESPACE", "1437859841"),
    ];
    let under_mpirun = || variables.iter().fold(info(), |job, (name, value)| job.env(name, value));
    under_mpirun().run().assert_code(1);
    let outcome = under_mpirun().arg(ring_program()).run();
    let last = outcome.assert_success().stdout.lines().last().unwrap_or_default();
    assert!(last.contains("Open MPI finds its peers by PMIX_NAMESPACE=1437859841"), "{last}");
}

#[test]
fn a_program_linked_with_libpmi_is_told_whose_it_is() {
    let program = conformance_program("exchange", "libpmi.so.0");
    let outcome = info().arg("--json").arg(program).run();
    let report = object(outcome.assert_success());
    assert!(text(&report["program"]["pmi"][0], "owner").starts_with("pmi-adapter "), "{report}");
}

/// The summary that rank 0 of a probe prints.
fn probe(job: Job, arguments: &str) -> Value {
    let job = job.arg(binary("pmi-info")).args(arguments.split(' ')).arg("--json");
    object(job.run().assert_success())
}

fn phases(summary: &Value) -> String {
    let rows = summary["phases"].as_array().expect("a list").iter();
    rows.map(|row| format!("{}:{}", text(row, "phase"), row["calls"])).collect::<Vec<_>>().join(" ")
}

#[test]
fn probes_measure_jobs_of_all_sizes() {
    for ranks in [1, 2, 8] {
        let summary = probe(Job::of(ranks), "barrier --count 5");
        assert_eq!(phases(&summary), "init:1 first_barrier:1 barrier:5 finalize:1");
        assert!(summary["value_bytes"].is_null(), "{summary}");
        let summary = probe(Job::of(ranks), "exchange --count 3 --size 1024");
        let gets = ranks * 3;
        let expected =
            format!("init:1 first_barrier:1 put:3 commit:1 barrier:1 get:{gets} finalize:1");
        assert_eq!(phases(&summary), expected);
        let summary = probe(Job::of(ranks), "get --count 9");
        assert_eq!(
            phases(&summary),
            "init:1 first_barrier:1 put:1 commit:1 barrier:1 get:9 finalize:1"
        );
        assert_eq!((&summary["size"], &summary["hosts"]), (&ranks.into(), &1.into()));
    }
}

#[test]
fn the_slowest_rank_is_named_with_its_host() {
    let summary = probe(Job::of(2), "barrier");
    for row in summary["phases"].as_array().expect("a list") {
        assert!(row["min_ns"].as_u64() <= row["max_ns"].as_u64(), "{row}");
        assert!(
            row["slowest"]["rank"].as_u64() < Some(2) && !text(&row["slowest"], "host").is_empty()
        );
        let is_barrier = text(row, "phase").contains("barrier");
        assert_eq!(row["last"].is_object(), is_barrier, "{row}");
    }
}

#[test]
fn probes_go_through_other_starters_servers_too() {
    for starter in [
        Starter::ForkLoop,
        Starter::ForkLoopNodes(2),
        Starter::Hydra4,
        Starter::Hydra5,
        Starter::Gforker,
    ] {
        for arguments in ["barrier", "exchange --count 2 --size 900", "get", "exchange --pmi2"] {
            let summary = probe(starter.job(2), arguments);
            assert_eq!(summary["size"], 2, "{starter:?}: {summary}");
        }
    }
    let summary = probe(Starter::Hydra4.job(2).arg("-pmi-port"), "exchange");
    assert!(text(&summary, "backend").contains("PMI_PORT"), "{summary}");
}

#[test]
fn a_probe_outside_any_job_is_a_job_of_one() {
    let outcome = info().arg("exchange").run();
    let last = outcome.assert_success().stdout.lines().last().unwrap_or_default();
    assert!(last.contains("works: 1 rank on 1 host") && last.contains("pmi-ssh -n N"), "{last}");
}

/// Under our bridge, which carries as much as other servers on the wire, and forwards all that ranks have said.
#[test]
fn a_value_that_a_server_does_not_carry_ends_the_job_with_the_reason() {
    let unset = ["PMI_KVS_SERVER", "PMI_KVS_JOB", "PMI_KVS_SECRET"].map(|name| ["-u", name]);
    let job = Job::of(2).arg("env").args(unset.concat()).arg(binary("pmi-info"));
    let outcome = job.args(["get", "--size", "1024"]).run();
    outcome.assert_code(1).assert_says(&["pmi-info", "this PMI server carries 1023"]);
}

#[test]
fn a_probe_that_fails_ends_the_job_under_hydra_too() {
    let job = Starter::Hydra4.job(2).arg(binary("pmi-info"));
    job.args(["get", "--size", "1024"]).run().assert_code(1);
}

#[test]
fn a_probe_without_a_server_fails_with_the_advice() {
    let job = info().args(["barrier", "--json"]).env("PMI_RANK", "1").env("PMI_SIZE", "2");
    let outcome = job.run();
    outcome.assert_code(1).assert_says(&["PMI_SIZE=2 but no PMI server", "pmi-ssh"]);
    let failed = object(&outcome);
    assert_eq!((&failed["rank"], &failed["exit_code"]), (&1.into(), &1.into()));
}

#[test]
fn options_that_mean_nothing_are_refused() {
    for arguments in
        ["--count 5", "barrier --size 5", "get --size 1025", "get --count 0", "exchange now"]
    {
        let outcome = info().args(arguments.split(' ')).run();
        outcome.assert_code(2);
        assert!(!outcome.stderr.is_empty(), "{arguments}");
    }
}

#[test]
fn under_a_real_srun() {
    let pmi2 = || Slurm::shared().srun(&["--mpi=pmi2", "--ntasks=4"]);
    for report in reports(pmi2(), 4) {
        assert_eq!(
            (&report["backend"]["taken"], &report["starter"]["name"]),
            (&"descriptor".into(), &"Slurm".into())
        );
        assert_eq!(report["notes"], Value::Array(vec![]), "{report}");
    }
    for arguments in ["barrier", "exchange", "get --count 20", "exchange --pmi2"] {
        assert_eq!(probe(pmi2(), arguments)["size"], 4);
    }
}

#[test]
fn under_a_real_srun_without_pmi() {
    let none = || Slurm::shared().srun(&["--mpi=none", "--ntasks=4"]);
    for report in reports(none(), 4) {
        assert_eq!(report["backend"]["taken"], "step", "{report}");
        assert!(report["backend"]["text"].to_string().contains("MUNGE is there"), "{report}");
    }
    for arguments in ["barrier", "exchange", "get --count 20", "exchange --pmi2"] {
        assert_eq!(probe(none(), arguments)["size"], 4);
    }
}

#[test]
fn under_a_real_srun_where_the_ranks_cannot_agree_on_a_key() {
    let job = Slurm::shared().srun(&["--mpi=none", "--ntasks=2"]);
    let library = job.directory().join("libmunge.so.2");
    std::fs::write(&library, "").expect("the job's directory is writable");
    let path = format!("LD_LIBRARY_PATH={}", job.directory().display());
    let outcome = job.args(["env", &path]).arg(binary("pmi-info")).run();
    outcome.assert_failure();
    for part in ["SLURM_NTASKS=2 but no PMI server", "libmunge.so.2", "pmi-srun"] {
        assert!(outcome.stdout.contains(part), "{part}: {}", outcome.stdout);
    }
}
