//! The host's bridge, which serves ranks with a PMI client of their own; see `pmi-bridge`.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, recv, send, shutdown, socketpair,
};
use nix::sys::stat::fstat;
use nix::unistd::Pid;
use pmi_board::session::Config;
use pmi_bridge::door::random_id;
use pmi_bridge::plan::{Boss, MESSAGE_RANKS, NOTICE_MAX, Notice, Plan, Seat, Way};
use pmi_bridge::{serve, sys};

use crate::environment::Reach;

/// How ranks come to the bridge.
pub enum Access {
    /// Each through a socket that it inherits.
    Sockets,
    /// Through this listener.
    Port(TcpListener),
}

/// A running bridge, seen from the launcher.
pub struct Bridge {
    pid: Pid,
    control: OwnedFd,
    /// The ranks' ends of their sockets, until they are started.
    ends: HashMap<u32, OwnedFd>,
    /// The ranks' `PMI_ID`s.
    ids: Vec<u32>,
}

/// What a bridge has said.
pub struct Heard {
    /// Its notices, in order.
    pub notices: Vec<Notice>,
    /// Is it still there?
    pub open: bool,
}

impl Bridge {
    /// Forks a bridge for ranks whose appnums are given in their order. The caller must be single-threaded.
    pub fn start(
        session: Config,
        universe_size: u32,
        appnums: &[u32],
        access: Access,
    ) -> io::Result<Bridge> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (control, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        let (mut ends, mut ids, mut given) = (HashMap::new(), Vec::new(), HashSet::new());
        let mut seats = Vec::with_capacity(appnums.len());
        for (rank, appnum) in (0..).zip(appnums) {
            let way = match access {
                Access::Sockets => {
                    let (ours, end) = sys::socket_pair()?;
                    ends.insert(rank, end);
                    Way::Socket(ours)
                }
                Access::Port(_) => {
                    let id = new_id(&mut given)?;
                    ids.push(id);
                    Way::Id(id)
                }
            };
            seats.push(Seat { rank, appnum: *appnum, way });
        }
        let listener = match access {
            Access::Port(listener) => Some(listener),
            Access::Sockets => None,
        };
        let plan = Plan { session, universe_size, seats, listener, boss: Boss::Launcher(theirs) };
        let kept: Vec<_> = plan.descriptors().chain([io::stderr().as_raw_fd()]).collect();
        let pid = sys::fork_apart(&kept, || serve::run(plan))?;
        Ok(Bridge { pid, control, ends, ids })
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// How a rank reaches the bridge, and the descriptor that it has to inherit for that.
    pub fn reach(&mut self, rank: u32) -> io::Result<(Reach, Option<OwnedFd>)> {
        match self.ends.remove(&rank) {
            Some(end) => {
                let inode = fstat(&end)?.st_ino;
                Ok((Reach::Descriptor(end.as_raw_fd(), inode), Some(end)))
            }
            None => Ok((Reach::Id(self.ids[rank as usize]), None)),
        }
    }

    /// Tells it that these ranks' processes have ended.
    pub fn ended(&self, ranks: &[u32]) {
        for ranks in ranks.chunks(MESSAGE_RANKS) {
            let message: Vec<u8> = ranks.iter().flat_map(|rank| rank.to_le_bytes()).collect();
            // If it is gone, that shows when it is listened to.
            let _ = send(self.control.as_raw_fd(), &message, MsgFlags::MSG_NOSIGNAL);
        }
    }

    /// Lets it go: all ranks have ended. It hangs up when it has told everything.
    pub fn finish(&self) {
        // Fails if it is gone already.
        let _ = shutdown(self.control.as_raw_fd(), Shutdown::Write);
    }

    /// Takes what it has said.
    pub fn hear(&self) -> Heard {
        let mut heard = Heard { notices: Vec::new(), open: true };
        let mut bytes = [0; NOTICE_MAX];
        while heard.open {
            match recv(self.control.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
                Ok(count) if count > 0 => heard.notices.extend(Notice::parse(&bytes[..count])),
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                _ => heard.open = false,
            }
        }
        heard
    }
}

/// A `PMI_ID` that no other rank has. Of a thousand random ones, two are the same in one job of some four thousand.
fn new_id(given: &mut HashSet<u32>) -> io::Result<u32> {
    loop {
        let id = random_id()?;
        if given.insert(id) {
            return Ok(id);
        }
    }
}

impl AsFd for Bridge {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }
}
