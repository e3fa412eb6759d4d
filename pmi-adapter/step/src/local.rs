//! How the ranks of a node find its helper, and what they say to each other: an abstract Unix socket, over which the
//! kernel tells each side who the other is.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind, connect,
    getsockopt, listen, recv, send, socket,
};

use crate::step::Step;

/// Names that are tried: another user, who can derive them too, would have to hold all of them.
pub const NAMES: u32 = 8;

/// Largest message: a reply with a text.
const LEN_MAX: usize = 2048;

/// Most bytes of an error's text.
const TEXT_MAX: usize = LEN_MAX - 1;

const _: () = assert!(pmi_protocol::limits::VALUE_MAX <= TEXT_MAX, "a mapping fits");

/// What a rank says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Here I am, with this rank and this number on the node.
    Here {
        /// Rank in the job.
        rank: u32,
        /// `SLURM_LOCALID`.
        local: u32,
    },
    /// I have left the job in order.
    Left,
    /// Tell me which rank runs on which node, once it is known.
    Mapping,
}

/// What the helper says.
#[derive(Clone, PartialEq, Eq)]
pub enum Reply {
    /// Where the server is, and the job's key.
    Server(SocketAddr, [u8; 32]),
    /// There is none, and why.
    Failed(String),
    /// Which rank runs on which node: `PMI_process_mapping`, or nothing if it cannot be found out.
    Mapping(String),
}

impl Word {
    /// As a message.
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            Word::Here { rank, local } => {
                [&[1][..], &rank.to_le_bytes(), &local.to_le_bytes()].concat()
            }
            Word::Left => vec![2],
            Word::Mapping => vec![3],
        }
    }

    /// From a message.
    pub fn parse(bytes: &[u8]) -> Option<Word> {
        match bytes.split_first()? {
            (1, rest) => {
                let (rank, local) = rest.split_first_chunk::<4>()?;
                let (rank, local) = (u32::from_le_bytes(*rank), local.try_into().ok()?);
                Some(Word::Here { rank, local: u32::from_le_bytes(local) })
            }
            (2, []) => Some(Word::Left),
            (3, []) => Some(Word::Mapping),
            _ => None,
        }
    }
}

impl Reply {
    /// As a message. A text that is too long is cut.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Reply::Server(address, secret) => {
                let ip = match address.ip() {
                    IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                    IpAddr::V6(ip) => ip,
                };
                [&[1][..], &ip.octets(), &address.port().to_le_bytes(), secret].concat()
            }
            Reply::Failed(text) => {
                let text = &text.as_bytes()[..text.len().min(TEXT_MAX)];
                [&[2], text].concat()
            }
            Reply::Mapping(text) => [&[3], text.as_bytes()].concat(),
        }
    }

    /// From a message.
    pub fn parse(bytes: &[u8]) -> Option<Reply> {
        match bytes.split_first()? {
            (1, rest) => {
                let (ip, rest) = rest.split_first_chunk::<16>()?;
                let (port, secret) = rest.split_first_chunk::<2>()?;
                let ip = IpAddr::from(*ip).to_canonical();
                let address = SocketAddr::new(ip, u16::from_le_bytes(*port));
                Some(Reply::Server(address, secret.try_into().ok()?))
            }
            (2, text) => Some(Reply::Failed(String::from_utf8_lossy(text).into_owned())),
            (3, text) => Some(Reply::Mapping(String::from_utf8_lossy(text).into_owned())),
            _ => None,
        }
    }
}

/// The address with this number. A host may be several nodes of a heterogeneous step: each has helpers of its own.
fn address(step: &Step, number: u32) -> io::Result<UnixAddr> {
    let mut name = [0; 16];
    step.key().derive("helper").fill(&mut name);
    let name = u128::from_le_bytes(name);
    Ok(UnixAddr::new_abstract(format!("pmi-step-{name:032x}-{}-{number}", step.node).as_bytes())?)
}

fn packets() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)
}

/// What there is under a name.
pub enum Found {
    /// A helper of this user.
    Helper(OwnedFd),
    /// Another user.
    Stranger,
    /// Nobody: we may be it, with this listening socket.
    Nobody(OwnedFd),
    /// Somebody who does not listen, yet, or whose queue is full.
    Busy,
}

