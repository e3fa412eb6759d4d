//! `pmi-step-server`: `spank_pmi.so` runs it in srun. It starts the step's server, and says how srun's environment is to
//! change in the words of a task prolog (`pmi_bridge::words`), with which the plugin has to do them in the tasks, too.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use nix::unistd::{Pid, getppid};
use pmi_bridge::sys::pidfd_open;
use pmi_bridge::task::Environment;
use pmi_bridge::words::differences;
use pmi_launch::error::Error;
use pmi_srun::handover::{Handover, Way};
use pmi_srun::step::{Settings, Step};
use pmi_srun::supervisor::Supervisor;

/// Who speaks to the user.
const NAME: &str = "spank_pmi";

/// With which the job's name begins: no underscore is in it.
const JOB: &str = "spank-pmi";

/// Is run by spank_pmi.so in srun, and is of no use elsewhere: see spank_pmi(8).
#[derive(Debug, Parser)]
#[command(name = "pmi-step-server", version, max_term_width = 100)]
struct Args {
    /// srun, which is this program's parent
    #[arg(long, value_name = "PID")]
    srun: i32,

    /// Who starts the helpers of the tasks
    #[arg(long, value_enum)]
    way: WayName,

    #[command(flatten)]
    settings: Settings,
}

/// How [`Way`] is called on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum WayName {
    /// The plugin in slurmstepd; the user has asked for this step's server
    Asked,
    /// The plugin in slurmstepd; nobody has asked
    Default,
    /// The task prolog that srun knows already
    Prolog,
}

impl From<WayName> for Way {
    fn from(name: WayName) -> Way {
        match name {
            WayName::Asked => Way::Plugin { by_default: false },
            WayName::Default => Way::Plugin { by_default: true },
            WayName::Prolog => Way::Prolog,
        }
    }
}

fn main() -> ExitCode {
    let answer = start(&Args::parse()).and_then(|words| {
        io::stdout().write_all(&words).map_err(Error::system("answer the plugin"))
    });
    match answer {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("print {}", error.to_string().replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

fn start(args: &Args) -> Result<Vec<u8>, Error> {
    let srun = Pid::from_raw(args.srun);
    let watched =
        pidfd_open(srun).map_err(Error::system("watch srun (pidfd_open, Linux 5.3 or later)"))?;
    if getppid() != srun {
        // The number may be another process's by now.
        return Err(Error::system("watch srun")(io::Error::other(
            "it is not this program's parent",
        )));
    }
    let path = std::env::var_os("PATH");
    let step = Step::new(JOB, &args.settings, path.as_deref())?;
    let handover = Handover::new(args.way.into(), &args.settings, &step)?;
    Supervisor::of(step, NAME, watched, &args.settings).start()?;
    Ok(words(&handover))
}

fn words(handover: &Handover) -> Vec<u8> {
    let before: Environment = std::env::vars_os().collect();
    let after = handover.environment(before.clone().into_iter());
    let mut words = Vec::new();
    differences(&before, &after, &mut words);
    words
}
