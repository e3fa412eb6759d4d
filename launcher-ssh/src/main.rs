//! `pmi-ssh`: runs a parallel job with the words of `mpiexec`.
#![forbid(unsafe_code)]

mod flags;
mod man;
mod parse;

use std::io::{self, Write};
use std::process::exit;

use parse::Invocation;
use pmi_launch::error::{EXIT_FAILURE, EXIT_USAGE};
use pmi_launch::job;
use pmi_launch::spec::JobSpec;

fn main() {
    let code = match parse::parse(std::env::args_os().skip(1)) {
        Ok(Invocation::Run(job)) => run(&job),
        Ok(Invocation::Help) => print(&man::help()),
        Ok(Invocation::Man) => print(&man::page()),
        Ok(Invocation::Version) => print(&format!("{}\n", man::version())),
        Err(error) => complain(&error, EXIT_USAGE),
    };
    exit(code)
}

fn run(spec: &JobSpec) -> i32 {
    job::run(spec).unwrap_or_else(|error| complain(&error, error.exit_code()))
}

fn complain(error: &dyn std::error::Error, code: i32) -> i32 {
    // If standard error is closed, the exit code has to do.
    let _ = writeln!(io::stderr(), "pmi-ssh: {error}");
    code
}

fn print(text: &str) -> i32 {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => 0,
        Err(_) => EXIT_FAILURE,
    }
}
