//! `pmi-exec`: becomes the program, beside a bridge that serves it.

mod args;
mod task;

use std::process::ExitCode;

use args::Args;
use clap::{CommandFactory, Parser};

/// Exit code of failures that come before the program.
const FAILED: u8 = 1;
/// Exit code if the program is not found, as in a shell.
const NOT_FOUND: u8 = 127;
/// Exit code if the program cannot be run.
const NOT_RUN: u8 = 126;

fn main() -> ExitCode {
    let args = Args::parse();
    if args.man {
        return print_man_page();
    }
    // Does not return if all goes well.
    let failure = task::become_program(&args);
    eprintln!("pmi-exec: {}", failure.text);
    ExitCode::from(failure.code)
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
