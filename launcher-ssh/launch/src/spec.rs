//! The description of a job, as a launcher's command line gives it.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

pub use pmi_protocol::limits::{LOG_CEILING_DEFAULT, LOG_CEILING_MAX, LOG_CEILING_MIN, SIZE_MAX};

/// A job: programs with their ranks in order, and how to run them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSpec {
    /// Name of the launcher, as messages and the job name begin with it.
    pub starter: &'static str,
    /// The programs; a program's place in the list is its appnum.
    pub apps: Vec<App>,
    /// Put `[rank] ` before each line of output.
    pub labels: bool,
    /// `PMI_UNIVERSE_SIZE`; `None`: the size of the job.
    pub universe_size: Option<u32>,
    /// Ceiling of the log in bytes.
    pub log_ceiling: u64,
    /// Address of the key-value server.
    pub bind: IpAddr,
    /// UDP ports of which the server takes the first free one; `None`: any.
    pub ports: Option<RangeInclusive<u16>>,
    /// Show our `libpmi.so` to MPI libraries that must be told.
    pub presets: bool,
    /// Ranks reach the PMI service by TCP (`PMI_PORT`, `PMI_ID`), not through an inherited descriptor.
    pub pmi_port: bool,
    /// Say what happens when, and end with statistics.
    pub verbose: bool,
}

impl JobSpec {
    /// A job without programs, everything else as by default.
    pub fn new(starter: &'static str) -> Self {
        JobSpec {
            starter,
            apps: Vec::new(),
            labels: false,
            universe_size: None,
            log_ceiling: LOG_CEILING_DEFAULT,
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            ports: None,
            presets: true,
            pmi_port: false,
            verbose: false,
        }
    }

    /// Number of ranks.
    pub fn size(&self) -> u32 {
        self.apps.iter().map(|app| app.count).sum()
    }
}

/// One program of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// Number of its ranks.
    pub count: u32,
    /// The program as the user named it.
    pub program: OsString,
    /// Its arguments, without the program's name.
    pub args: Vec<OsString>,
    /// Its working directory; `None`: the launcher's.
    pub wdir: Option<PathBuf>,
    /// Which of the launcher's variables its ranks inherit.
    pub inherit: Inherit,
    /// Variables set for its ranks; a later one replaces an earlier one.
    pub set: Vec<(OsString, OsString)>,
}

/// Which of the launcher's environment variables a rank inherits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Inherit {
    /// All of them.
    #[default]
    All,
    /// None.
    Nothing,
    /// These.
    Only(Vec<OsString>),
}
