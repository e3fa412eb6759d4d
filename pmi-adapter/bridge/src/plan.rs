//! For whom a bridge speaks, and what it knows without asking.

use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use pmi_board::session::Config;

/// A bridge that has not begun.
pub struct Plan {
    /// How to join the job; `rank` is that of the first seat.
    pub session: Config,
    /// `PMI_UNIVERSE_SIZE`.
    pub universe_size: u32,
    /// The ranks.
    pub seats: Vec<Seat>,
    /// Where ranks with a `PMI_ID` connect (`PMI_PORT`).
    pub listener: Option<TcpListener>,
    /// Who says that a rank has ended.
    pub boss: Boss,
}

impl Plan {
    /// The descriptors that the bridge needs.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> + '_ {
        let boss = match &self.boss {
            Boss::Launcher(control) => control,
            Boss::Program { pidfd } => pidfd,
        };
        let sockets = self.seats.iter().filter_map(|seat| match &seat.way {
            Way::Socket(socket) => Some(socket.as_raw_fd()),
            Way::Id(_) => None,
        });
        let listener = self.listener.iter().map(AsRawFd::as_raw_fd);
        sockets.chain(listener).chain([boss.as_raw_fd()])
    }
}

/// One rank of a bridge.
pub struct Seat {
    /// Its number in the process group.
    pub rank: u32,
    /// `PMI_APPNUM`.
    pub appnum: u32,
    /// How it comes.
    pub way: Way,
}

/// How a rank's client comes to the bridge.
pub enum Way {
    /// The bridge's end of the socket whose other end is the rank's `PMI_FD`.
    Socket(OwnedFd),
    /// It connects to the listener and shows this `PMI_ID`, which nobody else knows.
    Id(u32),
}

/// Whose life the bridge's own depends on.
pub enum Boss {
    /// A launcher, on the other end of this stream socket. It writes the rank numbers (32 bits, little-endian) of
    /// processes that have ended; the bridge answers with those that have ended without `PMI_Finalize`. When the
    /// launcher closes its end, or ends, so does the bridge.
    Launcher(OwnedFd),
    /// The program itself, the only seat.
    Program {
        /// Readable when it has ended (`pidfd_open(2)`).
        pidfd: OwnedFd,
    },
}
