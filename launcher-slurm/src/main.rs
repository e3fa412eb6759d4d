//! `pmi-srun`: becomes srun, beside a server for its step. README.md has the picture.
#![forbid(unsafe_code)]

mod args;
mod handover;
mod ports;
mod supervisor;

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use args::Args;
use clap::CommandFactory;
use nix::unistd::execve;
use pmi_bridge::sys::default_sigpipe;
use pmi_launch::error::Error;
use pmi_launch::{key, resolve};
use pmi_server_io::sockets;

use handover::Handover;
use supervisor::Supervisor;

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
    let ports = match args.pmi_port_range.clone() {
        Some(range) => range,
        None => ports::srun_port_range(path.as_deref()),
    };
    let sockets = sockets::bind_any(&ports).map_err(|reason| bind_error(&ports, reason))?;
    let addresses =
        sockets::reachable(&sockets.udp).map_err(Error::system("find this host's addresses"))?;
    let secret = key::new_secret().map_err(Error::system("make the job's key"))?;
    let job = key::job_name("pmi-srun", &key::host_name());
    let handover = Handover::new(args, &addresses_text(&addresses), &job, &secret.to_hex())?;
    Supervisor { sockets, job, secret: secret.to_hex(), log_ceiling: args.pmi_log_ceiling }
        .start()?;

    let argv = std::iter::once(OsString::from("srun")).chain(words);
    let argv = argv.map(|word| c_string("an argument", word)).collect::<Result<Vec<_>, _>>()?;
    let environment = handover.environment(std::env::vars_os());
    let lines = environment.into_iter().map(|line| c_string("an environment variable", line));
    let envp = lines.collect::<Result<Vec<_>, _>>()?;
    let program = c_string("the path of srun", srun.into_os_string())?;
    default_sigpipe();
    let Err(errno) = execve(&program, &argv, &envp);
    Err(Error::system("run srun")(errno))
}

fn bind_error(ports: &sockets::PortRange, reason: io::Error) -> Error {
    match (*ports.start(), *ports.end()) {
        (0, 0) => Error::system("bind the key-value server's socket")(reason),
        // The message names the range and what to do.
        _ => Error::system("bind the key-value server within --pmi-port-range or SrunPortRange")(
            reason,
        ),
    }
}

fn addresses_text(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",")
}

fn c_string(what: &str, text: OsString) -> Result<CString, Error> {
    CString::new(text.into_vec()).map_err(|_| Error::Nul(what.to_owned()))
}
