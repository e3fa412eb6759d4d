//! Who has started this process: the nearest process above it that is known to start ranks, or whose variables it has.

use std::fs;
use std::path::PathBuf;

use pmi_client::environment::Placement;
use serde::Serialize;

/// No chain of processes is as long: the search ends even if process ids are used again under way.
const DEPTH_MAX: usize = 64;

/// Programs that start ranks, by the names of their files (or the first 15 bytes of them, which the kernel shows of
/// other users' processes).
const PROGRAMS: [(&str, &str); 11] = [
    ("pmi-ssh", "pmi-ssh"),
    ("hydra_pmi_proxy", "Hydra"),
    ("mpiexec.gforker", "gforker"),
    ("mpiexec.gforke", "gforker"),
    ("slurmstepd", "Slurm"),
    ("orterun", "Open MPI's mpirun"),
    ("orted", "Open MPI's mpirun"),
    ("prterun", "Open MPI's mpirun"),
    ("prted", "Open MPI's mpirun"),
    ("flux-shell", "Flux"),
    ("palsd", "PALS"),
];

/// A starter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Starter {
    /// What a person calls it.
    pub name: String,
    /// What it was known by.
    pub because: String,
}

/// The starter of this process. Who is outside any job has none.
pub fn detect(placement: Option<&Placement>) -> Option<Starter> {
    above().or_else(|| by_variables(placement?))
}

fn above() -> Option<Starter> {
    let mut pid = std::os::unix::process::parent_id();
    for _ in 0..DEPTH_MAX {
        let process = Process::read(pid)?;
        if let Some((_, name)) = PROGRAMS.iter().find(|(program, _)| process.is(program)) {
            return Some(Starter {
                name: (*name).to_owned(),
                because: format!("process {pid} ({}) is above this one", process.name),
            });
        }
        pid = process.parent;
    }
    None
}

/// Our own starters leave no process above (`pmi-exec` becomes the program), others may not be visible.
fn by_variables(placement: &Placement) -> Option<Starter> {
    let because = |variables: &str| format!("{variables} is set");
    match (&placement.server, placement.source) {
        (Some(_), _) => Some(Starter {
            name: "pmi-exec, or one that sets PMI_KVS_SERVER itself".into(),
            because: because("PMI_KVS_SERVER"),
        }),
        (None, Some(source)) => Some(Starter {
            name: match source.starts_with("PMI_") {
                true => "unknown".into(),
                false => source.to_owned(),
            },
            because: because(placement.told_by.rank.unwrap_or("the rank")),
        }),
        (None, None) => None,
    }
}

struct Process {
    name: String,
    executable: Option<PathBuf>,
    parent: u32,
}

impl Process {
    fn read(pid: u32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (name, parent) = parse(&stat)?;
        Some(Process { name, executable: fs::read_link(format!("/proc/{pid}/exe")).ok(), parent })
    }

    fn is(&self, program: &str) -> bool {
        let file = self.executable.as_ref().and_then(|path| path.file_name());
        self.name == program || file.is_some_and(|name| name == program)
    }
}

/// Name and parent from `1234 (name) S 1 …`; the name may have anything in it, parentheses too.
fn parse(stat: &str) -> Option<(String, u32)> {
    let (_, rest) = stat.split_once('(')?;
    let (name, rest) = rest.rsplit_once(')')?;
    Some((name.to_owned(), rest.split_whitespace().nth(1)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_are_read() {
        assert_eq!(parse("12 (a) b (c) S 7 12 12"), Some(("a) b (c".into(), 7)));
        assert_eq!(parse("12 (a"), None);
        assert_eq!(parse("12 (a) S"), None);
        assert!(Process::read(std::process::id()).is_some());
    }
}
