//! The board of this node, as its launcher sees it: made before the ranks come, so that none of them has to.

use std::collections::HashSet;

use pmi_board::{Board, BoardConfig, State};
use pmi_protocol::key::Secret;

/// This node's board, if there is one.
pub struct Node {
    board: Option<Board>,
}

impl Node {
    /// Makes the board for all `size` ranks of a job on this host. If that fails the ranks make one themselves,
    /// or do without; the reason is returned beside.
    pub fn host(key: &Secret, job: &str, size: u32, log_ceiling: u64) -> (Self, Option<String>) {
        let local_size = Some(size);
        let config = BoardConfig {
            secret: key.as_bytes(),
            job,
            node: None,
            size,
            local_size,
            log_ceiling,
            share: true,
        };
        match Board::host(&config) {
            Ok(board) => (Node { board: Some(board) }, None),
            Err(reason) => (Node { board: None }, Some(reason.to_string())),
        }
    }

    /// Ranks whose process has ended between `PMI_Init` and `PMI_Finalize`.
    pub fn dead(&self) -> HashSet<u32> {
        let members = self.board.iter().flat_map(Board::members);
        members.filter(|member| member.state == State::Dead).map(|member| member.rank).collect()
    }
}
