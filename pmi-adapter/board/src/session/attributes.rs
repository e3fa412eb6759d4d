//! Node attributes as ranks use them: errors instead of endless waiting.

use std::time::{Duration, Instant};

use pmi_protocol::limits::VALUE_MAX;

use super::node::Node;
use super::{Ensemble, Error, MemberId, Session, check_key};
use crate::{Slot, State};

/// Between two looks at the peers while a rank waits for an attribute.
const PATIENCE: Duration = Duration::from_millis(250);

impl Node {
    pub(super) fn put_attribute(&self, name: &[u8], value: &[u8]) -> Result<(), Error> {
        check_key(name)?;
        if value.len() > VALUE_MAX {
            return Err(Error::ValueLength);
        }
        self.check_over()?;
        self.board.put_attribute(name, value).map_err(|error| Error::Full(error.to_string()))
    }

    pub(super) fn attribute<R>(
        &self,
        name: &[u8],
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, Error> {
        check_key(name)?;
        self.board.attribute(name, read).ok_or(Error::NoSuchKey)
    }

    /// Is there any sense in waiting for an attribute? An error if the job is over, a rank of this node has died, or
    /// nobody is left who could put one.
    pub(super) fn attribute_outlook(&self, slot: &Slot) -> Result<(), Error> {
        self.check_over()?;
        if let Some(member) = self.board.casualty().filter(|member| member.state == State::Dead) {
            return Err(self.report_casualty(member, self.board.opened()));
        }
        match self.board.is_alone(slot) {
            false => Ok(()),
            true => Err(Error::Refused(self.why_alone(slot.rank()))),
        }
    }

    fn why_alone(&self, rank: u32) -> String {
        match self.board.is_private() && self.config.size > 1 {
            true => format!(
                "rank {rank} cannot share memory with other ranks (another pid namespace or user, or no /proc), so \
                 nobody else can put a node attribute for it: start the ranks of a host alike, or treat each as a node"
            ),
            false => format!(
                "rank {rank} has not put that node attribute, and no other rank of its node is left to do it"
            ),
        }
    }
}

impl Session {
    /// Puts a node attribute: the ranks of this node, and no others, see it at once. A later put of a name replaces.
    pub fn put_attribute(&self, name: &[u8], value: &[u8]) -> Result<(), Error> {
        self.node.put_attribute(name, value)
    }

    /// Calls `read` with the value of a node attribute. If it has none, `NoSuchKey`; or, if `wait` is set, sleeps until
    /// a rank of this node has put it, or an error says why that will not happen: the job is over, a rank of the node
    /// has died, all others have left, or `PMI_TIMEOUT` has passed.
    pub fn attribute<R>(
        &self,
        name: &[u8],
        wait: bool,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, Error> {
        if wait {
            self.await_attribute(name)?;
        }
        // Attributes are replaced, but never go away.
        self.node.attribute(name, read)
    }

    fn await_attribute(&self, name: &[u8]) -> Result<(), Error> {
        let begun = Instant::now();
        loop {
            let turn = self.node.board.attributes_turn();
            match self.node.attribute(name, |_| ()) {
                Err(Error::NoSuchKey) => {}
                outcome => return outcome,
            }
            self.node.attribute_outlook(&self.slot)?;
            let patience = match self.node.config.timeout {
                None => PATIENCE,
                Some(limit) => remaining(begun, limit, name)?.min(PATIENCE),
            };
            self.node.board.wait_attributes(turn, patience);
        }
    }
}

/// What is left of `PMI_TIMEOUT`.
fn remaining(begun: Instant, limit: Duration, name: &[u8]) -> Result<Duration, Error> {
    let left = limit.saturating_sub(begun.elapsed());
    match left.is_zero() {
        false => Ok(left),
        true => Err(Error::Timeout(format!(
            "no rank of this node has put the node attribute {} within PMI_TIMEOUT",
            String::from_utf8_lossy(name)
        ))),
    }
}

/// A process that serves several ranks looks without waiting. To hear of news, a helper thread calls
/// [`Board::wait_attributes`](crate::Board::wait_attributes).
impl Ensemble {
    /// Puts a node attribute for a rank of this process.
    pub fn put_attribute(&self, name: &[u8], value: &[u8]) -> Result<(), Error> {
        self.node().put_attribute(name, value)
    }

    /// Calls `read` with the value of a node attribute; `NoSuchKey` if it has none yet.
    pub fn attribute<R>(&self, name: &[u8], read: impl FnOnce(&[u8]) -> R) -> Result<R, Error> {
        self.node().attribute(name, read)
    }

    /// Is there any sense in this rank's waiting for an attribute, as it does since `since`? To be asked again and again
    /// while it does, four times a second, say. An error if the job is over, a rank of this node has died (then it may
    /// take two seconds to tell the server), nobody is left who could put one, or `PMI_TIMEOUT` has passed.
    pub fn attribute_outlook(
        &self,
        member: MemberId,
        name: &[u8],
        since: Instant,
    ) -> Result<(), Error> {
        self.node().attribute_outlook(self.slot(member))?;
        match self.node().config.timeout {
            Some(limit) => remaining(since, limit, name).map(drop),
            None => Ok(()),
        }
    }
}
