//! The job's key-value server, through the board of this node.

use std::net::{SocketAddr, ToSocketAddrs};

use pmi_board::session::{Config, Session};
use pmi_protocol::mapping::PROCESS_MAPPING_KEY;
use pmi_step::{Membership, Step};

use super::step::meet;
use super::{Backend, LIMITS, Limits, Place, ReadPair, ReadValue};
use crate::environment::{Placement, Server};
use crate::error::{BackendError, Failure};

/// A rank of a job with a key-value server of ours.
pub struct Kvs {
    place: Place,
    session: Session,
    /// Where the step has started the server itself: the helper that misses this rank if it ends without a word.
    member: Option<Membership>,
}

/// How a rank joins the job that its environment names.
pub fn session_config(placement: &Placement, server: &Server) -> Result<Config, Failure> {
    Ok(Config {
        rank: placement.rank,
        size: placement.size,
        job: server.job.clone(),
        secret: server.secret,
        node: placement.node.clone(),
        servers: resolve(&server.addresses)?,
        local_size: placement.local_size,
        timeout: placement.timeout,
        log_ceiling: placement.log_ceiling,
        share: true,
    })
}

/// Joins the job that the environment names.
pub fn join(placement: &Placement, server: &Server) -> Result<Kvs, Failure> {
    let config = session_config(placement, server)?;
    Ok(Kvs { place: placement.into(), session: Session::join(config)?, member: None })
}

/// Joins the job that the tasks of a Slurm step make among themselves.
pub fn join_step(placement: &Placement, step: &Step) -> Result<Kvs, Failure> {
    let (server, member) = meet(placement, step)?;
    let kvs = join(placement, &server)?;
    Ok(Kvs { member: Some(member), ..kvs })
}

/// Every address of every host. One that cannot be resolved is an error only if no other can: a login node
/// may be listed by names that some networks do not know.
fn resolve(addresses: &[(String, u16)]) -> Result<Vec<SocketAddr>, Failure> {
    let mut found = Vec::new();
    let mut problem = None;
    for (host, port) in addresses {
        match (host.as_str(), *port).to_socket_addrs() {
            Ok(resolved) => found.extend(resolved),
            Err(error) => problem = Some(format!("{host}: {error}")),
        }
    }
    match problem {
        Some(problem) if found.is_empty() => Err(Failure::because(format!(
            "no host of PMI_KVS_SERVER can be resolved ({problem}): use a name or address that this host knows"
        ))),
        _ => Ok(found),
    }
}

impl Kvs {
    /// Where the step has started the server itself, nobody has put the mapping: the helpers of its nodes know it.
    fn knows_mapping(&self, kvsname: &[u8], key: &[u8], read: ReadValue<'_>) -> bool {
        key == PROCESS_MAPPING_KEY.as_bytes()
            && kvsname == self.session.kvsname().as_bytes()
            && self.member.as_ref().is_some_and(|member| member.mapping(read))
    }
}

impl Backend for Kvs {
    fn place(&self) -> Place {
        self.place
    }

    fn limits(&self) -> Limits {
        LIMITS
    }

    fn kvsname(&self) -> &str {
        self.session.kvsname()
    }

    fn create_space(&self) -> Result<String, BackendError> {
        self.session.create_space()
    }

    fn destroy_space(&self, kvsname: &[u8]) -> Result<(), BackendError> {
        self.session.destroy_space(kvsname)
    }

    fn put(&self, kvsname: &[u8], key: &[u8], value: &[u8]) -> Result<(), BackendError> {
        self.session.put(kvsname, key, value)
    }

    fn commit(&self, kvsname: &[u8]) -> Result<(), BackendError> {
        self.session.commit(kvsname)
    }

    /// Get is the one call that comes here without a check of the process, which costs a system call elsewhere.
    fn get(&self, kvsname: &[u8], key: &[u8], read: ReadValue<'_>) -> Result<(), BackendError> {
        if !self.session.is_owner() {
            return Err(BackendError::NoSuchSpace);
        }
        match self.session.get(kvsname, key, &mut *read) {
            Err(BackendError::NoSuchKey) if self.knows_mapping(kvsname, key, read) => Ok(()),
            outcome => outcome,
        }
    }

    fn next_pair(
        &self,
        kvsname: &[u8],
        cursor: u64,
        read: ReadPair<'_>,
    ) -> Result<Option<u64>, BackendError> {
        Ok(self.session.next_pair(kvsname, cursor, read)?.map(|(next, ())| next))
    }

    fn barrier(&self) -> Result<(), BackendError> {
        self.session.barrier()
    }

    fn begin_barrier(&self) -> Result<(), BackendError> {
        self.session.begin_barrier()
    }

    fn test_barrier(&self) -> Result<bool, BackendError> {
        self.session.test_barrier()
    }

    fn finish_barrier(&self) -> Result<(), BackendError> {
        self.session.finish_barrier()
    }

    fn put_node_attribute(&self, name: &[u8], value: &[u8]) -> Result<(), BackendError> {
        self.session.put_attribute(name, value)
    }

    fn node_attribute(
        &self,
        name: &[u8],
        wait: bool,
        read: ReadValue<'_>,
    ) -> Result<(), BackendError> {
        self.session.attribute(name, wait, read)
    }

    fn abort(&self, code: i32, text: &str) {
        self.session.abort(code, text);
    }

    fn finalize(&self) -> Result<(), BackendError> {
        let outcome = self.session.finalize();
        self.member.iter().for_each(Membership::left);
        outcome
    }
}
