//! Finding files: the programs to run, by the rules of `execvp`, and our own server and library, which are
//! installed together with the launcher.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, eaccess};
use pmi_bridge::offer;

use crate::error::Error;

/// Where `execvp` looks when there is no `PATH`.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The path of `program`, as `execvp` would find it after entering `wdir` with this `PATH`. A relative result
/// is relative to `wdir`.
pub fn program(
    program: &OsStr,
    wdir: Option<&Path>,
    path: Option<&OsStr>,
) -> Result<PathBuf, Error> {
    if let Some(wdir) = wdir {
        check_directory(wdir)?;
    }
    if program.is_empty() {
        return Err(not_in_path(program, wdir));
    }
    if program.as_bytes().contains(&b'/') {
        return direct(PathBuf::from(program), wdir);
    }
    search(program, wdir, path.unwrap_or(OsStr::new(DEFAULT_PATH)))
}

fn check_directory(wdir: &Path) -> Result<(), Error> {
    let reason = match std::fs::metadata(wdir) {
        Ok(found) if found.is_dir() => match eaccess(wdir, AccessFlags::X_OK) {
            Ok(()) => return Ok(()),
            Err(errno) => errno.into(),
        },
        Ok(_) => io::Error::from(io::ErrorKind::NotADirectory),
        Err(reason) => reason,
    };
    Err(Error::Directory { path: wdir.to_owned(), reason })
}

fn direct(path: PathBuf, wdir: Option<&Path>) -> Result<PathBuf, Error> {
    match obstacle(&seen_from(wdir, &path)) {
        None => Ok(path),
        Some(Obstacle::Missing) => {
            let place = wdir.map_or(String::new(), |wdir| format!(" in {}", wdir.display()));
            let advice = format!("there is no such file{place}; check its path");
            Err(Error::NotFound { program: path.display().to_string(), advice })
        }
        Some(Obstacle::Unusable(advice)) => Err(Error::NotExecutable { path, advice }),
    }
}

fn search(program: &OsStr, wdir: Option<&Path>, path: &OsStr) -> Result<PathBuf, Error> {
    let mut unusable = None;
    for directory in std::env::split_paths(path) {
        let directory =
            if directory.as_os_str().is_empty() { PathBuf::from(".") } else { directory };
        let candidate = directory.join(program);
        match obstacle(&seen_from(wdir, &candidate)) {
            None => return Ok(candidate),
            Some(Obstacle::Missing) => {}
            Some(Obstacle::Unusable(advice)) => {
                unusable.get_or_insert(Error::NotExecutable { path: candidate, advice });
            }
        }
    }
    Err(unusable.unwrap_or_else(|| not_in_path(program, wdir)))
}

fn not_in_path(program: &OsStr, wdir: Option<&Path>) -> Error {
    let name = program.display();
    let here = !program.is_empty() && obstacle(&seen_from(wdir, Path::new(program))).is_none();
    let advice = match here {
        true => {
            format!("it is not in PATH; to run the one in the working directory, write './{name}'")
        }
        false => "it is not in PATH; check its name, or give its path".to_owned(),
    };
    Error::NotFound { program: name.to_string(), advice }
}

fn seen_from(wdir: Option<&Path>, path: &Path) -> PathBuf {
    wdir.map_or_else(|| path.to_owned(), |wdir| wdir.join(path))
}

/// What keeps a file from being executed.
enum Obstacle {
    Missing,
    Unusable(String),
}

fn obstacle(path: &Path) -> Option<Obstacle> {
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Some(Obstacle::Unusable(format!(
                "{error}; check the rights of its directories"
            )));
        }
        Err(_) => return Some(Obstacle::Missing),
    };
    if found.is_dir() {
        Some(Obstacle::Unusable("it is a directory".to_owned()))
    } else if eaccess(path, AccessFlags::X_OK).is_err() {
        Some(Obstacle::Unusable("permission denied; make it executable (chmod +x)".to_owned()))
    } else {
        None
    }
}

/// Where this program's own companions are: beside it, and around it.
pub struct Installation {
    directory: PathBuf,
}

impl Installation {
    /// The installation that the running program belongs to.
    pub fn of_this_program() -> io::Result<Self> {
        let exe = std::env::current_exe()?;
        Ok(Installation { directory: exe.parent().unwrap_or(Path::new("/")).to_owned() })
    }

    /// The installation of a program in `directory`.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Installation { directory: directory.into() }
    }

    /// The key-value server.
    pub fn server(&self) -> Result<PathBuf, Error> {
        self.companion("pmi-kvs-server")
    }

    /// Another program of ours: beside us, in `../libexec` or `../bin`, or in `PATH`.
    pub fn companion(&self, name: &'static str) -> Result<PathBuf, Error> {
        let places = [".", "../libexec", "../bin"].map(|place| self.directory.join(place));
        let places =
            places.map(|place| place.components().collect::<PathBuf>().join(name)).to_vec();
        let near = places.iter().find(|place| obstacle(place).is_none()).cloned();
        let path = std::env::var_os("PATH");
        near.or_else(|| search(OsStr::new(name), None, path.as_deref()?).ok())
            .ok_or(Error::CompanionNotFound { name, places })
    }

    /// Our `libpmi.so`.
    pub fn library(&self) -> Option<PathBuf> {
        offer::library(&self.directory)
    }
}

/// The value that `PATH` has for a program: the last one that was set for it, else ours.
pub fn effective_path(set: &[(OsString, OsString)]) -> Option<OsString> {
    let own = set.iter().rev().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone());
    own.or_else(|| std::env::var_os("PATH"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit_code(name: &str, wdir: Option<&Path>, path: &str) -> i32 {
        program(OsStr::new(name), wdir, Some(OsStr::new(path))).unwrap_err().exit_code()
    }

    #[test]
    fn programs_are_found_as_execvp_finds_them() {
        let find = |name: &str, wdir: Option<&str>, path: &str| {
            program(OsStr::new(name), wdir.map(Path::new), Some(OsStr::new(path))).unwrap()
        };
        assert_eq!(find("sh", None, "/nowhere:/bin"), Path::new("/bin/sh"));
        assert_eq!(find("/bin/sh", None, ""), Path::new("/bin/sh"));
        assert_eq!(find("./sh", Some("/bin"), ""), Path::new("./sh"));
        assert_eq!(find("sh", Some("/bin"), "/nowhere:"), Path::new("./sh"));
        assert_eq!(find("sh", Some("/"), "bin"), Path::new("bin/sh"));
    }

    #[test]
    fn what_cannot_run_is_named_with_its_exit_code() {
        assert_eq!(exit_code("no-such-program", None, "/bin:/usr/bin"), 127);
        assert_eq!(exit_code("./no-such-program", None, ""), 127);
        assert_eq!(exit_code("", None, "/bin"), 127);
        assert_eq!(exit_code("/etc/passwd", None, ""), 126);
        assert_eq!(exit_code("/tmp", None, ""), 126);
        assert_eq!(exit_code("passwd", None, "/etc"), 126);
        assert_eq!(exit_code("sh", Some(Path::new("/nowhere")), "/bin"), 1);
        assert_eq!(exit_code("sh", Some(Path::new("/etc/passwd")), "/bin"), 1);
    }

    #[test]
    fn a_program_in_the_working_directory_is_pointed_at() {
        let error =
            program(OsStr::new("sh"), Some(Path::new("/bin")), Some(OsStr::new("/nowhere")));
        assert!(error.unwrap_err().to_string().contains("./sh"));
    }
}
