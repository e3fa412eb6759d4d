//! `pmi-srun`: becomes srun, beside a server for its step. README.md has the picture.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use clap::CommandFactory;
use nix::unistd::{Pid, execve};
use pmi_bridge::sys::{default_sigpipe, pidfd_open};
use pmi_launch::error::Error;
use pmi_launch::resolve;
use pmi_srun::args::{self, Args};
use pmi_srun::handover::{Handover, Way};
use pmi_srun::step::Step;
use pmi_srun::supervisor::Supervisor;

/// The program's name, with which the job's name begins.
const NAME: &str = "pmi-srun";

fn main() -> ExitCode {
    let (args, words) = args::parse(std::env::args_os().skip(1));
    if args.pmi_man {
        return print_man_page();
    }
    match become_srun(&args, words) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("pmi-srun: {error}");
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
        }
    }
}

fn print_man_page() -> ExitCode {
    match clap_mangen::Man::new(Args::command()).render(&mut io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pmi-srun: cannot write the man page: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Starts the server and its supervisor, then replaces this process by srun.
fn become_srun(args: &Args, words: Vec<OsString>) -> Result<Infallible, Error> {
    let path = std::env::var_os("PATH");
    let srun = resolve::program(OsStr::new("srun"), None, path.as_deref())?;
    let step = Step::new(NAME, &args.settings, path.as_deref())?;
    let handover = Handover::new(Way::Wrapper, &args.settings, &step)?;
    let watched = pidfd_open(Pid::this())
        .map_err(Error::system("watch srun (pidfd_open, Linux 5.3 or later)"))?;
    Supervisor::of(step, NAME, watched, &args.settings).start()?;

    let argv = std::iter::once(OsString::from("srun")).chain(words);
    let argv = argv.map(|word| c_string("an argument", word)).collect::<Result<Vec<_>, _>>()?;
    let environment = handover.environment(std::env::vars_os());
    let lines = environment.into_iter().map(|(mut line, value)| {
        line.push("=");
        line.push(value);
        c_string("an environment variable", line)
    });
    let envp = lines.collect::<Result<Vec<_>, _>>()?;
    let program = c_string("the path of srun", srun.into_os_string())?;
    default_sigpipe();
    let Err(errno) = execve(&program, &argv, &envp);
    Err(Error::system("run srun")(errno))
}

fn c_string(what: &str, text: OsString) -> Result<CString, Error> {
    CString::new(text.into_vec()).map_err(|_| Error::Nul(what.to_owned()))
}
