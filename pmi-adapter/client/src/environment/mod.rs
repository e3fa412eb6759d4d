//! Where a process stands in its job, read from its environment.
//!
//! [`Placement::read`] is a pure function of a lookup, so every scheduler's habits are a table in a test.

#[allow(unsafe_code)]
pub mod descriptor;
mod families;
mod reader;
mod record;
mod server;
mod step;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;
use std::time::Duration;

use pmi_protocol::limits;

use descriptor::Descriptor;
use families::{FAMILIES, Family, SLURM};
use pmi_step::Step;
use reader::Reader;
use record::{Origin, Starter};
pub use record::{RECORD, record};
pub use server::Server;
pub use wire::{Port, Wire};

/// The longest waiting time that `PMI_TIMEOUT` can ask for: a year, far from any overflow of a clock.
const TIMEOUT_MAX_SECONDS: u64 = 366 * 24 * 3600;

/// How Slurm's own PMIx plugin names the jobs of its steps.
const SLURMS_PMIX: &str = "slurm.pmix.";

/// Says where `PMI_process_mapping` is to be had, if not from the server.
pub const MAPPING: &str = "PMI_KVS_MAPPING";

/// Value of [`MAPPING`]: a helper on the node puts it as a node attribute of that name when the nodes have agreed.
pub const MAPPING_BY_HELPER: &str = "node";

/// What a process knows about its place before it has spoken with anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Rank in the process group, below `size`.
    pub rank: u32,
    /// Number of ranks in the process group, at least 1.
    pub size: u32,
    /// Number of this rank among those of its node, where told.
    pub local_rank: Option<u32>,
    /// Number of ranks on this node, where told.
    pub local_size: Option<u32>,
    /// The ranks of this node, ascending, where told (`SLURM_GTIDS`).
    pub clique: Option<Vec<u32>>,
    /// `PMI_APPNUM`, or 0.
    pub appnum: u32,
    /// `PMI_UNIVERSE_SIZE`, or `size`.
    pub universe_size: u32,
    /// `PMI_SPAWNED`: has the group a parent?
    pub spawned: bool,
    /// Whose variables told rank and size; `None` for a process outside any job.
    pub source: Option<&'static str>,
    /// The variables that rank, size and the numbers of the node were read from.
    pub told_by: ToldBy,
    /// `PMI_KVS_NODE`: name of the node, for a host that stands for several.
    pub node: Option<String>,
    /// `PMI_KVS_MAPPING`: does a helper on this node tell who shares a node with whom?
    pub mapping_by_helper: bool,
    /// The variables that another starter, between this process and the one that set `PMI_KVS_*`, has changed:
    /// then the server is not this process's. Empty if there is none.
    pub changed_since: Vec<&'static str>,
    /// The key-value server, where one is named for this process.
    pub server: Option<Server>,
    /// The server of another starter, where one is named for this process.
    pub wire: Wire,
    /// The Slurm step that this process is a rank of, where Slurm has placed it as one of several.
    pub step: Option<Step>,
    /// Another starter, whose variables tell another place than Slurm's: it was started inside of the step.
    pub contradiction: Option<&'static str>,
    /// Another starter whose variables tell a size above 1 too, where `source` tells a size of 1.
    pub rival: Option<&'static str>,
    /// `PMI_KVS_LOG_CEILING` in bytes.
    pub log_ceiling: u64,
    /// `PMI_TIMEOUT`: how long a call may wait.
    pub timeout: Option<Duration>,
}

/// The variable behind each number of a [`Placement`]; `None` where nobody has told the number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToldBy {
    /// Of the rank.
    pub rank: Option<&'static str>,
    /// Of the size.
    pub size: Option<&'static str>,
    /// Of the rank among those of the node.
    pub local_rank: Option<&'static str>,
    /// Of the number of ranks on the node.
    pub local_size: Option<&'static str>,
}

/// What is wrong with the environment. The text names the variable and the form it must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentError(String);

