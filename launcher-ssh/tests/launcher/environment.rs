//! What a rank finds in its environment.

use crate::harness::{Job, launcher, run};

/// Prints those of the variables that are set, in one line, sorted.
const PRINT: &str = "env | sort | grep -E \"^($NAMES)=\" | tr '\\n' ' '; echo";

fn environment(names: &str, args: &[&str]) -> Vec<String> {
    let mut command = launcher();
    command.args(["-genv", "NAMES", names]).args(args).env("PMIX_RANK", "3").env("PMI_JOBID", "7");
    command.env("INHERITED", "yes").env("SLURM_PROCID", "5").env("SLURM_JOB_ID", "12");
    let done = Job::of(&mut command).finish();
    assert_eq!(done.code(), Some(0), "{done:?}");
    done.sorted().into_iter().map(|line| line.trim_end().to_owned()).collect()
}

#[test]
fn ranks_are_numbered_in_order_over_all_programs() {
    let names = "PMI_RANK|PMI_SIZE|PMI_APPNUM|PMI_UNIVERSE_SIZE|PMI_LOCAL_RANK|PMI_LOCAL_SIZE|A";
    let app = ["sh", "-c", PRINT];
    let args = [&["-env", "A", "1", "-n", "1"], &app[..], &[":", "-n", "2"], &app[..]].concat();
    let expected = [
        "A=1 PMI_APPNUM=0 PMI_LOCAL_RANK=0 PMI_LOCAL_SIZE=3 PMI_RANK=0 PMI_SIZE=3 PMI_UNIVERSE_SIZE=3",
        "PMI_APPNUM=1 PMI_LOCAL_RANK=1 PMI_LOCAL_SIZE=3 PMI_RANK=1 PMI_SIZE=3 PMI_UNIVERSE_SIZE=3",
        "PMI_APPNUM=1 PMI_LOCAL_RANK=2 PMI_LOCAL_SIZE=3 PMI_RANK=2 PMI_SIZE=3 PMI_UNIVERSE_SIZE=3",
    ];
    assert_eq!(environment(names, &args), expected);
}

#[test]
fn other_starters_variables_are_left_out() {
    let names = "PMIX_RANK|PMI_JOBID|SLURM_PROCID|SLURM_JOB_ID|INHERITED|PMI_KVS_LOG_CEILING";
    let expected = ["INHERITED=yes SLURM_JOB_ID=12"];
    assert_eq!(environment(names, &["sh", "-c", PRINT]), expected);
    let args = ["-log-ceiling", "1M", "-envlist", "PATH,PMI_JOBID", "sh", "-c", PRINT];
    assert_eq!(environment(names, &args), ["PMI_JOBID=7 PMI_KVS_LOG_CEILING=1048576"]);
    let args = ["-genvnone", "-env", "PATH", "/bin:/usr/bin", "sh", "-c", PRINT];
    assert_eq!(environment(names, &args), [""]);
}

#[test]
fn the_server_and_the_job_are_named() {
    let done = run(&["-port-range", "20000-40000", "-usize", "9", "env"]);
    let value = |name: &str| {
        let line = done.stdout.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("{name} is not set")).to_owned()
    };
    let port: u16 = value("PMI_KVS_SERVER").strip_prefix("127.0.0.1:").unwrap().parse().unwrap();
    assert!((20_000..=40_000).contains(&port));
    assert!(value("PMI_KVS_JOB").starts_with("pmi-ssh."));
    assert_eq!(value("PMI_KVS_SECRET").len(), 64);
    assert_eq!(value("PMI_UNIVERSE_SIZE"), "9");
}

#[test]
fn a_rank_works_in_its_own_directory() {
    let done = run(&["-wdir", "/", "-l", "pwd", ":", "-wd", "/usr", "./bin/env", "pwd"]);
    assert_eq!(done.sorted(), ["[0] /", "[1] /usr"]);
}
