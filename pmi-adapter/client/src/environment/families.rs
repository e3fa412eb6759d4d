//! The starters whose variables tell rank and size, in the order in which they are asked.

use super::reader::Reader;
use super::record::Starter;

/// What a person calls Slurm.
pub(super) const SLURM: &str = "Slurm";

/// The variables of one starter.
pub(super) struct Family {
    /// Who sets these variables.
    pub starter: Starter,
    /// What a person calls it.
    pub name: &'static str,
    /// A variable without which the others do not speak of this process.
    pub only_with: Option<&'static str>,
    /// The rank; its presence makes the family apply.
    pub rank: &'static str,
    /// The size: the first of these that is set.
    pub size: &'static [&'static str],
    /// The rank among those of the node: the first of these that is set.
    pub local_rank: &'static [&'static str],
    /// The number of ranks on the node: the first of these that is set.
    pub local_size: &'static [&'static str],
    /// A comma-separated list of the node's ranks.
    pub node_ranks: Option<&'static str>,
}

impl Family {
    pub(super) fn applies(&self, reader: &Reader<'_>) -> bool {
        reader.is_set(self.rank) && self.only_with.is_none_or(|name| reader.is_set(name))
    }
}

pub(super) const FAMILIES: &[Family] = &[
    // Ours, and hydra's with its own names for the node.
    Family {
        starter: Starter::Pmi,
        name: "PMI_RANK and PMI_SIZE",
        only_with: None,
        rank: "PMI_RANK",
        size: &["PMI_SIZE"],
        local_rank: &["PMI_LOCAL_RANK", "MPI_LOCALRANKID", "PALS_LOCAL_RANKID"],
        local_size: &["PMI_LOCAL_SIZE", "MPI_LOCALNRANKS"],
        // Where pmi-srun has said in our words what Slurm says.
        node_ranks: Some("SLURM_GTIDS"),
    },
    // A batch script has SLURM_PROCID=0 and the job's SLURM_NTASKS, but no SLURM_STEP_ID: it is not a rank.
    Family {
        starter: Starter::Slurm,
        name: SLURM,
        only_with: Some("SLURM_STEP_ID"),
        rank: "SLURM_PROCID",
        size: &["SLURM_NTASKS", "SLURM_STEP_NUM_TASKS"],
        local_rank: &["SLURM_LOCALID"],
        // SLURM_STEP_TASKS_PER_NODE does not tell the distribution of the ranks; SLURM_GTIDS does.
        local_size: &["PMI_LOCAL_SIZE"],
        node_ranks: Some("SLURM_GTIDS"),
    },
    // PALS sets PMI_RANK as well and no size of its own; this row serves where PMI_RANK was removed.
    Family {
        starter: Starter::Pals,
        name: "PALS",
        only_with: Some("PMI_SIZE"),
        rank: "PALS_RANKID",
        size: &["PMI_SIZE"],
        local_rank: &["PALS_LOCAL_RANKID"],
        local_size: &["PMI_LOCAL_SIZE"],
        node_ranks: None,
    },
    Family {
        starter: Starter::Flux,
        name: "Flux",
        only_with: None,
        rank: "FLUX_TASK_RANK",
        size: &["FLUX_JOB_SIZE"],
        local_rank: &["FLUX_TASK_LOCAL_ID"],
        local_size: &["PMI_LOCAL_SIZE"],
        node_ranks: None,
    },
    Family {
        starter: Starter::OpenMpi,
        name: "Open MPI",
        only_with: None,
        rank: "OMPI_COMM_WORLD_RANK",
        size: &["OMPI_COMM_WORLD_SIZE"],
        local_rank: &["OMPI_COMM_WORLD_LOCAL_RANK"],
        local_size: &["PMI_LOCAL_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"],
        node_ranks: None,
    },
    Family {
        starter: Starter::Mvapich,
        name: "MVAPICH",
        only_with: None,
        rank: "MV2_COMM_WORLD_RANK",
        size: &["MV2_COMM_WORLD_SIZE"],
        local_rank: &["MV2_COMM_WORLD_LOCAL_RANK"],
        local_size: &["PMI_LOCAL_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE"],
        node_ranks: None,
    },
    Family {
        starter: Starter::Jsm,
        name: "JSM",
        only_with: None,
        rank: "JSM_NAMESPACE_RANK",
        size: &["JSM_NAMESPACE_SIZE"],
        local_rank: &["JSM_NAMESPACE_LOCAL_RANK"],
        local_size: &["PMI_LOCAL_SIZE", "JSM_NAMESPACE_LOCAL_SIZE"],
        node_ranks: None,
    },
    // RANK alone is anybody's word: it counts only beside WORLD_SIZE.
    Family {
        starter: Starter::Torchrun,
        name: "torchrun",
        only_with: Some("WORLD_SIZE"),
        rank: "RANK",
        size: &["WORLD_SIZE"],
        local_rank: &["LOCAL_RANK"],
        local_size: &["PMI_LOCAL_SIZE", "LOCAL_WORLD_SIZE"],
        node_ranks: None,
    },
];
