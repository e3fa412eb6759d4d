//! `pmi-info`: what `PMI_Init` would find here, and how fast a job is.
#![deny(unsafe_code)]

mod args;
mod binding;
mod command;
mod image;
mod loader;
mod machine;
mod man;
mod mpi;
mod outlook;
mod owner;
mod probe;
mod program;
mod report;
mod starter;
mod text;
mod verdict;

use std::ffi::OsStr;
use std::io::Write;
use std::process::ExitCode;

use args::{Args, Task};
use clap::Parser;
use report::Report;

/// Exit code of a wrong command line.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    if args.man {
        return print_man_page();
    }
    match args.task() {
        Ok(Task::Report(program)) => report(&args, program.as_deref()),
        Ok(Task::Probe(request)) => probe::run(&request, args.json),
        Err(complaint) => {
            eprintln!("pmi-info: {complaint}. See pmi-info --help");
            ExitCode::from(USAGE)
        }
    }
}

fn report(args: &Args, program: Option<&OsStr>) -> ExitCode {
    let report = Report::make(program, args.every_rank);
    let whole = args.every_rank || report.rank.value.unwrap_or(0) == 0;
    print(match args.json {
        true => json(&report),
        false => text::of(&report, whole),
    });
    ExitCode::from(report.exit_code)
}

/// One line.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("our types have text for keys") + "\n"
}

/// In one piece, so that the lines of several ranks do not mix. A reader that has gone away is no error.
fn print(text: String) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn print_man_page() -> ExitCode {
    match man::print(&mut std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pmi-info: cannot write the man page: {error}");
            ExitCode::FAILURE
        }
    }
}
