//! The command line of `pmi-info`; `--help` and the man page are made from it.

use std::ffi::OsString;

use clap::Parser;
use pmi_protocol::limits::VALUE_MAX;

use crate::probe::{Kind, Request};

/// More calls would take minutes under slow servers, and show nothing new.
const COUNT_MAX: u32 = 1_000_000;

/// Says what PMI_Init would find in this environment, and why; or measures a job from inside.
///
/// Without arguments it reports which starter placed this process, its rank and size and the variables behind them,
/// whether another starter stands in between (PMI_KVS_PLACE), the server, what PMI_Init would join and why nothing else,
/// which files the dynamic loader takes for libpmi.so.0 and libpmi2.so.0, and how the MPI libraries that are installed
/// would find each other. Nobody is contacted and no rank is taken. Of several ranks, only rank 0 gives the whole
/// report, unless --every-rank is given. The job's key is never shown.
///
/// With PROGRAM it reports on the libraries that this program is linked with, too.
///
/// With barrier, exchange or get, started as every rank of a job, it joins the job as libpmi.so.0 does and measures it:
/// barrier enters barriers; exchange puts pairs, commits, enters a barrier and gets the pairs of all ranks; get puts one
/// pair per rank and gets many. Rank 0 prints the time of each phase and the slowest rank with its host. What is got is
/// compared with what was put.
///
/// The last line says how things stand, and what to do if something is wrong.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "pmi-info",
    version,
    max_term_width = 100,
    after_help = "Exit status, examples and the keys of --json are in the man page: pmi-info --man | man -l -"
)]
pub struct Args {
    /// barrier, exchange or get: measure; anything else: a program to look at (write ./get for one of that name)
    #[arg(value_name = "PROBE|PROGRAM")]
    pub what: Option<OsString>,

    /// Arguments of PROGRAM, which do not matter here: pmi-info can stand in front of a whole command
    #[arg(value_name = "ARGUMENT", trailing_var_arg = true)]
    pub arguments: Vec<OsString>,

    /// Print one line of JSON instead of text
    #[arg(long)]
    pub json: bool,

    /// Give the whole report as every rank, not as rank 0 only
    #[arg(long)]
    pub every_rank: bool,

    /// How often: barriers of barrier (default 100), pairs of each rank of exchange (1), gets of get (1000)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(COUNT_MAX)))]
    pub count: Option<u32>,

    /// Bytes of each value of exchange and get (default 64)
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(1..=VALUE_MAX as i64))]
    pub size: Option<u16>,

    /// Join as libpmi2.so.0 does: under srun --mpi=pmi2 it speaks PMI-2
    #[arg(long)]
    pub pmi2: bool,

    /// Print the man page in roff and end
    #[arg(long)]
    pub man: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Report on the environment, and on a program.
    Report(Option<OsString>),
    /// Measure.
    Probe(Request),
}

impl Args {
    /// The task; an error is a text for the user.
    pub fn task(&self) -> Result<Task, String> {
        let kind = self.what.as_ref().and_then(|what| Kind::named(what.to_str()?));
        let Some(kind) = kind else {
            return match self.count.is_some() || self.size.is_some() || self.pmi2 {
                true => Err("--count, --size and --pmi2 go with barrier, exchange or get".into()),
                false => Ok(Task::Report(self.what.clone())),
            };
        };
        if let Some(argument) = self.arguments.first() {
            return Err(format!("'{}' means nothing after {}", argument.display(), kind.name()));
        }
        if kind == Kind::Barrier && self.size.is_some() {
            return Err("--size goes with exchange or get: barriers carry no values".into());
        }
        Ok(Task::Probe(Request::new(kind, self.count, self.size, self.pmi2)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(words: &str) -> Result<Task, String> {
        Args::try_parse_from(words.split(' ')).map_err(|error| error.to_string())?.task()
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
        assert_eq!(task("pmi-info"), Ok(Task::Report(None)));
        assert_eq!(task("pmi-info --json ./get"), Ok(Task::Report(Some("./get".into()))));
        assert_eq!(task("pmi-info ./get in -x --json"), Ok(Task::Report(Some("./get".into()))));
        assert!(matches!(task("pmi-info get --count 5 --size 9"), Ok(Task::Probe(_))));
    }

    #[test]
    fn options_that_mean_nothing_are_refused() {
        for (words, part) in [
            ("pmi-info --count 5", "go with barrier"),
            ("pmi-info ./prog --pmi2", "go with barrier"),
            ("pmi-info barrier --size 5", "no values"),
            ("pmi-info get --count 0", "0"),
            ("pmi-info get --size 1025", "1025"),
            ("pmi-info get two", "'two' means nothing after get"),
        ] {
            let error = task(words).expect_err(words);
            assert!(error.contains(part), "{words}: {error}");
        }
    }
}
