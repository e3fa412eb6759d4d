//! Command line of the simulator.

use std::io::Write;
use std::panic::catch_unwind;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use pmi_sim::plan::Fault;
use pmi_sim::report::{Load, measure};
use pmi_sim::world::{self, Summary};

/// Plays the protocol of pmi-adapter under seeded faults, or measures what barriers cost.
#[derive(Debug, Parser)]
#[command(name = "pmi-sim", args_conflicts_with_subcommands = true)]
struct Command {
    #[command(subcommand)]
    mode: Option<Mode>,
    #[command(flatten)]
    play: Play,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Counts datagrams and bytes at the server, and virtual time, for each barrier; without faults.
    Report(Load),
}

#[derive(Debug, Args)]
struct Play {
    /// Number of seeds to run; stops at the first that fails.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Run this seed only.
    #[arg(long, conflicts_with_all = ["seeds", "first"])]
    seed: Option<u64>,
    /// Print everything that happens to standard error.
    #[arg(long)]
    trace: bool,
    /// Kinds of fault that may occur; without this all of them.
    #[arg(long, value_enum, value_delimiter = ',')]
    faults: Option<Vec<Fault>>,
}

impl Play {
    fn seeds(&self) -> std::ops::Range<u64> {
        match self.seed {
            Some(seed) => seed..seed.saturating_add(1),
            None => self.first..self.first.saturating_add(self.seeds),
        }
    }

    /// Runs one seed; a panic is a failure like any other.
    fn run(&self, seed: u64) -> Result<Summary, String> {
        let faults = self.faults.as_deref().unwrap_or(Fault::value_variants());
        match catch_unwind(|| world::run(seed, faults, self.trace)) {
            Ok(result) => result.map_err(|violation| violation.0),
            Err(_) => Err("panicked; the message stands above".to_owned()),
        }
    }

    fn reproduce(&self, seed: u64) -> String {
        let name = |fault: &Fault| fault.to_possible_value().map(|v| v.get_name().to_owned());
        let names = |faults: &Vec<Fault>| faults.iter().filter_map(name).collect::<Vec<_>>();
        let faults = self.faults.as_ref().map(names).map(|names| names.join(","));
        let faults = faults.map_or(String::new(), |names| format!(" --faults {names}"));
        format!("pmi-sim --seed {seed}{faults} --trace")
    }
}

fn main() -> ExitCode {
    let command = Command::parse();
    match command.mode {
        Some(Mode::Report(load)) => report(&load),
        None => play(&command.play),
    }
}

fn play(play: &Play) -> ExitCode {
    let mut total = Summary::default();
    for seed in play.seeds() {
        match play.run(seed) {
            Ok(summary) => total = total + summary,
            Err(reason) => {
                eprintln!(
                    "seed {seed} fails: {reason}\nreproduce it with: {}",
                    play.reproduce(seed)
                );
                return ExitCode::FAILURE;
            }
        }
    }
    let seeds = play.seeds();
    print(&format!("seeds {} to {} pass: {total}\n", seeds.start, seeds.end.saturating_sub(1)))
}

fn report(load: &Load) -> ExitCode {
    match measure(load) {
        Ok(report) => print(&report.to_string()),
        Err(reason) => {
            eprintln!("pmi-sim report: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Prints to standard output; a closed pipe is no error of ours.
fn print(text: &str) -> ExitCode {
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}
