//! The server of another starter, over the simple wire protocol: Hydra, gforker, Intel MPI's Hydra, Slurm's
//! mpi/pmi2, and any other that passes `PMI_FD`, or `PMI_PORT` and `PMI_ID`.
//!
//! # What a server would damage is refused
//!
//! Every server loses, cuts or alters some pairs without a word, or ends the job over them. Such a put fails here,
//! with a reason. Measured with a pair put by one rank and read by another, for every byte from 1 to 255 at the
//! start, in the middle and at the end; what is not in the table comes through as it was put:
//!
//! | | Hydra 4.0.2 | Hydra 5.0.2 | gforker 5.0.2 | Intel's Hydra 2021.18 | Slurm 22.05, PMI-1 | Slurm 22.05, PMI-2 |
//! |---|---|---|---|---|---|---|
//! | value with a space | cut there | cut there; job dies if it comes first | cut there | cut there | cut there | |
//! | value with a newline | job dies | job dies | cut there | cut there | cut there | |
//! | value with a vertical tab | | | | becomes a newline | | |
//! | value with `\` | | lost, it escapes the next byte | | | | |
//! | value with `;` | | | | | | cut there |
//! | empty value | | job dies | | | | |
//! | value as long as the announced maximum, or longer | cut | | cut | | line too long | |
//! | key with a space | wrong key | job dies if it comes first | wrong key | wrong key | lost | |
//! | key with a newline | job dies | job dies | wrong key | wrong key | lost | |
//! | key with `=` | lost | | | | | |
//! | key with `;` | | | | | | lost |
//! | key of 64 bytes or more | lost | | lost | | | |
//! | line of more than 1,024 bytes | | | | | lost, or step dies | |
//! | call while a barrier waits | a put is lost | | | job dies | not answered | |
//! | `cmd=get_universe_size` | -1 | -1 | -1 | -1 | | |
//! | mapping of ranks to nodes | | | has none | | | |
//! | attribute of the job that it has not | | | | | | value of another |
//!
//! So these are refused, or not asked for:
//!
//! - in PMI-1, under every server, a space or a newline in a key or value, and an empty one; in PMI-2 a `;`;
//! - a key or value as long as the maximum that the server announced, which counts the NUL;
//! - `\` under servers that write `rc` before all else: Hydra 5, and Slurm's, which the first answer does not tell
//!   from it;
//! - `=` in keys under Hydra 4, and so under gforker, which looks like it; a vertical tab under Intel's Hydra;
//! - a line of more than 1,024 bytes under Slurm, in PMI-1;
//! - in PMI-2, attributes of the job other than those that Slurm has;
//! - any call while a split barrier waits: the call waits until it has opened.
//!
//! # What the wire has not
//!
//! Iteration and further key-value spaces are errors with a reason. A commit does nothing: every put is sent at once.
//! What this rank itself has put can be read before the barrier, because it is kept here too. Node attributes are, in
//! PMI-1, on a board of the node that belongs to no server.

mod connection;
mod join;
mod kind;
mod node;
mod own;
mod talk;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pmi_protocol::mapping::PROCESS_MAPPING_KEY;
use pmi_wire::Dialect;
use pmi_wire::client::{Answer, Call};

use self::connection::Connection;
use self::join::Joined;
use self::node::{Node, Wait};
use self::own::Own;
use self::talk::{Excerpt, Talk};
use super::{Api, Backend, Limits, Place, ReadPair, ReadValue};
use crate::environment::{Placement, Port};
use crate::error::{BackendError, Failure};

/// The job attributes that Slurm has. It answers for any other name too, with the value of the last.
const SLURM_ATTRIBUTES: [&[u8]; 3] =
    [b"PMI_process_mapping", b"universeSize", b"mpi_reserved_ports"];

/// How the names of the others begin.
const SLURM_ATTRIBUTE_PREFIX: &[u8] = b"PMI_netinfo_of_task";

