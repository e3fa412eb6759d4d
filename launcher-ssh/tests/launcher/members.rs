//! Ranks that speak with the server. This test program is itself the rank: `rank` runs when `ROLE` says so.

use std::time::Duration;

use pmi_board::session::{Config, Session};
use pmi_protocol::limits::LOG_CEILING_DEFAULT;

use crate::harness::{Done, Job, launcher};

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

fn join() -> Session {
    let secret = variable("PMI_KVS_SECRET");
    let byte = |at: usize| u8::from_str_radix(&secret[2 * at..2 * at + 2], 16).unwrap();
    Session::join(Config {
        rank: variable("PMI_RANK").parse().unwrap(),
        size: variable("PMI_SIZE").parse().unwrap(),
        job: variable("PMI_KVS_JOB"),
        secret: std::array::from_fn(byte),
        servers: vec![variable("PMI_KVS_SERVER").parse().unwrap()],
        local_size: variable("PMI_LOCAL_SIZE").parse().ok(),
        timeout: Some(Duration::from_secs(30)),
        log_ceiling: LOG_CEILING_DEFAULT,
        share: variable("SHARE") == "yes",
    })
    .unwrap()
}

/// The rank's life; never returns in a job.
#[test]
#[ignore = "a rank of the other tests, not a test"]
fn rank() {
    let session = join();
    let first = variable("PMI_RANK") == "0";
    session.barrier().unwrap();
    match (&*variable("ROLE"), first) {
        ("deserter", true) => std::process::exit(0),
        ("aborter", true) => {
            session.abort(7, "no more work");
            std::process::exit(7);
        }
        ("victim", true) => std::process::abort(),
        ("good", _) => session.finalize().unwrap(),
        (_, _) => {
            let error = session.barrier().unwrap_err();
            eprintln!("released: {error:?}");
            std::process::exit(1);
        }
    }
    std::process::exit(0)
}

fn job(role: &str, share: &str) -> Done {
    let program = std::env::current_exe().unwrap();
    let mut command = launcher();
    command.args([
        "-n",
        "4",
        "-genv",
        "ROLE",
        role,
        "-genv",
        "SHARE",
        share,
        "-genv",
        "RUST_BACKTRACE",
        "0",
    ]);
    command.arg(program).args(["--ignored", "--exact", "members::rank", "--nocapture", "-q"]);
    Job::of(&mut command).finish()
}

#[test]
fn a_job_that_finalizes_succeeds() {
    job("good", "yes").expect(0, &[]);
    job("good", "no").expect(0, &[]);
}

#[test]
fn a_rank_that_ends_without_finalize_fails_the_job() {
    job("deserter", "yes").expect(1, &["rank 0 on host", "without PMI_Finalize", "released: "]);
    job("deserter", "no").expect(1, &["rank 0 on host", "released: "]);
}

#[test]
fn an_abort_is_reported_with_its_text_and_code() {
    job("aborter", "yes").expect(7, &["rank 0 on host", "called PMI_Abort(7): no more work"]);
}

#[test]
fn a_rank_that_dies_releases_the_others() {
    let done = job("victim", "yes");
    done.expect(134, &["rank 0 on host", "was killed by signal 6 (SIGABRT)", "released: "]);
}
