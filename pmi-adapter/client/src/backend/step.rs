//! A step under plain srun: the server that its own processes start, and the helper that knows this rank.

use pmi_step::{Job, Membership, Step};

use crate::debug;
use crate::environment::{Placement, Server};
use crate::error::Failure;

/// Agrees with the other tasks of the step on a server.
pub fn meet(placement: &Placement, step: &Step) -> Result<(Server, Membership), Failure> {
    let job = Job {
        step: step.clone(),
        rank: placement.rank,
        size: placement.size,
        local_size: placement.local_size,
        clique: placement.clique.clone(),
        node_name: placement.node.clone(),
        timeout: placement.timeout,
        log_ceiling: placement.log_ceiling,
    };
    let member = pmi_step::join(&job, &debug::say).map_err(Failure::because)?;
    let server = Server {
        addresses: vec![(member.server.ip().to_string(), member.server.port())],
        job: step.job_name(),
        secret: member.secret,
    };
    tracing::debug!("the server of {} is at {}", server.job, member.server);
    Ok((server, member))
}
