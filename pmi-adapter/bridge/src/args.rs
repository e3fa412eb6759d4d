//! The command line of `pmi-exec`; `--help` and the man page are made from it.

use std::ffi::OsString;

use clap::Parser;

/// Runs one task of a parallel job with a PMI service beside it, under any starter.
///
/// A scheduler or a loop starts `pmi-exec PROGRAM` once for each rank and tells rank and size in environment
/// variables (PMI_RANK and PMI_SIZE, or those of Slurm, PALS, Flux, Open MPI, MVAPICH, JSM or torchrun); PMI_KVS_SERVER,
/// PMI_KVS_JOB and PMI_KVS_SECRET name the key-value server of the job (see pmi-kvs-server(1)). pmi-exec then *becomes*
/// the program: process id, signals and exit status are the program's own. A small helper process beside it serves the
/// program's own PMI client (MPICH, Intel MPI, NVSHMEM, OpenSHMEM) on PMI_FD, and ends with it. Programs that load
/// libpmi.so.0 or libpmi2.so.0 find ours.
///
/// Where another PMI server serves the process already (PMI_FD or PMI_PORT of Hydra or srun), and for a process outside
/// any job, the program is run as it is. A rank of a job without any PMI server is an error: it would run as one of many
/// jobs of one.
///
/// If the job ends because another rank died or aborted, the program is told by its PMI client; two seconds later it
/// gets SIGTERM, five seconds after that SIGKILL.
///
/// Exit status: the program's own; 127 if it is not found, 126 if it cannot be run, 1 if pmi-exec itself fails.
#[derive(Clone, Debug, Parser)]
#[command(name = "pmi-exec", version, max_term_width = 100)]
pub struct Args {
    /// Serve the program on PMI_PORT and PMI_ID (TCP on loopback) instead of PMI_FD: for wrappers that close
    /// descriptors
    #[arg(long)]
    pub pmi_port: bool,

    /// Do not set LD_LIBRARY_PATH, I_MPI_PMI_LIBRARY, FLUX_JOB_ID and FLUX_PMI_LIBRARY_PATH, by which programs find our
    /// libpmi.so
    #[arg(long)]
    pub no_pmi_library: bool,

    /// Print the man page in roff and end
    #[arg(long)]
    pub man: bool,

    /// The program and its arguments
    #[arg(required_unless_present = "man", trailing_var_arg = true, value_name = "PROGRAM")]
    pub command: Vec<OsString>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_after_the_program_are_the_programs_own() {
        use clap::CommandFactory;
        Args::command().debug_assert();
        let args = Args::parse_from(["pmi-exec", "--pmi-port", "ls", "--pmi-port", "-l"]);
        assert!(args.pmi_port && !args.no_pmi_library);
        assert_eq!(args.command, ["ls", "--pmi-port", "-l"]);
        assert!(Args::try_parse_from(["pmi-exec"]).is_err());
    }
}
