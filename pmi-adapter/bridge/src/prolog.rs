//! `pmi-task-prolog`: Slurm, or `spank_pmi.so` in Slurm, runs it before each task of a step that has a server of ours, as
//! the task's user, and puts what it prints as `export NAME=value` into the task's environment.
//!
//! Its parent is the process that will be the task. `SLURM_PMI_*` tell it where the job's server is: of the variables
//! that srun finds in its environment, those that begin with `SLURM` reach the tasks whatever `--export` says (seen with
//! 22.05). The user's own task prolog, whose place it takes, it runs first.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, ExitCode, Stdio};

use nix::unistd::Pid;
use pmi_bridge::task::{self, Environment, FAILED, Failure, Service};
use pmi_bridge::words::{apply, differences};

/// What `pmi-srun` and `spank_pmi.so` hand over stands behind this, under the name that the task shall see.
const HANDED: &str = "SLURM_PMI_";

/// Begins like that, and is the user's: whether srun shall have a server of ours.
const CHOICE: &str = "SLURM_PMI_KVS";

/// Set where we stand in for `spank_pmi.so`: `yes` if the user has asked for it, else `default`.
const PLUGIN: &str = "SLURM_PMI_SPANK";

/// Set where srun had to know its task prolog before it knew that the step has no server of ours.
const OFF: &str = "SLURM_PMI_OFF";

/// Variables of which Slurm's own PMI servers set one: mpi/pmi2 the first, others the second, mpi/pmix the third.
const SERVED: [&str; 3] = ["PMI_FD", "PMI_PORT", "PMIX_NAMESPACE"];

/// `SLURM_STEP_ID` of the shell that salloc runs on the job's first node (`SLURM_INTERACTIVE_STEP` in slurm.h).
const INTERACTIVE_STEP: &str = "4294967290";

/// The user's own task prolog.
const USERS_PROLOG: &str = "SLURM_PMI_TASK_PROLOG";

/// Are programs to be shown our libraries? Set if not.
const NO_LIBRARY: &str = "SLURM_PMI_NO_LIBRARY";

/// Variables that `pmi-srun` has set for srun, and where it has kept what the user had in them.
const RESTORED: [(&str, &str); 2] =
    [("SLURM_TASK_PROLOG", USERS_PROLOG), ("SLURM_MPI_TYPE", "SLURM_PMI_MPI_TYPE")];

fn main() -> ExitCode {
    match run(std::env::vars_os().collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Slurm shows the user what a prolog prints in this form, and nothing else.
            println!("print pmi-task-prolog: {}", failure.text.replace('\n', " "));
            ExitCode::from(failure.code)
        }
    }
}

fn run(before: Environment) -> Result<(), Failure> {
    let answer = match before.contains_key(OsStr::new(OFF)) || yields(&before) {
        true => unserved(before),
        false => served(before),
    }?;
    io::stdout().write_all(&answer).map_err(|error| Failure::own(format!("cannot answer: {error}")))
}

/// The answer for a task of ours.
fn served(mut before: Environment) -> Result<Vec<u8>, Failure> {
    let service = Service {
        port: true,
        library: !before.contains_key(OsStr::new(NO_LIBRARY)),
        program: task_process(&before)?,
        apart: true,
    };
    let mut after = taken_over(&before);
    let words = users_prolog(&before, &after)?;
    for environment in [&mut before, &mut after] {
        apply(environment, &words);
    }
    let after = task::prepare(after, &service)?;
    let mut answer = words;
    differences(&before, &after, &mut answer);
    Ok(answer)
}

/// The answer for a task that is not: its environment is as if we were not there.
fn unserved(mut before: Environment) -> Result<Vec<u8>, Failure> {
    let mut after = taken_over(&before);
    after.retain(|name, _| !name.as_bytes().starts_with(b"PMI_KVS_"));
    let mut answer = users_prolog(&before, &after)?;
    for environment in [&mut before, &mut after] {
        apply(environment, &answer);
    }
    differences(&before, &after, &mut answer);
    Ok(answer)
}

/// Is this a task that nobody has asked us to serve, and that needs us not?
fn yields(environment: &Environment) -> bool {
    let is = |name: &str, value: &str| {
        environment.get(OsStr::new(name)).is_some_and(|found| found == value)
    };
    let served = SERVED.iter().any(|name| environment.contains_key(OsStr::new(name)));
    is(PLUGIN, "default") && (served || is("SLURM_STEP_ID", INTERACTIVE_STEP))
}

/// The process that will be the task.
fn task_process(environment: &Environment) -> Result<Pid, Failure> {
    let number = environment.get(OsStr::new("SLURM_TASK_PID")).and_then(|text| text.to_str());
    let pid = number.and_then(|text| text.parse().ok()).filter(|pid| *pid > 1).map(Pid::from_raw);
    pid.filter(|_| environment.contains_key(OsStr::new("SLURM_PMI_KVS_SERVER"))).ok_or_else(|| {
        Failure::own(
            "is run by Slurm in steps of pmi-srun and srun --pmi-kvs, and is of no use elsewhere",
        )
    })
}

