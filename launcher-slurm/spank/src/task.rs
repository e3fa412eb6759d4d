//! In the process that will be a task, as its user: `pmi-task-prolog` starts the helper beside it, and says what the
//! task's environment shall be.

use std::ffi::{OsStr, OsString};
use std::process::Command;

use crate::settings::Settings;
use crate::slurm::{Spank, plugin_path};
use crate::words::ask;

/// Set in srun for the tasks that we serve.
const SERVED: &str = "SLURM_PMI_SPANK";

/// Serves the task, if its step has a server. Fails if the task must not begin without.
pub fn begin(spank: &Spank, arguments: Vec<&str>) -> Result<(), String> {
    let environment = spank.environment()?;
    if !environment.iter().any(|(name, _)| name == SERVED) {
        return Ok(());
    }
    let settings = Settings::parse(arguments)?;
    let prolog = settings.program("pmi-task-prolog", &plugin_path()?)?;
    let words = ask(Command::new(prolog).env_clear().envs(with_process(environment)))?;
    spank.apply(words)
}

/// The prolog watches the process that will be the task, which is this one.
fn with_process(environment: Vec<(OsString, OsString)>) -> Vec<(OsString, OsString)> {
    let name = OsStr::new("SLURM_TASK_PID");
    let mut with: Vec<_> = environment.into_iter().filter(|(other, _)| other != name).collect();
    with.push((name.to_owned(), std::process::id().to_string().into()));
    with
}
