//! In srun: the step's server is started, and the tasks are told of it.

use std::ffi::OsString;
use std::process::Command;
use std::sync::Mutex;

use crate::settings::{Decision, Settings, decide, yes_or_no};
use crate::slurm::{apply_here, complain, plugin_path};
use crate::words::{Word, ask};

/// Whether steps shall have a server, where no option says. The user's.
const CHOICE: &str = "SLURM_PMI_KVS";
/// Set by pmi-srun: the process that it becomes has a server already.
const WRAPPED: &str = "SLURM_PMI_SRUN";
/// The task's side looks for this.
const SERVED: &str = "SLURM_PMI_SPANK";
/// Tells the task prolog, which srun had to know before, that there is nothing to do.
const OFF: &str = "SLURM_PMI_OFF";
/// Where `pmi-task-prolog` finds the user's own.
const KEPT: [(&str, &str); 2] =
    [("SLURM_TASK_PROLOG", "SLURM_PMI_TASK_PROLOG"), ("SLURM_MPI_TYPE", "SLURM_PMI_MPI_TYPE")];

/// What the option says, if it was used.
static OPTION: Mutex<Option<bool>> = Mutex::new(None);

/// Is the step's server there already? srun calls the hook once for each component of a heterogeneous step (seen with
/// 22.05), and the first that wants a server has it started for all.
static BEGUN: Mutex<bool> = Mutex::new(false);

/// Takes the option's value; false if it is neither yes nor no.
pub fn choose(value: &str) -> bool {
    let choice = yes_or_no(value);
    *OPTION.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = choice;
    choice.is_some()
}

fn chosen() -> Option<bool> {
    *OPTION.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn text_of(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

fn is_wrapped() -> bool {
    text_of(WRAPPED).is_some_and(|pid| pid == std::process::id().to_string())
}

/// For `srun-only`: names our task prolog before srun reads its environment. Only later it is known whether the step
/// has a server.
pub fn prepare(settings: &Settings) -> Result<(), String> {
    if !settings.srun_only || is_wrapped() {
        return Ok(());
    }
    let prolog = settings.program("pmi-task-prolog", &plugin_path()?)?;
    let keep = |(name, keeper): (&str, &str)| match std::env::var_os(name) {
        Some(value) => Word::Export(keeper.into(), value),
        None => Word::Unset(keeper.into()),
    };
    apply_here(KEPT.into_iter().map(keep).collect());
    apply_here(vec![Word::Export("SLURM_TASK_PROLOG".into(), prolog.into())]);
    Ok(())
}

/// Starts the server, if the step shall have one. A mistake in plugstack.conf ends only steps for which a server is
/// asked; the others are told of it.
pub fn begin(settings: Result<Settings, String>) -> Result<(), String> {
    let mut begun = BEGUN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if *begun || is_wrapped() {
        return Ok(());
    }
    let default = settings.as_ref().is_ok_and(|settings| settings.default);
    let decision = decide(chosen(), text_of(CHOICE).as_deref(), default)?;
    let words = match (settings, decision) {
        (Ok(settings), Decision::Off) => off(&settings),
        (Ok(settings), _) => start(&settings, decision)?,
        (Err(text), Decision::Off) => {
            complain(&text);
            Vec::new()
        }
        (Err(text), _) => return Err(text),
    };
    apply_here(words);
    *begun = decision != Decision::Off;
    Ok(())
}

/// What an outer step may have left must not be taken for this one's.
fn off(settings: &Settings) -> Vec<Word> {
    let mut words = vec![Word::Unset(SERVED.into())];
    if settings.srun_only {
        words.push(Word::Export(OFF.into(), "1".into()));
    }
    words
}

fn start(settings: &Settings, decision: Decision) -> Result<Vec<Word>, String> {
    let program = settings.program("pmi-step-server", &plugin_path()?)?;
    let way = match (settings.srun_only, decision) {
        (true, _) => "prolog",
        (false, Decision::Asked) => "asked",
        (false, _) => "default",
    };
    let srun = OsString::from(std::process::id().to_string());
    let mut command = Command::new(program);
    command.arg("--srun").arg(srun).args(["--way", way]).args(settings.server());
    ask(&mut command).map_err(|reason| {
        format!("this step gets no PMI server: {reason} (srun --pmi-kvs=no does without)")
    })
}
