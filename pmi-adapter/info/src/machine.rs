//! The MPI libraries of this machine, by their compiler wrappers and starters in `PATH`, which are asked for their
//! versions.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Serialize;

use crate::binding::{Binding, Offer};
use crate::command;
use crate::mpi::Family;

/// Compiler wrappers. Open MPI's and MPICH's have no common question: the second passes what it does not know to the
/// compiler.
const COMPILERS: [&str; 5] = ["mpicc", "mpicc.mpich", "mpicc.openmpi", "mpiicc", "mpiicx"];

/// Programs that start ranks.
const STARTERS: [&str; 7] = [
    "mpiexec",
    "mpirun",
    "mpiexec.hydra",
    "mpiexec.mpich",
    "mpiexec.openmpi",
    "mpirun.mpich",
    "mpirun.openmpi",
];

/// How the answers give them away. What Open MPI 4 calls its own runtime stands in the answer of its mpiexec.
const MARKS: [(&str, Family); 5] = [
    ("(Open MPI)", Family::OpenMpi4),
    (": Open MPI ", Family::OpenMpi4),
    ("(OpenRTE)", Family::OpenMpi4),
    ("Intel(R) MPI Library", Family::Intel),
    ("HYDRA build details", Family::Mpich),
];

/// How MPICH's compiler wrapper calls itself.
const MPICH_COMPILER: &str = "for MPICH version";

/// An MPI library and its programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Installed {
    /// What a person calls it.
    pub name: &'static str,
    /// Its version, if its programs tell.
    pub version: Option<String>,
    /// Its programs that were found.
    pub commands: Vec<PathBuf>,
    /// How programs that are linked with it find their peers here.
    pub binding: Binding,
}

/// The MPI libraries whose programs are in `PATH`.
pub fn installed(offer: &Offer<'_>) -> Vec<Installed> {
    let compilers =
        COMPILERS.iter().filter_map(|name| in_path(name)).map(|path| (compiler(&path), path));
    let starters =
        STARTERS.iter().filter_map(|name| in_path(name)).map(|path| (starter(&path), path));
    let mut found: Vec<Installed> = Vec::new();
    for (library, path) in compilers.chain(starters) {
        let Some((family, version)) = library else { continue };
        let same = |other: &&mut Installed| other.name == family.name() && other.version == version;
        match found.iter_mut().find(same) {
            Some(installed) => installed.commands.push(path),
            None => found.push(Installed {
                name: family.name(),
                version,
                commands: vec![path],
                binding: offer.binding(family),
            }),
        }
    }
    found
}

/// The first program of this name in `PATH`.
pub fn in_path(name: &str) -> Option<PathBuf> {
    let search = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&search).map(|directory| directory.join(name));
    places.find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

fn ask(program: &Path, question: &str) -> Option<(Family, Option<String>)> {
    let mut command = Command::new(program);
    command.arg(question);
    identify(&command::answer(command)?)
}

fn compiler(path: &Path) -> Option<(Family, Option<String>)> {
    ask(path, "--showme:version").or_else(|| ask(path, "-v"))
}

fn starter(path: &Path) -> Option<(Family, Option<String>)> {
    ask(path, "--version")
}

/// Whose answer it is, and the first version after the mark.
fn identify(answer: &str) -> Option<(Family, Option<String>)> {
    let marks = MARKS.iter().copied().chain([(MPICH_COMPILER, Family::Mpich)]);
    let mut found = marks.filter_map(|(mark, family)| Some((family, answer.split_once(mark)?.1)));
    let (family, rest) = found.next()?;
    let version = rest.split_whitespace().find(|word| is_version(word)).map(str::to_owned);
    match family {
        Family::OpenMpi4 => Some((Family::open_mpi(version.as_deref()), version)),
        other => Some((other, version)),
    }
}

fn is_version(word: &str) -> bool {
    word.contains('.') && word.starts_with(|first: char| first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        for (answer, family, version) in [
            ("mpicc: Open MPI 4.1.4 (Language: C)\n", Family::OpenMpi4, "4.1.4"),
            ("mpirun (Open MPI) 5.0.6\n\nReport bugs", Family::OpenMpi5, "5.0.6"),
            ("mpiexec (OpenRTE) 4.1.4\n", Family::OpenMpi4, "4.1.4"),
            ("HYDRA build details:\n    Version:      5.0.2\n", Family::Mpich, "5.0.2"),
            ("mpicc for MPICH version 4.0.2\nUsing built-in", Family::Mpich, "4.0.2"),
            (
                "Intel(R) MPI Library for Linux* OS, Version 2021.18.1 Build 2026",
                Family::Intel,
                "2021.18.1",
            ),
        ] {
            assert_eq!(identify(answer), Some((family, Some(version.to_owned()))), "{answer}");
        }
        assert_eq!(identify("gcc (Debian 12.2.0-14) 12.2.0"), None);
        assert_eq!(identify(""), None);
    }
}
