//! Intel MPI 2021.18 runs under pmi-ssh, through libpmi.so; the user says only where its libraries are.

use pmi_tests::{Job, Outcome, venv};

/// Runs one of Intel's own benchmarks on 4 ranks. The machine may have fewer cores: waiting ranks shall block
/// rather than spin, as they do under Intel's own launcher.
fn benchmark(arguments: &[&str]) -> Outcome {
    let intel = venv("impi");
    let job = Job::of(4).arg(intel.join("bin/IMB-MPI1")).args(arguments).args(["-iter", "20"]);
    job.env("LD_LIBRARY_PATH", intel.join("lib")).env("I_MPI_WAIT_MODE", "1").run()
}

/// Numbers of bytes for which the benchmark printed a result.
fn sizes(outcome: &Outcome) -> Vec<u64> {
    let lines = outcome.stdout.lines().filter(|line| line.starts_with(' '));
    lines.filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
}

fn powers_of_two(from: u32, to: u32) -> Vec<u64> {
    std::iter::once(0).chain((from..=to).map(|power| 1 << power)).collect()
}

#[test]
fn ping_pong() {
    let outcome = benchmark(&["PingPong"]);
    outcome.assert_success();
    assert!(
        outcome.stdout.contains("# ( 2 additional processes waiting in MPI_Barrier)"),
        "{}",
        outcome.stdout
    );
    assert_eq!(sizes(&outcome), powers_of_two(0, 22), "{}", outcome.stdout);
}

#[test]
fn allreduce() {
    let outcome = benchmark(&["Allreduce", "-npmin", "4", "-msglog", "16"]);
    outcome.assert_success();
    assert!(outcome.stdout.contains("# #processes = 4"), "{}", outcome.stdout);
    assert_eq!(sizes(&outcome), powers_of_two(2, 16), "{}", outcome.stdout);
}
