//! The job's key-value server, through the board of this node.

use std::net::{SocketAddr, ToSocketAddrs};
use std::thread::sleep;
use std::time::{Duration, Instant};

use pmi_board::session::{Config, Session};
use pmi_protocol::limits::SILENCE_MAX_US;
use pmi_protocol::mapping::PROCESS_MAPPING_KEY;
use pmi_step::{Membership, Step};

use super::step::meet;
use super::{Backend, LIMITS, Limits, Place, ReadPair, ReadValue};
use crate::environment::{Placement, Server};
use crate::error::{BackendError, Failure};

/// Between two looks whether the nodes have agreed on who runs where, which takes them some milliseconds.
const PAUSE: Duration = Duration::from_micros(500);

/// How long they may take where `PMI_TIMEOUT` says nothing: as long as a node bears the server's silence.
const PATIENCE: Duration = Duration::from_micros(SILENCE_MAX_US);

/// A rank of a job with a key-value server of ours.
pub struct Kvs {
    place: Place,
    session: Session,
    /// Where the step has started the server itself: the helper that misses this rank if it ends without a word.
    member: Option<Membership>,
    /// A helper of the starter's puts the mapping of ranks to nodes as a node attribute.
    mapping_by_helper: bool,
    /// Longest time that a call may wait.
    patience: Duration,
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
    let mapping_by_helper = placement.mapping_by_helper;
    let patience = placement.timeout.unwrap_or(PATIENCE);
    let session = Session::join(config)?;
    Ok(Kvs { place: placement.into(), session, member: None, mapping_by_helper, patience })
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
    /// A pair that nobody has put. Where Slurm starts the ranks that may be the mapping of ranks to nodes, which the helpers
    /// of the nodes know.
    fn get_unput(
        &self,
        kvsname: &[u8],
        key: &[u8],
        read: ReadValue<'_>,
    ) -> Result<(), BackendError> {
        if key != PROCESS_MAPPING_KEY.as_bytes() || kvsname != self.session.kvsname().as_bytes() {
            return Err(BackendError::NoSuchKey);
        }
        match &self.member {
            Some(member) if member.mapping(&mut *read) => Ok(()),
            None if self.mapping_by_helper => self.wait_for_mapping(read),
            _ => Err(BackendError::NoSuchKey),
        }
    }

    /// Waits as long as a call may. This may be the only rank of its node, which the board does not let wait for an
    /// attribute.
    fn wait_for_mapping(&self, read: ReadValue<'_>) -> Result<(), BackendError> {
        let until = Instant::now() + self.patience;
        while Instant::now() < until {
            match self.session.attribute(PROCESS_MAPPING_KEY.as_bytes(), false, &mut *read) {
                Err(BackendError::NoSuchKey) => sleep(PAUSE),
                outcome => return outcome,
            }
            self.session.check_over()?;
        }
        Err(BackendError::Timeout(
            "the helper of this node does not tell who shares a node with whom: it was killed, or those of other nodes \
             have not been started"
                .into(),
        ))
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
            Err(BackendError::NoSuchKey) => self.get_unput(kvsname, key, read),
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
