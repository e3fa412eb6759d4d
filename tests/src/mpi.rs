//! The MPI libraries that the tests run, their programs, and others that start through PMI.

use std::path::PathBuf;
use std::process::Command;

use crate::artifacts::compile;
use crate::{Job, source_tree, venv};

/// An MPI library, or a language's interface to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mpi {
    /// Debian's MPICH 4.0.2.
    Mpich4,
    /// MPICH 5.0.2 from PyPI.
    Mpich5,
    /// mpi4py on MPICH 5.0.2.
    Mpi4py,
    /// Intel MPI 2021.18 from PyPI, speaking the wire protocol.
    Intel,
}

impl Mpi {
    /// Appends the program that says hello on `ranks` ranks, and what it needs to run.
    pub fn hello(self, job: Job, ranks: u32) -> Job {
        let job = match self {
            Mpi::Mpich4 => job.arg(mpi_program("hello", "mpicc.mpich", "mpich4")),
            Mpi::Mpich5 => job.arg(mpich5_program("hello")),
            Mpi::Mpi4py => job.arg(venv("mpich").join("bin/python")).arg(hello_in_python()),
            Mpi::Intel => intel_settings(job).arg(mpich5_program("hello")),
        };
        job.arg(ranks.to_string())
    }
}

fn hello_in_python() -> PathBuf {
    source_tree().join("tests/programs/mpi/hello.py")
}

/// What Intel MPI needs: its libraries; and, where the machine has fewer cores than ranks, waiting ranks that block
/// rather than spin, as they do under Intel's own launcher.
pub fn intel_settings(job: Job) -> Job {
    job.env("LD_LIBRARY_PATH", venv("impi").join("lib")).env("I_MPI_WAIT_MODE", "1")
}

/// A program of `tests/programs/mpi`, compiled with MPICH 5. Intel MPI has the same binary interface: with its
/// libraries in front it runs the program too.
fn mpich5_program(name: &str) -> PathBuf {
    let compiler = venv("mpich").join("bin/mpicc");
    mpi_program(name, compiler.to_str().expect("paths of the source tree are text"), "mpich5")
}

fn mpi_program(name: &str, compiler: &str, library: &str) -> PathBuf {
    let source = source_tree().join("tests/programs/mpi").join(name).with_extension("c");
    compile(compiler, &source, &format!("{name}-{library}"), &[])
}

/// `examples/ring.c`, compiled with Open MPI.
pub fn ring_program() -> PathBuf {
    let compiler = ["mpicc.openmpi", "mpicc"].into_iter().find(|name| is_open_mpi(name));
    let compiler = compiler
        .expect("Open MPI is missing: run scripts/test, or install openmpi-bin and libopenmpi-dev");
    compile(compiler, &source_tree().join("examples/ring.c"), "ring", &[])
}

fn is_open_mpi(compiler: &str) -> bool {
    let answer = Command::new(compiler).arg("--showme:version").output();
    answer.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("Open MPI"))
}

/// Appends the program that drives a bootstrap plugin of NVSHMEM, `pmi` or `pmi2`, on `ranks` ranks.
pub fn nvshmem_bootstrap(job: Job, plugin: &str, ranks: u32) -> Job {
    let source = source_tree().join("tests/programs/plain/nvshmem_bootstrap.c");
    let driver = compile("cc", &source, "nvshmem_bootstrap", &["-ldl".to_string()]);
    let library = venv("nvshmem").join(format!("lib/nvshmem_bootstrap_{plugin}.so.3"));
    job.arg(driver).arg(library).arg(ranks.to_string())
}