/// The environment with what `pmi-srun` has handed over in place: `SLURM_PMI_KVS_JOB` as `PMI_KVS_JOB`, and so on.
fn taken_over(before: &Environment) -> Environment {
    let handed = |name: &OsStr| name.as_bytes().starts_with(HANDED.as_bytes()) && name != CHOICE;
    let mut after = before.clone();
    after.retain(|name, _| !handed(name));
    for (name, value) in before.iter().filter(|(name, _)| handed(name)) {
        let plain = &name.as_bytes()["SLURM_".len()..];
        if plain.starts_with(b"PMI_KVS_") {
            after.insert(OsStr::from_bytes(plain).to_owned(), value.clone());
        }
    }
    let replaced = !before.contains_key(OsStr::new(PLUGIN));
    for (name, kept) in RESTORED.into_iter().filter(|_| replaced) {
        match before.get(OsStr::new(kept)) {
            Some(value) => after.insert(name.into(), value.clone()),
            None => after.remove(OsStr::new(name)),
        };
    }
    after
}

/// Runs the user's own prolog, if there is one; returns what it printed.
fn users_prolog(before: &Environment, environment: &Environment) -> Result<Vec<u8>, Failure> {
    let Some(program) = before.get(OsStr::new(USERS_PROLOG)).filter(|path| !path.is_empty()) else {
        return Ok(Vec::new());
    };
    let mut command = Command::new(program);
    command.env_clear().envs(environment).stdin(Stdio::null()).stderr(Stdio::inherit());
    let shown = program.display();
    let output = command
        .output()
        .map_err(|error| Failure::own(format!("cannot run your task prolog '{shown}': {error}")))?;
    let mut words = output.stdout;
    if words.last().is_some_and(|last| *last != b'\n') {
        words.push(b'\n');
    }
    match output.status.success() {
        true => Ok(words),
        false => Err(Failure {
            text: format!("your task prolog '{shown}' has failed: {}", output.status),
            code: output.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(words: &str) -> Environment {
        let pairs = words.split_whitespace().map(|word| word.split_once('=').unwrap());
        pairs.map(|(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn what_is_handed_over_gets_its_own_name_and_what_was_replaced_comes_back() {
        let before = environment(
            "A=1 SLURM_PMI_KVS_JOB=j SLURM_PMI_NO_LIBRARY=1 SLURM_TASK_PROLOG=ours SLURM_MPI_TYPE=none \
             SLURM_PMI_MPI_TYPE=pmix PMI_KVS_JOB=outer",
        );
        let expected = environment("A=1 PMI_KVS_JOB=j SLURM_MPI_TYPE=pmix");
        assert_eq!(taken_over(&before), expected);
    }

    #[test]
    fn the_plugin_has_replaced_nothing() {
        let before = environment(
            "SLURM_PMI_KVS_JOB=j SLURM_PMI_SPANK=yes SLURM_PMI_KVS=no SLURM_TASK_PROLOG=mine",
        );
        let expected = environment("PMI_KVS_JOB=j SLURM_PMI_KVS=no SLURM_TASK_PROLOG=mine");
        assert_eq!(taken_over(&before), expected);
    }

    #[test]
    fn who_is_served_already_is_left_alone_unless_the_user_has_asked() {
        let yields = |words: &str| super::yields(&environment(words));
        assert!(yields("SLURM_PMI_SPANK=default PMI_FD=5"));
        assert!(yields("SLURM_PMI_SPANK=default PMIX_NAMESPACE=slurm"));
        assert!(yields("SLURM_PMI_SPANK=default SLURM_STEP_ID=4294967290"));
        assert!(!yields("SLURM_PMI_SPANK=yes PMI_FD=5"));
        assert!(!yields("SLURM_PMI_SPANK=default SLURM_STEP_ID=0"));
        assert!(!yields("PMI_FD=5"));
    }

    #[test]
    fn nothing_of_ours_is_left_for_a_task_that_is_not_ours() {
        let before = environment(
            "A=1 SLURM_PMI_KVS_JOB=j PMI_KVS_JOB=j SLURM_PMI_SPANK=default PMI_FD=5 SLURM_MPI_TYPE=pmi2",
        );
        let answer = String::from_utf8(unserved(before).ok().unwrap()).unwrap();
        let expected = "unset PMI_KVS_JOB\nunset SLURM_PMI_KVS_JOB\nunset SLURM_PMI_SPANK\n";
        assert_eq!(answer, expected);
    }

    #[test]
    fn outside_of_a_step_it_says_what_it_is_for() {
        let failure = run(environment("SLURM_TASK_PID=5")).err().unwrap();
        assert!(failure.text.contains("pmi-srun"), "{}", failure.text);
    }
}