impl fmt::Display for EnvironmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Placement {
    /// Reads the place from variables and this process's descriptors. Empty variables count as not set.
    pub fn read(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Placement, EnvironmentError> {
        Placement::read_with(lookup, &Descriptor::inspect)
    }

    /// As [`Placement::read`], with what is open at a descriptor from elsewhere.
    pub fn read_with(
        lookup: &dyn Fn(&str) -> Option<String>,
        descriptor: &dyn Fn(i32) -> Descriptor,
    ) -> Result<Placement, EnvironmentError> {
        let origin = Origin::of(lookup, descriptor);
        let shown = |name: &str| lookup(name).filter(|_| origin.shows(name));
        let reader = Reader::new(&shown);
        let server = Server::read(&reader)?;
        // Beside our own server, what leads to another one is not looked at.
        let wire = if server.is_some() { Wire::default() } else { Wire::read(&reader)? };
        let applies =
            |family: &&Family| origin.placed_by(family.starter) && family.applies(&reader);
        let mut families = FAMILIES.iter().filter(applies);
        let place = match families.next() {
            Some(family) => Place::of(family, &reader)?,
            None if wire.port.is_some() => Place::alone(),
            None => Place::outside(&reader, origin.evidence())?,
        };
        check_rank_for(&server, &place)?;
        let step = match place.source == Some(SLURM) && place.size > 1 {
            true => step::read(&reader)?,
            false => None,
        };
        let others: Vec<&Family> = families.collect();
        let contradiction = contradiction(&step, &place, &others, &reader);
        let universe_size = reader.number("PMI_UNIVERSE_SIZE", 1, i32::MAX as u64)?;
        Ok(Placement {
            rank: place.rank,
            size: place.size,
            local_rank: place.local_rank,
            local_size: place.local_size,
            clique: place.clique,
            appnum: reader.number("PMI_APPNUM", 0, i32::MAX as u64)?.unwrap_or(0) as u32,
            universe_size: universe_size.map_or(place.size, |size| size as u32),
            spawned: reader.number("PMI_SPAWNED", 0, 1)? == Some(1),
            source: place.source,
            told_by: place.told_by,
            node: reader.text("PMI_KVS_NODE"),
            mapping_by_helper: reader.text(MAPPING).as_deref() == Some(MAPPING_BY_HELPER),
            changed_since: origin.evidence().to_vec(),
            contradiction,
            step,
            rival: others
                .iter()
                .find(|family| place.size == 1 && tells_more(family, &reader))
                .map(|family| family.name),
            server,
            wire,
            log_ceiling: log_ceiling(&reader)?,
            timeout: timeout(lookup)?,
        })
    }

    /// The message for a rank of a job that has nobody to talk to.
    pub fn no_server(&self) -> String {
        let source = self.source.unwrap_or("nobody");
        let by_srun =
            if source == SLURM { "pmi-srun, srun --pmi-kvs, srun --mpi=pmi2 or " } else { "" };
        format!(
            "this is rank {} of {} (by {source}), but no PMI server is named in the environment. Start the program \
             with {by_srun}pmi-ssh, or start pmi-kvs-server and set PMI_KVS_SERVER, PMI_KVS_JOB and PMI_KVS_SECRET \
             for every rank{}",
            self.rank,
            self.size,
            self.outer_job(),
        )
    }

    /// Why a server that is named is not this process's.
    fn outer_job(&self) -> String {
        match self.changed_since.as_slice() {
            [] => String::new(),
            changed => format!(
                ". (The PMI_KVS_SERVER that may be set is an outer job's: another starter, or a script, has since set {})",
                changed.join(", ")
            ),
        }
    }
}

/// A server of ours has ranks only.
fn check_rank_for(server: &Option<Server>, place: &Place) -> Result<(), EnvironmentError> {
    match server {
        Some(_) if place.source.is_none() => Err(EnvironmentError(
            "PMI_KVS_SERVER is set, but this process has no rank: set PMI_RANK and PMI_SIZE".into(),
        )),
        _ => Ok(()),
    }
}

/// Does this starter tell a size above 1?
fn tells_more(family: &Family, reader: &Reader<'_>) -> bool {
    Place::of(family, reader).is_ok_and(|place| place.size > 1)
}

/// A starter inside of a step leaves Slurm's variables, which tell the place of its own daemon. Where its own tell the same
/// place, a script has copied them.
fn contradiction(
    step: &Option<Step>,
    place: &Place,
    others: &[&Family],
    reader: &Reader<'_>,
) -> Option<&'static str> {
    step.as_ref()?;
    let same = |family: &Family| rank_and_size(family, reader) == Ok((place.rank, place.size));
    let other = others.iter().find(|family| !same(family)).map(|family| family.name);
    let foreign = |name: String| !name.starts_with(SLURMS_PMIX);
    let pmix = reader.text("PMIX_NAMESPACE").filter(|name| foreign(name.clone()));
    other.or(pmix.map(|_| "PMIx"))
}