/// A rank of a job of another starter.
pub struct Wire {
    talk: Talk,
    joined: Joined,
    own: Mutex<Own>,
    node: Node,
    timeout: Option<Duration>,
    /// The process that joined: a forked child shares the connection, and would mix its calls with ours.
    owner: u32,
}

/// Joins through the descriptor at `PMI_FD`.
pub fn join_at(number: i32, placement: &Placement, api: Api) -> Result<Wire, Failure> {
    let connection = Connection::inherited(number).map_err(Failure::because)?;
    let dialect = join::dialect(placement, api == Api::Pmi2);
    let talk = Talk::new(connection, dialect, placement.timeout);
    let joined = match dialect {
        Dialect::V1 => join::by_pmi1(&talk, placement, None)?,
        Dialect::V2 => join::by_pmi2(&talk, placement)?,
    };
    Ok(Wire::new(talk, joined, placement))
}

/// Joins through `PMI_PORT`. Only Hydra is known to set it, with PMI-1.
pub fn join_through(port: &Port, placement: &Placement) -> Result<Wire, Failure> {
    let connection = Connection::open(port, placement.timeout).map_err(Failure::because)?;
    let talk = Talk::new(connection, Dialect::V1, placement.timeout);
    let joined = join::by_pmi1(&talk, placement, Some(&port.id))?;
    Ok(Wire::new(talk, joined, placement))
}

impl Wire {
    fn new(talk: Talk, joined: Joined, placement: &Placement) -> Wire {
        let node = Node::new(&joined.kvsname, joined.place.size, placement.local_size);
        tracing::debug!(
            "rank {} of {} of job {} by {}",
            joined.place.rank,
            joined.place.size,
            joined.kvsname,
            joined.kind.name()
        );
        let (timeout, owner) = (placement.timeout, std::process::id());
        Wire { talk, joined, own: Mutex::default(), node, timeout, owner }
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_space(&self, kvsname: &[u8]) -> Result<(), BackendError> {
        match kvsname == self.joined.kvsname.as_bytes() {
            true => Ok(()),
            false => Err(BackendError::NoSuchSpace),
        }
    }

    fn check_pair(&self, key: &[u8], value: &[u8]) -> Result<(), BackendError> {
        if key.is_empty() {
            return Err(BackendError::KeyLength);
        }
        self.joined
            .maxima
            .check(key, value)
            .map_err(|error| self.not_carried(key, &error.to_string()))?;
        self.joined
            .kind
            .check(key, value)
            .map_err(|damage| self.not_carried(key, &damage.to_string()))
    }

    fn not_carried(&self, key: &[u8], reason: &str) -> BackendError {
        BackendError::Refused(format!(
            "a put of '{}' is refused: {reason}. It is {}",
            Excerpt(key),
            self.joined.kind.name()
        ))
    }

    fn has_not(&self, what: &str) -> BackendError {
        BackendError::Refused(format!(
            "this job's PMI server ({}) has no {what}: start the program with pmi-ssh, whose server has",
            self.joined.kind.name()
        ))
    }

    /// Asks for a value; a name that cannot be sent cannot have been put.
    fn value(&self, call: &Call<'_>, read: ReadValue<'_>) -> Result<(), BackendError> {
        self.talk.ask(call, |answer| match answer {
            Answer::Value(value) => {
                read(value);
                Some(Ok(()))
            }
            Answer::NotFound => Some(Err(BackendError::NoSuchKey)),
            _ => None,
        })?
    }
}

impl Backend for Wire {
    fn place(&self) -> Place {
        self.joined.place
    }

    fn limits(&self) -> Limits {
        let maxima = &self.joined.maxima;
        Limits { kvsname: maxima.kvsname, key: maxima.key, value: maxima.value }
    }

    fn kvsname(&self) -> &str {
        &self.joined.kvsname
    }

    fn create_space(&self) -> Result<String, BackendError> {
        Err(self.has_not("key-value spaces besides the job's own"))
    }

    fn destroy_space(&self, _: &[u8]) -> Result<(), BackendError> {
        Err(BackendError::NoSuchSpace)
    }

