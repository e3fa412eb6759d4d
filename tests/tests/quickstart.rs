//! scripts/quickstart takes the MPI that the machine has, and says what to do where none of them will do.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use pmi_tests::{Job, Outcome, source_tree};

/// What the scripts need beside an MPI. No package manager is among it, so nothing can be installed.
const TOOLS: [&str; 10] =
    ["awk", "bash", "chmod", "dirname", "env", "flock", "grep", "id", "mkdir", "sed"];

/// Looks for an MPI as the quickstart does, on a machine with these compiler wrappers, given with what their mpi.h
/// defines.
fn find_mpi(wrappers: &[(&str, &str)]) -> Outcome {
    find_mpi_with(wrappers, &[])
}

/// The same on a machine that has these scripts too.
fn find_mpi_with(wrappers: &[(&str, &str)], scripts: &[(&str, &str)]) -> Outcome {
    let library = source_tree().join("scripts/lib.sh");
    let script = ". \"$1\"; need_any_mpi; echo \"$mpi_cc: $mpi_name\"";
    let job = Job::new(Path::new("/bin/bash")).args(["-c", script, "quickstart"]).arg(library);
    let path = job.directory().join("bin");
    fs::create_dir(&path).expect("the job's directory is writable");
    TOOLS.iter().for_each(|tool| link_tool(&path, tool));
    let wrappers = wrappers.iter().map(|(name, defines)| (name, format!("echo '{defines}'")));
    wrappers.for_each(|(name, script)| write_script(&path.join(name), &script));
    scripts.iter().for_each(|(name, script)| write_script(&path.join(name), script));
    job.env("PATH", path).run()
}

fn link_tool(path: &Path, tool: &str) {
    let found = ["/usr/bin", "/bin"].map(|directory| Path::new(directory).join(tool));
    let found = found.iter().find(|program| program.exists()).expect("every system has these");
    symlink(found, path.join(tool)).expect("the job's directory is writable");
}

fn write_script(program: &Path, script: &str) {
    fs::write(program, format!("#!/bin/bash\n{script}\n")).expect("it is writable");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("it is ours");
}

const MPICH: &str = "#define MPICH_VERSION \"4.3.1\"";
const OPEN_MPI_4: &str =
    "#define OMPI_MAJOR_VERSION 4\n#define OMPI_MINOR_VERSION 1\n#define OMPI_RELEASE_VERSION 6";
const OPEN_MPI_5: &str =
    "#define OMPI_MAJOR_VERSION 5\n#define OMPI_MINOR_VERSION 0\n#define OMPI_RELEASE_VERSION 7";

#[test]
fn takes_mpich() {
    let outcome = find_mpi(&[("mpicc", MPICH)]);
    assert_eq!(outcome.assert_success().stdout, "mpicc: MPICH 4.3.1\n");
}

#[test]
fn takes_the_machines_default_where_there_are_several() {
    let outcome = find_mpi(&[("mpicc", OPEN_MPI_4), ("mpicc.mpich", MPICH)]);
    assert_eq!(outcome.assert_success().stdout, "mpicc: Open MPI 4.1.6\n");
}

#[test]
fn passes_over_an_open_mpi_that_needs_pmix() {
    let outcome = find_mpi(&[("mpicc", OPEN_MPI_5), ("mpicc.mpich", MPICH)]);
    assert_eq!(outcome.assert_success().stdout, "mpicc.mpich: MPICH 4.3.1\n");
}

#[test]
fn refuses_with_advice_where_there_is_nothing_else_and_nothing_can_be_installed() {
    let outcome = find_mpi(&[("mpicc", OPEN_MPI_5)]);
    outcome.assert_failure().assert_says(&[
        "Open MPI 5.0.7",
        "PMIx",
        "install MPICH or Open MPI 4",
    ]);
}

/// A package manager that has no package yet and, asked for MPICH, brings its compiler wrapper.
const APT: [(&str, &str); 3] = [
    ("dpkg-query", "exit 1"),
    ("sudo", "exec \"$@\""),
    (
        "apt-get",
        "[[ \"$*\" != *install*libmpich-dev* ]] || {
            echo \"echo '#define MPICH_VERSION 4.0.2'\" >\"$PATH/mpicc.mpich\"
            chmod +x \"$PATH/mpicc.mpich\"
        }",
    ),
];

#[test]
fn installs_mpich_where_there_is_no_mpi() {
    let outcome = find_mpi_with(&[], &APT);
    assert_eq!(outcome.assert_success().stdout, "mpicc.mpich: MPICH 4.0.2\n");
    outcome.assert_says(&["installing", "mpich"]);
}

#[test]
fn installs_mpich_beside_an_open_mpi_that_needs_pmix() {
    let outcome = find_mpi_with(&[("mpicc", OPEN_MPI_5)], &APT);
    assert_eq!(outcome.assert_success().stdout, "mpicc.mpich: MPICH 4.0.2\n");
    outcome.assert_says(&["Open MPI 5.0.7", "PMIx", "using MPICH"]);
}

#[test]
fn says_what_to_install_where_there_is_no_mpi() {
    find_mpi(&[]).assert_failure().assert_says(&["mpich", "install"]);
}
