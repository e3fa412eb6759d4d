//! Before anybody speaks: most programs that load our libraries never do, and shall not pay for a bridge.

use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, recv};

use crate::plan::{Plan, Way, Word};
use crate::poller::{Interest, Poller};

const BOSS: u64 = 0;
const DOOR: u64 = 1;
const SEATS: u64 = 2;

/// Waits until a rank says its first word. Returns the ranks whose processes have ended by then, of which the last may
/// have spoken before; `None` if the boss has ended.
pub fn somebody_speaks(plan: &Plan) -> io::Result<Option<Vec<u32>>> {
    let mut poller = Poller::new()?;
    poller.add(&plan.boss, BOSS, Interest::Read)?;
    if let Some(listener) = &plan.listener {
        poller.add(listener, DOOR, Interest::Read)?;
    }
    for (token, seat) in (SEATS..).zip(&plan.seats) {
        if let Way::Socket(socket) = &seat.way {
            poller.add(socket, token, Interest::Read)?;
        }
    }
    let (mut ready, mut ended) = (Vec::new(), Vec::new());
    loop {
        poller.wait(None, &mut ready)?;
        let mut over = false;
        for token in &ready {
            match *token {
                BOSS => match plan.boss.hear() {
                    Word::Ended(ranks) => ended.extend(ranks),
                    Word::Over => over = true,
                },
                DOOR => return Ok(Some(ended)),
                seat => match &plan.seats[(seat - SEATS) as usize].way {
                    Way::Socket(socket) if peek(socket) == Ok(0) => poller.remove(socket, seat),
                    _ => return Ok(Some(ended)),
                },
            }
        }
        if over {
            return Ok(None);
        }
    }
}

/// How much there is to read: 0 at the end of a connection.
fn peek(socket: &impl AsRawFd) -> nix::Result<usize> {
    recv(socket.as_raw_fd(), &mut [0; 1], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT)
}
