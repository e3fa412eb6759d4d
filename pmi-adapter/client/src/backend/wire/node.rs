//! Node attributes beside a server that has none: on a board of the node that belongs to no server.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pmi_board::{Board, BoardConfig};
use pmi_protocol::limits::{KEY_MAX, LOG_CEILING_MIN, VALUE_MAX};

use super::super::ReadValue;
use crate::error::BackendError;

/// Sets this use of a kvsname apart from all others.
const KEY_CONTEXT: &str = "pmi-adapter: node attributes of a job under another starter";

/// How often a rank that waits for an attribute looks whether its job still exists.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The attributes of this node, from their first use on. The ranks of a job meet by its kvsname, which is no
/// secret: a process of the same user on this host that knows it can read and put attributes too, as it can read
/// this process's memory.
pub(super) struct Node {
    job: String,
    size: u32,
    local_size: Option<u32>,
    board: Mutex<Option<Arc<Board>>>,
}

impl Node {
    pub(super) fn new(kvsname: &str, size: u32, local_size: Option<u32>) -> Node {
        Node { job: kvsname.to_owned(), size, local_size, board: Mutex::new(None) }
    }

    /// Puts an attribute.
    pub(super) fn put(&self, name: &[u8], value: &[u8]) -> Result<(), BackendError> {
        check(name, value)?;
        let put = self.board()?.put_attribute(name, value);
        put.map_err(|full| BackendError::Full(full.to_string()))
    }

    /// Reads an attribute; waits for it if `wait` is set, until `is_gone` says that the job is over.
    pub(super) fn get(
        &self,
        name: &[u8],
        wait: Option<Wait<'_>>,
        read: ReadValue<'_>,
    ) -> Result<(), BackendError> {
        check(name, &[])?;
        let board = self.board()?;
        loop {
            let seen = board.attributes_turn();
            match (board.attribute(name, &mut *read), &wait) {
                (Some(()), _) => return Ok(()),
                (None, None) => return Err(BackendError::NoSuchKey),
                (None, Some(wait)) => wait.go_on(&board, name)?,
            }
            board.wait_attributes(seen, LOOK_EVERY);
        }
    }

    /// The board, opened at the first call. One of its own is of no use: nobody else would see what is put there.
    fn board(&self) -> Result<Arc<Board>, BackendError> {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(board) = &*board {
            return Ok(Arc::clone(board));
        }
        let opened = Arc::new(self.open()?);
        if opened.is_private() && self.size > 1 {
            return Err(BackendError::System(
                "node attributes need memory that the ranks of this node share, which cannot be had here: PMI_DEBUG=2 \
                 tells why"
                    .into(),
            ));
        }
        Ok(Arc::clone(board.insert(opened)))
    }

    fn open(&self) -> Result<Board, BackendError> {
        let config = BoardConfig {
            secret: &blake3::derive_key(KEY_CONTEXT, self.job.as_bytes()),
            job: &self.job,
            node: None,
            size: self.size,
            local_size: self.local_size,
            log_ceiling: LOG_CEILING_MIN,
            share: true,
        };
        Board::open(&config).map_err(|error| {
            BackendError::System(format!("there is no memory for node attributes: {error}"))
        })
    }
}

/// How long to wait for an attribute.
pub(super) struct Wait<'a> {
    /// When to give up.
    pub deadline: Option<Instant>,
    /// Is the job over?
    pub is_over: &'a dyn Fn() -> bool,
}

impl Wait<'_> {
    fn go_on(&self, board: &Board, name: &[u8]) -> Result<(), BackendError> {
        let name = name.escape_ascii();
        if (self.is_over)() || board.failure().is_some() {
            let reason = format!(
                "the PMI server has gone while this rank waited for node attribute '{name}'"
            );
            return Err(BackendError::Over(reason));
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(BackendError::Timeout(format!(
                "no rank of this node has put node attribute '{name}' within the time of PMI_TIMEOUT"
            ))),
            _ => Ok(()),
        }
    }
}

fn check(name: &[u8], value: &[u8]) -> Result<(), BackendError> {
    match () {
        () if name.is_empty() || name.len() > KEY_MAX => Err(BackendError::KeyLength),
        () if value.len() > VALUE_MAX => Err(BackendError::ValueLength),
        () => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(job: &str) -> Node {
        Node::new(job, 1, None)
    }

    fn get(node: &Node, name: &[u8], wait: Option<Wait<'_>>) -> Result<Vec<u8>, BackendError> {
        let mut found = Vec::new();
        node.get(name, wait, &mut |value| found = value.to_vec())?;
        Ok(found)
    }

    #[test]
    fn two_ranks_of_a_job_share_attributes_and_another_job_does_not() {
        let job = format!("kvs_{}_attributes", std::process::id());
        let (one, other, stranger) = (node(&job), node(&job), node("another"));
        one.put(b"name", b"va lue").unwrap();
        assert_eq!(get(&other, b"name", None).unwrap(), b"va lue");
        assert_eq!(get(&stranger, b"name", None), Err(BackendError::NoSuchKey));
    }

    #[test]
    fn a_wait_ends_with_the_attribute_the_deadline_or_the_job() {
        let node = node(&format!("kvs_{}_waits", std::process::id()));
        let soon = Some(Instant::now() + Duration::from_millis(1));
        let wait = Wait { deadline: soon, is_over: &|| false };
        let outcome = get(&node, b"name", Some(wait));
        assert!(matches!(outcome, Err(BackendError::Timeout(_))), "{outcome:?}");
        let wait = Wait { deadline: None, is_over: &|| true };
        let outcome = get(&node, b"name", Some(wait));
        assert!(matches!(outcome, Err(BackendError::Over(_))), "{outcome:?}");
        node.put(b"name", b"value").unwrap();
        let wait = Wait { deadline: None, is_over: &|| true };
        assert_eq!(get(&node, b"name", Some(wait)).unwrap(), b"value");
    }

    #[test]
    fn lengths_are_checked() {
        let node = node("lengths");
        assert_eq!(node.put(b"", b""), Err(BackendError::KeyLength));
        assert_eq!(node.put(&[b'k'; KEY_MAX + 1], b""), Err(BackendError::KeyLength));
        assert_eq!(node.put(b"k", &[0; VALUE_MAX + 1]), Err(BackendError::ValueLength));
    }
}
