//! Before anybody speaks: most programs that load our libraries never do, and shall not pay for a bridge.

use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

use crate::plan::{Boss, Plan, Way};
use crate::poller::{Interest, Poller};

const BOSS: u64 = 0;
const DOOR: u64 = 1;
const SEATS: u64 = 2;

/// Waits until a rank says its first word; false if the boss has ended before.
pub fn somebody_speaks(plan: &Plan) -> io::Result<bool> {
    let mut poller = Poller::new()?;
    poller.add(boss(plan), BOSS, Interest::Read)?;
    if let Some(listener) = &plan.listener {
        poller.add(listener, DOOR, Interest::Read)?;
    }
    for (token, seat) in (SEATS..).zip(&plan.seats) {
        if let Way::Socket(socket) = &seat.way {
            poller.add(socket, token, Interest::Read)?;
        }
    }
    let mut ready = Vec::new();
    loop {
        poller.wait(None, &mut ready)?;
        let mut over = false;
        for token in &ready {
            match *token {
                BOSS => over = boss_has_ended(plan),
                DOOR => return Ok(true),
                seat => match &plan.seats[(seat - SEATS) as usize].way {
                    Way::Socket(socket) if peek(socket) == Ok(0) => poller.remove(socket, seat),
                    _ => return Ok(true),
                },
            }
        }
        if over {
            return Ok(false);
        }
    }
}

fn boss(plan: &Plan) -> &std::os::fd::OwnedFd {
    match &plan.boss {
        Boss::Launcher(control) => control,
        Boss::Program { pidfd, .. } => pidfd,
    }
}

/// A launcher that tells of processes that have ended says nothing new: none of them has joined.
fn boss_has_ended(plan: &Plan) -> bool {
    let Boss::Launcher(control) = &plan.boss else { return true };
    let mut bytes = [0; 1024];
    match recv(control.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
        Ok(0) => true,
        Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => false,
        Err(_) => true,
    }
}

/// How much there is to read: 0 at the end of a connection.
fn peek(socket: &impl AsRawFd) -> nix::Result<usize> {
    recv(socket.as_raw_fd(), &mut [0; 1], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT)
}
