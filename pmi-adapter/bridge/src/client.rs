//! One client's connection: bytes in, bytes out, never waiting.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};
use pmi_wire::Dialect;
use pmi_wire::server::Connection;

/// What has become of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// There are new bytes.
    Something,
    /// Nothing has come yet.
    Nothing,
    /// The client has closed its end.
    End,
}

/// What has become of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// All of it.
    All,
    /// The client does not read: the rest waits until it does.
    Part,
    /// The client is gone.
    Nothing,
}

/// A connection.
pub struct Client {
    socket: OwnedFd,
    /// The protocol's state.
    pub connection: Connection,
    /// The seat of the rank that speaks here; `None` until it has shown its `PMI_ID`.
    pub seat: Option<usize>,
    /// The dialect that its `init` asked for.
    pub dialect: Dialect,
    /// Answers to be sent.
    pub out: Vec<u8>,
    /// Answers that the client does not take.
    pub blocked: bool,
}

impl Client {
    /// A new connection.
    pub fn new(socket: OwnedFd, seat: Option<usize>) -> Client {
        Client {
            socket,
            connection: Connection::new(),
            seat,
            dialect: Dialect::V1,
            out: Vec::new(),
            blocked: false,
        }
    }

    /// Reads what has come.
    pub fn read(&mut self) -> io::Result<Heard> {
        let fd = self.socket.as_raw_fd();
        match recv(fd, self.connection.room(), MsgFlags::MSG_DONTWAIT) {
            Ok(0) | Err(Errno::ECONNRESET) => Ok(Heard::End),
            Ok(count) => {
                self.connection.advance(count);
                Ok(Heard::Something)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(Heard::Nothing),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Sends the answers.
    pub fn flush(&mut self) -> Sent {
        while !self.out.is_empty() {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(self.socket.as_raw_fd(), &self.out, flags) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Sent::Part,
                Err(_) => return Sent::Nothing,
            }
        }
        Sent::All
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
