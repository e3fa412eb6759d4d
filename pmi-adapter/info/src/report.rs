//! The whole report: every key of its JSON form is a field here.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use pmi_client::environment::descriptor::Descriptor;
use pmi_client::environment::{Placement, Server};
use serde::Serialize;

use crate::binding::Offer;
use crate::loader::{self, Library};
use crate::machine::{self, Installed};
use crate::outlook::{self, Backend, Outlook, variable};
use crate::owner;
use crate::program::{self, Program};
use crate::starter::{self, Starter};
use crate::verdict;

/// Variables that name a PMI library.
const NAMING: [&str; 2] = ["I_MPI_PMI_LIBRARY", "FLUX_PMI_LIBRARY_PATH"];

/// What `pmi-info` says of an environment.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    form: &'static str,
    /// Of `pmi-info`.
    pub version: &'static str,
    /// Name of this host.
    pub host: String,
    /// This process.
    pub pid: u32,
    /// Who has started it.
    pub starter: Option<Starter>,
    /// Rank in the job.
    pub rank: Told<u32>,
    /// Number of ranks.
    pub size: Told<u32>,
    /// Rank among those of the node.
    pub local_rank: Told<u32>,
    /// Number of ranks of the node.
    pub local_size: Told<u32>,
    /// Name of the node: that of the host, if no variable tells another.
    pub node: Told<String>,
    /// Variables that another starter has set since ours.
    pub between: Vec<&'static str>,
    /// Is there a record to compare with?
    pub recorded: bool,
    /// Our server, without its key.
    pub server: Option<Address>,
    /// What would be joined.
    pub backend: Backend,
    /// The PMI libraries that the dynamic loader takes.
    pub libraries: Vec<Library>,
    /// The PMI libraries that variables name.
    pub named: Vec<Named>,
    /// The MPI libraries of this machine. Only as rank 0, unless every rank is to report: their programs are run.
    pub mpi: Vec<Installed>,
    /// The program that was asked for.
    pub program: Option<Program>,
    /// What else may matter.
    pub notes: Vec<String>,
    /// As the process ends.
    pub exit_code: u8,
    /// The last line.
    pub advice: String,
}

/// A value and the variable that it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told<T> {
    /// None if nobody tells.
    pub value: Option<T>,
    /// None if it was not told, but found out.
    pub from: Option<&'static str>,
}

/// Where our server is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Address {
    /// As `host:port`.
    pub addresses: Vec<String>,
    /// The job's name.
    pub job: String,
}

/// A library that a variable names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    /// The variable.
    pub variable: &'static str,
    /// Its value.
    pub path: PathBuf,
    /// Whose it is.
    pub owner: Option<String>,
    /// Why it cannot be used.
    pub problem: Option<String>,
}

impl Report {
    /// Looks at everything. `whole`: also as another rank than 0.
    pub fn make(program: Option<&OsStr>, whole: bool) -> Report {
        let outlook = outlook::read();
        let place = outlook.placement.as_ref();
        let several = place.is_none_or(|place| place.size > 1 || is_told_by_server(place));
        let offer = Offer::new(&variable, &Descriptor::inspect, several);
        let program = program.map(|name| program::look(name, &offer));
        let whole = whole || place.is_none_or(|place| place.rank == 0);
        let (exit_code, advice) = verdict::of(&outlook, program.as_ref());
        let libraries = loader::pmi_libraries();
        Report {
            named: NAMING.iter().filter_map(|name| named(name)).collect(),
            mpi: if whole { machine::installed(&offer) } else { Vec::new() },
            notes: notes(&outlook, program.as_ref(), &libraries),
            libraries,
            program,
            exit_code,
            advice,
            ..Report::of_place(&outlook)
        }
    }

    /// What the environment alone tells.
    fn of_place(outlook: &Outlook) -> Report {
        let place = outlook.placement.as_ref();
        let by = place.map(|place| place.told_by).unwrap_or_default();
        let known = place.filter(|place| !is_told_by_server(place));
        let number =
            |read: fn(&Placement) -> Option<u32>, from| Told { value: known.and_then(read), from };
        Report {
            form: "environment",
            version: env!("CARGO_PKG_VERSION"),
            host: host(),
            pid: std::process::id(),
            starter: starter::detect(place),
            rank: number(|place| Some(place.rank), by.rank),
            size: number(|place| Some(place.size), by.size),
            local_rank: number(|place| place.local_rank, by.local_rank),
            local_size: number(|place| place.local_size, by.local_size),
            node: node(place),
            between: place.map(|place| place.changed_since.clone()).unwrap_or_default(),
            recorded: outlook.recorded,
            server: place.and_then(|place| place.server.as_ref()).map(address),
            backend: outlook.backend.clone(),
            libraries: Vec::new(),
            named: Vec::new(),
            mpi: Vec::new(),
            program: None,
            notes: Vec::new(),
            exit_code: 0,
            advice: String::new(),
        }
    }
}

/// Will the server at `PMI_PORT` tell rank and size?
fn is_told_by_server(place: &Placement) -> bool {
    place.source.is_none() && place.wire.port.is_some()
}

/// Name of this host, or `?`.
pub fn host() -> String {
    nix::unistd::gethostname().map_or("?".into(), |name| name.to_string_lossy().into_owned())
}

fn node(place: Option<&Placement>) -> Told<String> {
    match place.and_then(|place| place.node.clone()) {
        Some(name) => Told { value: Some(name), from: Some("PMI_KVS_NODE") },
        None => Told { value: Some(host()), from: None },
    }
}

fn address(server: &Server) -> Address {
    let text = |(host, port): &(String, u16)| match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    Address { addresses: server.addresses.iter().map(text).collect(), job: server.job.clone() }
}

fn named(name: &'static str) -> Option<Named> {
    let path = variable(name).filter(|value| !value.is_empty())?;
    let owner = owner::of(Path::new(&path));
    Some(Named {
        variable: name,
        path: path.into(),
        problem: owner.clone().err(),
        owner: owner.ok(),
    })
}

fn notes(outlook: &Outlook, program: Option<&Program>, libraries: &[Library]) -> Vec<String> {
    let by_program = program.and_then(|program| program.note.clone());
    let place = outlook.placement.as_ref();
    let rival = place.and_then(|place| place.rival).map(|name| {
        format!("the variables of {name} tell a size above 1, but PMI_SIZE, which counts, is 1")
    });
    let strange = place.and_then(|place| strange_library(place, libraries));
    [by_program, rival, batch(place), strange].into_iter().flatten().collect()
}

/// A PMI library that finds nobody here.
fn strange_library(place: &Placement, libraries: &[Library]) -> Option<String> {
    let slurms = |library: &&Library| library.owner.as_deref() == Some("Slurm");
    let found = libraries.iter().find(slurms).filter(|_| !verdict::slurms_library_works(place))?;
    Some(format!(
        "a program linked with {} gets Slurm's, which finds nobody outside of srun: put the directory of ours first in \
         LD_LIBRARY_PATH",
        found.name
    ))
}

/// A batch script has the variables of its allocation and is no rank.
fn batch(place: Option<&Placement>) -> Option<String> {
    place.filter(|place| place.source.is_none())?;
    let job = variable("SLURM_JOB_ID")?;
    let tasks =
        variable("SLURM_NTASKS").map_or(String::new(), |tasks| format!(" of {tasks} tasks"));
    Some(format!(
        "inside of Slurm's job {job}{tasks}, but not started by srun: this process is no rank. pmi-srun, srun --pmi-kvs, srun --mpi=pmi2 or pmi-ssh \
         starts ranks"
    ))
}
