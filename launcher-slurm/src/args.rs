//! The command line of `pmi-srun`; `--pmi-help` and the man page are made from it.

use std::ffi::OsString;

use clap::{ArgAction, Parser};

use crate::step::Settings;

/// What our own options begin with. Everything from the first other word on is srun's.
const OURS: &str = "--pmi-";

/// srun with a PMI server beside it: `pmi-srun -N 4 -n 64 ./program` is `srun -N 4 -n 64 ./program` for programs that
/// need PMI.
///
/// It starts the key-value server of the step, hands its addresses and the step's secret to the tasks, and becomes srun:
/// signals, standard streams and exit status are srun's own. All words from the first that does not begin with --pmi-
/// are srun's, and are not looked at. The server ends with srun.
///
/// Programs that load libpmi.so.0 or libpmi2.so.0 find ours; programs with a PMI client of their own (MPICH, Intel MPI,
/// NVSHMEM, OpenSHMEM) are served on PMI_PORT and PMI_ID by a helper on each node. For that, pmi-srun sets
/// SLURM_MPI_TYPE=none and SLURM_TASK_PROLOG for srun; a task prolog that SLURM_TASK_PROLOG names already still runs, and
/// its words count. srun's own --task-prolog takes the place of both: programs that load our libraries then still find
/// their server, unless --export keeps the variables from them, but others are not served.
///
/// pmi-task-prolog and the libraries must be installed under the same path on every node of the step.
///
/// If a rank dies between PMI_Init and PMI_Finalize, or calls PMI_Abort, the other ranks are told; what still runs after
/// three seconds is ended as by SIGTERM to srun.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "pmi-srun",
    version,
    max_term_width = 100,
    disable_help_flag = true,
    disable_version_flag = true,
    override_usage = "pmi-srun [--pmi-OPTION]... [WORDS OF SRUN]..."
)]
pub struct Args {
    /// About the server and the tasks.
    #[command(flatten)]
    pub settings: Settings,

    /// Print this help and end; --help is srun's
    #[arg(long, action = ArgAction::HelpLong)]
    pub pmi_help: Option<bool>,

    /// Print the man page in roff and end
    #[arg(long)]
    pub pmi_man: bool,

    /// Print the version and end; --version is srun's
    #[arg(long, action = ArgAction::Version)]
    pub pmi_version: Option<bool>,
}

/// Our options, and srun's words. Ends the process where the options are wrong, or ask for help.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> (Args, Vec<OsString>) {
    let (own, rest) = split(words);
    let name = OsString::from("pmi-srun");
    (Args::parse_from(std::iter::once(name).chain(own)), rest)
}

fn split(words: impl IntoIterator<Item = OsString>) -> (Vec<OsString>, Vec<OsString>) {
    let mut own: Vec<OsString> = words.into_iter().collect();
    let is_ours = |word: &OsString| word.as_encoded_bytes().starts_with(OURS.as_bytes());
    let rest = own.split_off(own.iter().position(|word| !is_ours(word)).unwrap_or(own.len()));
    (own, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn from_the_first_other_word_on_everything_is_sruns() {
        use clap::CommandFactory;
        Args::command().debug_assert();
        let line = "--pmi-port-range=5000-5010 --pmi-no-library -n 2 --help ./a --pmi-man : -n 3 b";
        let (args, rest) = parse(words(line));
        assert_eq!(args.settings.pmi_port_range, Some(5000..=5010));
        assert!(args.settings.pmi_no_library && !args.pmi_man);
        assert_eq!(rest, words("-n 2 --help ./a --pmi-man : -n 3 b"));
        assert_eq!(parse(words("a")).1, words("a"));
    }

    #[test]
    fn what_begins_as_ours_must_be_ours() {
        for line in
            ["--pmi-prot", "--pmi-port-range 5000", "--pmi-port-range=x", "--pmi-log-ceiling=1"]
        {
            let own = split(words(line)).0;
            let name = OsString::from("pmi-srun");
            assert!(Args::try_parse_from(std::iter::once(name).chain(own)).is_err(), "{line}");
        }
    }
}
