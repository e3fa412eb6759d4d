//! How the prologs of a node's tasks find the one process that stands for all of them, and hand their task over.
//!
//! It listens on an abstract socket, whose name only the job's processes can derive; both sides look whether the other is
//! the same user's. A message is the task's numbers and two descriptors, its answer one byte.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{ControlMessage, MsgFlags, getsockopt, sendmsg};
use nix::unistd::{Pid, geteuid};
use pmi_board::session::Config;

use crate::sys;

/// How long either side may take for its word: far beyond what a loaded host needs, so that only what hangs reaches it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The answer to a task that has been handed over.
const TAKEN: [u8; 1] = *b"+";

/// Context of the name's derivation; see `blake3::derive_key`.
const CONTEXT: &str = "pmi-adapter 2026 task meeting v1";

/// What a task is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its rank.
    pub rank: u32,
    /// Its `PMI_APPNUM`.
    pub appnum: u32,
    /// Its `PMI_ID`.
    pub id: u32,
    /// The process that is, or will be, its program.
    pub program: Pid,
}

/// A task that nobody serves yet.
#[derive(Debug)]
pub struct NewTask {
    /// Its numbers.
    pub tag: Tag,
    /// Its `PMI_PORT`.
    pub listener: TcpListener,
    /// Readable when its program has ended.
    pub pidfd: OwnedFd,
}

const MESSAGE: usize = 4 * size_of::<u32>();

impl Tag {
    fn to_bytes(self) -> [u8; MESSAGE] {
        let mut bytes = [0; MESSAGE];
        let numbers = [self.rank, self.appnum, self.id, self.program.as_raw() as u32];
        for (place, number) in bytes.chunks_exact_mut(size_of::<u32>()).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: [u8; MESSAGE]) -> Tag {
        let (numbers, _) = bytes.as_chunks();
        let number = |at: usize| u32::from_le_bytes(numbers[at]);
        let program = Pid::from_raw(number(3) as i32);
        Tag { rank: number(0), appnum: number(1), id: number(2), program }
    }
}

/// Where the tasks of a job meet on the node whose lowest rank is `first`. One host may stand for several nodes.
pub fn address(session: &Config, first: u32) -> io::Result<SocketAddr> {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(&session.secret).update(&geteuid().as_raw().to_le_bytes());
    hasher.update(&first.to_le_bytes()).update(session.job.as_bytes());
    let name = format!("pmi-tasks-{}", &hasher.finalize().to_hex()[..32]);
    SocketAddr::from_abstract_name(name)
}

/// Hands a task over. False if there is nobody, or nobody any more, to take it.
///
/// # Errors
/// Somebody is there, and is another user or does not answer.
pub fn hand_over(address: &SocketAddr, new_task: &NewTask) -> io::Result<bool> {
    let stream = match UnixStream::connect_addr(address) {
        Err(error) if is_gone(&error) => return Ok(false),
        other => other?,
    };
    check_user(&stream)?;
    match deliver(stream, new_task) {
        Err(error) if is_gone(&error) => Ok(false),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err(io::Error::other("the process that serves this node's tasks does not answer"))
        }
        other => other.map(|()| true),
    }
}

fn deliver(mut stream: UnixStream, new_task: &NewTask) -> io::Result<()> {
    let descriptors = [new_task.listener.as_raw_fd(), new_task.pidfd.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&descriptors)];
    let bytes = new_task.tag.to_bytes();
    let flags = MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(&bytes)], &control, flags, None)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.read_exact(&mut [0; TAKEN.len()])
}

/// Has the other side ended, or not begun to listen?
fn is_gone(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionRefused | ConnectionReset | UnexpectedEof)
}

fn check_user(stream: &impl AsFd) -> io::Result<()> {
    let uid = getsockopt(stream, PeerCredentials)?.uid();
    match uid == geteuid().as_raw() {
        true => Ok(()),
        false => Err(io::Error::other(format!("user {uid} holds the name where tasks meet"))),
    }
}

/// Takes the next task over; `None` if nobody stands at the door. One that comes with something else is sent away.
pub fn take(meeting: &UnixListener) -> Option<NewTask> {
    loop {
        let (stream, _) = match meeting.accept() {
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
            other => other.ok()?,
        };
        if let Ok(new_task) = check_user(&stream).and_then(|()| receive(stream)) {
            return Some(new_task);
        }
    }
}

fn receive(mut stream: UnixStream) -> io::Result<NewTask> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut bytes = [0; MESSAGE];
    let (length, descriptors) = sys::receive(stream.as_fd(), &mut bytes)?;
    match (length, <[OwnedFd; 2]>::try_from(descriptors)) {
        (MESSAGE, Ok([listener, pidfd])) => {
            stream.write_all(&TAKEN)?;
            Ok(NewTask { tag: Tag::from_bytes(bytes), listener: listener.into(), pidfd })
        }
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn new_task() -> NewTask {
        let tag = Tag { rank: 3, appnum: 1, id: u32::MAX >> 1, program: Pid::this() };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        NewTask { tag, listener, pidfd: sys::pidfd_open(Pid::this()).unwrap() }
    }

    fn somewhere(name: &str) -> SocketAddr {
        let name = format!("pmi-tasks-test-{name}-{}", std::process::id());
        SocketAddr::from_abstract_name(name).unwrap()
    }

    #[test]
    fn a_task_is_handed_over_with_its_descriptors() {
        let address = somewhere("over");
        let meeting = UnixListener::bind_addr(&address).unwrap();
        let taker = thread::spawn(move || take(&meeting));
        let new_task = new_task();
        assert!(hand_over(&address, &new_task).unwrap());
        let taken = taker.join().unwrap().unwrap();
        assert_eq!(taken.tag, new_task.tag);
        let port = |new_task: &NewTask| new_task.listener.local_addr().unwrap();
        assert_eq!(port(&taken), port(&new_task));
    }

    #[test]
    fn where_nobody_listens_nobody_takes() {
        assert!(!hand_over(&somewhere("nobody"), &new_task()).unwrap());
    }

    #[test]
    fn one_who_ends_before_the_answer_has_not_taken() {
        let address = somewhere("ends");
        let meeting = UnixListener::bind_addr(&address).unwrap();
        let ends = thread::spawn(move || drop(meeting.accept()));
        assert!(!hand_over(&address, &new_task()).unwrap());
        ends.join().unwrap();
    }

    #[test]
    fn a_message_without_descriptors_is_refused_and_the_next_is_taken() {
        let address = somewhere("refused");
        let meeting = UnixListener::bind_addr(&address).unwrap();
        let mut wrong = UnixStream::connect_addr(&address).unwrap();
        wrong.write_all(&[0; MESSAGE]).unwrap();
        let taker = thread::spawn(move || take(&meeting));
        assert!(hand_over(&address, &new_task()).unwrap());
        assert!(taker.join().unwrap().is_some());
        assert!(wrong.read_exact(&mut [0]).is_err());
    }
}
