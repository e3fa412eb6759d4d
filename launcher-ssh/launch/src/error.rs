//! Why a job could not be started.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Exit code of a launcher for its own failures.
pub const EXIT_FAILURE: i32 = 1;

/// Exit code for a bad command line.
pub const EXIT_USAGE: i32 = 2;

/// Exit code for a program that cannot be executed, as shells have it.
pub const EXIT_NOT_EXECUTABLE: i32 = 126;

/// Exit code for a program that is not found, as shells have it.
pub const EXIT_NOT_FOUND: i32 = 127;

/// Why a job could not be started. The text of each says what to do next.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// No such program.
    NotFound {
        /// As the user named it.
        program: String,
        /// Where we looked, and what to do.
        advice: String,
    },
    /// There is such a file, but it cannot be executed.
    NotExecutable {
        /// Its path.
        path: PathBuf,
        /// Why not, and what to do.
        advice: String,
    },
    /// The working directory cannot be used.
    Directory {
        /// Its path.
        path: PathBuf,
        /// Why not.
        reason: io::Error,
    },
    /// An argument, or a variable of the environment, contains a NUL byte.
    Nul(String),
    /// The limit of open files is too low for so many ranks.
    OpenFiles {
        /// Ranks asked for.
        ranks: u32,
        /// Descriptors needed.
        needed: u64,
        /// The hard limit.
        limit: u64,
    },
    /// The server's address cannot be used.
    Bind {
        /// Address and ports, as asked for.
        address: String,
        /// What the system said.
        reason: io::Error,
    },
    /// A program of ours is not installed where we look.
    CompanionNotFound {
        /// Its name.
        name: &'static str,
        /// Where we have looked.
        places: Vec<PathBuf>,
    },
    /// The system refused something that no job can do without.
    System {
        /// What we wanted.
        what: &'static str,
        /// What the system said.
        reason: io::Error,
    },
}

impl Error {
    /// Wraps a refusal of the system.
    pub fn system<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> Error {
        move |reason| Error::System { what, reason: reason.into() }
    }

    /// The launcher's exit code for this error.
    pub fn exit_code(&self) -> i32 {
        match self {
            Error::NotFound { .. } => EXIT_NOT_FOUND,
            Error::NotExecutable { .. } => EXIT_NOT_EXECUTABLE,
            _ => EXIT_FAILURE,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotFound { program, advice } => {
                write!(f, "program '{program}' not found: {advice}")
            }
            Error::NotExecutable { path, advice } => {
                write!(f, "cannot execute '{}': {advice}", path.display())
            }
            Error::Directory { path, reason } => write!(
                f,
                "cannot use working directory '{}': {reason}; give an existing directory with -wdir",
                path.display()
            ),
            Error::Nul(what) => write!(f, "{what} contains a NUL byte; remove it"),
            Error::OpenFiles { ranks, needed, limit } => write!(
                f,
                "{ranks} ranks need {needed} open files, but the limit is {limit}; raise it (ulimit -Hn) \
                 or start fewer ranks"
            ),
            Error::Bind { address, reason } => write!(
                f,
                "cannot bind the key-value server to {address}: {reason}; give another -bind or -port-range"
            ),
            Error::CompanionNotFound { name, places } => {
                let places: Vec<_> = places.iter().map(|path| path.display().to_string()).collect();
                write!(
                    f,
                    "{name} not found (looked for {}, and in PATH); install it beside this program",
                    places.join(", ")
                )
            }
            Error::System { what, reason } => write!(f, "cannot {what}: {reason}"),
        }
    }
}

impl std::error::Error for Error {}
