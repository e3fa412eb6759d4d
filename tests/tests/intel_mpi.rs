//! Intel MPI 2021.18 runs its own benchmarks on 4 ranks, over the wire protocol and through our libraries; the user
//! says only where its libraries are.

use pmi_tests::artifacts::library_dir;
use pmi_tests::mpi::intel_settings;
use pmi_tests::{Job, Outcome, Starter, venv};

const RANKS: u32 = 4;

/// How Intel MPI reaches its process manager.
#[derive(Clone, Copy)]
enum Binding {
    /// With its own client over `PMI_FD` or `PMI_PORT`.
    Wire,
    /// Through the library that the starter names to it: libpmi.so.0.
    Preset,
    /// Through this library, which the user names.
    Library(&'static str),
}

impl Binding {
    /// The first call that the chosen library traces. Without it Intel MPI has taken another way, which it does
    /// without a word where it cannot load a library.
    fn first_call(self) -> Option<&'static str> {
        match self {
            Binding::Wire => None,
            Binding::Library("libpmi2.so.0") => Some("PMI2_Init"),
            Binding::Preset | Binding::Library(_) => Some("PMI_Init"),
        }
    }
}

fn job(starter: Starter, binding: Binding) -> Job {
    match (binding, starter) {
        (Binding::Wire, _) => starter.job(RANKS),
        (Binding::Preset, _) => Job::of(RANKS),
        // pmi-ssh does not pass on what it inherits, because it may be the choice of an outer starter.
        (Binding::Library(name), Starter::PmiSsh) => {
            Job::of(RANKS).args(["-genv", "I_MPI_PMI_LIBRARY"]).arg(library_dir().join(name))
        }
        (Binding::Library(name), _) => {
            starter.job(RANKS).env("I_MPI_PMI_LIBRARY", library_dir().join(name))
        }
    }
}

fn benchmark(starter: Starter, binding: Binding, arguments: &[&str]) -> Outcome {
    let program = venv("impi").join("bin/IMB-MPI1");
    let job = intel_settings(job(starter, binding)).env("PMI_DEBUG", "1");
    let outcome = job.arg(program).args(arguments).args(["-iter", "20"]).run();
    outcome.assert_success();
    assert_eq!(first_call(&outcome), binding.first_call(), "{}", outcome.stderr);
    outcome
}

/// The call that initialized one of our libraries, if one was loaded.
fn first_call(outcome: &Outcome) -> Option<&'static str> {
    ["PMI_Init", "PMI2_Init"].into_iter().find(|call| outcome.stderr.contains(&format!("{call}(")))
}

/// Numbers of bytes for which the benchmark printed a result.
fn sizes(outcome: &Outcome) -> Vec<u64> {
    let lines = outcome.stdout.lines().filter(|line| line.starts_with(' '));
    lines.filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
}

fn powers_of_two(from: u32, to: u32) -> Vec<u64> {
    std::iter::once(0).chain((from..=to).map(|power| 1 << power)).collect()
}

fn ping_pong(starter: Starter, binding: Binding) {
    let outcome = benchmark(starter, binding, &["PingPong"]);
    assert!(
        outcome.stdout.contains("# ( 2 additional processes waiting in MPI_Barrier)"),
        "{}",
        outcome.stdout
    );
    assert_eq!(sizes(&outcome), powers_of_two(0, 22), "{}", outcome.stdout);
}

fn allreduce(starter: Starter, binding: Binding) {
    let arguments = ["Allreduce", "-npmin", "4", "-msglog", "16"];
    let outcome = benchmark(starter, binding, &arguments);
    assert!(outcome.stdout.contains("# #processes = 4"), "{}", outcome.stdout);
    assert_eq!(sizes(&outcome), powers_of_two(2, 16), "{}", outcome.stdout);
}

macro_rules! benchmarks {
    ($($module:ident: $starter:ident, $binding:expr;)+) => {
        $(mod $module {
            use super::{Binding, Starter};

            #[test]
            fn ping_pong() {
                super::ping_pong(Starter::$starter, $binding);
            }

            #[test]
            fn allreduce() {
                super::allreduce(Starter::$starter, $binding);
            }
        })+
    };
}

benchmarks! {
    over_the_wire_under_pmi_ssh: PmiSsh, Binding::Wire;
    over_the_wire_under_pmi_ssh_by_port: PmiSshPort, Binding::Wire;
    over_the_wire_under_a_loop_of_pmi_exec: ForkLoop, Binding::Wire;
    through_the_library_that_pmi_ssh_names: PmiSsh, Binding::Preset;
    through_libpmi_under_pmi_ssh: PmiSsh, Binding::Library("libpmi.so.0");
    through_libpmi_under_a_loop_of_pmi_exec: ForkLoop, Binding::Library("libpmi.so.0");
    through_libpmi2_under_pmi_ssh: PmiSsh, Binding::Library("libpmi2.so.0");
    through_libpmi2_under_a_loop_of_pmi_exec: ForkLoop, Binding::Library("libpmi2.so.0");
    over_the_wire_under_its_own_hydra: IntelHydra, Binding::Wire;
}
