//! Who starts the ranks of a test: this project's own programs, or the process managers that they stand in for.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::{Job, binary, source_tree, venv};

/// A starter of ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Starter {
    /// `pmi-ssh`, which gives every rank a `PMI_FD`, and here nothing that leads to our libraries.
    PmiSsh,
    /// The same with `-pmi-port`, which gives every rank `PMI_PORT` and `PMI_ID`.
    PmiSshPort,
    /// `examples/fork-loop`: a plain loop that starts `pmi-exec PROGRAM` for each rank, on the same terms.
    ForkLoop,
    /// The same with `pmi-exec --pmi-port`.
    ForkLoopPort,
    /// The same, with this number of nodes, which share no board.
    ForkLoopNodes(u32),
    /// Debian's `mpiexec.hydra` 4.0.2.
    Hydra4,
    /// `mpiexec.hydra` 5.0.2 from PyPI.
    Hydra5,
    /// `mpiexec.gforker` 5.0.2 from PyPI.
    Gforker,
    /// Intel MPI's `mpiexec.hydra` 2021.18.
    IntelHydra,
}

impl Starter {
    /// A job of `ranks` ranks; append the program and its arguments.
    pub fn job(self, ranks: u32) -> Job {
        match self {
            Starter::PmiSsh => Job::of(ranks).arg("-no-pmi-library"),
            Starter::PmiSshPort => Job::of(ranks).args(["-no-pmi-library", "-pmi-port"]),
            Starter::ForkLoop => fork_loop(&[], ranks),
            Starter::ForkLoopPort => fork_loop(&["--pmi-port"], ranks),
            Starter::ForkLoopNodes(nodes) => fork_loop(&["--nodes", &nodes.to_string()], ranks),
            Starter::Hydra4 | Starter::Hydra5 | Starter::Gforker | Starter::IntelHydra => {
                Job::new(&self.mpiexec()).args(["-n", &ranks.to_string()])
            }
        }
    }

    /// The program of a process manager that is not of this project.
    pub fn mpiexec(self) -> PathBuf {
        match self {
            Starter::Hydra4 => "/usr/bin/mpiexec.hydra".into(),
            Starter::Hydra5 => venv("mpich").join("bin/mpiexec.hydra"),
            Starter::Gforker => venv("mpich").join("bin/mpiexec.gforker"),
            Starter::IntelHydra => venv("impi").join("bin/mpiexec.hydra"),
            ours => panic!("{ours:?} is of this project"),
        }
    }
}

fn fork_loop(options: &[&str], ranks: u32) -> Job {
    let job = Job::new(&source_tree().join("examples/fork-loop")).env("PATH", path_with_ours());
    job.arg("--no-pmi-library").args(options).arg(ranks.to_string())
}

/// `PATH` with the programs of this project in front.
fn path_with_ours() -> OsString {
    let ours = binary("pmi-exec").parent().expect("programs are in a directory").to_path_buf();
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths([ours].into_iter().chain(env::split_paths(&path)))
        .expect("the parts of a path can be joined again")
}
