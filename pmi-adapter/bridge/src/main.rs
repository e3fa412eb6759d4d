//! `pmi-exec`: becomes the program, beside a bridge that serves it.

mod args;

use std::process::ExitCode;

use args::Args;
use clap::{CommandFactory, Parser};
use nix::unistd::Pid;
use pmi_bridge::task::{self, FAILED, Service};

fn main() -> ExitCode {
    let args = Args::parse();
    if args.man {
        return print_man_page();
    }
    let service = Service {
        port: args.pmi_port,
        library: !args.no_pmi_library,
        program: Pid::this(),
        apart: false,
    };
    let prepared = task::prepare(std::env::vars_os().collect(), &service);
    match prepared.and_then(|environment| task::execute(&args.command, environment)) {
        Ok(never) => match never {},
        Err(failure) => {
            eprintln!("pmi-exec: {}", failure.text);
            ExitCode::from(failure.code)
        }
    }
}

fn print_man_page() -> ExitCode {
    match clap_mangen::Man::new(Args::command()).render(&mut std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pmi-exec: cannot write the man page: {error}");
            ExitCode::from(FAILED)
        }
    }
}
