//! For whom a bridge speaks, and what it knows without asking.

use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use nix::unistd::Pid;
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
        let sockets = self.seats.iter().filter_map(|seat| match &seat.way {
            Way::Socket(socket) => Some(socket.as_raw_fd()),
            Way::Id(_) => None,
        });
        let listener = self.listener.iter().map(AsRawFd::as_raw_fd);
        sockets.chain(listener).chain([self.boss.as_fd().as_raw_fd()])
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
    /// A launcher, on the other end of this `SOCK_SEQPACKET` socket. It writes the rank numbers (32 bits, little-endian) of
    /// processes that have ended; the bridge writes [`Notice`]s. When the launcher closes its end, or ends, so does the
    /// bridge.
    Launcher(OwnedFd),
    /// The program itself, the only seat.
    Program {
        /// Readable when it has ended (`pidfd_open(2)`).
        pidfd: OwnedFd,
        /// The process whose standard error becomes ours when it first speaks to us; `None`: ours is the right one.
        stderr_of: Option<Pid>,
    },
}

/// What a boss says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// The processes of these ranks have ended; of none, if it was nothing.
    Ended(Vec<u32>),
    /// There is nobody left to serve.
    Over,
}

/// Ranks that a launcher tells of in one message.
pub const MESSAGE_RANKS: usize = 256;

impl Boss {
    /// Takes the next word of a boss that has something to say.
    pub fn hear(&self) -> Word {
        let Boss::Launcher(control) = self else { return Word::Over };
        let mut bytes = [0; MESSAGE_RANKS * size_of::<u32>()];
        match recv(control.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
            Ok(count) if count > 0 => {
                let (ranks, _) = bytes[..count].as_chunks();
                Word::Ended(ranks.iter().map(|rank| u32::from_le_bytes(*rank)).collect())
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Word::Ended(Vec::new()),
            _ => Word::Over,
        }
    }
}

impl AsFd for Boss {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Boss::Launcher(control) => control.as_fd(),
            Boss::Program { pidfd, .. } => pidfd.as_fd(),
        }
    }
}

/// What a bridge tells its launcher, one message each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// This rank's process has ended without `PMI_Finalize`.
    Lost(u32),
    /// This rank has called for the job's end.
    Abort {
        /// The rank.
        rank: u32,
        /// Its exit code.
        code: i32,
        /// Its message; cut to [`ABORT_TEXT_MAX`] bytes.
        text: String,
    },
}

/// Bytes of an abort's message that a launcher hears of: a few lines.
pub const ABORT_TEXT_MAX: usize = 1000;

/// Room for any notice.
pub const NOTICE_MAX: usize = 8 + ABORT_TEXT_MAX;

impl Notice {
    /// As it is sent: the rank; for an abort also the code and the text.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Notice::Lost(rank) => rank.to_le_bytes().to_vec(),
            Notice::Abort { rank, code, text } => {
                let text = &text.as_bytes()[..text.len().min(ABORT_TEXT_MAX)];
                [&rank.to_le_bytes(), &code.to_le_bytes(), text].concat()
            }
        }
    }

    /// `None` for what no bridge sends.
    pub fn parse(bytes: &[u8]) -> Option<Notice> {
        let (rank, rest) = bytes.split_first_chunk()?;
        let rank = u32::from_le_bytes(*rank);
        let Some((code, text)) = rest.split_first_chunk() else {
            return rest.is_empty().then_some(Notice::Lost(rank));
        };
        let text = String::from_utf8_lossy(text).into_owned();
        Some(Notice::Abort { rank, code: i32::from_le_bytes(*code), text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_survive_the_way() {
        let abort = |text: &str| Notice::Abort { rank: 3, code: -1, text: text.into() };
        for notice in [Notice::Lost(7), abort(""), abort("why not")] {
            assert_eq!(Notice::parse(&notice.to_bytes()), Some(notice));
        }
        assert_eq!(abort(&"x".repeat(5000)).to_bytes().len(), NOTICE_MAX);
        assert_eq!(Notice::parse(b"abc"), None);
        assert_eq!(Notice::parse(b"abcdef"), None);
    }
}