/// `PMI_TIMEOUT`: how long a call may wait.
pub fn timeout(
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Duration>, EnvironmentError> {
    let seconds = Reader::new(lookup).number("PMI_TIMEOUT", 1, TIMEOUT_MAX_SECONDS)?;
    Ok(seconds.map(Duration::from_secs))
}

fn log_ceiling(reader: &Reader<'_>) -> Result<u64, EnvironmentError> {
    let range = (limits::LOG_CEILING_MIN, limits::LOG_CEILING_MAX);
    let ceiling = reader.number("PMI_KVS_LOG_CEILING", range.0, range.1)?;
    Ok(ceiling.unwrap_or(limits::LOG_CEILING_DEFAULT))
}

/// Rank and size with their source, and what the same source says about the node.
struct Place {
    rank: u32,
    size: u32,
    local_rank: Option<u32>,
    local_size: Option<u32>,
    clique: Option<Vec<u32>>,
    source: Option<&'static str>,
    told_by: ToldBy,
}

impl Place {
    fn of(family: &Family, reader: &Reader<'_>) -> Result<Place, EnvironmentError> {
        let (rank, size) = rank_and_size(family, reader)?;
        let clique = match family.node_ranks {
            Some(name) => node_ranks(reader, name, rank, size)?,
            None => None,
        };
        let told = reader.first_number(family.local_size, 1, u64::from(size))?;
        let clique = clique.filter(|ranks| {
            family.starter != Starter::Pmi || slurm_agrees(reader, rank, size, told, ranks)
        });
        let by_clique = family.node_ranks.filter(|_| clique.is_some());
        Ok(Place {
            rank,
            size,
            local_rank: reader.first_number(family.local_rank, 0, u64::from(size) - 1)?,
            local_size: told.or(clique.as_ref().map(|ranks| ranks.len() as u32)),
            clique,
            source: Some(family.name),
            told_by: ToldBy {
                rank: Some(family.rank),
                size: reader.first_set(family.size),
                local_rank: reader.first_set(family.local_rank),
                local_size: reader.first_set(family.local_size).or(by_clique),
            },
        })
    }

    /// A process that no starter has placed: the only rank of its own job. One that a starter has placed without a
    /// word that we know is none; a new allocation alone (of a batch script) places nobody.
    fn outside(reader: &Reader<'_>, changed: &[&str]) -> Result<Place, EnvironmentError> {
        if !changed.is_empty() && changed != ["SLURM_JOB_ID"] {
            return Err(EnvironmentError(format!(
                "another starter has placed this process ({} differ from what {RECORD} holds), but says neither \
                 rank nor size: start the program with pmi-ssh",
                changed.join(", "),
            )));
        }
        if let Some(size) =
            reader.number("PMI_SIZE", 1, u64::from(limits::SIZE_MAX))?.filter(|&size| size > 1)
        {
            return Err(EnvironmentError(format!(
                "PMI_SIZE={size} is set, but PMI_RANK is not: set both for every rank, or neither"
            )));
        }
        Ok(Place::alone())
    }

    fn alone() -> Place {
        Place {
            rank: 0,
            size: 1,
            local_rank: None,
            local_size: None,
            clique: None,
            source: None,
            told_by: ToldBy::default(),
        }
    }
}

fn rank_and_size(family: &Family, reader: &Reader<'_>) -> Result<(u32, u32), EnvironmentError> {
    let size_max = u64::from(limits::SIZE_MAX);
    let rank = reader.number(family.rank, 0, size_max - 1)?;
    let size = reader.first_number(family.size, 1, size_max)?;
    match (rank, size) {
        (Some(rank), Some(size)) if rank < u64::from(size) => Ok((rank as u32, size)),
        (Some(rank), Some(size)) => Err(EnvironmentError(format!(
            "{}={rank} contradicts {}={size}: ranks run from 0 to size - 1",
            family.rank, family.size[0]
        ))),
        _ => Err(EnvironmentError(format!(
            "{} is set, but {} is not: set both for every rank, or neither",
            family.rank, family.size[0]
        ))),
    }
}

/// Does Slurm place this process as `PMI_RANK` does? Then its list of the node's ranks holds, unless another starter
/// was started in one of its tasks and counts otherwise.
fn slurm_agrees(
    reader: &Reader<'_>,
    rank: u32,
    size: u32,
    local_size: Option<u32>,
    ranks: &[u32],
) -> bool {
    let is = |name, number: u32| reader.text(name) == Some(number.to_string());
    local_size == Some(ranks.len() as u32)
        && is("SLURM_PROCID", rank)
        && is("SLURM_NTASKS", size)
        && reader.is_set("SLURM_STEP_ID")
}

/// The ranks of this node. A list without this rank belongs to another step and says nothing.
fn node_ranks(
    reader: &Reader<'_>,
    name: &'static str,
    rank: u32,
    size: u32,
) -> Result<Option<Vec<u32>>, EnvironmentError> {
    let Some(text) = reader.text(name) else { return Ok(None) };
    let ranks =
        text.split(',').map(|item| item.trim().parse::<u32>()).collect::<Result<Vec<_>, _>>();
    let mut ranks = ranks.map_err(|_| reader.malformed(name, "ranks separated by commas"))?;
    ranks.sort_unstable();
    ranks.dedup();
    let ours = ranks.binary_search(&rank).is_ok() && ranks.iter().all(|&other| other < size);
    Ok(ours.then_some(ranks))
}
