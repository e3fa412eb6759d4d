//! How the processes of a job find their board without a file.
//!
//! The maker binds an abstract Unix socket, whose name only the job's processes can derive, makes the memory
//! file, and then listens. A peer connects; the kernel tells it the listener's process id, and it opens the
//! memory file through `/proc/<pid>/fd`. Nobody ever accepts: the maker has no thread to do so. When the last
//! process ends, however it ends, socket and memory are gone.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen, socket,
};

use crate::layout::{Founding, Geometry};
use crate::segment::Segment;
use crate::shared::Shared;
use crate::sys::memory::{self, Mapping};

/// How long to wait for a maker that has bound the name but does not listen yet.
const PATIENCE: Duration = Duration::from_secs(2);

/// First and longest pause while waiting for the maker: it needs some 50 microseconds.
const PAUSES: (Duration, Duration) = (Duration::from_micros(50), Duration::from_millis(5));

/// Most sockets of one board. A socket takes one connection per peer, up to `net.core.somaxconn` (4,096 since
/// Linux 5.4, 128 before), and the connections of peers that are gone count.
const LISTENERS_MAX: u32 = 16;

/// The memory file is looked for under these descriptor numbers first: makers open it early. A look costs a
/// microsecond, and a launcher may have a thousand descriptors.
const LIKELY_DESCRIPTORS: std::ops::Range<u32> = 3..64;

/// Where the processes of one job meet.
#[derive(Debug)]
pub struct Meeting {
    name: String,
    /// What the segment must carry.
    pub founding: Founding,
    /// How many peers may come.
    pub peers: u32,
}

/// Context of the derivation; see `blake3::derive_key`.
const CONTEXT: &str = "pmi-adapter 2025 board rendezvous v1";

impl Meeting {
    /// The meeting of a job, and node if it has a name, for processes of the calling user.
    pub fn new(
        secret: &[u8; 32],
        (job, node): (&str, Option<&str>),
        peers: u32,
        founding: Founding,
    ) -> Meeting {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(secret).update(&nix::unistd::geteuid().as_raw().to_le_bytes());
        hasher.update(job.as_bytes());
        if let Some(node) = node {
            // A NUL byte is in no name, so that job and node cannot be taken for another job.
            hasher.update(&[0]).update(node.as_bytes());
        }
        let hash = *hasher.finalize().as_bytes();
        let half = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| hash[at + byte]));
        let name = format!("pmi-board-{:016x}{:016x}", half(0), half(8));
        Meeting { name, founding: Founding { tag: [half(16), half(24)], ..founding }, peers }
    }

    fn address(&self, number: u32) -> io::Result<UnixAddr> {
        let suffix = if number == 0 { String::new() } else { format!("-{number}") };
        Ok(UnixAddr::new_abstract(format!("{}{suffix}", self.name).as_bytes())?)
    }

    /// Attaches to the board, or makes it.
    pub fn attend(&self) -> io::Result<Shared> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = PAUSES.0;
        loop {
            if let Some(shared) = self.attach()? {
                return Ok(shared);
            }
            match self.host() {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                made => return made,
            }
            if Instant::now() > deadline {
                return Err(io::Error::other("the board's maker does not finish"));
            }
            std::thread::sleep(pause);
            pause = PAUSES.1.min(pause * 2);
        }
    }

    /// Makes the board; fails with `AddrInUse` if somebody else has or is about to.
    pub fn host(&self) -> io::Result<Shared> {
        let first = bound(&self.address(0)?)?;
        let len = Geometry::new(self.founding.ceiling).len;
        let file = memory::create_file(&self.name, len)?;
        let segment = Segment::found(Mapping::of_file(&file)?, self.founding);
        let mut listeners = self.further_listeners();
        // The first name is the one that peers try first: once it listens, all is ready.
        listen(&first, Backlog::MAXALLOWABLE)?;
        listeners.insert(0, first);
        Shared::new(segment, Some(file), listeners)
    }

    fn further_listeners(&self) -> Vec<OwnedFd> {
        let needed = self.peers.div_ceil(connections_per_socket()).min(LISTENERS_MAX);
        let listening = |number| {
            let socket = bound(&self.address(number)?)?;
            listen(&socket, Backlog::MAXALLOWABLE)?;
            io::Result::Ok(socket)
        };
        (1..needed).filter_map(|number| listening(number).ok()).collect()
    }

    /// Attaches to the board; `None` if nobody listens.
    fn attach(&self) -> io::Result<Option<Shared>> {
        let Some(pid) = self.maker()? else { return Ok(None) };
        let file = open_memory_file(pid, &self.name)?;
        let segment = Segment::attach(Mapping::of_file(&file)?)
            .ok_or_else(|| io::Error::other("the board was made by another version"))?;
        let (theirs, ours) = (segment.founding(), &self.founding);
        if theirs.tag != ours.tag || theirs.pid_namespace != ours.pid_namespace {
            return Err(io::Error::other("the board belongs to another job or pid namespace"));
        }
        Shared::new(segment, Some(file), Vec::new()).map(Some)
    }

    /// Process id of the board's maker; `None` if nobody listens.
    fn maker(&self) -> io::Result<Option<u32>> {
        for number in 0..LISTENERS_MAX {
            let socket = stream_socket()?;
            match connect(socket.as_raw_fd(), &self.address(number)?) {
                Ok(()) => return trusted_peer(&socket).map(Some),
                Err(Errno::EAGAIN) => continue,
                Err(Errno::ECONNREFUSED) if number == 0 => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::other("all of the board's sockets are full"))
    }
}

fn stream_socket() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, SockType::Stream, flags, None)
}

fn bound(address: &UnixAddr) -> io::Result<OwnedFd> {
    let socket = stream_socket()?;
    bind(socket.as_raw_fd(), address)?;
    Ok(socket)
}

fn connections_per_socket() -> u32 {
    let text = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
    text.trim().parse().ok().filter(|limit| *limit > 0).unwrap_or(128)
}

/// Process id at the other end, if it is this user's.
fn trusted_peer(socket: &OwnedFd) -> io::Result<u32> {
    let peer = getsockopt(socket, PeerCredentials)?;
    if peer.uid() != nix::unistd::geteuid().as_raw() {
        return Err(io::Error::other(format!("the board's name is held by user {}", peer.uid())));
    }
    match u32::try_from(peer.pid()) {
        Ok(pid) if pid != 0 => Ok(pid),
        _ => Err(io::Error::other("the board's maker lives in another pid namespace")),
    }
}

fn open_memory_file(pid: u32, name: &str) -> io::Result<File> {
    let link = PathBuf::from(format!("/memfd:{name} (deleted)"));
    let directory = PathBuf::from(format!("/proc/{pid}/fd"));
    let likely = LIKELY_DESCRIPTORS.map(|number| directory.join(number.to_string()));
    let path = match first_link(likely, &link)? {
        Some(path) => path,
        None => first_link(entries(&directory)?, &link)?
            .ok_or_else(|| io::Error::other(format!("process {pid} has closed the board")))?,
    };
    OpenOptions::new().read(true).write(true).open(path)
}

fn entries(directory: &Path) -> io::Result<impl Iterator<Item = PathBuf>> {
    Ok(fs::read_dir(directory)?.filter_map(|entry| Some(entry.ok()?.path())))
}

/// The first of `paths` that is a symbolic link to `target`.
fn first_link(paths: impl Iterator<Item = PathBuf>, target: &Path) -> io::Result<Option<PathBuf>> {
    for path in paths {
        match fs::read_link(&path) {
            Ok(found) if found == target => return Ok(Some(path)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(None)
}
