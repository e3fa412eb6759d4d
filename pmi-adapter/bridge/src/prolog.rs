//! `pmi-task-prolog`: Slurm runs it before each task of a step that `pmi-srun` has started, as the task's user, and puts
//! what it prints as `export NAME=value` into the task's environment.
//!
//! Its parent is the process that will be the task. `SLURM_PMI_*` tell it where the job's server is: of the variables
//! that srun finds in its environment, those that begin with `SLURM` reach the tasks whatever `--export` says (seen with
//! 22.05). The user's own task prolog, whose place it takes, it runs first.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::{Command, ExitCode, Stdio};

use nix::unistd::Pid;
use pmi_bridge::task::{self, Environment, FAILED, Failure, Service};

/// What `pmi-srun` hands over stands behind this, under the name that the task shall see.
const HANDED: &str = "SLURM_PMI_";

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

fn run(mut before: Environment) -> Result<(), Failure> {
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
    io::stdout().write_all(&answer).map_err(|error| Failure::own(format!("cannot answer: {error}")))
}

/// The process that will be the task.
fn task_process(environment: &Environment) -> Result<Pid, Failure> {
    let number = environment.get(OsStr::new("SLURM_TASK_PID")).and_then(|text| text.to_str());
    let pid = number.and_then(|text| text.parse().ok()).filter(|pid| *pid > 1).map(Pid::from_raw);
    pid.filter(|_| environment.contains_key(OsStr::new("SLURM_PMI_KVS_SERVER"))).ok_or_else(|| {
        Failure::own("is run by Slurm in steps that pmi-srun starts, and is of no use elsewhere")
    })
}

/// The environment with what `pmi-srun` has handed over in place: `SLURM_PMI_KVS_JOB` as `PMI_KVS_JOB`, and so on.
fn taken_over(before: &Environment) -> Environment {
    let handed = |name: &OsStr| name.as_bytes().starts_with(HANDED.as_bytes());
    let mut after = before.clone();
    after.retain(|name, _| !handed(name));
    for (name, value) in before.iter().filter(|(name, _)| handed(name)) {
        let plain = &name.as_bytes()["SLURM_".len()..];
        if plain.starts_with(b"PMI_KVS_") {
            after.insert(OsStr::from_bytes(plain).to_owned(), value.clone());
        }
    }
    for (name, kept) in RESTORED {
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

/// Does to an environment what Slurm does with a prolog's words.
fn apply(environment: &mut Environment, words: &[u8]) {
    for line in words.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_start) {
        if let Some(assignment) = line.strip_prefix(b"export ") {
            let mut parts = assignment.trim_ascii_start().splitn(2, |byte| *byte == b'=');
            if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
                environment.insert(os_string(name), os_string(value));
            }
        } else if let Some(name) = line.strip_prefix(b"unset ") {
            environment.remove(OsStr::from_bytes(name.trim_ascii()));
        }
    }
}

fn os_string(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

/// Says in Slurm's words how to get from one environment to the other.
fn differences(before: &Environment, after: &Environment, words: &mut Vec<u8>) {
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        words.extend([b"unset ", name.as_bytes(), b"\n"].concat());
    }
    for (name, value) in after.iter().filter(|(name, value)| before.get(*name) != Some(value)) {
        words.extend([b"export ", name.as_bytes(), b"=", value.as_bytes(), b"\n"].concat());
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
    fn only_what_differs_is_said() {
        let mut words = Vec::new();
        let (before, after) = (environment("A=1 B=2 C=3"), environment("A=1 B=4 D=5=6"));
        differences(&before, &after, &mut words);
        assert_eq!(String::from_utf8(words).unwrap(), "unset C\nexport B=4\nexport D=5=6\n");
    }

    #[test]
    fn the_users_words_are_read_as_slurm_reads_them() {
        let mut found = environment("A=1 B=2");
        apply(&mut found, b"export C=x\nprint hello\nunset A\n export B=3=4\nexport nothing\n");
        assert_eq!(found, environment("B=3=4 C=x"));
    }

    #[test]
    fn outside_of_a_step_it_says_what_it_is_for() {
        let failure = run(environment("SLURM_TASK_PID=5")).err().unwrap();
        assert!(failure.text.contains("pmi-srun"), "{}", failure.text);
    }
}