    fn put(&self, kvsname: &[u8], key: &[u8], value: &[u8]) -> Result<(), BackendError> {
        self.check_space(kvsname)?;
        self.check_pair(key, value)?;
        self.talk.ask(&Call::Put { space: kvsname, key, value }, done)?;
        self.own().put(key, value);
        Ok(())
    }

    /// Every put has been sent already.
    fn commit(&self, kvsname: &[u8]) -> Result<(), BackendError> {
        self.check_space(kvsname)
    }

    fn get(&self, kvsname: &[u8], key: &[u8], read: ReadValue<'_>) -> Result<(), BackendError> {
        if self.owner != std::process::id() {
            return Err(BackendError::NoSuchSpace);
        }
        self.check_space(kvsname)?;
        if let Some(value) = self.own().get(key) {
            read(value);
            return Ok(());
        }
        // A longer one cannot have been put; asked for it, some servers answer with another pair.
        if key.len() >= self.joined.maxima.key {
            return Err(BackendError::NoSuchKey);
        }
        self.value(&Call::Get { space: kvsname, key, source: None }, read)
    }

    fn next_pair(
        &self,
        kvsname: &[u8],
        _: u64,
        _: ReadPair<'_>,
    ) -> Result<Option<u64>, BackendError> {
        self.check_space(kvsname)?;
        Err(self.has_not("iteration over a key-value space"))
    }

    fn barrier(&self) -> Result<(), BackendError> {
        self.finish_barrier()?;
        self.begin_barrier()?;
        self.finish_barrier()
    }

    fn begin_barrier(&self) -> Result<(), BackendError> {
        self.own().barrier_entered();
        self.talk.enter_barrier()
    }

    fn test_barrier(&self) -> Result<bool, BackendError> {
        self.talk.test_barrier()
    }

    /// One rank of the job tells a person that it waits long: the server does not say for whom.
    fn finish_barrier(&self) -> Result<(), BackendError> {
        self.talk.finish_barrier(self.joined.place.rank == 0)?;
        self.own().barrier_left();
        Ok(())
    }

    fn put_node_attribute(&self, name: &[u8], value: &[u8]) -> Result<(), BackendError> {
        match self.talk.dialect() {
            Dialect::V1 => self.node.put(name, value),
            Dialect::V2 => self.talk.ask(&Call::PutNodeAttribute { key: name, value }, done),
        }
    }

    fn node_attribute(
        &self,
        name: &[u8],
        wait: bool,
        read: ReadValue<'_>,
    ) -> Result<(), BackendError> {
        if self.talk.dialect() == Dialect::V2 {
            return self.value(&Call::GetNodeAttribute { key: name, wait }, read);
        }
        let deadline = self.timeout.map(|timeout| Instant::now() + timeout);
        let is_over = || self.talk.is_gone();
        let wait = wait.then_some(Wait { deadline, is_over: &is_over });
        self.node.get(name, wait, read)
    }

    fn job_attribute(&self, name: &[u8], read: ReadValue<'_>) -> Result<(), BackendError> {
        match self.talk.dialect() {
            Dialect::V2 if is_slurm_attribute(name) => {
                self.value(&Call::JobAttribute { key: name }, read)
            }
            Dialect::V1 if name == PROCESS_MAPPING_KEY.as_bytes() => {
                self.get(self.kvsname().as_bytes(), name, read)
            }
            _ => Err(BackendError::NoSuchKey),
        }
    }

    fn abort(&self, code: i32, text: &str) {
        self.talk.abort(code, text.as_bytes());
    }

    fn finalize(&self) -> Result<(), BackendError> {
        self.talk.ask(&Call::Finalize, done)
    }
}

fn done(answer: &Answer<'_>) -> Option<()> {
    (*answer == Answer::Done).then_some(())
}

fn is_slurm_attribute(name: &[u8]) -> bool {
    SLURM_ATTRIBUTES.contains(&name) || name.starts_with(SLURM_ATTRIBUTE_PREFIX)
}
