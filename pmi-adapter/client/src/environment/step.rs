//! The variables by which Slurm tells a task of its step.

use pmi_protocol::limits::SIZE_MAX;
use pmi_step::{Step, hostlist};

use super::EnvironmentError;
use super::reader::Reader;

/// From here on up, step ids are no steps of srun: batch scripts, interactive steps of salloc, external processes
/// (`SLURM_MAX_NORMAL_STEP_ID`, slurm.h). Their variables tell of tasks that they have not started.
const STEP_ID_MAX: u64 = 0xffff_fff0;

/// The step of this process. None if a variable is missing without which it is no task of one.
pub(super) fn read(reader: &Reader<'_>) -> Result<Option<Step>, EnvironmentError> {
    let ports = ports(reader)?;
    let number = |name| reader.number(name, 0, u64::from(u32::MAX));
    let (job, step) = (number("SLURM_JOB_ID")?, number("SLURM_STEP_ID")?);
    let (node, local) = (number("SLURM_NODEID")?, number("SLURM_LOCALID")?);
    let (Some(job), Some(step), Some(node), Some(local)) = (job, step, node, local) else {
        return Ok(None);
    };
    let Some(hosts) = reader.text("SLURM_STEP_NODELIST").filter(|_| step < STEP_ID_MAX) else {
        return Ok(None);
    };
    let first_host = hostlist::first(&hosts)
        .map_err(|problem| EnvironmentError(format!("SLURM_STEP_NODELIST={hosts}: {problem}")))?;
    Ok(Some(Step {
        cluster: reader.text("SLURM_CLUSTER_NAME").unwrap_or_default(),
        job: job as u32,
        step: step as u32,
        restarts: number("SLURM_RESTART_COUNT")?.unwrap_or(0) as u32,
        node: node as u32,
        nodes: nodes(reader, &hosts)?,
        local: local as u32,
        first_host,
        task: number("SLURM_TASK_PID")?.map(|pid| pid as u32),
        ports,
    }))
}

/// Where it is not told, the list is counted.
fn nodes(reader: &Reader<'_>, hosts: &str) -> Result<u32, EnvironmentError> {
    let told = reader.number("SLURM_STEP_NUM_NODES", 1, u64::from(SIZE_MAX))?;
    let count = || hostlist::expand(hosts, SIZE_MAX as usize).map_or(1, |names| names.len() as u32);
    Ok(told.map_or_else(count, |nodes| nodes as u32))
}

fn ports(reader: &Reader<'_>) -> Result<Option<std::ops::RangeInclusive<u16>>, EnvironmentError> {
    const NAME: &str = "PMI_STEP_PORTS";
    let Some(text) = reader.text(NAME) else { return Ok(None) };
    let (low, high) = text.split_once('-').unwrap_or((&text, &text));
    match (low.trim().parse::<u16>(), high.trim().parse::<u16>()) {
        (Ok(low), Ok(high)) if 0 < low && low <= high => Ok(Some(low..=high)),
        _ => Err(reader.malformed(NAME, "LOW-HIGH with 1 <= LOW <= HIGH <= 65535")),
    }
}
