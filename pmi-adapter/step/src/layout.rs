//! Which rank runs on which node. Slurm tells each task of its own node only (`SLURM_GTIDS`), and MPI libraries ask for
//! `PMI_process_mapping`. So the helpers of all nodes tell one another, in a process group of their own on the step's
//! server, of which each is one rank.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use pmi_board::session::{Config, Ensemble, Error, MemberId};
use pmi_protocol::limits::VALUE_MAX;
use pmi_protocol::mapping::format_mapping;
use pmi_protocol::ranks::{RankRange, RankRanges};

use crate::guest::Job;

/// Room for the ranges of all nodes; the server counts with the same.
pub const CEILING: u64 = 64 << 20;

/// The name of the group in which the helpers of a step meet.
pub fn group_of(job: &str) -> String {
    format!("{job}.layout")
}

/// The exchange, on its way.
pub struct Layout {
    node: u32,
    nodes: u32,
    size: u32,
    ranks: Vec<u32>,
    ensemble: Option<(Ensemble, MemberId, bool)>,
    mapping: Option<String>,
}

impl Layout {
    /// Begins it, with the server at this address.
    pub fn begin(job: &Job, server: SocketAddr, secret: [u8; 32]) -> Layout {
        let ranks = job.clique.clone().unwrap_or_default();
        let (node, nodes, size) = (job.step.node, job.step.nodes, job.size);
        let mut layout = Layout { node, nodes, size, ranks, ensemble: None, mapping: None };
        if nodes == 1 {
            layout.mapping = Some(format_mapping(&vec![0; size as usize]));
            return layout;
        }
        let config = Config {
            rank: node,
            size: nodes,
            job: group_of(&job.step.job_name()),
            secret,
            node: None,
            servers: vec![server],
            local_size: Some(1),
            timeout: None,
            log_ceiling: CEILING,
            share: false,
        };
        let joined = Ensemble::open(config).and_then(|mut ensemble| {
            let member = ensemble.join(node)?;
            Ok((ensemble, member, false))
        });
        match joined {
            Ok(joined) => layout.ensemble = Some(joined),
            Err(_) => layout.give_up(),
        }
        layout
    }

    /// What MPI libraries are told, once it is known. Empty if it cannot be found out.
    pub fn mapping(&self) -> Option<&str> {
        self.mapping.as_deref()
    }

    /// Readable when there is something to do.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.ensemble.as_ref().map(|(ensemble, ..)| ensemble.socket())
    }

    /// When to go on at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        self.ensemble.as_ref().and_then(|(ensemble, ..)| ensemble.deadline())
    }

    /// Goes on as far as possible.
    pub fn advance(&mut self) {
        if self.step().is_err() {
            self.give_up();
        }
    }

    fn give_up(&mut self) {
        self.mapping = Some(String::new());
        self.ensemble = None;
    }

    fn step(&mut self) -> Result<(), Error> {
        while let Some((ensemble, member, told)) = &mut self.ensemble {
            ensemble.advance()?;
            if ensemble.take_released().next().is_none() {
                return Ok(());
            }
            if *told {
                self.mapping = Some(self.collect());
                self.leave();
                return Ok(());
            }
            *told = true;
            let member = *member;
            for (number, piece) in pieces(&self.ranks).iter().enumerate() {
                ensemble.put(member, key(self.node, number).as_bytes(), piece.as_bytes())?;
            }
            ensemble.enter(member)?;
        }
        Ok(())
    }

    /// One word to the server, which does not matter to anybody: it is not waited for.
    fn leave(&mut self) {
        if let Some((mut ensemble, member, _)) = self.ensemble.take()
            && ensemble.finalize(member)
        {
            ensemble.leave(Duration::ZERO);
        }
    }

    fn collect(&self) -> String {
        let Some((ensemble, member, _)) = &self.ensemble else { return String::new() };
        let piece = |node, number| {
            ensemble
                .get(*member, key(node, number).as_bytes(), |value| {
                    String::from_utf8_lossy(value).into_owned()
                })
                .ok()
        };
        let all = (0..self.nodes).map(|node| {
            let told: Vec<String> = (0..).map_while(|number| piece(node, number)).collect();
            told.join(",")
        });
        mapping(all, self.size).unwrap_or_default()
    }
}

fn key(node: u32, number: usize) -> String {
    format!("{node}.{number}")
}

/// The ranks as `0-3,8-8`, in pieces that fit a value.
fn pieces(ranks: &[u32]) -> Vec<String> {
    let ranges = RankRanges::from_ranks(ranks.iter().copied());
    let mut pieces: Vec<String> = Vec::new();
    for RankRange { first, last } in ranges.as_slice() {
        let text = format!("{first}-{last}");
        match pieces.last_mut().filter(|piece| piece.len() + 1 + text.len() <= VALUE_MAX) {
            Some(piece) => {
                piece.push(',');
                piece.push_str(&text);
            }
            None => pieces.push(text),
        }
    }
    pieces
}

/// The mapping, from the ranks of each node in turn. None if a rank is nowhere, or twice. One that is too long for a client
/// gives way to one that puts each rank on a node of its own: slower, never wrong, and the same for all.
fn mapping(nodes: impl Iterator<Item = String>, size: u32) -> Option<String> {
    let mut places = vec![u32::MAX; size as usize];
    for (node, told) in (0..).zip(nodes) {
        for range in told.split(',') {
            let (first, last) = range.split_once('-')?;
            let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
            for place in places.get_mut(first..=last)? {
                if std::mem::replace(place, node) != u32::MAX {
                    return None;
                }
            }
        }
    }
    if places.contains(&u32::MAX) {
        return None;
    }
    let text = format_mapping(&places);
    Some(if text.len() <= VALUE_MAX { text } else { format!("(vector,(0,{size},1))") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(nodes: &[&[u32]], size: u32) -> Option<String> {
        mapping(nodes.iter().map(|ranks| pieces(ranks).join(",")), size)
    }

    #[test]
    fn the_mapping_says_where_each_rank_is() {
        assert_eq!(of(&[&[0, 1], &[2, 3]], 4).unwrap(), "(vector,(0,2,2))");
        assert_eq!(of(&[&[0, 2], &[1, 3]], 4).unwrap(), format_mapping(&[0, 1, 0, 1]));
        assert_eq!(
            of(&[&[0, 4, 5], &[1], &[2], &[3]], 6).unwrap(),
            format_mapping(&[0, 1, 2, 3, 0, 0])
        );
    }

    #[test]
    fn what_is_not_whole_is_no_mapping() {
        assert_eq!(of(&[&[0, 1], &[3]], 4), None);
        assert_eq!(of(&[&[0, 1], &[1, 2]], 3), None);
        assert_eq!(of(&[&[0, 1], &[2, 9]], 4), None);
        assert_eq!(of(&[&[0, 1], &[]], 2), None, "a node that was not told its ranks");
    }

    #[test]
    fn scattered_ranks_take_several_pieces_and_a_mapping_that_all_can_read() {
        let (even, odd): (Vec<u32>, Vec<u32>) = (0..4000).partition(|rank| rank % 2 == 0);
        assert!(pieces(&even).len() > 1);
        assert!(pieces(&even).iter().all(|piece| piece.len() <= VALUE_MAX));
        assert_eq!(of(&[&even, &odd], 4000).unwrap(), "(vector,(0,4000,1))");
    }
}
