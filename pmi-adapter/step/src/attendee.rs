//! A rank, as its helper sees it.

use std::os::fd::OwnedFd;

use crate::life::Life;
use crate::local::{self, Heard, Word};

/// A rank of this node.
pub struct Attendee {
    /// The connection.
    pub socket: OwnedFd,
    /// Its process. None if that is not to be seen: then its connection tells.
    pub life: Option<Life>,
    /// Its rank, once it has said so.
    pub rank: Option<u32>,
    /// Has it been told where the server is, or that there is none?
    pub answered: bool,
    /// Has it left the job in order, or never been in it?
    pub left: bool,
    /// Is there nobody any more?
    pub ended: bool,
    /// Does it wait for the mapping?
    pub wants_mapping: bool,
}

impl Attendee {
    /// `pid` is 0 if its process is not to be seen.
    pub fn new(socket: OwnedFd, pid: u32) -> Attendee {
        let life = (pid != 0).then(|| Life::of(pid)).flatten();
        Attendee {
            socket,
            life,
            rank: None,
            answered: false,
            left: false,
            ended: false,
            wants_mapping: false,
        }
    }

    /// Reads what it says, also what it has said before its end; its number on the node, if it says who it is. It has ended
    /// when its connection is closed, by itself or with its process; or when its process has ended, although a child that it
    /// has forked keeps the connection open.
    pub fn listen(&mut self) -> Option<u32> {
        self.ended = self.life.as_ref().is_some_and(Life::is_gone);
        let mut here = None;
        loop {
            match local::hear(&self.socket) {
                Heard::Nothing => return here,
                Heard::End => {
                    self.ended = true;
                    return here;
                }
                Heard::Message(bytes) => here = self.take(&bytes).or(here),
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Option<u32> {
        match Word::parse(bytes)? {
            Word::Here { rank, local } if self.rank.is_none() => {
                self.rank = Some(rank);
                Some(local)
            }
            Word::Here { .. } => None,
            Word::Left => {
                self.left = true;
                None
            }
            Word::Mapping => {
                self.wants_mapping = true;
                None
            }
        }
    }
}