/// Looks under a name of the step, and takes it if it is free.
pub fn look(step: &Step, number: u32) -> io::Result<Found> {
    let (socket, address) = (packets()?, address(step, number)?);
    match connect(socket.as_raw_fd(), &address) {
        Ok(()) => {
            return match getsockopt(&socket, PeerCredentials)?.uid() {
                uid if uid == nix::unistd::geteuid().as_raw() => Ok(Found::Helper(socket)),
                _ => Ok(Found::Stranger),
            };
        }
        Err(Errno::EAGAIN | Errno::EINTR) => return Ok(Found::Busy),
        Err(Errno::ECONNREFUSED) => {}
        Err(error) => return Err(error.into()),
    }
    let listener = packets()?;
    match bind(listener.as_raw_fd(), &address) {
        Ok(()) => {
            listen(&listener, Backlog::MAXALLOWABLE)?;
            Ok(Found::Nobody(listener))
        }
        Err(Errno::EADDRINUSE) => Ok(Found::Busy),
        Err(error) => Err(error.into()),
    }
}

/// Takes a connection in, if it is this user's, with the process id at its other end (0: in another namespace).
pub fn accept(listener: &OwnedFd) -> Option<(OwnedFd, u32)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = accept4(listener.as_raw_fd(), flags).ok()?;
    let socket = crate::sys::own(fd);
    let peer = getsockopt(&socket, PeerCredentials).ok()?;
    let ours = peer.uid() == nix::unistd::geteuid().as_raw();
    ours.then(|| (socket, u32::try_from(peer.pid()).unwrap_or(0)))
}

/// Sends a message; false if the other side is gone, or does not read.
pub fn tell(socket: &OwnedFd, message: &[u8]) -> bool {
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    send(socket.as_raw_fd(), message, flags) == Ok(message.len())
}

/// A message, or what there is instead.
pub enum Heard {
    /// This.
    Message(Vec<u8>),
    /// Nothing yet.
    Nothing,
    /// The other side is gone.
    End,
}

/// Reads a message without waiting.
pub fn hear(socket: &OwnedFd) -> Heard {
    let mut buffer = [0; LEN_MAX];
    match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
        Ok(0) => Heard::End,
        Ok(length) => Heard::Message(buffer[..length].to_vec()),
        Err(Errno::EAGAIN | Errno::EINTR) => Heard::Nothing,
        Err(_) => Heard::End,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::tests::step;

    #[test]
    fn words_and_replies_survive_the_way() {
        for word in [Word::Here { rank: 70_000, local: 3 }, Word::Left, Word::Mapping] {
            assert_eq!(Word::parse(&word.to_bytes()), Some(word));
        }
        for reply in [
            Reply::Server("10.0.0.1:17000".parse().unwrap(), [5; 32]),
            Reply::Server("[fd00::1]:17000".parse().unwrap(), [6; 32]),
            Reply::Failed("because".into()),
            Reply::Mapping("(vector,(0,1,4))".into()),
        ] {
            assert!(Reply::parse(&reply.to_bytes()) == Some(reply));
        }
        for bytes in [&[][..], &[0], &[1], &[1, 2, 3], &[2, 0], &[4]] {
            assert_eq!(Word::parse(bytes), None);
        }
        assert!(Reply::parse(&[1; 20]).is_none());
        assert!(Reply::Failed("x".repeat(9000)).to_bytes().len() <= LEN_MAX);
    }

    #[test]
    fn the_first_to_look_is_the_helper_of_those_who_come_after() {
        let step = Step { job: std::process::id(), ..step() };
        let Found::Nobody(listener) = look(&step, 0).unwrap() else { panic!("the name is free") };
        let Found::Helper(ours) = look(&step, 0).unwrap() else { panic!("we listen there") };
        let (theirs, pid) = accept(&listener).unwrap();
        assert_eq!(pid, std::process::id());
        assert!(tell(&ours, &Word::Left.to_bytes()));
        let Heard::Message(bytes) = hear(&theirs) else { panic!("it has been said") };
        assert_eq!(Word::parse(&bytes), Some(Word::Left));
        drop(ours);
        assert!(matches!(hear(&theirs), Heard::End));
        drop((listener, theirs));
        assert!(matches!(look(&step, 0).unwrap(), Found::Nobody(_)));
    }
}
