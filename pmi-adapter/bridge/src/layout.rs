//! Which rank runs on which node, where a starter tells each rank only of its own node.
//!
//! `srun` does that, and MPI libraries ask for `PMI_process_mapping` before their first barrier. So the nodes tell one
//! another, in a process group of their own on the job's server: not in the job's, because ranks that load our library do
//! not know of this exchange and would not come to its barrier. One process of each node speaks for all ranks there.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use pmi_board::session::{Config, Ensemble, Error, MemberId};
use pmi_protocol::limits::VALUE_MAX;
use pmi_protocol::mapping::format_mapping;

/// The name of the group in which the nodes of a job meet.
pub fn group_of(job: &str) -> String {
    format!("{job}.layout")
}

/// The exchange of a node with the others, for an event loop: it never waits.
pub struct Layout {
    ensemble: Ensemble,
    size: u32,
    members: Vec<MemberId>,
    /// How many have joined the group and not yet entered its barrier, or come back from it.
    back: usize,
    entered: bool,
}

impl Layout {
    /// Begins the exchange for the ranks of this node, of which `session` is the first one's.
    ///
    /// # Errors
    /// As those of joining a job.
    pub fn begin(session: &Config, ranks: &[u32]) -> Result<Layout, Error> {
        let (job, size) = (group_of(&session.job), session.size);
        let local_size = u32::try_from(ranks.len()).ok();
        let mut ensemble = Ensemble::open(Config { job, local_size, ..session.clone() })?;
        let mut members = Vec::with_capacity(ranks.len());
        let first = ranks.first().copied().unwrap_or(session.rank).to_string();
        for rank in ranks {
            let member = ensemble.join(*rank)?;
            ensemble.put(member, rank.to_string().as_bytes(), first.as_bytes())?;
            members.push(member);
        }
        Ok(Layout { ensemble, size, members, back: 0, entered: false })
    }

    /// Readable when the server has something to say: then call [`advance`](Self::advance).
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.ensemble.socket()
    }

    /// When to call [`advance`](Self::advance) at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        self.ensemble.deadline()
    }

    /// Goes on as far as possible; the mapping, once all ranks have told. Not to be called after that.
    ///
    /// # Errors
    /// The job is over, or the server refuses this node.
    pub fn advance(&mut self) -> Result<Option<String>, Error> {
        loop {
            self.ensemble.advance()?;
            self.back += self.ensemble.take_released().count();
            if self.back < self.members.len() {
                return Ok(None);
            }
            if self.entered {
                return self.finish().map(Some);
            }
            (self.back, self.entered) = (0, true);
            for member in &self.members {
                self.ensemble.enter(*member)?;
            }
        }
    }

    fn finish(&mut self) -> Result<String, Error> {
        let own = self.members[0];
        let first_of = |rank: u32| {
            self.ensemble.get(own, rank.to_string().as_bytes(), |value| {
                String::from_utf8_lossy(value).into_owned()
            })
        };
        let firsts = (0..self.size).map(first_of).collect::<Result<Vec<_>, _>>()?;
        for member in &self.members {
            self.ensemble.finalize(*member);
        }
        // Nothing depends on the server's answer.
        self.ensemble.leave(Duration::ZERO);
        Ok(mapping(&firsts))
    }
}

/// The mapping of ranks for which `firsts` has the lowest rank of the node.
fn mapping(firsts: &[String]) -> String {
    let mut numbers = HashMap::new();
    let nodes: Vec<u32> = firsts
        .iter()
        .map(|first| {
            let next = numbers.len() as u32;
            *numbers.entry(first).or_insert(next)
        })
        .collect();
    let text = format_mapping(&nodes);
    match text.len() <= VALUE_MAX {
        true => text,
        // Slower, never wrong, and the same for all ranks.
        false => each_alone(firsts.len() as u32),
    }
}

/// The mapping that puts each rank on a node of its own.
pub fn each_alone(size: u32) -> String {
    format!("(vector,(0,{size},1))")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(firsts: &[u32]) -> String {
        mapping(&firsts.iter().map(u32::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn nodes_are_numbered_in_the_order_of_their_ranks() {
        assert_eq!(of(&[0, 0, 2, 2]), "(vector,(0,2,2))");
        assert_eq!(of(&[0, 1, 0, 1]), format_mapping(&[0, 1, 0, 1]));
        assert_eq!(of(&[0, 1, 1, 0, 4]), format_mapping(&[0, 1, 1, 0, 2]));
    }

    #[test]
    fn a_mapping_that_no_client_could_read_is_given_up() {
        let odd: Vec<u32> =
            (0..4096u32).map(|rank| (rank.wrapping_mul(2654435761) >> 20) % 61).collect();
        assert_eq!(of(&odd), each_alone(4096));
    }
}
